"""What a second set of public logs taught (tests/tables/inference_fresh.csv, round 2): each cause by itself,
by hand from its source."""

from pathlib import Path

import pytest

from oomless.engines.sglang import SGLANG
from oomless.engines.trtllm import TRTLLM
from oomless.engines.vllm import VLLM
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.ledger import Line
from oomless.model.load import load
from oomless.run.cards import card
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation
from oomless.truth.row_models import named_model
from oomless.truth.tables import read_table
from oomless.truth.validate import score
from oomless.units import GIB


def line(estimate: Estimate, key: str) -> Line:
    return next(each for each in estimate.ledger.lines if each.key == key)


def ask(name: str, gpu: str, **flags: object) -> Estimate:
    return estimate_serving(load(name), Asked(layout=Layout(), **flags), parse_gpu(gpu))  # type: ignore[arg-type]  # flags by name


@pytest.mark.parametrize(
    ("version", "gpu", "batch"),
    [
        ("0.8.5", "a100-80gb", (1024, 8192)),
        ("0.9.0", "a100-80gb", (256, 2048)),
        ("0.10.1", "a100-80gb", (256, 2048)),
        ("0.9.0", "h100", (1024, 8192)),
        ("0.13.0", "dgx-spark-gb10", (256, 2048)),
        ("0.27.1", "dgx-spark-gb10", (256, 2048)),
        ("0.33.0", "dgx-spark-gb10", (256, 2048)),
    ],
)
def test_an_a100_has_the_small_batch_from_0_9_on_and_a_spark_always(
    version: str, gpu: str, batch: tuple[int, int]
) -> None:
    asked = VLLM.resolve(load("qwen3-8b"), parse_gpu(gpu), Asked(engine_version=version), Layout())
    assert (asked.max_num_seqs, asked.max_num_batched_tokens) == batch


@pytest.mark.parametrize(("version", "charged"), [("0.19.0", False), ("0.20.0", True), ("0.21.0", True)])
def test_graphs_are_charged_from_0_20_on(version: str, charged: bool) -> None:
    graphs = {
        eager: ask("qwen3-8b", "h100", engine_version=version, enforce_eager=eager).pools[0]
        for eager in (False, True)
    }
    assert (graphs[True] > graphs[False]) == charged


def test_the_second_engine_of_0_8_to_0_10_may_sample_without_a_sort() -> None:
    for version, least in (("0.10.1 (V1)", 10), ("0.11.0", 37.5)):
        logits = line(ask("qwen2.5-7b", "a100-80gb", engine_version=version), "logits.sampler")
        assert logits.low_bytes <= 256 * 152_064 * least <= logits.bytes


@pytest.mark.parametrize(
    ("name", "gib"), [("instinct-mi355x", 287.98), ("instinct-mi325x", 255.98), ("dgx-spark-gb10", 119.7)]
)
def test_what_a_process_sees(name: str, gib: float) -> None:
    assert card(name).memory_bytes == int(gib * GIB)


def test_boards_by_other_names() -> None:
    assert parse_gpu("jetson-agx-thor").card.name == parse_gpu("thor").card.name
    assert parse_gpu("rtx-4090-d").card.name == "RTX 4090"
    assert named_model("cyankiwi/Kimi-Linear-48B-A3B-Instruct-AWQ-4bit", True) == "kimi-linear-48b-a3b"
    assert named_model("nvidia/DeepSeek-R1-0528-FP4", True) == "deepseek-r1-nvfp4"


@pytest.mark.parametrize("engine", ["sglang", "trtllm", "vllm"])
def test_a_host_takes_its_part_of_shared_memory(engine: str) -> None:
    assert line(ask("qwen3-8b", "spark", engine=engine), "runtime.context").low_bytes == 4 * GIB
    assert line(ask("qwen3-8b", "h100", engine=engine), "runtime.context").high_bytes < GIB


