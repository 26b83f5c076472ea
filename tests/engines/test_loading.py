"""Loading as a moment of its own: weights that are larger before they are quantised may be the peak."""

from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.ledger import sums
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout


def asked(engine: str, version: str, gpu: str, quantization: str | None = "fp8") -> Estimate:
    question = Asked(engine=engine, engine_version=version, quantization=quantization, layout=Layout(tp=8))
    return estimate_serving(
        load("glm-4.6"), question._replace(context=8192, max_model_len=8192), parse_gpu(gpu)
    )


def test_what_is_too_large_to_load_does_not_fit() -> None:
    found = asked("vllm", "0.11.0", "h100:8")
    peak = [line for line in found.ledger.lines if line.key == "temporaries.loading"]
    assert found.verdict == "does_not_fit"
    assert not found.starts
    assert found.at_once == 0
    assert len(peak) == 1
    assert found.ledger.capacity_bytes == parse_gpu("h100:8").card.memory_bytes
    loaded = sums(found.ranks[found.worst_rank].load)[0]
    assert found.ledger.total_bytes == loaded
    assert any("published in FP8" in note for note in found.warnings)


def test_sglang_says_what_it_loads() -> None:
    """The flag names checkpoints that are published in FP8 more often than not, so it decides nothing."""
    found = asked("sglang", "0.5.5", "h100:8")
    assert found.starts
    assert any("in 16 bit" in note for note in found.warnings)
    assert not any("in 16 bit" in note for note in asked("sglang", "0.5.5", "h200:8").warnings)


def test_a_release_that_quantises_each_layer_as_it_comes_loads_no_more() -> None:
    found = asked("vllm", "0.16.0", "h100:8")
    assert not found.ranks[0].load
    assert found.starts


def test_loading_that_fits_may_be_the_peak_all_the_same() -> None:
    found, later = asked("vllm", "0.11.0", "h200:8"), asked("vllm", "0.16.0", "h200:8")
    assert found.verdict == later.verdict == "fits"
    assert found.starts
    assert found.ledger.total_bytes == sums(found.ranks[0].load)[0]
    weights = [
        sum(line.bytes for line in each.ledger.lines if line.category == "weights") for each in (found, later)
    ]
    assert weights[0] == weights[1]


def test_a_checkpoint_that_is_published_so_loads_as_it_stays() -> None:
    question = Asked(engine="vllm", engine_version="0.11.0", layout=Layout(tp=8))
    found = estimate_serving(load("deepseek-r1"), question, parse_gpu("h200:8"))
    assert not found.ranks[0].load
