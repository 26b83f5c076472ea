"""Cards and machines made of them: the catalogue, and how much of a card's memory a process really sees."""

from functools import cache

from .. import facts
from ..errors import UsageError
from ..facts.hardware import card_row, cards_by_short_name, first_number
from ..records import Record
from ..units import GB, GIB, KIB, MIB, format_exact, parse_bytes

KEPT_MIB, KEPT_SHARE, MOST_KEPT_MIB = 360, 0.01, 1103
"""What a driver keeps at most of a card ("Reserved" of nvidia-smi -q), in MiB and of all that it lists. Of
NVIDIA cards with both sizes in hardware.csv: 370 to 440 of 8 GB, 430 to 512 of 24 GB, 500 to 780 of 48 GB,
560 to 881 of 80 GB, 590 to 1,103 of more; releases since 570 keep 120 to 160 more than those before."""


def left_by_driver(mib: float) -> float:
    """MiB that a process sees where no log says it.

    >>> left_by_driver(16376), left_by_driver(81920)
    (15852.24, 80817)
    """
    return mib - min(KEPT_MIB + KEPT_SHARE * mib, MOST_KEPT_MIB)


FRESH_MIB, STACK_KIB = 25, 1.85
"""What a CUDA context takes at least before its process does anything: of every card, and of each thread that
the card can hold. Logs have 0.11 GiB on an RTX 3060, 0.16 on a 4070, 0.26 on a 3090 and 0.55 on an RTX PRO
6000 (llama.cpp, index ids 56466751124, 61219781833), 0.19 on an L4, 0.23 on an A10, 0.41 on an A100, 0.50 on
an RTX 5090, 0.53 on an H100 (vLLM, 69494016274, 62145020194, 70682754770, 69613370707, 34680831065)."""


def resident_threads(capability: float) -> int:
    """Return the threads that a multiprocessor holds at most (CUDA C programming guide, compute
    capabilities).

    >>> [resident_threads(each) for each in (6.1, 7.5, 8.0, 8.9, 9.0, 12.0)]
    [2048, 1024, 2048, 1536, 2048, 1536]
    """
    if capability == 7.5:
        return 1024
    return 1536 if 8 < capability < 9 or capability >= 12 else 2048


BF16_CAPABILITY, FP8_CAPABILITY = 8.0, 8.9
"""The first compute capabilities whose tensor cores multiply in these types: Ampere and Ada (CUDA C
programming guide)."""


class Card(Record):
    """One accelerator. `memory_bytes` is the smallest of marketed, driver and seen size: the only one that
    can be counted on."""

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
    native_fp8: str = ""
    """As the table says it: yes, no, or nothing where it is not known."""
    alone: bool = False
    """A process sees one of them and no other: MIG slices."""
    range_bytes: int = 0
    """How much more a process sees under the driver that keeps least; 0 where its size is given."""
    shared_bytes: int = 0
    """All memory of the machine where host and card have one between them (Apple, DGX Spark, Jetson); 0 where
    the host has its own."""

    @property
    def capability(self) -> float:
        """CUDA compute capability as a number; 0 for cards that have none."""
        try:
            return float(self.compute_capability)
        except ValueError:
            return 0.0

    @property
    def is_nvidia(self) -> bool:
        """Whether NVIDIA made it; a card that is only a size counts as theirs."""
        return self.vendor in ("NVIDIA", "")

    @property
    def major(self) -> int:
        """The first number of the CUDA compute capability: 9 is Hopper, 10 Blackwell of data centers, 12 of
        RTX; 0 for cards that have none."""
        return int(self.capability)

    @property
    def lacks_bf16(self) -> bool:
        """Whether it is known to have no BF16: NVIDIA's before Ampere."""
        return 0 < self.capability < BF16_CAPABILITY

    @property
    def lacks_fp8(self) -> bool:
        """Whether its tensor cores are known to multiply nothing in FP8, which is storage alone then."""
        return 0 < self.capability < FP8_CAPABILITY

    @property
    def fresh_context_bytes(self) -> int:
        """What the driver sets aside for a process of its own accord; 0 where host and card share memory, and
        of other makers.

        >>> [round(card(name).fresh_context_bytes / GIB, 2) for name in ("l4", "rtx-5090", "h100-80gb-sxm5")]
        [0.18, 0.49, 0.5]
        """
        if self.vendor != "NVIDIA" or not self.num_sms or self.shared_bytes:
            return 0
        threads = self.num_sms * resident_threads(self.capability)
        return int(FRESH_MIB * MIB + threads * STACK_KIB * KIB)

    @property
    def at_most(self) -> "Card":
        """The card as a process sees it under the driver that keeps least.

        >>> round(card("h100-80gb-sxm5").at_most.memory_bytes / GIB, 2)
        79.33
        """
        return self._replace(memory_bytes=self.memory_bytes + self.range_bytes)

    @property
    def has_no_link(self) -> bool:
        """Whether the cards of a node see one another over the bus alone: NVIDIA's without a link, and a size
        of which no card has one.

        >>> (
        ...     card("rtx-4090").has_no_link,
        ...     card("h100-80gb-sxm5").has_no_link,
        ...     card("instinct-mi300x").has_no_link,
        ... )
        (True, False, False)
        """
        of_this_kind = self.vendor == "NVIDIA" or (not self.vendor and self.memory_bytes < LEAST_LINKED)
        return of_this_kind and not self.link


