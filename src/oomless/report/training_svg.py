"""A training estimate as one SVG: for each group of ranks the worst moment of each phase, by category, with
the card's line."""

from ..api.training_answer import TrainingAnswer
from ..units import gib
from .chart.axes import Axis, Key
from .chart.bars import Bar, BarGroup, BarPart, bars
from .chart.picture import picture
from .estimate_svg import category_keys, limit_key
from .language import Phrases, spoken
from .page.sentences import group_title, part_of, training_question, verdict_sentence


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
