"""A card's name as people, shops and drivers write it -> the card."""

import re
from functools import cache, lru_cache

from .. import facts
from ..errors import UsageError, did_you_mean
from ..facts.hardware import alias_row, card_row, cards_by_full_name, cards_by_short_name
from ..units import GIB
from .cards import Card, Hardware, card, card_of_row, cards


@cache
def aliases() -> dict[str, tuple[str, str]]:
    """Other names: what each stands for, and what to tell the user if it was a choice."""
    return {row["alias"]: (row["card"], row["reading"]) for row in facts.table("gpu_aliases")}


def is_card(name: str) -> bool:
    """Return whether a word is the short name or another name of a card."""
    return alias_row(name) is not None or card_row(name) is not None


def flag_name(card: Card) -> str:
    """Return the name of a card that `--gpu` takes; "" for a card that is only a size.

    >>> from .hardware import parse_gpu
    >>> flag_name(parse_gpu("h100").card)
    'h100-80gb-sxm5'
    """
    return cards_by_full_name().get(card.name, {}).get("short_name", "")


def offered_name(hardware: Hardware) -> str:
    """Return the name under which the cards of a machine are sold and let; "" for a size, and for several
    kinds in one machine, which nobody offers.

    >>> from .hardware import parse_gpu
    >>> [offered_name(parse_gpu(word)) for word in ("rtx-3090:2", "rtx-3090+rtx-4090")]
    ['rtx-3090', '']
    """
    return "" if hardware.mixed else flag_name(hardware.card)


MAKERS = frozenset(
    "nvidia geforce tesla quadro amd radeon instinct ryzen apple macbook mac air pro mini studio intel arc "
    "huawei ascend metax kunlunxin kunlun hygon moore threads iluvatar enflame cambricon google tpu".split()
)
"""Words before the name proper: who made the card, or the machine that it is in."""
BUILD = frozenset(
    "pcie sxm2 sxm3 sxm4 sxm5 hbm2 hbm2e hbm3 hbm3e gpu graphics generation workstation server "
    "edition".split()
)
"""Words of a driver's name that say how a card is built; short names may leave them out."""

SERIES = ("rtx", "gtx", "rx")
"""Words that people leave out before a number of four digits."""
JOINED = r"(?:(?<=\brtx)|(?<=\bgtx)|(?<=\bascend))(?=\d)|(?<=\brx)(?=\d)|(?<=\d{4})(?=(?:d|ti|xtx?|super)\b)"
"""Where people join what is apart: rtx4090, 7900xtx."""


@lru_cache(maxsize=256)
def short_name(text: str) -> str:
    """Return the short name or alias that a written name comes to; "" where none is known. A size behind it
    must be the card's own.

    >>> short_name("NVIDIA GeForce RTX 4090"), short_name("NVIDIA H100 80GB HBM3"), short_name("rtx4090 24gb")
    ('rtx-4090', 'h100-80gb', 'rtx-4090')
    >>> short_name("MacBook Pro M3 Max 64GB"), short_name("Radeon RX 7900 XTX"), short_name("rtx-4090-32gb")
    ('m3-max-64gb', 'rx-7900-xtx', '')
    """
    joined = "-".join(re.sub(r"\((?:r|tm)\)|_", " ", text.lower()).split())
    if is_card(joined):
        return joined
    words = re.sub(JOINED, "-", joined).split("-")
    begins = next((place for place, word in enumerate(words) if word not in MAKERS), 0)
    for begin in range(begins + 1):
        rest = words[begin:]
        whole, plain = "-".join(rest), "-".join(word for word in rest if word not in BUILD)
        series = [f"{word}-{plain}" for word in SERIES if plain[:4].isdecimal()]
        for name in (whole, plain, *series):
            if is_card(name) or with_size(name) is not None:
                return name
            shorter, _, size = name.rpartition("-")
            row = _row(shorter)
            if row and row["mem_gb_marketed"] == size.removesuffix("gb"):
                return shorter
    return ""


def _row(name: str) -> dict[str, str] | None:
    """The row of a short name or alias."""
    other = alias_row(name)
    return card_row(other["card"] if other else name)


@lru_cache(maxsize=256)
def find_card(name: str) -> tuple[Card, str]:
    """The card of a written name, and how the name was read.

    >>> find_card("h100-pcie")[0].name, find_card("2080 Ti")[0].name
    ('H100 80GB PCIe', 'RTX 2080 Ti')
    """
    whole, cut, profile = "-".join(name.lower().split()).partition(MIG)
    if cut:
        parent, reading = find_card(whole)
        return mig_slice(parent, profile, name), reading
    wanted = short_name(name)
    other = alias_row(wanted)
    target, reading = (other["card"], other["reading"]) if other else (wanted, "")
    if (sized := with_size(target)) is not None:
        return sized
    if not wanted:
        raise UsageError(f"unknown card {name[:200]!r}", _nearest(whole))
    return card(target), reading


