"""Prices: every one has provider, tier and date; junk is left out; a wrong file is refused whole."""

from pathlib import Path

import pytest

from command import call
from oomless import facts
from oomless.errors import OomlessError, UsageError
from oomless.plan.answer import plan_serving
from oomless.plan.cost import CostFlags, inputs_of
from oomless.plan.goals import Wanted
from oomless.plan.price_files import read_prices, read_rows
from oomless.plan.prices import TIER_OF, TIERS, card_sold_as, cheapest, known_prices
from oomless.run.cards import cards
from oomless.run.hardware import parse_gpu

GOOD = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
cpu-4,,0,4,16,0.0992,eu-north1,,
h100-8,H100,8,128,1600,23.60,eu-north1,"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 81920}}]}",10.00
h200-1,H200,1.0,16,200,3.50,eu-north1,,
v100-1,V100,1,6,23,0.1381,eu-north1,"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 16384}}]}",
tpu-1,tpu-v6e-1,1,,,700.0,asia-east1,,
rtx-1,RTX4090,1,8,32,0.69,eu-north1,,0.77
odd-1,Quantum9000,1,8,32,0.69,eu-north1,,
"""


def test_every_known_price_says_who_when_and_which_tier() -> None:
    for price in known_prices():
        assert price.provider
        assert price.tier in TIERS
        assert any(char.isdigit() for char in price.date)
        assert price.source
        assert price.card in cards()
        assert 0 < price.usd_per_gpu_hour < 100


def test_the_table_names_only_cards_and_tiers_that_are_known() -> None:
    assert {row["card"] for row in facts.table("price_cards")} <= set(cards())
    assert {row["tier"] for row in facts.table("prices") if row["kind"] == "rent" and row["tier"]} <= set(
        TIER_OF
    )
    assert {row["card"] for row in facts.table("power")} <= set(cards())


def test_spot_above_on_demand_and_old_years_are_left_out() -> None:
    labels = [(price.provider, price.card, price.tier) for price in known_prices()]

    assert ("RunPod", "h100-80gb-sxm5", "spot") not in labels
    assert not [price for price in known_prices() if "2022" in price.date or "2024" in price.date]


def test_machines_of_eight_are_rented_whole() -> None:
    price = cheapest("b200-sxm", 1, providers=("Nebius",))

    assert price is not None
    assert price.usd_per_hour(1) == price.usd_per_hour(8) == 44.0


def test_a_single_card_machine_is_no_node() -> None:
    assert cheapest("t4", 8, providers=("Tencent Cloud intl",)) is None


def test_skypilots_schema_is_read_and_junk_named() -> None:
    found = read_rows(GOOD, "vms.csv", "nebius", "2026-05-01")

    assert [(price.card, price.tier, price.usd_per_gpu_hour) for price in found.prices] == [
        ("h100-80gb-sxm5", "on-demand", 2.95),
        ("h100-80gb-sxm5", "spot", 1.25),
        ("h200-141gb-sxm", "on-demand", 3.5),
        ("v100-sxm2-16gb", "on-demand", 0.1381),
        ("rtx-4090", "on-demand", 0.69),
    ]
    assert len(found.dropped) == 2
    assert "700" in found.dropped[0]
    assert found.unknown_cards == ("Quantum9000",)


def test_a_file_is_named_by_its_folder_or_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "nebius").mkdir()
    path = tmp_path / "nebius" / "vms.csv"
    path.write_text(GOOD, encoding="utf-8")

    assert read_prices(str(path)).prices[0].provider == "nebius"
    assert read_prices(f"mine={path}").prices[0].provider == "mine"
    answer = call("cost", "--gpu", "h200", "--buy-usd", "30000", "--prices", str(path))
    assert answer.code == 0
    assert "nebius" in answer.out
    assert "Quantum9000" in answer.out


HEADER = "InstanceType,AcceleratorName,AcceleratorCount,Price,Region\n"
BAD = {
    "wrong columns": ("name,price\nH100,3\n", "columns missing: `InstanceType"),
    "empty": ("", "columns missing"),
    "mixed currencies": (
        HEADER + "a,H100,1,$3.0,x\nb,H100,1,€2.5,x\n",
        "several currencies: USD (row 2), EUR (row 3)",
    ),
    "another currency": (HEADER + "a,H100,1,CNY 20,x\n", "prices in CNY"),
    "no number": (HEADER + "a,H100,1,cheap,x\n", "'cheap' is no price"),
    "infinite": (HEADER + "a,H100,1,inf,x\n", "is no price"),
    "no count": (HEADER + "a,H100,none,3,x\n", "is no number of cards"),
    "below nothing": (HEADER + "a,H100,1,-3,x\n", "no price is left"),
    "nothing known": (HEADER + "a,Quantum9000,1,3,x\n", "no price of any card"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_wrong_file_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(text, encoding="utf-8")

    answer = call("cost", "--gpu", "h100:8", "--prices", str(path))

    assert answer.code == 1
    assert message in answer.err
    assert "vms.csv" in answer.err
    assert answer.out == ""


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="cannot be read"):
        read_prices(str(tmp_path / "none.csv"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(OomlessError, match="not a text in UTF-8"):
        read_prices(str(tmp_path / "b.csv"))


def test_gpuhunt_is_an_extra() -> None:
    try:
        import gpuhunt  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        answer = call("cost", "--gpu", "h100:8", "--prices", "gpuhunt")
        assert answer.code == 5
        assert "oomless[prices]" in answer.err


def test_sellers_names() -> None:
    assert card_sold_as("V100", "32", "") == "v100-sxm2-32gb"
    assert card_sold_as("H100", "80", "NVIDIA H100 PCIe") == "h100-80gb-pcie"
    assert card_sold_as("A100-80GB", "", "Standard") == "a100-80gb-sxm4"


def test_the_list_of_prices() -> None:
    answer = call("cost", "--list-prices", "--gpu", "h100", "--json")
    assert answer.code == 0
    assert '"oomless/prices/1"' in answer.out
    assert call("cost", "--list-prices").out.count("\n") == len(known_prices()) + 1


def test_several_kinds_of_card_in_one_machine_have_no_price() -> None:
    """A 3090 beside a 4090 was two 3090s, to rent and to own."""
    plan = plan_serving("llama-3.1-8b", Wanted(gpus=("rtx-3090+rtx-4090",)))
    assert plan.rows
    assert all(planned.row.price is None for planned in plan.rows)
    assert any("1 x RTX 3090 + 1 x RTX 4090: it has no price" in each for each in plan.warnings)
    assert "sky.yaml" not in plan.rows[0].launch.files
    with pytest.raises(UsageError, match="one kind of card"):
        inputs_of(CostFlags("rtx-3090+rtx-4090"), parse_gpu("rtx-3090+rtx-4090"), None)
