"""`speed --against silicon`: measured kernels of a package that a test stands in for."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import call

STAND_IN = """
class EngineHandle:
    asked = []

    @classmethod
    def compile(cls, model, system, backend, **sizes):
        cls.asked.append((model, system, backend, sizes))
        if backend == "sglang":
            raise KeyError("no table of sglang")
        return cls()

    def predict_prefill_latency(self, batch, length):
        return 100.0

    def decode_step_latency(self, batch, length, answer):
        return 10.0 + batch
"""
ASKED = ("deepseek-r1", "--gpu", "h200:8", "--tp", "8", "--max-model-len", "8192", "--input-len", "1000")
LOAD = ("--output-len", "101", "--concurrency", "4")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "aiconfigurator_core"
    (package / "sdk").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sdk" / "__init__.py").touch()
    (package / "sdk" / "engine.py").write_text(STAND_IN, encoding="utf-8")
    (package / "model_configs").mkdir()
    (package / "model_configs" / "deepseek-ai--DeepSeek-R1_config.json").write_text("{}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield
    forget()


def forget() -> None:
    """Let the next import read the package anew."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "aiconfigurator_core"]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
def test_figures_stand_beside_ours() -> None:
    found = json.loads(call("speed", *ASKED, *LOAD, "--against", "silicon", "--json").out)["against"]
    cycle_s = 4 * 0.1 + 100 * 0.014
    assert found["system"] == "h200_sxm"
    assert found["tokens_per_s"] == pytest.approx(4 * 101 / cycle_s)
    assert found["tpot_s"] == pytest.approx((cycle_s - 0.1) / 100)
    assert "kernels measured on h200_sxm" in call("speed", *ASKED, *LOAD, "--against", "silicon").out


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--engine", "sglang"), "no table of sglang"),
        (("--arrival-rate", "2"), "steady load"),
    ],
)
def test_what_it_cannot_answer_is_said(more: tuple[str, ...], word: str) -> None:
    load = ("--output-len", "101") if "--arrival-rate" in more else LOAD
    ended = call("speed", *ASKED, *load, *more, "--against", "silicon")
    assert ended.code in (2, 4)
    assert word in ended.err


@pytest.mark.usefixtures("installed")
def test_only_its_own_models_and_cards_are_asked_for() -> None:
    """Another one's config would be fetched from the hub."""
    own = call("speed", "deepseek-v2-lite", "--gpu", "h200", "--against", "silicon")
    assert (own.code, "no config of deepseek-v2-lite" in own.err) == (4, True)
    card = call("speed", "deepseek-r1", "--gpu", "h20-141gb:8", "--tp", "8", "--against", "silicon")
    assert (card.code, "no kernels were measured" in card.err) == (4, True)


def test_without_the_package_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    ended = call("speed", *ASKED, *LOAD, "--against", "silicon")
    assert ended.code == 5
    assert "oomless[silicon]" in ended.err
