"""Where nobody names an engine, the one that reads the file and runs on the card is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call
from oomless.api.serving import infer
from oomless.model.load import load_path

DEFAULTS = {
    "h200:8": "vllm",
    "mi300x:8": "vllm",
    "m3-ultra-512gb": "llamacpp",
    "ascend-910b:16": "vllm-ascend",
    "gaudi-3:8": "vllm-hpu",
    "cpu:64GiB": "llamacpp",
}


@pytest.mark.parametrize("gpu", DEFAULTS)
def test_the_engine_is_the_one_that_runs_there(gpu: str) -> None:
    found = call("infer", "deepseek-v2-lite", "--gpu", gpu, "--max-model-len", "4096", "--json")
    assert json.loads(found.out)["request"]["engine"] == DEFAULTS[gpu]
    assert infer("deepseek-v2-lite", gpu, max_model_len=4096).request.engine == DEFAULTS[gpu]


@pytest.mark.parametrize("word", ["Q4_K_M", "UD-Q2_K_XL", "iq4_xs"])
def test_a_type_of_gguf_files_is_asked_of_the_engine_that_reads_them(word: str) -> None:
    found = call("infer", "deepseek-v2-lite", "--gpu", "rtx-4090", "--quantization", word, "--json")
    assert json.loads(found.out)["request"]["engine"] == "llamacpp"


def test_a_named_engine_is_asked() -> None:
    found = call("infer", "deepseek-v2-lite", "--gpu", "ascend-910b:16", "--engine", "vllm", "--json")
    assert found.code == 4


CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def folder(path: Path, bits: int) -> Path:
    """A checkpoint of one file, each of its numbers in F32 or BF16."""
    (path / "config.json").write_text(json.dumps(CONFIG))
    tensors = load_path(path / "config.json").tensors
    entries, end = {}, 0
    for number, tensor in enumerate(tensors):
        count = tensor.num_parameters
        size = count * bits // 8
        dtype = "F32" if bits == 32 else "BF16"
        entries[f"t{number}"] = {"dtype": dtype, "shape": [count], "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(end))
    return path


def test_a_folder_in_f32_with_a_config_in_16_bit_is_loaded_in_16_bit(tmp_path: Path) -> None:
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    wide.mkdir()
    narrow.mkdir()
    one, other = (
        infer(str(folder(path, bits)), "h100", max_model_len=1024)
        for path, bits in ((wide, 32), (narrow, 16))
    )
    weights = [each.ledger.by_category()["weights"] for each in (one, other)]
    assert weights[0] == weights[1]
    assert one.model.checkpoint_bytes == 2 * other.model.checkpoint_bytes
    assert any("stored in F32" in line for line in one.warnings)
    assert not any("F32" in line for line in other.warnings)
