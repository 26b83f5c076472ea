"""A change of a serving question, and the answer to one: which changes are tried is tuning's business, or
the engine's, which changes by itself what does not fit."""

from typing import NamedTuple

from ...engines import engine
from ...engines.rank import Budget
from ...ledger import Ledger
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked
from ...units import MIB
from .contexts import longest_context
from .estimate import SEVERITY, Estimate, again, estimate_serving


class Change(NamedTuple):
    """A change of the question, by its flags."""

    flags: str
    saved_bytes: int
    """How much headroom the worst rank gains."""
    headroom_bytes: int
    costs_quality: bool = False
    """Whether cache or weights become narrower."""


class Settled(NamedTuple):
    """What an answer becomes once the text of its release says more."""

    engine_version: str
    ledger: Ledger


def settled(estimate: Estimate) -> tuple[Settled, ...]:
    """Return what a tight answer becomes with each word that its release leaves open, where one of them makes
    it firm.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Asked(engine_version="0.11.0", quantization="fp8")
    >>> found = settled(estimate_serving(load("glm-4.6"), asked, parse_gpu("h100:8")))
    >>> [(each.engine_version, each.ledger.verdict) for each in found]
    [('0.11.0 (driver 570)', 'fits'), ('0.11.0 (driver 535)', 'does_not_fit')]
    """
    unsaid, text = engine(estimate.request.engine).unsaid, estimate.request.engine_version
    if unsaid is None:
        return ()
    found: list[Settled] = []
    for words in unsaid(text, estimate.hardware):
        texts = [f"{text[:-1]}, {word})" if text.endswith(")") else f"{text} ({word})" for word in words]
        here = estimate.asked._replace(layout=estimate.request.layout)
        said = [Settled(each, again(estimate, here._replace(engine_version=each)).ledger) for each in texts]
        found += said if any(each.ledger.verdict != "tight" for each in said) else []
    return tuple(found)


def fitted(estimate: Estimate) -> Estimate:
    """Return the estimate of the question as its engine changes it to start, with a warning that says how;
    the same one where it fits, or where the engine changes nothing. An engine that lets layers go does not
    ask whether they would just fit: its own sum, with the room that it keeps free, decides.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Asked(engine="llamacpp", quantization="Q4_K_M", max_model_len=8192)
    >>> found = estimate_serving(load("deepseek-r1-distill-llama-70b"), asked, parse_gpu("rtx-4090"))
    >>> found.verdict, fitted(found).verdict
    ('does_not_fit', 'fits')
    """
    rules, cards = engine(estimate.request.engine), estimate.cards
    if rules.cuts_sessions(estimate.model, estimate.request):
        return cut_to_pool(estimate)
    fit = rules.fit
    if fit is None or cards is None or estimate.verdict == "fits":
        return estimate

    def spare(asked: Asked, surely: bool = False) -> tuple[int, ...]:
        found = estimate_serving(estimate.model, asked, cards, estimate.adjust)
        drafts = rules.weighs_drafts(found.request)
        left = (projected(ledger, drafts, surely) for ledger in found.ledgers)
        return tuple(each - asked.fit_target * MIB for each in left)

    changed = fit(estimate.model, estimate.asked, cards, spare)
    if changed is None:
        return estimate
    asked, said = changed
    if not said:
        return retried(estimate) if len(estimate.ledgers) > 1 else estimate
    found = estimate_serving(estimate.model, asked, cards, estimate.adjust)
    pictures = found.request.images_per_prompt or any(
        line.key == "activations.running" for ledger in found.ledgers for line in ledger.lines
    )
    if not pictures or rules.weighs_pictures(found.request):
        found = found._replace(ledgers=tuple(map(weighed, found.ledgers)))
    ranked = [(SEVERITY[each.verdict], each.headroom_bytes) for each in found.ledgers]
    worst = ranked.index(min(ranked))
    return found._replace(worst_rank=worst, warnings=(said, *found.warnings), put=estimate.asked)


def weighed(ledger: Ledger) -> Ledger:
    """Return the ledger of a question that its engine changed until its own sum fitted, in which no doubt is
    left of what it weighs itself: what it loads, the cache, the buffer of its graph and what the driver has
    taken by then. It does not weigh what a draft takes."""
    if any(line.owner == "draft" for line in ledger.lines):
        return ledger
    known = [line for line in ledger.lines if line.key != "temporaries.running"]
    below, above = (
        sum(line.bytes - line.low_bytes for line in known),
        sum(line.high_bytes - line.bytes for line in known),
    )
    return ledger._replace(idle_spread=(ledger.idle_spread[0] + below, ledger.idle_spread[1] + above))


def cut_to_pool(estimate: Estimate) -> Estimate:
    """Return the estimate of the longest session that the pool surely holds, where nobody set one; the same
    one where it fits, or where not even a short one does."""
    asked = estimate.asked
    if estimate.verdict == "fits" or asked.max_model_len is not None or asked.context is not None:
        return estimate
    length = longest_context(estimate)
    if not length:
        return estimate
    found = again(estimate, asked._replace(max_model_len=length))
    said = f"what was not set is changed so that it starts: a context of {length:,} tokens"
    return found._replace(warnings=(said, *found.warnings), put=asked)


def retried(estimate: Estimate) -> Estimate:
    """Return the estimate with the smaller buffers that an engine takes where a card lacks room for the first
    ones, if that holds more; else the same one.

    A draft has a context of its own, which is made last: where all but it has room, the rest keeps what it
    has on the draft's card. On the other cards it does no harm to count less: they have room, or are retried.
    """
    draft_alone = all(
        ledger.headroom_bytes + sum(line.bytes for line in ledger.lines if line.owner == "draft") >= 0
        for ledger in estimate.ledgers
    )
    tried = estimate.adjust

    def smaller(model: Model, asked: Asked, hardware: Hardware, budget: Budget) -> Budget:
        if budget.retried is not None:
            budget = budget._replace(charged=budget.retried(draft_alone))
        return budget if tried is None else tried(model, asked, hardware, budget)

    found = estimate_serving(estimate.model, estimate.asked, estimate.cards or estimate.hardware, smaller)
    if SEVERITY[found.verdict] <= SEVERITY[estimate.verdict]:
        return estimate
    said = "micro-batches run on one card at a time, as llama.cpp retries where a buffer finds no room"
    return found._replace(warnings=(said, *found.warnings), adjust=tried)


def projected(ledger: Ledger, drafts: bool, surely: bool) -> int:
    """Return the bytes that are free by what an engine projects: it knows its buffers, of what `drafts` too
    or not, and not what its operations take while they run (common/fit.cpp). `surely`: if each of them is as
    large as it may be."""
    known = [
        line
        for line in ledger.lines
        if line.key != "temporaries.running" and (drafts or line.owner != "draft")
    ]
    doubt = sum(line.high_bytes - line.bytes for line in known if line.owner != "process")
    return ledger.capacity_bytes - sum(line.bytes for line in known) - doubt * surely
