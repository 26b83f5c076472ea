"""Why memory ran out: what was asked for, what was free, who held the rest, and what would have fitted."""

import math
from contextlib import suppress
from typing import NamedTuple

from ...errors import OomlessError
from ...estimate.serving.estimate import Estimate, estimate_serving
from ...estimate.training.changes import changes_that_fit as training_changes
from ...plan.tune.would_fit import LEAST_LENGTH, LEAST_SHARE_OF_LOAD, changes_that_fit
from ...recording.oom_text import OutOfMemoryText
from ...run.options import share_of_card
from .compare import Comparison
from .log_question import LogQuestion
from .logged_run import LoggedRun

EXPANDABLE = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
MARGIN = 1.02
"""A share is lowered by this much more than what was short: the text rounds."""


class Advice(NamedTuple):
    """A change that would have fitted: asked again with it, the estimate has room, or the log itself says
    so."""

    flags: str
    headroom_bytes: int | None
    """None: the log says so, and no estimate that bears it out."""


class Explanation(NamedTuple):
    """One death by memory."""

    oom: OutOfMemoryText | None
    short_bytes: int | None
    """By how much the request missed what was free."""
    held: tuple[tuple[str, int], ...]
    """Who held the card: (name, bytes), as the text says."""
    expected: tuple[tuple[str, int], ...]
    """What the prediction holds on the worst rank: (category, bytes)."""
    fragmentation: bool
    advice: tuple[Advice, ...]
    needed_bytes: int | None = None
    """What one sequence needs of the cache, where the engine found that it is too much."""
    pool_bytes: int | None = None
    """What there was for it."""

    def to_json(self) -> dict[str, object]:
        """Return the explanation as `reconcile --json` prints it."""
        found = self.oom.to_json() if self.oom is not None else {}
        return {
            **found,
            "short_bytes": self.short_bytes,
            "held": dict(self.held),
            "expected": dict(self.expected),
            "fragmentation": self.fragmentation,
            "advice": [each._asdict() for each in self.advice],
            "needed_bytes": self.needed_bytes,
            "pool_bytes": self.pool_bytes,
        }


def explain(run: LoggedRun, asked: LogQuestion, comparison: Comparison) -> Explanation | None:
    """Return why a run died; None if it did not die of memory."""
    if run.state not in ("oom", "failed") and not run.ooms:
        return None
    if run.state == "failed" and not run.ooms and "needed_bytes" not in run.values:
        return None
    oom = worst(run.ooms) if run.ooms else _of_values(run)
    estimate = comparison.estimate
    short = None
    if oom is not None and oom.tried_bytes is not None and oom.free_bytes is not None:
        short = max(0, oom.tried_bytes - oom.free_bytes)
    ledger = next((each.ledger for each in (estimate, comparison.training) if each is not None), None)
    expected = tuple(ledger.by_category().items()) if ledger is not None else ()
    saved = oom is not None and oom.fragmentation_would_have_saved
    return Explanation(
        oom,
        short,
        held_by(oom) if oom else (),
        expected,
        saved,
        advice(run, comparison, short, saved, oom),
        _bytes_of(run, "needed_bytes"),
        _bytes_of(run, "kv_bytes"),
    )


def _bytes_of(run: LoggedRun, word: str) -> int | None:
    found = run.first(word)
    return None if found is None or not isinstance(found.value, int | float) else round(found.value)


def worst(ooms: list[OutOfMemoryText]) -> OutOfMemoryText:
    """Return the refusal that tells the most: the one with the most fields, then the largest request."""
    return max(ooms, key=lambda each: (sum(value is not None for value in each), each.tried_bytes or 0))


