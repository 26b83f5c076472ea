"""Unified memory: what stays with the host lies in the same memory as what is on the card."""

from ...engines import LLAMA
from ...engines.rank import Stage
from ...ledger import Line, exact
from ...run.cards import Card
from ...run.serving import Layout, Serving
from ...units import format_bytes


def host_of_rank(asked: Serving, stage: Stage, host_bytes: int) -> int:
    """Bytes of all host memory that lie in the machine of one rank, where each rank has a machine of its own.

    llama.cpp leaves everything to the machine that it is started on, whose card comes after those of its RPC
    servers (src/llama.cpp, llama_model_load_from_file_impl); the others divide it among their ranks.
    """
    if asked.engine in LLAMA:
        return host_bytes if stage.last else 0
    return -(-host_bytes // (asked.layout or Layout()).num_ranks)


def on_shared_memory(card: Card, host_bytes: int) -> tuple[Line, ...]:
    """What the host's part takes of the memory that a card may have: all but what the card may not have
    anyway.

    host - (memory of the machine - memory of the card). Nothing where the host has memory of its own.
    Ignored: the system and its programs.

    >>> from ...run.cards import card
    >>> [
    ...     sum(line.bytes for line in on_shared_memory(card(name), 40_000_000_000))
    ...     for name in ("dgx-spark-gb10", "m3-ultra", "rtx-4090")
    ... ]
    [40000000000, 11199999999, 0]
    """
    spare = card.shared_bytes - card.memory_bytes
    if not card.shared_bytes or host_bytes <= spare:
        return ()
    formula = f"{format_bytes(host_bytes)} of the host" + (
        f" - {format_bytes(spare)} that the card may not take" if spare else ""
    )
    return (
        exact(
            "weights.on_host",
            "engine",
            "left to the host, which has no other memory",
            host_bytes - spare,
            formula,
            "run/hardware.py: unified memory",
        ),
    )
