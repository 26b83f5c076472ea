"""An estimate as one SVG: of serving a bar by category for each group of ranks, and memory against the
longest sequence that the engine is started for; of training the worst moment of each phase."""

from ..api.serving import ServingAnswer
from ..api.training_answer import TrainingAnswer
from ..estimate.serving.estimate import Estimate
from ..ledger import CATEGORIES, Ledger
from ..units import gib
from .chart.axes import Axis, Chart, Key
from .chart.bars import Bar, BarGroup, BarPart, bars
from .chart.picture import picture
from .chart.plot import Across, Area, PlotCurve, Plotted, plot
from .language import Phrases, spoken
from .page.sentences import (
    category_word,
    group_title,
    part_of,
    serving_question,
    training_question,
    verdict_sentence,
    waiting,
)

FAR_ABOVE = 1.25
"""How many times its limit a curve is drawn to."""


def estimate_svg(answer: ServingAnswer) -> str:
    """Return the picture: the ranks, and the worst one's memory against the context."""
    words = spoken()
    charts = [("", ranks(answer.ledgers, words))]
    if len(answer.context_curve) > 1:
        heading = words("picture.contexts", count=f"{answer.estimate.concurrency:,}")
        charts.append((heading, contexts(answer.estimate, answer.context_curve, words)))
    title = verdict_sentence(answer.ledger, words, waiting(answer, words))
    return picture(title, charts, [serving_question(answer, words)])


def ranks(ledgers: tuple[Ledger, ...], words: Phrases) -> Chart:
    """Return a bar for each group of equal ranks, with its interval and its card's limit."""
    most = max(max(ledger.capacity_bytes, ledger.high_bytes) for ledger in ledgers)
    groups = [
        BarGroup(
            group_title(ledger, ledger.total_bytes, words),
            (
                Bar(
                    "",
                    tuple(part_of(name, size, words) for name, size in ledger.by_category().items()),
                    f"{gib(ledger.total_bytes):.1f}",
                    (gib(ledger.low_bytes), gib(ledger.high_bytes)),
                ),
            ),
            gib(ledger.capacity_bytes),
        )
        for ledger in ledgers
    ]
    keys = [
        *category_keys(
            {name for ledger in ledgers for name, size in ledger.by_category().items() if size}, words
        )
    ]
    keys += [limit_key(words), Key("interval", words("picture.interval"), "bracket")]
    axis = Axis(words("picture.gib_rank"), gib(most) * 1.01, is_exact=True)
    return bars(groups, axis, words("picture.ranks"), keys)


def category_keys(names: set[str], words: Phrases) -> list[Key]:
    """Return the legend of categories, in their order."""
    return [Key(f"c-{name}", category_word(name, words)) for name in CATEGORIES if name in names]


def limit_key(words: Phrases) -> Key:
    """Return the legend of the line that nothing may cross."""
    return Key("limit", words("picture.limit"), "line")


def contexts(estimate: Estimate, curve: tuple[tuple[int, int, int, int], ...], words: Phrases) -> Chart:
    """Return memory of the worst rank against the tokens of each sequence, with its band and the limit."""
    capacity, asked = gib(estimate.ledger.capacity_bytes), estimate.request.context
    curve = worth_seeing(curve, estimate.ledger.capacity_bytes, asked)
    low = [(float(tokens), gib(value)) for tokens, value, _, _ in curve]
    middle = [(float(tokens), gib(value)) for tokens, _, value, _ in curve]
    high = [(float(tokens), gib(value)) for tokens, _, _, value in curve]
    plotted = Plotted(
        curves=[PlotCurve(middle, "total", words("total"))],
        areas=[Area(low, high, "band", words("interval"))],
        levels=[Across(capacity, "limit", words("limit", capacity=f"{capacity:.2f}"))],
        uprights=[Across(asked, "mark", words("picture.asked", tokens=f"{asked:,}"))],
    )
    keys = [Key("curve total", words("total"), "line"), Key("band", words("interval")), limit_key(words)]
    x = Axis(words("picture.tokens"), max(curve[-1][0], asked), is_exact=True)
    y = Axis(words("picture.gib_rank"), max(capacity, *(value for _, value in high)) * 1.02)
    return plot(x, y, plotted, words("picture.contexts", count=f"{estimate.concurrency:,}"), keys)


def worth_seeing(
    curve: tuple[tuple[int, int, int, int], ...], capacity_bytes: int, asked: int
) -> tuple[tuple[int, int, int, int], ...]:
    """Return a curve up to where it is far above the card, or to what was asked.

    >>> worth_seeing(((1, 5, 5, 5), (64, 30, 30, 30), (128, 60, 60, 60), (192, 90, 90, 90)), 20, 50)
    ((1, 5, 5, 5), (64, 30, 30, 30))
    """
    enough = next(
        (
            number
            for number, (tokens, low, *_) in enumerate(curve)
            if tokens >= asked and low > FAR_ABOVE * capacity_bytes
        ),
        len(curve) - 1,
    )
    return curve[: enough + 1]


def training_svg(answer: TrainingAnswer) -> str:
    """Return the picture: a bar a phase, and under them what the device shows at the peak, which is more than
    the allocator gave out."""
    words = spoken()
    groups = [
        BarGroup(
            group_title(group.ledger, group.peaks.device_bytes, words),
            (*_phases(answer, index, words), _device(answer, index, words)),
            gib(group.ledger.capacity_bytes),
        )
        for index, group in enumerate(answer.groups)
    ]
    most = max(max(each.ledger.capacity_bytes, each.peaks.device_bytes) for each in answer.groups)
    names = {
        name
        for group in answer.groups
        for phase in group.phases
        for name, size in group.at(phase).items()
        if size
    }
    keys = [*category_keys(names, words), Key("device", words("peak.device")), limit_key(words)]
    axis = Axis(words("picture.gib_rank"), gib(most) * 1.01, is_exact=True)
    chart = bars(groups, axis, words("picture.phases"), keys)
    return picture(
        verdict_sentence(answer.ledger, words),
        [(words("picture.phases"), chart)],
        [training_question(answer, words)],
    )


def _phases(answer: TrainingAnswer, index: int, words: Phrases) -> list[Bar]:
    group, found = answer.groups[index], list[Bar]()
    for phase in group.phases:
        sums = group.at(phase)
        label = f"{words.known(f'phase.{phase.name}', phase.name)}{words('comma')}{words.said(phase.moment)}"
        parts = tuple(part_of(name, num_bytes, words) for name, num_bytes in sums.items())
        found.append(Bar(label, parts, f"{gib(sum(sums.values())):.1f}"))
    return found


def _device(answer: TrainingAnswer, index: int, words: Phrases) -> Bar:
    device = gib(answer.groups[index].peaks.device_bytes)
    return Bar(words("peak.device"), (BarPart("device", device, words("peak.device")),), f"{device:.1f}")