def card_named(text: str) -> Card | None:
    """Return the card that a log or a table names; None where the catalogue has none of that name.

    >>> [
    ...     card.name
    ...     for text in ("Tesla T4", "Tesla V100-SXM2-32GB", "AMD Instinct MI300X", "NVIDIA GeForce RTX 4090")
    ...     if (card := card_named(text))
    ... ]
    ['T4', 'V100 SXM2 32GB', 'Instinct MI300X', 'RTX 4090']
    >>> card_named("NVIDIA GeForce RTX 2050 Laptop GPU"), card_named("")
    (None, None)
    """
    try:
        return find_card(text)[0]
    except UsageError:
        return None


def _nearest(wanted: str) -> str:
    """Return what to write in place of an unknown name."""
    before, _, after = wanted.partition("x")
    for count, turned in ((before, after), (after, before)):
        if count.isdecimal() and is_card(turned):
            return f"write {turned}:{count}"
    hint = did_you_mean(wanted, [*cards_by_short_name(), *aliases()], "oomless gpus")
    return f"{hint}; a size will do: --gpu 24GiB"


SIZED = " with "


def with_size(wanted: str) -> tuple[Card, str] | None:
    """A card that is sold with several sizes of memory, with one of them: m3-ultra-512gb, and how that was
    read. None for any other name.

    Of a GPU that has a part of its machine set apart the sizes of machines mean the part that it gets by
    default, other numbers are that part.

    >>> find_card("m3-ultra-512gb")[0].shared_bytes, find_card("m3-ultra-512gb")[0].name
    (549755813888, 'M3 Ultra with 512 GB')
    >>> [find_card(f"strix-halo{gb}")[0].memory_bytes / GIB for gb in ("", "-128gb", "-64gb", "-96gb")]
    [62.0, 62.0, 31.0, 96.0]
    """
    name, _, size = wanted.rpartition("-")
    number = size.removesuffix("gb")
    if not number.isdecimal():
        return None
    row = _row(name)
    least, _, most = row["mem_gb_marketed"].partition("-") if row else ("", "", "")
    if row is None or not (least.isdecimal() and most.isdecimal()):
        return None
    part, reading = number, ""
    if "set apart" in row["mem_type"]:
        least, reading = "1", f"{wanted} is read as {number} GB of the machine that are set apart for the GPU"
        for machine in facts.table("gpu_shares"):
            if machine["machine"] == row["short_name"] and machine["from_gib"] == number:
                most, part = (
                    number,
                    f"{int(number) * int(machine['numerator']) / int(machine['denominator']):g}",
                )
                reading = f"{wanted} is read as a machine that gives the GPU {part} of {number} GB by default"
    if len(number) > 4 or not int(least) <= int(number) <= int(most):
        raise UsageError(
            f"{wanted}: {row['name']} is sold with {least} to {most} GB", f"write {name}-{most}gb"
        )
    sized = row | {"name": f"{row['name']}{SIZED}{int(number)} GB", "mem_gb_marketed": part}
    return card_of_row(sized), reading


MIG = "-mig-"


def mig_slice(parent: Card, profile: str, wanted: str) -> Card:
    """A MIG slice of a card: h100-mig-3g.40gb. Its memory is what the driver lists for the profile.

    >>> from .hardware import parse_gpu
    >>> parse_gpu("h100-mig-3g.40gb").card.memory_bytes / GIB, parse_gpu("h100-mig-3g.40gb").card.num_sms
    (39.25, 60)
    """
    names = {each.name: short for short, each in cards().items()}
    rows = {row["profile"]: row for row in facts.table("mig") if row["card"] == names[parent.name]}
    if not rows:
        known = sorted({row["card"] for row in facts.table("mig")})
        raise UsageError(
            f"{wanted}: no MIG slices of {parent.name} are known", f"known are those of {', '.join(known)}"
        )
    if profile not in rows:
        raise UsageError(
            f"{wanted}: {parent.name} has no profile {profile!r}", f"its profiles are {', '.join(rows)}"
        )
    row = rows[profile]
    return parent._replace(
        name=f"{parent.name} MIG {profile}",
        memory_bytes=int(float(row["mem_gib"]) * GIB),
        memory_source=f"{row['mem_gib']} GiB by the driver ({row['source']})",
        range_bytes=0,
        num_sms=int(row["num_sms"] or 0),
        gpus_per_node=1,
        note=f"a slice of {parent.name}, which has up to {row['per_gpu']} of them; a process "
        "sees one, so none share a model",
        alone=True,
    )
