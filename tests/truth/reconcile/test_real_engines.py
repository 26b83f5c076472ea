"""Real engines on a tiny model of random weights: their own logs, read and laid beside the prediction.

They are those of `make parsers` (OOMLESS_PARSERS names another folder of such environments).
"""

import io
import json
import os
import subprocess
from pathlib import Path

import pytest

from oomless.api.reconcile import beside_prediction
from oomless.truth.reconcile.read_log import read_stream
from oomless.truth.reconcile.reconciled import ReconciledRun
from oomless.units import MIB

ENVIRONMENTS = Path(os.environ.get("OOMLESS_PARSERS") or Path(__file__).parents[3] / ".parsers")
LAYERS, HIDDEN, HEADS, FFN, WORDS = 2, 256, 4, 512, 1024

pytestmark = pytest.mark.slow


def python_of(engine: str) -> str:
    """The interpreter of an engine's environment."""
    found = ENVIRONMENTS / engine / "bin" / "python"
    if not found.exists():
        pytest.skip(f"{engine} is not installed: make parsers")
    return str(found)


def beside(output: bytes, model: Path) -> ReconciledRun:
    runs = read_stream(io.BytesIO(output), "engine.log")
    assert len(runs) == 1
    return beside_prediction(runs, "16GiB", str(model)).runs[0]


def tiny_gguf(path: Path) -> None:
    """A Llama of two layers as llama.cpp loads it."""
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    writer, chance = gguf.GGUFWriter(str(path), "llama"), numpy.random.default_rng(0)
    writer.add_name("Tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(WORDS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_file_type(1)
    writer.add_tokenizer_model("llama")
    single = [f"<0x{number:02X}>".encode() for number in range(256)]
    words = [f"\u2581w{number}".encode() for number in range(WORDS - 259)]
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", *single, *words])
    writer.add_token_scores([0.0] * WORDS)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (WORDS - 259))

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (chance.standard_normal(shape) * 0.02).astype(numpy.float16))

    add("token_embd.weight", WORDS, HIDDEN)
    add("output.weight", WORDS, HIDDEN)
    writer.add_tensor("output_norm.weight", numpy.ones(HIDDEN, numpy.float32))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", HIDDEN, HIDDEN)
        add(f"blk.{layer}.ffn_gate.weight", FFN, HIDDEN)
        add(f"blk.{layer}.ffn_up.weight", FFN, HIDDEN)
        add(f"blk.{layer}.ffn_down.weight", HIDDEN, FFN)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(HIDDEN, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


LOAD = (
    "import os, sys, xllamacpp\n"
    "params = xllamacpp.CommonParams()\n"
    "params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 512, 1, False\n"
    "params.n_batch, params.verbosity = 512, 5\n"
    "server = xllamacpp.Server(params)\n"
    "os._exit(0)\n"
)


def test_llamacpp(tmp_path: Path) -> None:
    model, script = tmp_path / "tiny.gguf", tmp_path / "load.py"
    tiny_gguf(model)
    script.write_text(LOAD)
    command = [python_of("llamacpp"), str(script), str(model)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=True)
    found = beside(done.stdout, model)
    assert found.facts["engine"] == "llamacpp"
    rows = {row.key: row for row in found.rows}
    assert rows["kv_cache.pool"].measured == rows["kv_cache.pool"].predicted == MIB
    assert rows["weights"].error == pytest.approx(0, abs=0.01)
    assert rows["activations.compute_buffer"].inside


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": HIDDEN // HEADS,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
START = (
    "import sys\nfrom vllm import LLM\n"
    "if __name__ == '__main__':\n"
    "    LLM(model=sys.argv[1], max_model_len=1024, enforce_eager=True, skip_tokenizer_init=True, "
    "load_format='dummy')\n"
)


def test_vllm_on_a_cpu(tmp_path: Path) -> None:
    model, script = tmp_path / "tiny", tmp_path / "start.py"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    script.write_text(START)
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python_of("vllm"), str(script), str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
        check=True,
        env=environment,
    )
    found = beside(done.stdout, model)
    assert found.facts["engine"] == "vllm"
    assert found.facts["max_model_len"] == 1024
    cache_bytes_a_token = 2 * LAYERS * HIDDEN * 2
    assert found.facts["kv_tokens"] == 2**30 // cache_bytes_a_token
