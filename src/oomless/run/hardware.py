"""Hardware: which card, how many, in which nodes; and how much of a card's memory a process really sees."""

import re
from functools import cache
from typing import NamedTuple

from .. import facts
from ..errors import UsageError, did_you_mean
from ..units import GIB, MIB, parse_bytes

SEEN_SHARE = 0.98
"""Share of the driver's size that a process sees where no log says it: 0.980 to 0.996 for the data-centre and desktop cards
with both sizes in hardware.csv (T4 with ECC: 0.948 has its own row)."""
MAX_GPUS = 1 << 20


class Card(NamedTuple):
    """One accelerator. `memory_bytes` is the smallest of marketed, driver and seen size: the only one that can be counted on."""

    name: str
    vendor: str
    compute_capability: str
    memory_bytes: int
    memory_source: str
    gpus_per_node: int
    num_sms: int
    link: str
    confidence: str
    note: str = ""

    @property
    def capability(self) -> float:
        """CUDA compute capability as a number; 0 for cards that have none."""
        try:
            return float(self.compute_capability)
        except ValueError:
            return 0.0


class Hardware(NamedTuple):
    """Cards of one kind: `num_gpus` in all, `per_node` in each node."""

    card: Card
    num_gpus: int
    per_node: int
    reading: str = ""
    """What a short name was taken to mean, if it could mean more than one thing."""

    @property
    def num_nodes(self) -> int:
        return -(-self.num_gpus // self.per_node)


def short_name(name: str) -> str:
    """A card's name as one types it.

    >>> short_name("H100 80GB SXM5"), short_name("GB200 (per GPU)"), short_name("RTX 4090")
    ('h100-80gb-sxm5', 'gb200', 'rtx-4090')
    """
    without = re.sub(r"\((?:per GPU|\d+-core GPU)\)", "", name)
    return re.sub(r"[^a-z0-9]+", "-", without.lower()).strip("-")


@cache
def cards() -> dict[str, Card]:
    """Every card of facts/hardware.csv under its short name."""
    return {short_name(row["name"]): _card(row) for row in facts.table("hardware")}


@cache
def aliases() -> dict[str, tuple[str, str]]:
    """Other names: what each stands for, and what to tell the user if it was a choice."""
    return {row["alias"]: (row["card"], row["reading"]) for row in facts.table("gpu_aliases")}


def _first_number(text: str) -> float:
    found = re.search(r"\d+(?:\.\d+)?", text)
    return float(found.group()) if found else 0.0


def _card(row: dict[str, str]) -> Card:
    seen, driver = _first_number(row["mem_gib_torch_seen"]), _first_number(row["mem_mib_nvidia_smi"])
    marketed = _first_number(row["mem_gb_marketed"])
    if seen:
        memory, source = int(seen * GIB), f"lowest size that a process saw in logs: {seen} GiB"
    elif driver:
        memory, source = int(driver * MIB * SEEN_SHARE), f"{driver:.0f} MiB by the driver, less what it keeps (assumed 2 %)"
    else:
        memory, source = int(marketed * 10**9), f"marketed {marketed:g} GB taken as decimal: no driver size is known"
    return Card(
        name=row["name"],
        vendor=row["vendor"],
        compute_capability=row["compute_capability"],
        memory_bytes=memory,
        memory_source=source,
        gpus_per_node=max(8 if row["gpus_per_node"].startswith("1-8") else int(_first_number(row["gpus_per_node"])), 1),
        num_sms=int(row["num_sms"] or 0),
        link=row["link"],
        confidence=row["confidence"],
        note=row["note"],
    )


def synthetic(memory_bytes: int, name: str) -> Card:
    """A card that is only a size: what engines derive from the architecture is taken from Hopper."""
    return Card(name, "", "9.0", memory_bytes, "given", 8, 132, "", "A", "a synthetic card: an H100 with this memory")


def parse_gpu(text: str) -> Hardware:
    """`h200:8` cards of the usual node, `h100:8x2` two nodes of 8, `80GiB:8` synthetic cards, `rtx-4090` one card.

    >>> parse_gpu("h200:16").num_nodes, parse_gpu("h100:8x2").num_gpus, parse_gpu("80GiB:4").card.memory_bytes
    (2, 16, 85899345920)
    """
    name, _, count = text.strip().lower().partition(":")
    num, per_node = _count(text, count)
    if re.fullmatch(r"[\d.]+\s*([kmgt]i?b|b)?", name):
        memory = parse_bytes(name)
        if memory < MIB:
            raise UsageError(f"--gpu {text}: a card of {memory} bytes", "write its memory with a unit: 80GiB:8")
        card, reading = synthetic(memory, name.replace("ib", "iB").replace("g", "G")), ""
    else:
        card, reading = find_card(name)
    if not per_node:
        per_node = min(num, card.gpus_per_node)
    return Hardware(card, num, per_node, reading)


def find_card(name: str) -> tuple[Card, str]:
    """The card of a short name or alias, and how the name was read."""
    wanted = re.sub(r"[\s_]+", "-", name.strip().lower())
    target, reading = aliases().get(wanted, (wanted, ""))
    known = cards()
    if target not in known:
        raise UsageError(f"unknown card {name!r}", did_you_mean(wanted, [*known, *aliases()], "oomless gpus"))
    return known[target], reading


def _count(text: str, count: str) -> tuple[int, int]:
    """(cards in all, cards a node or 0) of the part behind the colon."""
    if not count:
        return 1, 0
    found = re.fullmatch(r"(\d{1,7})(?:x(\d{1,7}))?", count)
    if not found:
        raise UsageError(f"--gpu {text}: {count!r} is no number of cards", "write h200:8 (cards) or h100:8x2 (cards x nodes)")
    per_node, nodes = int(found[1]), int(found[2] or 1)
    if not 1 <= per_node * nodes <= MAX_GPUS:
        raise UsageError(f"--gpu {text}: {per_node * nodes} cards", f"between 1 and {MAX_GPUS:,}")
    return per_node * nodes, per_node if found[2] else 0