LEAST_LINKED = 30 * GIB
"""The smallest card that switches join has 32 GB (V100)."""


class Hardware(Record):
    """Cards of one kind: `num_gpus` in all, `per_node` in each node."""

    card: Card
    num_gpus: int
    per_node: int
    reading: str = ""
    """What a short name was taken to mean, if it could mean more than one thing."""
    mixed: tuple[Card, ...] = ()
    """Every card in its place, if they are not all alike; `card` is then the smallest: ranks that share a
    layer need the same."""

    def memories(self, num: int) -> list[int]:
        """Memory of each of the first `num` cards."""
        return [card.memory_bytes for card in self.mixed[:num]] or [self.card.memory_bytes] * num

    def at(self, position: int) -> "Hardware":
        """The hardware as the rank of one card sees it."""
        return self._replace(card=self.mixed[position]) if self.mixed else self

    @property
    def what(self) -> str:
        """The cards by name: "8 x H200", "1 x RTX 3090 + 1 x RTX 4090"."""
        return self.kinds if self.mixed else f"{self.num_gpus} x {self.card.name}"

    @property
    def kinds(self) -> str:
        """The kind of card; of several how many of each."""
        if not self.mixed:
            return self.card.name
        names = [card.name for card in self.mixed]
        return " + ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))

    @property
    def num_nodes(self) -> int:
        return -(-self.num_gpus // self.per_node)


@cache
def card(short_name: str) -> Card:
    """The card of facts/hardware.csv with this short name."""
    row = card_row(short_name)
    if row is None:
        raise KeyError(short_name)
    return card_of_row(row)


def cards() -> dict[str, Card]:
    """Every card under its short name."""
    return {name: card(name) for name in cards_by_short_name()}


def card_of_row(row: dict[str, str]) -> Card:
    """The card that a row of facts/hardware.csv describes."""
    seen, driver = first_number(row["mem_gib_torch_seen"]), first_number(row["mem_mib_nvidia_smi"])
    most = first_number(row["mem_gib_torch_seen"].partition("-")[2])
    marketed = first_number(row["mem_gb_marketed"])
    unified, apart = "unified" in row["mem_type"], "set apart" in row["mem_type"]
    if seen:
        memory, source = int(seen * GIB), f"lowest size that a process saw in logs: {seen} GiB"
    elif driver:
        left = left_by_driver(driver)
        memory = int(left * MIB)
        source = f"{driver:.0f} MiB by the driver, less what it keeps (assumed {driver - left:.0f} MiB)"
    elif apart:
        memory, source = int(marketed * GIB), f"{marketed:g} GiB of the machine are set apart for it"
    elif part := gpu_part(row["short_name"], marketed) or gpu_part(row["vendor"], marketed):
        memory, source = part
        if row["vendor"] == "Apple" and (newer := gpu_part(MACOS, marketed)):
            if row["short_name"].startswith(SOLD_WITH_IT):
                memory, source = newer
            most, seen = newer[0] / GIB, memory / GIB
    else:
        memory, source = (
            int(marketed * GB),
            f"marketed {marketed:g} GB taken as decimal: no driver size is known",
        )
    shared = memory if unified and not apart else 0
    if row["vendor"] == "Apple":
        shared = int(marketed * GIB)
    small, to, large = row["mem_gb_marketed"].partition("-")
    if unified and to:
        comes = "set to" if apart else "sold with"
        choice = f"{comes} {small} to {large} GB, the least is taken: write {row['short_name']}-{large}gb"
        source = f"{source}; {choice}"
    return Card(
        name=row["name"],
        vendor=row["vendor"],
        compute_capability=row["compute_capability"],
        memory_bytes=memory,
        memory_source=source,
        gpus_per_node=max(
            8 if row["gpus_per_node"].startswith("1-8") else int(first_number(row["gpus_per_node"])), 1
        ),
        num_sms=int(row["num_sms"] or 0),
        link=row["link"],
        confidence=row["confidence"],
        note=row["note"],
        native_fp8=row["native_fp8"],
        range_bytes=int(max(most - seen, 0) * GIB),
        shared_bytes=shared,
    )


MACOS, SOLD_WITH_IT = "macOS 26", "m5"


def gpu_part(machine: str, marketed: float) -> tuple[int, str] | None:
    """Return what the GPU of a machine of one memory may take, by its own name or its maker's, and who says
    so; None: a card of its own.

    Apple's GB are GiB. macOS gives Metal two thirds of less than 36 GB, else three quarters, and since 26
    more, with which the M5 is sold (facts/gpu_shares.csv).

    >>> gpu_part("Apple", 96)[0] / MIB  # a log of an M2 Max: 73,728 MiB
    73728.0
    """
    rows = [
        row
        for row in facts.table("gpu_shares")
        if row["machine"] == machine and marketed >= float(row["from_gib"])
    ]
    if not rows:
        return None
    over, under = int(rows[-1]["numerator"]), int(rows[-1]["denominator"])
    said = f"{over}/{under} of {marketed:g} GiB, which macOS gives the GPU by default"
    more = "26 gives more; " if machine == "Apple" else ""
    return (
        int(marketed * GIB) * over // under,
        f"{said} ({more}sudo sysctl iogpu.wired_limit_mb=N sets it)",
    )


def synthetic(memory_bytes: int, name: str) -> Card:
    """A card that is only a size: what engines derive from the architecture is taken from Hopper, but for the
    link of small ones, which have none."""
    note = (
        "a synthetic card: an H100 with this memory and without links"
        if memory_bytes < LEAST_LINKED
        else "a synthetic card: an H100 with this memory"
    )
    return Card(name, "", "9.0", memory_bytes, "given", 8, 132, "", "A", note)


def mixed(groups: list[Hardware], text: str) -> Hardware:
    """Cards of several kinds in one machine, in the order in which they are written.

    >>> from .hardware import parse_gpu
    >>> parse_gpu("rtx-4090+rtx-3090:2").what, parse_gpu("rtx-4090+rtx-3090:2").card.name
    ('1 x RTX 4090 + 2 x RTX 3090', 'RTX 3090')
    """
    cards = tuple(group.card for group in groups for _ in range(group.num_gpus))
    if any(group.num_nodes > 1 for group in groups) or len(cards) > MOST_MIXED:
        raise UsageError(
            f"--gpu {text}: cards of several kinds on several machines",
            "mix cards of one machine: rtx-3090+rtx-4090:2",
        )
    oldest = min(cards, key=lambda card: (card.memory_bytes // GIB, card.capability))
    smallest = oldest._replace(memory_bytes=min(card.memory_bytes for card in cards))
    if len({card.name for card in cards}) == 1:
        return Hardware(smallest, len(cards), len(cards))
    readings = [group.reading for group in groups if group.reading]
    readings.append(
        f"cards of several kinds: where they share a layer, each counts as the smallest ({smallest.name})"
    )
    return Hardware(smallest, len(cards), len(cards), "; ".join(readings), cards)


MOST_MIXED = 64


def plain_cpu(size: str) -> Card:
    """A machine without accelerator, and the memory that the model may have of it: cpu:64GiB.

    >>> plain_cpu("64GiB").memory_bytes
    68719476736
    """
    if not size:
        raise UsageError("--gpu cpu says no memory", "write how much a model may have: --gpu cpu:64GiB")
    return Card(
        f"CPU with {format_exact(parse_bytes(size))}",
        "generic",
        "",
        parse_bytes(size),
        "given",
        1,
        0,
        "",
        "A",
    )
