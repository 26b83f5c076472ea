"""Block scales of NVFP4 that vLLM before 0.10.2 left in memory beside those it had put in CUTLASS's order
(quantization/modelopt.py; vllm#23379)."""

import pytest

from oomless.engines.vllm import VLLM
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout


def kept(model_name: str, gpu: str, version: str) -> int:
    """Bytes that a rank keeps of scales as they were loaded."""
    model, cards = load(model_name), parse_gpu(gpu)
    layout = Layout(tp=cards.num_gpus)
    asked = Asked(layout=layout, engine_version=version, quantization="nvfp4")
    resolved = VLLM.resolve(model, cards, asked, layout)
    return sum(
        group.num_bytes
        for stage in VLLM.stages(model, resolved)
        for group in VLLM.placed_weights(model, resolved, cards, stage)
        if group.name == "NVFP4 scales as loaded"
    )


def test_scales_are_kept_twice_until_they_took_the_place_of_those_loaded() -> None:
    routed = 58 * 256 * 3 * 7168 * 2048 // 16 // 8
    assert routed <= kept("deepseek-r1", "b200:8", "0.10.1") < 1.1 * routed
    assert kept("deepseek-r1", "b200:8", "0.10.2") == 0


@pytest.mark.parametrize("gpu", ["h200:8", "rtx-pro-6000:8"])
def test_marlin_keeps_none_of_them(gpu: str) -> None:
    assert kept("deepseek-r1", gpu, "0.10.1") == 0