def held_by(oom: OutOfMemoryText) -> tuple[tuple[str, int], ...]:
    """Return who held the card, as far as the text says: tensors, idle segments, graphs, other processes, and
    what of this process is not torch's."""
    found = []
    pools = oom.private_pools_bytes or 0
    if oom.allocated_bytes is not None:
        found.append(("tensors", oom.allocated_bytes - pools))
    if pools:
        found.append(("graphs and private pools", pools))
    if oom.reserved_unallocated_bytes is not None:
        found.append(("reserved and unused", oom.reserved_unallocated_bytes))
    if oom.process_bytes is not None and oom.reserved_bytes is not None:
        found.append(("this process beside torch", max(0, oom.process_bytes - oom.reserved_bytes)))
    found += [(f"process {pid}", held) for pid, held in oom.others]
    if oom.free_bytes is not None:
        found.append(("free", oom.free_bytes))
    named = sum(held for _, held in found)
    if oom.total_bytes is not None and oom.process_bytes is not None and oom.total_bytes - named > 1 << 26:
        found.append(("not named by the text", oom.total_bytes - named))
    return tuple(found)


def _of_values(run: LoggedRun) -> OutOfMemoryText | None:
    said, tried = run.first("tried_bytes"), run.figure("tried_bytes")
    if said is None or tried is None:
        return None
    index, free = run.figure("gpu_index"), run.figure("gpu_free_bytes")
    card = None if index is None else int(index)
    room = None if free is None else round(free)
    return OutOfMemoryText(round(tried), card, free_bytes=room, source=said.source)


def advice(
    run: LoggedRun, comparison: Comparison, short: int | None, saved: bool, oom: OutOfMemoryText | None
) -> tuple[Advice, ...]:
    """Return the smallest changes that would have fitted, the cheapest first."""
    estimate, found = comparison.estimate, []
    if saved and oom is not None:
        room = (oom.reserved_unallocated_bytes or 0) + (oom.free_bytes or 0) - (oom.tried_bytes or 0)
        found.append(Advice(EXPANDABLE, room))
    if comparison.training is not None:
        changes = training_changes(comparison.training)
        return (*found, *(Advice(change.flags, change.headroom_bytes) for change in changes))
    if (longest := _longest(run, estimate)) is not None:
        found.append(longest)
    if estimate is None:
        return tuple(found)
    found += [Advice(change.flags, change.headroom_bytes) for change in changes_that_fit(estimate)]
    if estimate.verdict == "fits" and short:
        found += _lower_share(estimate, short, oom)
    return tuple(found)


def _longest(run: LoggedRun, estimate: Estimate | None) -> Advice | None:
    """The length that the engine itself says would fit, where it is one that somebody would serve."""
    longest, asked = run.figure("longest_length"), estimate and estimate.asked.max_model_len
    if longest is None or longest < min(LEAST_LENGTH, (asked or math.inf) / LEAST_SHARE_OF_LOAD):
        return None
    length, room = int(longest), None
    if estimate is not None:
        shorter = estimate.asked._replace(max_model_len=length, context=None)
        cards = estimate.cards or estimate.hardware
        with suppress(OomlessError):  # else the log's word stands alone
            room = estimate_serving(estimate.model, shorter, cards, estimate.adjust).headroom_bytes
    return Advice(f"--max-model-len {length}", None if room is None or room < 0 else room)


def _lower_share(estimate: Estimate, short: int, oom: OutOfMemoryText | None) -> list[Advice]:
    """A smaller share of the card for the pool leaves what the start was short of."""
    option = share_of_card(estimate.request.engine)
    if option is None:
        return []
    name = option.field
    share = getattr(estimate.request, name)
    total = (oom.total_bytes if oom else None) or estimate.hardware.card.memory_bytes
    if not share or not total:
        return []
    lower = int((share - short * MARGIN / total) * 100) / 100
    if not 0 < lower < share:
        return []
    asked = estimate.asked
    match name:
        case "mem_fraction_static":
            asked = asked._replace(mem_fraction_static=lower)
        case "free_gpu_memory_fraction":
            asked = asked._replace(free_gpu_memory_fraction=lower)
        case _:
            asked = asked._replace(gpu_memory_utilization=lower)
    try:
        other = estimate_serving(estimate.model, asked, estimate.cards or estimate.hardware, estimate.adjust)
    except OomlessError:
        return []
    if other.verdict == "does_not_fit":
        return []
    return [Advice(f"--{name.replace('_', '-')} {lower}", other.headroom_bytes)]
