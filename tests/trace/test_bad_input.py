"""What a trace cannot do is a clear error with its line, and nothing half-written: no class, a function that
raises, data-dependent ways."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command import call, environment

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.torch

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.head = nn.Linear(32, 100)

    def hidden(self, hidden):
        return hidden

    def forward(self, input_ids):
        return self.head(self.hidden(self.embed(input_ids))).float().mean()

class Branches(Net):
    def hidden(self, hidden):
        return hidden * 2 if hidden.sum() > 0 else hidden

class Selects(Net):
    def hidden(self, hidden):
        return hidden[hidden.sum(-1) > 0]

class Fails(Net):
    def hidden(self, hidden):
        return self.head(self.head(hidden))

class Exits(Net):
    def hidden(self, hidden):
        raise SystemExit(3)

class ManyLosses(Net):
    def forward(self, input_ids):
        return self.head(self.embed(input_ids))

class NoGradient(Net):
    def hidden(self, hidden):
        return hidden.detach()
    def forward(self, input_ids):
        return super().forward(input_ids).detach()

class Logits(Net):
    def forward(self, input_ids):
        return {"logits": self.head(self.embed(input_ids))}

class Pixels(Net):
    def forward(self, pixels):
        return self.head(pixels).mean()

def exits():
    return Exits()

def leaves():
    raise SystemExit(0)

def many_losses():
    return ManyLosses()

def no_gradient():
    return NoGradient()

def logits():
    return Logits()

def pixels():
    return Pixels()

def works():
    return Net()

def branches():
    return Branches()

def selects():
    return Selects()

def fails():
    return Fails()

def raises():
    raise ValueError("no weights today")

def number():
    return 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "traced_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WORDS = ("--precision", "fp32", "--seq-len", "16")


def test_a_function_of_ones_own_is_traced(folder: Path) -> None:
    answer = call("trace", "traced_module:works", *WORDS, "--explain", "weights")
    assert answer.code == 0, answer.err
    assert "head" in answer.out


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        ("branches", 4, "traced_module.py:19"),
        ("selects", 4, "traced_module.py:23"),
        ("fails", 1, "traced_module.py:27"),
        ("raises", 1, "no weights today"),
        ("number", 2, "returns int"),
        ("exits", 1, "SystemExit: 3"),  # the code of "does not fit"
        ("leaves", 1, "SystemExit: 0"),  # the code of "fits"
        ("many_losses", 1, "a tensor of shape (1, 16, 100), which is no loss"),
        ("no_gradient", 1, "does not depend on what is trained"),
        ("logits", 1, "returns dict, which is no loss"),
        ("pixels", 2, "takes pixels"),
        ("nothing", 2, "has no nothing"),
    ],
)
def test_a_function_that_cannot_be_traced_names_its_line(
    folder: Path, function: str, code: int, said: str
) -> None:
    answer = call(
        "trace", f"traced_module:{function}", *WORDS, "--save", "kept", "--plot", "kept.svg", "--json"
    )
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert not list(folder.glob("kept*"))


def test_a_function_without_a_cache_is_no_inference(folder: Path) -> None:
    answer = call("trace", "traced_module:works", "--for", "infer", "--context", "16")
    assert (answer.code, answer.out) == (4, "")
    assert "keeps no cache" in answer.err


def test_an_empty_file_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "empty.trace").write_bytes(b"")
    answer = call("trace", "--from", str(tmp_path / "empty.trace"))
    assert answer.code == 1
    assert "no trace file" in answer.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("deepseek-moe-16b",), 4),
        (("deepseek-v33",), 2),
        (("no_such_module:function",), 2),
        (("deepseek-coder-1.3b", "--method", "qlora", "--quantization", "int8"), 4),
        (("deepseek-coder-1.3b", "--offload", "optimizer"), 4),
        (("deepseek-coder-1.3b", "--offload-layers", "2"), 4),
        (("deepseek-coder-1.3b", "--cp", "2"), 4),
        (("deepseek-coder-1.3b", "--rank", "1"), 2),
        (("deepseek-coder-1.3b", "--allocator", "foo:1"), 2),
        (("deepseek-coder-1.3b", "--for", "infer", "--seq-len", "5"), 2),
        (("deepseek-coder-1.3b", "--context", "5"), 2),
    ],
)
def test_questions_that_no_trace_answers(words: tuple[str, ...], code: int) -> None:
    answer = call("trace", *words, "--json")
    assert (answer.code, answer.out) == (code, "")
    error = json.loads(answer.err)["error"]
    assert error["code"] == code
    assert error["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_an_address_space_that_torch_does_not_fit_into() -> None:
    words = [sys.executable, "-m", "oomless", "trace", "qwen2-0.5b", *WORDS]
    limited = f"ulimit -v 400000; exec {shlex.join(words)}"
    answer = subprocess.run(
        ["bash", "-c", limited], env=environment(), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("oomless: ")
    assert "ulimit -v" in answer.stderr
    assert "internal" not in answer.stderr


def test_a_config_that_its_class_refuses_is_not_a_missing_class(tmp_path: Path) -> None:
    config = {
        "model_type": "gemma3n_text",
        "num_hidden_layers": 3,
        "intermediate_size": [64] * 5,
        "vocab_size": 100,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    answer = call("trace", str(tmp_path), *WORDS)
    assert answer.code == 1
    assert "refuses the config" in answer.err


def test_a_config_that_its_class_checks_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A validator says first that it failed, and then why."""
    transformers = pytest.importorskip("transformers")
    if "gemma4_assistant" not in transformers.CONFIG_MAPPING:
        pytest.skip("this transformers has no class that checks so")
    config = {"model_type": "gemma4_assistant", "text_config": {"hidden_size_per_layer_input": 256}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "hidden_size_per_layer_input must be 0" in call("trace", str(tmp_path), *WORDS).err
