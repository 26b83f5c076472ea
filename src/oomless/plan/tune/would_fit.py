"""What would make a load fit: first the flags that an engineer tries, then less quality, another layout, the
host, more cards, other cards."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import combinations, islice, product
from typing import Any

from ...engines import engine
from ...errors import OomlessError
from ...estimate.serving.changes import Change, fitted
from ...estimate.serving.estimate import Estimate, again, estimate_serving
from ...kept import tried
from ...run.cards import Hardware
from ...run.serving import Asked, Layout
from ..goals import Goal, Wanted
from ..nearest_cards import NearestCards
from ..search import Search
from .order import flag_words
from .space import applies, groups_counted, reached

MOST_FLAGS = 3
"""Flags that are changed together."""
MOST_CHANGES = 5
"""Changes that an answer lists."""
LEAST_LENGTH = 4096
"""Shorter sequences are no service that anybody asked for."""
LEAST_SHARE_OF_LOAD = 4
"""A load of less than a quarter of the asked one is another question."""


def changes_that_fit(estimate: Estimate) -> tuple[Change, ...]:
    """Return the changes after which the verdict is `fits`, least loss of service first; () for what fits.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Asked(max_model_len=32768)
    >>> found = changes_that_fit(estimate_serving(load("deepseek-r1"), asked, parse_gpu("h20:8")))
    >>> found[0].flags
    '--gpu-memory-utilization 0.95 --max-num-seqs 32'
    """
    if estimate.verdict == "fits":
        return ()
    if estimate.put is not None:  # what its engine let go to start is not held fast
        estimate = estimate._replace(asked=estimate.put)
    own = [*of_flags(estimate)]
    found = [*own, *of_layouts(estimate), *of_quality(estimate, bool(own)), *of_load(estimate)]
    here = bool(found)
    if not here and engine(estimate.request.engine).fills_host:
        found += of_offloads(estimate)
    found += of_more_cards(estimate, bool(own))
    if not here and not engine(estimate.request.engine).fills_host:
        found += of_offloads(estimate)
    return tuple(found or of_other_cards(estimate))[:MOST_CHANGES]


def change(estimate: Estimate, values: dict[str, Any], quality: bool = False) -> Change | None:
    """Return the change of some fields; None where it does not fit then."""
    key = "change", tuple(values.items()), quality
    return tried(key, lambda: _change(estimate, values, quality))


def _change(estimate: Estimate, values: dict[str, Any], quality: bool) -> Change | None:
    asked = estimate.asked.with_values(values)
    try:
        other = fitted(again(estimate, asked))
    except OomlessError:
        return None
    if other.verdict != "fits":
        return None
    flags = " ".join(flag_words(estimate.asked, asked, tuple(values)))
    saved = other.headroom_bytes - estimate.headroom_bytes
    return Change(flags, saved, other.headroom_bytes, quality)


def of_flags(estimate: Estimate, more: dict[str, Any] | None = None) -> Iterator[Change]:
    """Yield the fewest flags of the engine's record after which it fits, once for each set of flags; `more`
    is changed with them."""
    fixed, levers = more or {}, milder_first(estimate)
    extremes = {field: values[-1] for field, values in levers.items()}
    if change(estimate, {**fixed, **extremes}) is None:
        if not (shares := first_share(estimate, levers)):
            return
        if change(estimate, {**fixed, **extremes, **shares}) is None:
            return
    for count in range(1, MOST_FLAGS + 1 - len(fixed)):
        found = [
            made
            for fields in combinations(levers, count)
            if (made := mildest(estimate, fixed, {field: levers[field] for field in fields})) is not None
        ]
        if found:
            yield from found[:MOST_FLAGS]
            return


def first_share(estimate: Estimate, levers: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Return the mildest share of the card, where there is one: a smaller one leaves what comes beside the
    pool its room."""
    name = engine(estimate.request.engine).share_flag.lstrip("-").replace("-", "_")
    return {name: levers[name][0]} if name in levers else {}


def mildest(estimate: Estimate, fixed: dict[str, Any], ranges: dict[str, tuple[Any, ...]]) -> Change | None:
    """Return the first values of some fields, mildest first, with which it fits; None where the last do
    not."""
    last = {field: values[-1] for field, values in ranges.items()}
    shares = first_share(estimate, ranges)
    if change(estimate, {**fixed, **last}) is None and not (
        shares and change(estimate, {**fixed, **last, **shares}) is not None
    ):
        return None
    for values in product(*ranges.values()):
        made = change(estimate, {**fixed, **dict(zip(ranges, values, strict=True))}, bool(fixed))
        if made is not None:
            return made
    return None


