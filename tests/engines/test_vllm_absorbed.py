"""MLA's absorbed matrices in vLLM: copies of a kv_b_proj that is quantised, views of one that is not; and of
the layers alone that have latent attention (model_executor/layers/attention/mla_attention.py)."""

import pytest

from oomless.engines.vllm import VLLM
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation


def copies(model_name: str, asked: Asked, gpu: str = "h200:8") -> list[tuple[int, tuple[int, ...]]]:
    """(bytes, layers) of the copies on each stage's rank."""
    model, cards = load(model_name), parse_gpu(gpu)
    resolved = VLLM.resolve(model, cards, asked, asked.layout or Layout(tp=8))
    return [
        (group.num_bytes, group.layers)
        for stage in VLLM.stages(model, resolved)
        for group in VLLM.placed_weights(model, resolved, cards, stage)
        if group.name == "W_UK and W_UV"
    ]


def test_a_quantised_kv_b_is_copied_in_16_bit_once_a_layer() -> None:
    assert copies("deepseek-r1", Asked(layout=Layout(tp=8))) == [(16 * 256 * 512 * 2, tuple(range(61)))]


@pytest.mark.parametrize("name", ["kimi-k2-thinking", "kimi-k3", "deepseek-v2-lite"])
def test_a_kv_b_in_16_bit_is_only_looked_at_from_another_side(name: str) -> None:
    assert copies(name, Asked(layout=Layout(tp=8))) == []


def test_quantising_while_loading_makes_copies_too() -> None:
    assert copies("deepseek-v2", Asked(layout=Layout(tp=8), quantization="fp8"))[0][1] == tuple(range(60))


def test_a_draft_has_copies_of_its_own() -> None:
    found = copies("deepseek-r1", Asked(layout=Layout(tp=8), speculation=Speculation("mtp")))
    assert found == [(16 * 256 * 512 * 2, tuple(range(62)))]


def test_the_answer_does_not_depend_on_the_kind_of_layer_that_a_stage_begins_with() -> None:
    model, cards = load("kimi-linear-48b-a3b"), parse_gpu("h200:8")
    sizes = set()
    for pp in (1, 2, 4):
        asked = VLLM.resolve(
            model, cards, Asked(engine_version="0.19.0", layout=Layout(pp=pp)), Layout(pp=pp)
        )
        for stage in VLLM.stages(model, asked):
            workspace = [
                group.num_bytes
                for group in VLLM.placed_weights(model, asked, cards, stage)
                if group.name == "FlashInfer MLA workspace"
            ]
            sizes.add(tuple(workspace))
    assert sizes == {(134217728,)}  # every stage has a layer with latent attention, first or not