@pytest.mark.parametrize("name", ["qwen3-8b", "qwen3.5-9b"])
def test_a_board_may_have_as_much_after_the_profile_run_as_before(name: str) -> None:
    """Five starts of one model on a Jetson Orin left 3.9 to 11.8 GiB of one share (id 55124395474): what is
    free there is what the host has available, and its processes come and go."""
    [orin, thor] = [
        line(ask(name, each, engine="vllm", engine_version="0.19.0"), "runtime.non_torch")
        for each in ("jetson-agx-orin", "jetson-agx-thor")
    ]
    assert orin.bytes == 0 < thor.bytes
    assert orin.high_bytes >= 4 * GIB


def test_layers_that_read_anothers_cache_have_pools_in_sglang() -> None:
    """Gemma-4-E4B: 7 full layers of 4,096 B and 35 windows of 2,048 B; a log holds 79.94 GiB for 997,846
    tokens."""
    model = load("gemma-4-e4b")
    asked = SGLANG.resolve(model, parse_gpu("spark"), Asked(engine="sglang"), Layout())
    layout = SGLANG.cache_layout(model, asked, SGLANG.stages(model, asked)[0])
    assert layout.block_bytes // layout.groups[0].block_size == 7 * 4096 + int(0.8 * 35 * 2048)
    assert layout.block_bytes == pytest.approx(79.94 * GIB / 997_846, rel=1e-4)


def test_experts_of_gpt_oss_are_padded_in_the_pytorch_backend() -> None:
    model, hardware = load("gpt-oss-120b"), parse_gpu("b200")
    sizes = []
    for version in ("0.20", "1.1"):
        asked = TRTLLM.resolve(model, hardware, Asked(engine="trtllm", engine_version=version), Layout())
        placed = TRTLLM.placed_weights(model, asked, hardware, TRTLLM.stages(model, asked)[0])
        sizes.append(sum(each.total_bytes for each in placed) / GIB)
    assert sizes == pytest.approx([60.77, 63.32], abs=0.01)


def test_a_draft_raises_the_upper_end_of_activations() -> None:
    plain, drafted = (
        line(
            ask("qwen3.5-9b", "h200", max_num_batched_tokens=65536, max_num_seqs=8, speculation=each),
            "activations.profile_run",
        )
        for each in (None, Speculation("mtp"))
    )
    assert drafted.high_bytes - int(plain.bytes * 1.15) == 3 * 65536 * 4096 * 2


def test_few_graphs_of_a_model_with_experts() -> None:
    """2 to 7 graphs took 0.40 to 0.73 GiB in three logs, next to nothing without experts; of a cache in FP8
    FlashInfer's workspace is among it."""
    few = {"max_num_seqs": 1, "max_num_batched_tokens": 8192, "engine_version": "0.24.0"}
    for cache, least, most in (("fp8", 0.6, 0.73), ("auto", 0.25, 0.4)):
        asked = {**few, "kv_cache_dtype": cache}
        found = line(ask("qwen3.6-35b-a3b", "rtx-5090", **asked), "runtime.cuda_graphs").bytes / GIB
        assert least <= found <= most
    assert line(ask("qwen3.6-27b", "rtx-5090", **few), "runtime.cuda_graphs").bytes / GIB < 0.1


def test_what_a_row_says_and_nothing_here_knows() -> None:
    rows = {row.id: row for row in read_table(Path(__file__).parents[1] / "tables" / "inference_fresh.csv")}
    assert score(rows["f152"]).status == "unsupported"
    assert {score(rows[name]).status for name in ("f184", "f201", "f234")} == {"incomplete"}


def test_ranks_that_divide_prompts_are_as_a_report_has_them() -> None:
    """Qwen3-32B on four ranks, of which two divide the attention: 18.25 GiB and 70,950 tokens (SGLang
    0.5.13)."""
    rows = {row.id: row for row in read_table(Path(__file__).parents[1] / "tables" / "inference_fresh.csv")}
    for name in ("f188", "f189"):
        assert score(rows[name]).rel_error == pytest.approx(0, abs=0.005)
