"""Laws of collectives: latency with ranks, bandwidth with bytes, nodes dearer than links."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from oomless.run.hardware import parse_gpu
from oomless.speed.collectives import Fabric, all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from oomless.speed.machine import machine_of

SIZES = (2**10, 2**16, 2**22, 2**28, 2**34)
H100 = machine_of(parse_gpu("h100").card)


def of(ranks: int, per_node: int = 8, gpu: str = "h100") -> Fabric:
    return fabric(machine_of(parse_gpu(gpu).card), ranks, per_node)


def test_one_rank_sends_nothing() -> None:
    assert all_reduce_s(of(1), 2**20) == gather_s(of(1), 2**20) == all_to_all_s(of(1), 2**20) == 0


@pytest.mark.parametrize("collective", [all_reduce_s, gather_s, all_to_all_s, send_s])
def test_more_bytes_and_more_nodes_take_longer(collective: Callable[[Fabric, float], float]) -> None:
    for before, after in pairwise(SIZES):
        assert collective(of(8), before) < collective(of(8), after)
    for size in SIZES:
        assert collective(of(8), size) < collective(of(16), size)


def test_a_large_all_reduce_is_a_ring() -> None:
    """2 (p - 1) / p n over the link: what every bandwidth-optimal algorithm among cards moves; a switch that
    adds up halves it."""
    size = 2**34
    ring, switch = of(8, 8, "a100-80gb"), of(8)
    assert all_reduce_s(ring, size) == pytest.approx(2 * 7 / 8 * size / ring.bytes_per_s, rel=0.01)
    assert all_reduce_s(switch, size) == pytest.approx((1 + 1 / 8) * size / switch.bytes_per_s, rel=0.01)


@pytest.mark.parametrize("ranks", [16, 64, 512])
@pytest.mark.parametrize("size", [2**31, 2**34])
def test_an_all_reduce_over_nodes_is_a_reduction_and_a_gather(ranks: int, size: int) -> None:
    """What is reduced over nodes and gathered again moves as much as an all-reduce: neither costs more than
    that."""
    assert all_reduce_s(of(ranks), size) == pytest.approx(2 * gather_s(of(ranks), size), rel=0.1)


def test_a_bridge_joins_two_cards_alone() -> None:
    assert of(2, 8, "a100-pcie").link == "nvlink"
    assert of(4, 8, "a100-pcie").link == "pcie"


def test_a_small_all_reduce_is_as_fast_as_measured() -> None:
    """4 KB over 2, 4 and 8 H100: 3.9, 3.7 and 5.7 us (sgl-project/sglang#2904)."""
    for ranks in (2, 4, 8):
        assert 2e-6 < all_reduce_s(of(ranks), 4096) < 12e-6


def test_links_rank_by_their_bandwidth() -> None:
    size = 2**28
    assert (
        all_reduce_s(of(8, 8, "b200"), size)
        < all_reduce_s(of(8), size)
        < all_reduce_s(of(8, 8, "a100-80gb"), size)
    )
    assert all_reduce_s(of(8, 8, "a100-80gb"), size) < all_reduce_s(of(8, 8, "l40s"), size)


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather() -> None:
    size = 2**32
    group = of(8, 8, "a100-80gb")
    assert all_reduce_s(group, size) == pytest.approx(2 * gather_s(group, size), rel=0.01)
