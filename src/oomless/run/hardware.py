"""`--gpu`: which cards, how many, in which nodes, read from one text."""

import re

from ..errors import UsageError
from ..units import MIB, format_exact, parse_bytes
from .card_names import find_card, short_name
from .cards import Card, Hardware, mixed, plain_cpu, synthetic

MAX_GPUS = 1 << 20
COUNT_FIRST = r"([0-9]{1,7}) ?[x*] ?([^:]+)"
COUNT_LAST = r"([^:]+?) ?[x*] ?([0-9]{1,7})"
SIZE_UNITS = ("", "b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib")


def parse_gpu(text: str) -> Hardware:
    """`h200:8` cards of the usual node, `h100:8x2` two nodes of 8, `80GiB:8` synthetic cards.

    `m4-max-128gb@120GiB` is a machine whose GPU was told it may take so much.
    `rtx-3090+rtx-4090` is one of each, `h100-mig-3g.40gb` a slice. Names as nvidia-smi prints them, 8xH200
    and 2x8xH100 (two nodes of eight) are read too.

    >>> parse_gpu("h200:16").num_nodes, parse_gpu("h100:8x2").num_gpus, parse_gpu("80GiB:4").card.memory_bytes
    (2, 16, 85899345920)
    >>> parse_gpu("8xH200") == parse_gpu("h200:8"), parse_gpu("2x8xH100") == parse_gpu("h100:8x2")
    (True, True)
    """
    if not isinstance(text, str):  # Python may ask too
        raise UsageError(f"gpu is {text!r}", "name the cards in a text: h200:8")
    if "+" in text and not short_name(text):
        return mixed([parse_gpu(part) for part in text.split("+")], text)
    name, colon, count = text.strip().lower().partition(":")
    if ("x" in name or "*" in name) and (turned := _count_behind(name)):
        return parse_gpu(turned)
    if colon and not count:
        raise UsageError(
            f"--gpu {text}: no number of cards behind the colon",
            "write h200:8 (cards) or h100:8x2 (cards x nodes)",
        )
    if name == "cpu":
        return Hardware(plain_cpu(count), 1, 1)
    if name == "local" and not count:
        from .local import local_hardware  # asks the driver, so only when told to

        return local_hardware()
    num, per_node = _count(text, count)
    if name[:1].isdecimal() and name.lstrip("0123456789.").strip() in SIZE_UNITS and not short_name(name):
        memory = parse_bytes(name)
        if memory < MIB:
            raise UsageError(
                f"--gpu {text}: a card of {memory} bytes", "write its memory with a unit: 80GiB:8"
            )
        card, reading = synthetic(memory, f"{format_exact(memory)} card"), ""
    else:
        name, at, part = name.partition("@")
        card, reading = find_card(name)
        card = with_part(card, part, text) if at else card
    if not per_node:
        per_node = min(num, card.gpus_per_node)
    return Hardware(card, num, per_node, reading)


def with_count(said: str | Hardware, count: int | str | None) -> str | Hardware:
    """Return what --gpu says with a number of cards, where it says none itself.

    >>> with_count("h100", 32), with_count("h100:8", 32), with_count("1 x h100", 32), with_count("h100", None)
    ('h100:32', 'h100:8', '1 x h100', 'h100')
    """
    if not isinstance(said, str) or not count or said in ("cpu", "local") or re.search(r":|^\d+ ?x", said):
        return said
    return said if parse_gpu(said).num_gpus > 1 else f"{said}:{count}"


def with_part(card: Card, part: str, text: str) -> Card:
    """Return a card of which so much may be taken: what sysctl iogpu.wired_limit_mb says, or GTT's limit,
    which is half of a machine by default.

    >>> parse_gpu("m4-max-128gb@120GiB").card.memory_bytes == parse_bytes("120GiB")
    True
    """
    memory, apart = parse_bytes(part), "set apart" in card.memory_source
    most = max(card.shared_bytes, card.memory_bytes * (2 if apart else 1))
    if not MIB <= memory <= most:
        raise UsageError(
            f"--gpu {text}: {part} of {format_exact(most)}", "write a part of it with a unit: 20GiB"
        )
    return card._replace(memory_bytes=memory, memory_source="given", range_bytes=0)


def _count_behind(name: str) -> str:
    """Return a name whose counts stand in front, or joined to its end, with them behind a colon; "" for any
    other.

    >>> [_count_behind(name) for name in ("8xh200", "2x8xh100", "2x 7900xtx", "7900xtx")]
    ['h200:8', 'h100:8x2', '7900xtx:2', '']
    >>> [_count_behind(name) for name in ("4090x2", "h100 x8", "a100 80gb * 4", "rtx-4090")]
    ['4090:2', 'h100:8', 'a100 80gb:4', '']
    """
    if short_name(name):
        return ""
    last = re.fullmatch(COUNT_LAST, name)
    if last is not None and short_name(last[1]):
        return f"{last[1]}:{last[2]}"
    outer = re.fullmatch(COUNT_FIRST, name)
    if outer is None:
        return ""
    inner = None if short_name(outer[2]) else re.fullmatch(COUNT_FIRST, outer[2])
    return f"{inner[2]}:{inner[1]}x{outer[1]}" if inner else f"{outer[2]}:{outer[1]}"


def _count(text: str, count: str) -> tuple[int, int]:
    """(cards in all, cards a node or 0) of the part behind the colon."""
    if not count:
        return 1, 0
    each, times, nodes = count.partition("x")
    if not each.isdecimal() or len(each) > 7 or (times and not (nodes.isdecimal() and len(nodes) <= 7)):
        raise UsageError(
            f"--gpu {text}: {count!r} is no number of cards",
            "write h200:8 (cards) or h100:8x2 (cards x nodes)",
        )
    per_node, num_nodes = int(each), int(nodes or 1)
    if not 1 <= per_node * num_nodes <= MAX_GPUS:
        raise UsageError(f"--gpu {text}: {per_node * num_nodes} cards", f"ask for 1 to {MAX_GPUS:,}")
    return per_node * num_nodes, per_node if times else 0
