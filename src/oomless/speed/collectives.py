"""Time of a collective over cards of a node and over nodes: a latency that grows with the ranks, and bytes
over the slowest link."""

from math import ceil, log2
from typing import NamedTuple

from ..errors import UnsupportedError
from .efficiency import Efficiencies
from .machine import Machine
from .steady import steady


class Fabric(NamedTuple):
    """What joins the ranks of a group."""

    ranks: int
    nodes: int
    link: str
    link_bytes_per_s: float
    network_bytes_per_s: float
    """Of one card to another node, one direction."""
    efficiencies: Efficiencies
    adds: bool = False
    """The switch adds up what the ranks send (NVLink SHARP): nothing goes around in rings."""

    @property
    def latency_s(self) -> float:
        """One hop of the slowest link that the group crosses."""
        return self.efficiencies.value("hop", self.network if self.nodes > 1 else self.link)

    @property
    def network(self) -> str:
        return "ethernet" if self.link == "ethernet" else "ib"

    @property
    def bytes_per_s(self) -> float:
        """What a rank can send a second over the slowest link of the group, as far as collectives reach
        it."""
        inside = self.link_bytes_per_s or self.network_bytes_per_s
        if self.nodes > 1:
            return min(inside, self.network_bytes_per_s) * self.efficiencies.value("wire", self.network)
        return inside * self.efficiencies.value("wire", self.link)


def fabric(machine: Machine, ranks: int, per_node: int) -> Fabric:
    """The fabric of `ranks` neighbouring cards; of cards whose link is not known nothing is said. A domain of
    switched links over several trays is one node."""
    per_node = max(per_node, machine.domain)
    if min(ranks, per_node) > 1 and not machine.link_bytes_per_s:
        raise UnsupportedError(
            f"what joins cards of {machine.name} is not known, so neither is their speed together",
            "ask for one card",
        )
    between = "ethernet" if machine.link == "ethernet" else "ib"
    network = machine.efficiencies.value("network", between)
    link, rate = machine.link, machine.link_bytes_per_s
    if machine.bridged and min(ranks, per_node) > 2 and machine.pcie_bytes_per_s:
        link, rate = "pcie", machine.pcie_bytes_per_s
    adds = link == "nvlink" and machine.architecture.startswith(SHARP) and ranks > 2
    nodes = ceil(ranks / max(per_node, 1))
    return Fabric(ranks, nodes, link, rate, network, machine.efficiencies, adds)


SHARP = ("Hopper", "Blackwell")
"""From NVSwitch 3 on, switches reduce and multicast (NCCL calls the algorithm NVLS)."""


SWITCH_TURNS = 8
"""What starting a reduction in the switch takes, in turns of a ring: NCCL prefers it from some megabytes on.
"""


def all_reduce_s(fabric: Fabric, num_bytes: float) -> float:
    """Seconds of an all-reduce of `num_bytes` on each rank: the best of one-shot, ring, switch and tree.

    one-shot (within a node): hop + (p - 1) n / B;  ring: 2 (p - 1) turns + 2 (p - 1) / p n / B; in the switch
    (NVLink SHARP): 8 turns + (1 + 1 / p) n / B: a rank sends its vector once and takes the sum of its part;
    over nodes: trees up and down, 2 log2(nodes) network hops and 2 log2(ranks of a node) inside; the bytes
    are scattered over the ranks of a node, so that every adapter carries its share.
    """
    p = fabric.ranks
    if p <= 1:
        return 0.0
    rate = fabric.bytes_per_s
    if fabric.nodes <= 1:
        hop = fabric.latency_s
        one_shot = hop * (1 + steady(log2(p)) / 2) + (p - 1) * num_bytes / rate
        turn = fabric.efficiencies.value("turn", fabric.link)
        ring = 2 * (p - 1) * turn + 2 * (p - 1) / p * num_bytes / rate
        switch = SWITCH_TURNS * turn + (1 + 1 / p) * num_bytes / rate if fabric.adds else ring
        return min(one_shot, ring, switch)
    inside = fabric._replace(ranks=ceil(p / fabric.nodes), nodes=1, adds=False)
    hops = 2 * levels(fabric.nodes) * fabric.latency_s + 2 * levels(inside.ranks) * inside.latency_s
    within = (
        2 * (inside.ranks - 1) / inside.ranks * num_bytes / inside.bytes_per_s if inside.ranks > 1 else 0.0
    )
    return hops + 2 * (fabric.nodes - 1) / fabric.nodes * num_bytes / inside.ranks / rate + within


def levels(ranks: int) -> int:
    """Return the levels of a tree over ranks: log2, rounded up.

    >>> [levels(ranks) for ranks in (1, 2, 3, 8, 9)]
    [0, 1, 2, 3, 4]
    """
    return (ranks - 1).bit_length()


def gather_s(fabric: Fabric, num_bytes: float) -> float:
    """Seconds of an all-gather or a reduce-scatter whose whole is `num_bytes`: half of an all-reduce, which
    is the one after the other.

    Within a node (p - 1) / p n / B and the hops of a ring. Over nodes every adapter of a node carries its
    share, once, and the ranks of the node pass it on: (nodes - 1) / nodes n / ranks of a node / network +
    (ranks - 1) / ranks n / B.
    """
    p = fabric.ranks
    if p <= 1:
        return 0.0
    hops = levels(p) * fabric.latency_s
    if fabric.nodes <= 1:
        return hops + (p - 1) / p * num_bytes / fabric.bytes_per_s
    inside = fabric._replace(ranks=ceil(p / fabric.nodes), nodes=1)
    within = (inside.ranks - 1) / inside.ranks * num_bytes / inside.bytes_per_s if inside.ranks > 1 else 0.0
    return hops + (fabric.nodes - 1) / fabric.nodes * num_bytes / inside.ranks / fabric.bytes_per_s + within


def all_to_all_s(fabric: Fabric, num_bytes: float) -> float:
    """Seconds of an all-to-all in which a rank sends `num_bytes` in all; what stays on the rank costs
    nothing."""
    p = fabric.ranks
    if p <= 1:
        return 0.0
    return 2 * fabric.latency_s + (p - 1) / p * num_bytes / fabric.bytes_per_s


def send_s(fabric: Fabric, num_bytes: float) -> float:
    """Seconds of sending `num_bytes` to the next pipeline stage."""
    return fabric.latency_s + num_bytes / fabric.bytes_per_s
