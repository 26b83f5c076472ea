"""What layers of linear attention keep: by the kernels' save_for_backward, and by the reference code."""

import pytest

from oomless.frameworks.graphs.blocks import MicroBatchWork
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.model.attention import Linear
from oomless.model.load import load

TOKENS = 4096
WORK = MicroBatchWork(1, TOKENS, 2, 2, False)


def kept(name: str, work: MicroBatchWork = WORK) -> dict[str, int]:
    """Bytes a token that the first layer of linear attention keeps of it."""
    model = load(name)
    index = next(i for i, layer in enumerate(model.layers) if isinstance(layer.attention, Linear))
    graph = layer_graph(model.layers[index], model.hidden_size, norms_of(model, index), work, model.streams)
    names = {"in", "conv.in", "qkv", "q", "k", "v", "z", "inverse", "states", "mixed", "gated", "decay"}
    names |= {"qk", "rescaled"}
    return {key: size // TOKENS for key, size in walk(graph).saved.items() if key in names}


def test_the_gated_delta_rule_keeps_no_states() -> None:
    """Qwen3-Next: 8,192 channels of the convolution, 32 value heads of 128, chunks of 64 (fla 0.4.1)."""
    wide = 32 * 128 * 2
    beside = {"conv.in": 8192 * 2, "inverse": 32 * 64 * 2}
    assert kept("qwen3-next-80b-a3b") == beside | dict.fromkeys(("q", "k", "v", "mixed", "z", "gated"), wide)


def test_megatron_norms_beside_the_kernel() -> None:
    """16 heads of queries and 16 of keys before they are repeated, and the output before its gate."""
    found = kept("qwen3-next-80b-a3b", WORK._replace(norms_apart=True))
    assert {key: found.pop(key) for key in ("qk", "rescaled")} == dict.fromkeys(("qk", "rescaled"), 4096 * 2)
    assert found == kept("qwen3-next-80b-a3b")


def test_mamba_2_keeps_its_projection_and_its_scan() -> None:
    """Nemotron-3-Nano: 10,304 of z, x, B, C and dt; 64 heads of 64 (mamba_ssm, ssd_combined.py)."""
    assert kept("nemotron-3-nano-30b-a3b") == {"in": 10304 * 2, "mixed": 4096 * 2, "gated": 4096 * 2}


def test_the_reference_code_keeps_thirteen_kilobytes_a_head() -> None:
    found = kept("qwen3-next-80b-a3b", WORK._replace(deterministic=True))
    assert found["inverse"] == 32 * 13140
    assert not {"q", "k", "v"} & set(found)


@pytest.mark.parametrize("name", ["lfm2-1.2b", "mamba-2.8b"])
def test_channels_alone_keep_their_convolution(name: str) -> None:
    assert "qkv" in kept(name)
