"""Bytes alive by category over the events of a run, in so many columns: what pictures of a run are drawn
from."""

from typing import NamedTuple

from .recording import Recording

NUM_COLUMNS = 400


class Column(NamedTuple):
    """The moment of a stretch of events at which most is alive."""

    event: int
    bytes: int
    by_kind: dict[int, int]


class Timeline(NamedTuple):
    """Columns in order, and the phases that begin in them."""

    columns: tuple[Column, ...]
    marks: tuple[tuple[str, int], ...]


def timeline(recording: Recording, since: int | None = None, num_columns: int = NUM_COLUMNS) -> Timeline:
    """The last step in columns; each shows its highest moment, so that no peak falls between two."""
    start = recording.since if since is None else since
    events, sizes, kinds = recording.events, recording.tensors.sizes, recording.tensors.kinds
    width = max(-(-(len(events) - start) // num_columns), 1)
    by_kind: dict[int, int] = {}
    alive = 0
    columns: list[Column] = []
    for at, event in enumerate(events):
        number = event if event >= 0 else ~event
        change = sizes[number] if event >= 0 else -sizes[number]
        alive += change
        by_kind[kinds[number]] = by_kind.get(kinds[number], 0) + change
        if at < start:
            continue
        place = (at - start) // width
        if place == len(columns):
            columns.append(Column(at, alive, dict(by_kind)))
        elif alive > columns[place].bytes:
            columns[place] = Column(at, alive, dict(by_kind))
    marks = [
        (phase.name, (phase.first_event - start) // width)
        for phase in recording.phases
        if phase.first_event >= start
    ]
    return Timeline(tuple(columns), tuple(marks))
