"""Notes that a serving engineer missed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fake_hub import shard
from oomless.api.serving import infer
from oomless.errors import OomlessError
from oomless.model.load import load

SHAPE = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 9,
    "num_attention_heads": 1,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize(
    ("model", "gpu", "flags", "words"),
    [
        ("deepseek-r1", "h20:8", {}, "h20-141gb is the larger one"),
        ("llama-3.1-8b", "a100", {"quantization": "fp8"}, "products run in 16 bit"),
        # 200 GiB / (8 ranks x 70,272 B)
        ("deepseek-r1", "h200:8", {"kv_offloading_size": 200}, "holds 381,994 tokens"),
    ],
)
def test_a_note_says_it(model: str, gpu: str, flags: dict[str, Any], words: str) -> None:
    assert any(words in note for note in infer(model, gpu, **flags).warnings)


def test_a_tight_answer_says_first_what_would_settle_it() -> None:
    found = infer("glm-4.6", "h100:8", quantization="fp8", engine_version="0.11.0", tp=8)
    assert [note.partition(", +-")[0] for note in found.warnings[:2]] == [
        "with --engine-version '0.11.0 (driver 570)': fits",
        "with --engine-version '0.11.0 (driver 535)': does not fit",
    ]
    named = infer("glm-4.6", "h100:8", quantization="fp8", engine_version="0.11.0 (driver 570)", tp=8)
    assert not named.settled
    assert named.verdict == "fits"


def test_fp8_is_multiplied_on_hopper() -> None:
    assert not any("16 bit" in note for note in infer("llama-3.1-8b", "h100", quantization="fp8").warnings)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(9) if layer != 4]
    (tmp_path / "config.json").write_text(json.dumps(SHAPE), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(
        shard(dict.fromkeys(names, ("BF16", (16, 8)))).content + bytes(256 * len(names))
    )
    notes = load(str(tmp_path)).warnings
    assert any("lacks model.layers.4.mlp.up_proj.weight" in note for note in notes)


def test_what_is_no_model_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# a model", encoding="utf-8")
    with pytest.raises(OomlessError, match=r"README\.md is no model"):
        load(str(tmp_path / "README.md"))
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OomlessError, match="is an adapter"):
        load(str(tmp_path))
