"""Machines of one memory: what is left to the host takes nothing off the card, and a build without cards
leaves nothing to them."""

from typing import Any

import pytest

import oomless
from oomless.errors import UsageError
from oomless.run.hardware import parse_gpu


def llama(gpu: str, model: str = "deepseek-r1", **flags: Any) -> oomless.ServingAnswer:
    return oomless.infer(model, gpu, engine="llamacpp", quantization="q4_k_m", context=8192, **flags)


@pytest.mark.parametrize("gpu", ["m3-ultra", "dgx-spark", "jetson-agx-orin-64gb"])
@pytest.mark.parametrize("flags", [{"cpu_moe": True}, {"n_gpu_layers": 0}, {"override_tensor": "exps=CPU"}])
def test_experts_on_the_host_of_a_unified_memory_do_not_make_room(gpu: str, flags: dict[str, Any]) -> None:
    found = llama(gpu, **flags)
    assert found.verdict == "does_not_fit"
    assert (
        found.ledger.total_bytes >= 360 * 2**30 - 30 * 10**9
    )  # 376 GiB of Q4_K_M, less what the host of a Mac has for itself


def test_a_memory_of_one_holds_the_same_wherever_a_layer_runs() -> None:
    cards, half = (
        llama("dgx-spark", "deepseek-v2-lite"),
        llama("dgx-spark", "deepseek-v2-lite", n_gpu_layers=13),
    )
    sums = [
        sum(line.bytes for line in found.ledger.lines if line.category in ("weights", "kv_cache"))
        for found in (cards, half)
    ]
    assert (
        sums[0] == sums[1] == cards.ledger.by_category()["weights"] + cards.ledger.by_category()["kv_cache"]
    )


def test_layers_on_the_host_keep_their_cache_there() -> None:
    file = llama("rtx-4090", "deepseek-v2-lite", n_gpu_layers=0)
    assert file.ram_bytes == llama(
        "rtx-4090", "deepseek-v2-lite", n_gpu_layers=0, cache_type_k="q8_0"
    ).ram_bytes + 27 * 8192 * (1152 - 612)
    assert file.kv_cache.needed_bytes == 0


def test_a_machine_without_cards_takes_no_notice_of_ngl() -> None:
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "q8_0", "context": 131072}
    plain, none = (
        oomless.infer("deepseek-r1-distill-qwen-7b", "cpu:9GiB", n_gpu_layers=layers, **asked)
        for layers in (None, 0)
    )
    assert plain.ledger == none.ledger
    assert none.verdict == "does_not_fit"


def test_other_engines_and_training_leave_nothing_to_a_host_that_is_the_card() -> None:
    plain, moved = (
        oomless.infer("deepseek-v2-lite", "dgx-spark", max_model_len=8192, cpu_offload_gb=size)
        for size in (0.0, 20.0)
    )
    assert abs(moved.ledger.total_bytes - plain.ledger.total_bytes) < 2**30
    stays, away = (
        oomless.train("deepseek-r1-distill-qwen-1.5b", "dgx-spark", offload=what, recompute="full")
        for what in ((), ("optimizer",))
    )
    assert away.peaks.device_bytes >= away.ram_bytes + away.groups[0].states.weights
    assert away.peaks.device_bytes > stays.groups[0].states.optimizer + stays.groups[0].states.weights


def test_a_machine_of_its_own_memory_is_as_before() -> None:
    assert llama("rtx-4090", cpu_moe=True).verdict == "fits"


def test_a_size_of_memory_behind_the_name() -> None:
    card = parse_gpu("m3-ultra-512gb:2").card
    assert card.shared_bytes == 512 * 2**30
    assert card.memory_bytes < card.shared_bytes
    assert parse_gpu("h100-80gb").card.name == "H100 80GB SXM5"
    for wrong in (
        "m3-ultra-1024gb",
        "m3-ultra-8gb",
        "m3-ultra-00512gb",
        "h100-512gb",
        "m3-ultra-xgb",
        "-512gb",
    ):
        with pytest.raises(UsageError):
            parse_gpu(wrong)
    row = oomless.plan("deepseek-r1-distill-llama-70b", gpu=["m3-ultra-512gb:1"]).to_json()["rows"][0]
    assert "m3-ultra-512gb:1" in row["estimate"]
    assert row["tokens_per_s"]["value"] > 0


@pytest.mark.parametrize(
    ("gpu", "gib", "says"),
    [
        ("strix-halo-128gb", 62, "gives the GPU 62 of 128 GB by default"),
        ("ai-max-395-64gb", 31, "gives the GPU 31 of 64 GB by default"),
        ("strix-halo-96gb", 96, "96 GB of the machine that are set apart"),
        ("strix-halo", 62, ""),
    ],
)
def test_a_machine_gives_its_gpu_a_part(gpu: str, gib: int, says: str) -> None:
    """64 GB are what a machine is sold with: its GPU has not all of them (amd/playbooks#791)."""
    hardware = parse_gpu(gpu)
    assert hardware.card.memory_bytes == gib * 2**30
    assert says in hardware.reading
    assert bool(says) == bool(hardware.reading)
    with pytest.raises(UsageError, match="1 to 124 GB"):
        parse_gpu("strix-halo-256gb")


@pytest.mark.parametrize(("gpu", "larger"), [("strix-halo", "strix-halo-124gb"), ("m4-max", "m4-max-128gb")])
def test_the_least_of_several_sizes_is_named(gpu: str, larger: str) -> None:
    answer = oomless.infer("gpt-oss-20b", gpu)
    assert any(f"the least is taken: write {larger}" in note for note in answer.warnings)
    assert not any("the least is taken" in note for note in oomless.infer("gpt-oss-20b", larger).warnings)
