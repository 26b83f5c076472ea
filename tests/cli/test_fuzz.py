"""Whatever a config holds and whatever words are typed: an answer, or an error that was meant. Never one of
ours."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from command import call
from oomless import facts, infer
from oomless.errors import OomlessError
from oomless.model.families import build
from oomless.model.model import Model
from oomless.run.options import options_of

NAMES = (
    "deepseek-coder-1.3b deepseek-moe-16b deepseek-v2-lite deepseek-v3 deepseek-v3.2 "
    "deepseek-v4-flash deepseek-v4.1-flash "
    "deepseek-vl2-tiny deepseek-ocr gpt-oss-20b glm-4.5-air glm-5.2 mixtral-8x7b "
    "qwen3-30b-a3b qwen2.5-0.5b mistral-7b"
).split()
CONFIGS: dict[str, dict[str, Any]] = {name: facts.model_config(name) for name in NAMES}
MAX_MESSAGE = 5000

Path = tuple[str | int, ...]


def places(value: object, path: Path = ()) -> Iterator[Path]:
    """Every place in a config where a value stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:4]):
            yield (*path, index)
            yield from places(inner, (*path, index))


PLACES = {name: list(places(values)) for name, values in CONFIGS.items()}

numbers = st.one_of(
    st.integers(-10, 200),
    st.integers(-(10**40), 10**40),
    st.sampled_from(
        [0, -1, 1, 2, 3, 2**31, 2**40, 2**63, 10**400, 61.5, 1e308, float("inf"), float("nan"), 1e-320, -0.0]
    ),
    st.floats(),
)
values = st.recursive(
    st.one_of(
        numbers,
        st.none(),
        st.booleans(),
        st.text(max_size=8),
        st.sampled_from(["", "float16", "re:(", "fp8", "llama"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A real config with one to three places changed or taken away."""
    name = draw(st.sampled_from(NAMES))
    config = copy.deepcopy(CONFIGS[name])
    for place in draw(st.lists(st.sampled_from(PLACES[name]), min_size=1, max_size=3)):
        target: Any = config
        try:
            for step in place[:-1]:
                target = target[step]
            if draw(st.integers(0, 4)):
                target[place[-1]] = draw(values)
            else:
                del target[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return config


def meant(error: OomlessError) -> None:
    """An error says something, and not too much of it."""
    assert 0 < len(str(error)) < MAX_MESSAGE


@given(mutated())
def test_a_mutated_config_gives_a_model_or_an_error_that_was_meant(config: dict[str, Any]) -> None:
    try:
        model = build(config, "fuzz", "config.json")
    except OomlessError as error:
        meant(error)
        return
    assert isinstance(model, Model)
    assert model.num_parameters > 0
    assert model.checkpoint_bytes > 0
    assert model.num_active_parameters >= 0
    try:
        answer = infer(model, "h200:8")
    except OomlessError as error:
        meant(error)
        return
    json.dumps(answer.to_json(), allow_nan=False)


WRONG: tuple[object, ...] = (
    None,
    0,
    -1,
    True,
    2.5,
    10**40,
    "",
    "x",
    [],
    [1],
    ["x"],
    [None],
    {},
    {"x": 1},
    [[]],
    float("nan"),
    float("inf"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_wrong_value_at_every_place_of_a_config_gives_a_model_or_an_error_that_was_meant(
    name: str,
) -> None:
    for place in PLACES[name]:
        for wrong in WRONG:
            config = copy.deepcopy(CONFIGS[name])
            target: Any = config
            for step in place[:-1]:
                target = target[step]
            target[place[-1]] = wrong
            try:
                build(config, "fuzz", "config.json")
            except OomlessError as error:
                meant(error)
            except Exception as error:
                raise AssertionError(
                    f"{'.'.join(map(str, place))} = {wrong!r}: {type(error).__name__}: {error}"
                ) from error


@given(values)
def test_any_value_for_a_config_gives_a_model_or_an_error_that_was_meant(value: object) -> None:
    config = value if isinstance(value, dict) else {"model_type": value}
    try:
        build(config, "fuzz", "config.json")
    except OomlessError as error:
        meant(error)


whole = st.one_of(
    st.sampled_from([1, 2, 4, 8, 16, 61, 4096, 163840]), st.integers(-3, 70), st.integers(-(10**20), 10**20)
)
loose = st.one_of(
    st.sampled_from(
        "0 1 -1 1e3 nan inf 0x10 1_000 ٣ ² 8x2 80GiB 80GB 1e400GiB h200:8 b200:8 mi300x:8 "
        "auto fp8 mtp {} [] null host gpu".split()
    ),
    st.sampled_from(
        [
            "",
            " ",
            "-",
            "--",
            "-x",
            "--json",
            "0.19.0",
            "0.8.5 (V0)",
            '{"method":"mtp"}',
            '{"method":{}}',
            "vllm serve x",
        ]
    ),
    st.text(max_size=6),
)


@st.composite
def typed(draw: st.DrawFn) -> list[str]:
    """The words of an `infer` command: mostly sensible ones, some not."""
    words = ["infer", draw(st.sampled_from([*NAMES, "deepseek-v33", "", "."]))]
    gpus = [
        "h200:8",
        "h100:8x2",
        "a100-80gb:4",
        "rtx-4090",
        "t4:2",
        "b200:8",
        "mi300x:8",
        "80GiB:8",
        "1MiB",
        "h200:4096",
    ]
    words += ["--gpu", draw(st.one_of(st.sampled_from(gpus), loose))]
    for flag in draw(
        st.lists(st.sampled_from([each for each in options_of("infer") if each.names]), max_size=5)
    ):
        words.append(draw(st.sampled_from(flag.names)))
        numbers = flag.kind in ("number", "positive", "share", "gib")
        counts = flag.kind in ("whole", "tokens", "length", "layers")
        sensible = st.floats().map(str) if numbers else whole.map(str) if counts else loose
        value = draw(st.one_of(sensible, st.sampled_from(flag.choices) if flag.choices else sensible, loose))
        if flag.kind != "switch":
            words.append(value)
    words += draw(st.lists(loose, max_size=1))
    return [word for word in words if word != "--debug"] + ["--offline"]


@given(typed(), st.booleans())
@example(
    ["infer", "deepseek-v3", "--gpu", "h200:8", "--speculative-config", '{"method": ["mtp"]}', "--offline"],
    True,
)
@example(["infer", "deepseek-v3", "--gpu", "h200:8", "--speculative-config", "[1]", "--offline"], True)
@example(["infer", "deepseek-v3", "--gpu", "h200:8", "--max-num-batched-tokens", "1", "--offline"], True)
def test_any_words_give_an_answer_or_an_error_that_was_meant(words: list[str], as_json: bool) -> None:
    answer = call(*words, *(["--json"] if as_json else []))
    assert answer.code in (0, 1, 2, 3, 4), (answer.code, words)
    assert "internal error" not in answer.err, words
    assert "Traceback" not in answer.err, words
    if answer.code in (0, 3):
        assert answer.err == ""
        assert answer.out
    else:
        assert answer.out == "", words
        said = json.loads(answer.err)["error"] if "--json" in (*words, *["--json"] * as_json) else {}
        assert said.get("code", answer.code) == answer.code
        assert said.get("message") or answer.err.startswith("oomless: ")
    if (
        answer.code in (0, 3)
        and "--json" in words[2:] + (["--json"] if as_json else [])
        and not {"-h", "--help"} & set(words)
    ):
        assert isinstance(json.loads(answer.out), dict)
