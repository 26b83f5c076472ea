"""The user's own defaults: a file and variables, which flags overrule and answers name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.cli.answer import answer_infer
from oomless.errors import OomlessError, UsageError
from oomless.run.options import options_of
from oomless.run.settings import from_file, read_settings, spellings


def answer(capsys: pytest.CaptureFixture[str], model: str, **options: object) -> dict[str, object]:
    answer_infer(model, {"json": True, **options})
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("OOMLESS_CONFIG", str(path))
    return path


def test_flags_come_before_variables_and_variables_before_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[infer]\ngpu = 'h200:8'\nmax-model-len = 4096\ntp = 2\n")
    monkeypatch.setenv("OOMLESS_MAX_MODEL_LEN", "8192")

    said = answer(capsys, "deepseek-v2-lite", tp=4)

    request = said["request"]
    assert isinstance(request, dict)
    assert (request["gpu"]["spec"], request["max_model_len"], request["layout"]["tp"]) == ("h200:8", 8192, 4)
    assert f"{config} says --gpu h200:8" in str(said["warnings"])
    assert "OOMLESS_MAX_MODEL_LEN says --max-model-len 8192" in str(said["warnings"])


def test_defaults_of_another_engine_are_left_out(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[infer]\ngpu = 'h200'\ngpu-memory-utilization = 0.5\n")
    vllm, sglang = (
        answer(capsys, "deepseek-v2-lite", engine=engine)["request"] for engine in ("vllm", "sglang")
    )
    assert isinstance(vllm, dict)
    assert isinstance(sglang, dict)
    assert (vllm["gpu_memory_utilization"], sglang["gpu_memory_utilization"]) == (0.5, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[infer", "not valid TOML"),
        (b"\xff", "not valid TOML"),
        (b"[infer]\nengin = 'vllm'", "did you mean engine"),
        (b"[infer]\ntp = 'two'", "tp is 'two'"),
        (b"[infer]\ntp = true", "tp is True"),
        (b"[infer]\nengine = 'other'", "known are ik-llamacpp"),
        (b"[infer]\ncommand = 'vllm serve m'", "'command' is no option"),
        (b"infer = 3", "'infer' is no table"),
        (b"[train]", "'train' is no table"),
        (b"#" * (1 << 21), "too large"),
        (b"x = " + b"[" * 60_000, "nested too deeply"),
    ],
)
def test_a_bad_file_is_named(config: Path, content: bytes, says: str) -> None:
    config.write_bytes(content)
    with pytest.raises(OomlessError) as error:
        read_settings({"OOMLESS_CONFIG": str(config)})
    assert says in str(error.value)
    assert not isinstance(error.value, UsageError)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OOMLESS_ENGNE", "vllm", "did you mean engine"),
        ("OOMLESS_TP", "two", "OOMLESS_TP takes a whole number"),
        ("OOMLESS_STRICT", "perhaps", "OOMLESS_STRICT takes true or false"),
        ("OOMLESS_ENGINE", "other", "known are ik-llamacpp"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        read_settings({name: value})
    assert says in str(error.value)


def test_a_named_file_must_be_there_and_the_usual_one_need_not(tmp_path: Path) -> None:
    assert read_settings({"XDG_CONFIG_HOME": str(tmp_path)}) == ()
    with pytest.raises(OomlessError, match="no such config file"):
        read_settings({"OOMLESS_CONFIG": str(tmp_path / "none.toml")})


def test_every_option_but_those_of_one_question_has_a_default() -> None:
    never = {"command", "from_file", "compare", "plot", "revision"}
    assert {option.field for option in spellings().values()} == {
        option.field for option in options_of("infer") if option.names
    } - never


@given(content=st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        from_file(str(path), True)
    except OomlessError as error:
        assert str(path) in str(error)
