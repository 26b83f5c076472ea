"""Loading as a moment of its own: weights of 16 bit that are larger before they are quantised."""

import pytest

from oomless.api.serving import infer
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.ledger import sums
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout


def asked(engine: str, version: str, gpu: str, quantization: str | None = "fp8") -> Estimate:
    question = Asked(engine=engine, engine_version=version, quantization=quantization, layout=Layout(tp=8))
    question = question._replace(enforce_eager=True)  # graphs of experts may take what is left (vllm#28278)
    return estimate_serving(
        load("glm-4.6"), question._replace(context=8192, max_model_len=8192), parse_gpu(gpu)
    )


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.11.0"), ("sglang", "0.5.5")])
def test_what_loads_too_much_in_16_bit_is_said(engine: str, version: str) -> None:
    """The flag names checkpoints that are published in FP8 more often than not, so it decides nothing."""
    found = asked(engine, version, "h100:8")
    assert found.starts
    assert len([note for note in found.warnings if "published in FP8" in note]) == 1
    assert sums(found.ranks[found.worst_rank].load)[0] > parse_gpu("h100:8").card.memory_bytes
    assert not [note for note in asked(engine, version, "h200:8").warnings if "16 bit" in note]


def test_a_release_that_quantises_each_layer_as_it_comes_loads_no_more() -> None:
    assert not asked("vllm", "0.16.0", "h100:8").ranks[0].load
    assert asked("vllm", "0.11.0", "h100:8").ranks[0].load


def test_a_checkpoint_that_is_published_so_loads_as_it_stays() -> None:
    question = Asked(engine="vllm", engine_version="0.11.0", layout=Layout(tp=8))
    found = estimate_serving(load("deepseek-r1"), question, parse_gpu("h200:8"))
    assert not found.ranks[0].load


@pytest.mark.parametrize(
    ("quantization", "release", "most_mib"),
    [(None, "0.19.0", 29), (None, "0.28.0", 320), ("fp8", "0.19.0", 320)],
)
def test_weights_that_stay_as_they_were_made_leave_little_beside_them(
    quantization: str | None, release: str, most_mib: int
) -> None:
    """Of 70 logs of models in 16 bit up to 0.24 none had 30 MiB more than their tensors."""
    question = Asked("vllm", release, quantization=quantization, layout=Layout(tp=4))
    lines = estimate_serving(load("llama-3.3-70b"), question, parse_gpu("h200:4")).ledger.lines
    [line] = [line for line in lines if line.key == "fragmentation.weights"]
    assert (line.high_bytes - line.bytes) >> 20 == pytest.approx(most_mib, abs=2)


def test_experts_without_a_gate_in_nvfp4_are_padded_to_blocks_of_scales() -> None:
    """Row b4-008: 9.8291 GiB a card of two RTX 5080 are measured, 9.05 without the padding."""
    question = Asked("vllm", "0.13.0", layout=Layout(tp=2), max_model_len=131072, kv_cache_dtype="fp8")
    found = estimate_serving(load("nemotron-3-nano-30b-a3b-nvfp4"), question, parse_gpu("rtx-5080:2"))
    weights = [line for line in found.ledger.lines if line.category == "weights"]
    assert sum(line.bytes for line in weights) / 2**30 == pytest.approx(9.8291, rel=0.005)


def test_swap_on_one_memory_comes_after_the_pool() -> None:
    """11,836 blocks of 896 KiB and 4 GiB of swap on an Orin NX of 16 GB (jetson-containers#795): killed."""
    found = infer(
        "qwen2.5-7b-instruct",
        "jetson-orin-nx-16gb",
        engine="vllm",
        engine_version="0.6.3",
        quantization="Q4_K_M",
        max_model_len=200,
        max_num_seqs=1,
    )
    assert found.verdict == "does_not_fit"
    assert 8 < found.estimate.ranks[0].pool_bytes / 2**30 < 10.2


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.23.0"), ("sglang", "0.5.21")])
def test_keys_that_are_the_values_too_fill_the_rows_of_both(engine: str, version: str) -> None:
    """Row b5-020: 31.47 GiB of Gemma-4-31B quantised as it loads; 31.36 without the values of ten layers."""
    question = Asked(engine=engine, engine_version=version, layout=Layout(), max_model_len=8192)
    lines = estimate_serving(load("gemma-4-31b"), question, parse_gpu("b300")).ledger.lines
    [attention] = [line for line in lines if line.key == "weights.attention"]
    stored = sum(each.num_bytes for each in load("gemma-4-31b").tensors if "self_attn." in each.name)
    values = 10 * 4 * 512 * 5376 * 2
    assert attention.bytes == pytest.approx(stored + values, abs=1 << 20)
