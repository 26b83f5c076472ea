"""What a process sees of a card is what its driver lists, less what the driver keeps."""

import pytest

from oomless import facts
from oomless.estimate.serving.estimate import estimate_serving
from oomless.facts.hardware import first_number
from oomless.model.load import load
from oomless.run.card_names import card_named
from oomless.run.cards import left_by_driver
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.units import GIB, MIB


@pytest.mark.parametrize(
    ("written", "gib"),
    [
        ("h800", 79.10),  # 79.19 in a log; 81,559 MiB by the driver, as H100
        ("A800-SXM4-80GB", 79.15),  # 81,051 MiB; 79.33 in hahnyuan/PB-LLM#3 and MoonshotAI/Kimi-VL#51
        ("NVIDIA A30", 23.50),
        ("NVIDIA GH200 480GB", 94.50),
        ("NVIDIA GB300", 276.50),
        ("NVIDIA RTX 6000 Ada Generation", 47.38),
        ("ascend-910c", 61.27),
        ("NVIDIA GeForce RTX 4080", 15.48),  # no log
    ],
)
def test_a_card_has_what_its_logs_say(written: str, gib: float) -> None:
    card = card_named(written)
    assert card is not None
    assert card.memory_bytes / GIB == pytest.approx(gib, abs=0.005)


ROWS = [
    row
    for row in facts.table("hardware")
    if row["vendor"] == "NVIDIA" and row["mem_mib_nvidia_smi"] and row["mem_gib_torch_seen"]
]
WITH_ECC = {"tesla-p40"}
"""The lowest size is with error correction, the driver's without."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["short_name"])
def test_no_driver_keeps_more_than_is_assumed(row: dict[str, str]) -> None:
    driver, seen = first_number(row["mem_mib_nvidia_smi"]), first_number(row["mem_gib_torch_seen"])
    if row["short_name"] not in WITH_ECC:
        assert left_by_driver(driver) <= seen * GIB / MIB + 1


def test_the_pool_may_be_that_of_the_driver_that_keeps_least() -> None:
    """79.10 to 79.33 GiB of an H100: 0.9 of the difference is the pool's."""
    hardware = parse_gpu("h100")
    sized = hardware._replace(card=hardware.card._replace(range_bytes=0))
    asked = Asked(engine_version="0.20.0", gpu_memory_utilization=0.9, layout=Layout())
    found, alone = (
        estimate_serving(load("llama-3.1-8b"), asked, each).ranks[0] for each in (hardware, sized)
    )
    assert (found.pool_low, found.pool_bytes) == (alone.pool_low, alone.pool_bytes)
    assert (found.pool_high - alone.pool_high) / GIB == pytest.approx(0.9 * 0.23, abs=1e-6)