def milder_first(estimate: Estimate) -> dict[str, tuple[Any, ...]]:
    """Return the flags that may make room, in the order of the engine's record, each with its values from
    mild to strict: no smaller batch than the load, no larger step than today's."""
    request, asked = estimate.request, estimate.asked
    layout = request.layout
    found: dict[str, tuple[Any, ...]] = {}
    for tunable in engine(request.engine).candidates.tuned:
        if not applies(tunable, asked):
            continue
        now, groups = request.value(tunable.field), groups_counted(tunable, layout)
        now = now * groups if groups > 1 else now
        values = [each for each in tunable.values if each != now]
        match tunable.purpose:
            case "batch" | "captures":
                load = -(-request.concurrency * groups // layout.dp)
                values = [each for each in sorted(values, reverse=True) if load <= each < (now or 0)][::2]
            case "pace":
                values = [each for each in sorted(values, reverse=True) if each < (now or 0)]
            case "share":
                lower = share_without_overrun(estimate)
                values = [lower] if lower else [each for each in sorted({0.7, *values}) if each > now]
                values = [each for each in values if is_free(estimate, {tunable.field: each})]
            case "graphs":
                values = [] if asked.value(tunable.field) else values
            case "room":
                pass
        if values:
            found[tunable.field] = tuple(values)
    return found


def is_free(estimate: Estimate, share: dict[str, Any]) -> bool:
    """Return whether others leave a share of the card free."""
    asked, hardware = estimate.request._replace(**share), estimate.hardware
    return engine(asked.engine).budget_bytes(asked, hardware) <= hardware.card.memory_bytes


def share_without_overrun(estimate: Estimate) -> float | None:
    """Return the share of the card that leaves room for what comes beside the pool; None where nothing passes
    the card."""
    overrun, rules = estimate.ledger.overrun_bytes, engine(estimate.request.engine)
    if not overrun or not rules.share_flag:
        return None
    now: float = getattr(estimate.request, rules.share_flag.lstrip("-").replace("-", "_"))
    return int(100 * (now - overrun / estimate.hardware.card.memory_bytes)) / 100


def of_quality(estimate: Estimate, flags_do: bool = False) -> Iterator[Change]:
    """Yield a narrower cache and narrower weights, the cache with flags where neither does alone."""
    request = estimate.request
    rules = engine(request.engine)
    narrow: dict[str, Any] = {
        field: word
        for field, word in rules.candidates.narrow_cache
        if request.value(field) in ("auto", "bfloat16", "float16", "f16")
    }
    if narrow:
        made = change(estimate, narrow, quality=True)
        yield from [made] if made is not None else () if flags_do else of_flags(estimate, narrow)
    if not estimate.model.quantization and not request.quantization and rules.candidates.forms:
        word = rules.candidates.forms[-1] if rules.file_types else rules.candidates.forms[0]
        made = change(estimate, {"quantization": word}, quality=True)
        yield from [made] if made is not None else ()


def of_load(estimate: Estimate) -> Iterator[Change]:
    """Yield shorter sequences, where nobody said their length, and fewer at once."""
    asked, request = estimate.asked, estimate.request
    if asked.max_model_len is None:
        lengths = [asked.context] if asked.context else [1 << bits for bits in range(22, 11, -1)]
        for length in (each for each in lengths if LEAST_LENGTH <= each < request.max_model_len):
            if made := change(estimate, {"max_model_len": length}):
                yield made
                break
    least = max(estimate.concurrency // LEAST_SHARE_OF_LOAD, 1)
    loads = range(estimate.concurrency - 1, least - 1, -1)
    if loads and change(estimate, {"concurrency": least}):
        index = bisect_left(loads, True, key=lambda load: change(estimate, {"concurrency": load}) is not None)
        if made := change(estimate, {"concurrency": loads[index]}):
            yield made


def of_layouts(estimate: Estimate) -> Iterator[Change]:
    """Yield the first other layout of the same cards with which it fits."""
    hardware, rules = estimate.cards or estimate.hardware, engine(estimate.request.engine)
    layouts = [layout for layout, _ in rules.candidates.layouts(estimate.model, hardware)]
    layouts += rules.candidates.more_layouts(estimate.model, hardware)
    for layout in layouts:
        if layout == estimate.request.layout:
            continue
        axes = {
            name: value
            for name, value in layout._asdict().items()
            if value != getattr(Layout(), name) or value != getattr(estimate.asked.sizes, name)
        }
        if made := change(estimate, {"tp": layout.tp, **axes}):
            yield made
            return


def of_offloads(estimate: Estimate) -> Iterator[Change]:
    """Yield the least that can be moved to the host, by each flag that moves it."""
    for tunable in engine(estimate.request.engine).candidates.offloads:
        values = reached(tunable.values, len(estimate.model.layers) + 1)

        def fits(value: Any, field: str = tunable.field) -> bool:
            return change(estimate, {field: value}) is not None

        index = bisect_left(values, True, key=fits)
        if index < len(values) and (made := change(estimate, {tunable.field: values[index]})):
            yield made


def of_more_cards(estimate: Estimate, flags_do: bool = False) -> Iterator[Change]:
    """Yield the fewest more of the same cards on which it fits, if need be with room beside the pool, which
    asks for no more cards where flags alone do; none where one process serves and the machine has one memory
    (Apple's) or unlike cards, each of which has its place."""
    rules, hardware = engine(estimate.request.engine), estimate.hardware
    if rules.axis == "pp" and (hardware.card.shared_bytes or hardware.mixed):
        return
    tuned = rules.candidates.tuned
    beside = {each.field for each in tuned if each.purpose in ("graphs", "share")}
    levers = [{field: values[0]} for field, values in milder_first(estimate).items() if field in beside]
    made = (on_more_cards(estimate, values) for values in ({}, *(() if flags_do else levers)))
    yield from filter(None, [next(filter(None, made), None)])


def on_more_cards(estimate: Estimate, values: dict[str, Any]) -> Change | None:
    """Return the fewest more of the same cards on which it fits with some fields changed: at most four times
    as many, or a whole node for one rank."""
    hardware, layout = estimate.cards or estimate.hardware, estimate.request.layout
    rules, changed = engine(estimate.request.engine), estimate.asked.with_values(values)
    whole_node = (8,) if layout.num_ranks * 8 == hardware.card.gpus_per_node else ()
    for factor in (2, 3, 4) if rules.axis == "pp" else (2, 4, *whole_node):
        num = max(hardware.num_gpus, layout.num_ranks * factor)
        per_node = max(hardware.per_node, min(num, hardware.card.gpus_per_node))
        more = hardware._replace(num_gpus=num, per_node=per_node)
        larger = layout._replace(**{rules.axis: getattr(layout, rules.axis) * factor})
        asked = changed._replace(layout=larger, tensor_split=None)
        if (made := elsewhere(estimate, asked, more)) is not None:
            words = f"--{rules.axis} {getattr(larger, rules.axis)}"
            words += f" --pp {layout.pp}" if rules.axis == "tp" and layout.pp > 1 else ""
            cards = f" on {num} cards" if num > hardware.num_gpus else ""
            flags = flag_words(estimate.asked, changed, tuple(values))
            return made._replace(flags=" ".join((*flags, words + cards)))
    return None


def of_other_cards(estimate: Estimate) -> Iterator[Change]:
    """Yield the fewest and the cheapest cards of other kinds on which it fits, as plan finds them."""
    request, rules = estimate.request, engine(estimate.request.engine)
    wanted = Wanted(
        context=request.context,
        concurrency=estimate.concurrency,
        max_model_len=request.max_model_len,
        engines=(request.engine,),
        quantizations=(request.quantization or "none",),
        kv_cache_dtypes=(estimate.asked.value(rules.cache_field),) if rules.cache_types else (),
    )
    nearest = tried(
        "nearest cards", lambda: NearestCards(Search(estimate.model, estimate.model.name, wanted))
    )
    named: set[str] = set()
    for goal in GOALS_ELSEWHERE:
        for row in islice(nearest.ranked(goal), MOST_MACHINES):
            asked = estimate.asked._replace(layout=row.asked.layout, tensor_split=None)
            made = None if row.gpu in named else elsewhere(estimate, asked, row.hardware)
            if made is not None:
                named.add(row.gpu)
                yield made._replace(flags=f"--gpu {row.gpu} " + " ".join(layout_words(row.asked.sizes)))
                break


GOALS_ELSEWHERE: tuple[Goal, ...] = ("fewest", "cheapest")
MOST_MACHINES = 16
"""Machines that would hold the model and are tried with the flags that were asked for: what none of so many
takes is not for want of memory."""


def layout_words(layout: Layout) -> tuple[str, ...]:
    """Return a layout as flags."""
    axes = tuple(name for name, value in layout._asdict().items() if value != getattr(Layout(), name))
    return flag_words(Asked(), Asked(layout=layout), axes or ("tp",))


def elsewhere(estimate: Estimate, asked: Asked, hardware: Hardware) -> Change | None:
    """Return the change of the cards; None where it does not fit there."""
    return tried(("elsewhere", asked, hardware), lambda: _elsewhere(estimate, asked, hardware))


def _elsewhere(estimate: Estimate, asked: Asked, hardware: Hardware) -> Change | None:
    try:
        other = fitted(estimate_serving(estimate.model, asked, hardware, estimate.adjust))
    except OomlessError:
        return None
    if other.verdict != "fits":
        return None
    return Change("", other.headroom_bytes - estimate.headroom_bytes, other.headroom_bytes)
