"""The machine around the cards: how fast its memory is, and how much it can hold. Kinds of machines, since no
card says it."""

import re
from functools import cache
from typing import NamedTuple

from .. import facts
from ..errors import UsageError, did_you_mean
from ..units import GIB, MB
from .cards import Card

BYTES_A_TRANSFER = 8
"""Of a memory channel: 64 bits."""


class Host(NamedTuple):
    """A kind of machine."""

    name: str
    what: str
    bytes_per_s: float
    """All channels together, as the standard gives it: nobody reaches all of it."""
    most_bytes: int
    sockets: int
    source: str


@cache
def hosts() -> tuple[Host, ...]:
    """All kinds of facts/hosts.csv, slowest memory first: sockets x channels x transfers a second x 8 B.

    >>> [(host.name, host.bytes_per_s) for host in hosts()][:2]
    [('desktop-ddr4-3200', 51200000000.0), ('desktop-ddr5-5600', 89600000000.0)]
    """
    rows = facts.table("hosts")
    found = (
        Host(
            row["name"],
            row["what"],
            float(
                int(row["sockets"])
                * int(row["channels"])
                * int(row["mega_transfers"])
                * MB
                * BYTES_A_TRANSFER
            ),
            int(row["most_gib"]) * GIB,
            int(row["sockets"]),
            row["source"],
        )
        for row in rows
    )
    return tuple(sorted(found, key=lambda host: host.bytes_per_s))


def find_host(name: str, num_bytes: int = 0) -> Host:
    """A kind by name, refused if it cannot hold so much."""
    host = next((host for host in hosts() if host.name == name.lower()), None)
    if host is None:
        raise UsageError(f"unknown host {name!r}", did_you_mean(name, [each.name for each in hosts()]))
    if num_bytes > host.most_bytes:
        raise UsageError(
            f"--host {name} does not hold what the cards leave to it",
            "name a larger one: `oomless plan --help`",
        )
    return host


def slowest_that_holds(num_bytes: int, card: Card) -> Host:
    """The kind to count on where nobody says which: the slowest that so much fits into; eight cards on a
    board of switched links are sold with two sockets (HGX, OAM).

    >>> from .cards import card
    >>> [slowest_that_holds(360 * GIB, card(name)).name for name in ("rtx-4090", "h100-80gb-sxm5")]
    ['threadripper-7000', '2x-epyc-7003']
    """
    least = 2 if card.gpus_per_node >= 8 and BOARD.match(card.link) else 1
    kinds = [host for host in hosts() if host.sockets >= least]
    return next((host for host in kinds if host.most_bytes >= num_bytes), kinds[-1])


BOARD = re.compile("(NVLink|xGMI|RoCE|HCCS)(?!.*bridge)")
"""Links of boards, as hardware.csv writes them."""
