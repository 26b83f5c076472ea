"""Buy or rent? as a part of the page: the verdict, both curves, and what the answer hangs on."""

from ...plan.cost import Cost
from ..chart.axes import Axis, Chart
from ..chart.plot import PlotCurve, Plotted, Point, plot
from ..language import Phrases
from ..plan_cost_text import MONTHS_SHOWN, amount
from .html import Html, el, figure, fold, join, notes, number, table


def cost_part(answer: Cost, words: Phrases) -> Html:
    """Return the whole answer of `cost`."""
    month = answer.break_even[answer.scopes[-1]]
    return join(
        (
            el("p", verdict(answer, words), class_="verdict fits" if month is not None else "verdict no"),
            el("p", price(answer, words), class_="question"),
            picture(answer, words),
            scopes(answer, words),
            swings(answer, words),
            inputs(answer, words),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def verdict(answer: Cost, words: Phrases) -> str:
    """Return when owning pays, in one sentence."""
    month = answer.break_even[answer.scopes[-1]]
    what = words("cost.what", cards=answer.hardware.what, share=f"{answer.question.utilization:.0%}")
    return (
        words("cost.never", what=what)
        if month is None
        else words("cost.pays", what=what, month=f"{month:.1f}")
    )


def price(answer: Cost, words: Phrases) -> str:
    """Return what renting costs, and by whom; and a million tokens where a rate is given."""
    rent = words.said(answer.rent_price.label) if answer.rent_price else words("cost.given")
    said = words("cost.rent", who=rent, usd=f"{answer.question.rent.usd_per_hour:,.2f}")
    own, rented = answer.own_usd_per_million_tokens, answer.rent_usd_per_million_tokens
    if own is None or rented is None:
        return said
    return f"{said} {words('cost.million', own=f'{own:,.4g}', rent=f'{rented:,.4g}')}"


def picture(answer: Cost, words: Phrases) -> Html:
    """Return the curves in a frame."""
    return figure(curves_of(answer, words).on_page(), words("cost.picture"))


def curves_of(answer: Cost, words: Phrases) -> Chart:
    """Return dollars of today paid by each month, and where the curves meet."""
    own = [(float(index), each.own_usd) for index, each in enumerate(answer.months)]
    rent = [(float(index), each.rent_usd) for index, each in enumerate(answer.months)]
    last = own[-1][0]
    most = max(value for _, value in (*own, *rent))
    points = [
        Point(*own[-1], "own", words("cost.own")),
        Point(*rent[-1], "rent", words("cost.renting")),
    ]
    month = answer.break_even[answer.scopes[-1]]
    if month is not None and month <= last:
        low = own[int(month)][1]
        points.append(Point(month, low, "meet", words("cost.meet", month=f"{month:.1f}")))
    curves = [PlotCurve(own, "own", words("cost.own")), PlotCurve(rent, "rent", words("cost.renting"))]
    axes = Axis(words("cost.axis_month"), last), Axis(words("cost.axis_usd"), most)
    return plot(*axes, Plotted(points, curves), words("cost.picture"))


def scopes(answer: Cost, words: Phrases) -> Html:
    """Return break-even and savings, the more is counted as a cost of owning."""
    shown = [month for month in MONTHS_SHOWN if month < len(answer.months)]
    heads = (
        "",
        words("cost.month"),
        *(words("cost.saved", month=month) for month in shown),
    )
    rows = []
    for scope in answer.scopes:
        month = answer.break_even[scope]
        saved = [number(share(answer.savings[scope][each - 1])) for each in shown]
        even = number(words("cost.not_ever") if month is None else f"{month:.1f}")
        rows.append((words(f"scope.{scope}"), even, *saved))
    return table(heads, rows, words("cost.counted"))


def share(value: float) -> str:
    """Return a share as it is printed, with a minus that is as wide as a digit.

    >>> share(-0.124)
    '−12.4%'
    """
    return f"{value:.1%}".replace("-", "\N{MINUS SIGN}")


def swings(answer: Cost, words: Phrases) -> Html:
    """Return what the answer hangs on, the most important first."""
    rows = [
        (
            words.known(f"input.{swing.what}", swing.what),
            number(words("range", low=amount(swing.low), high=amount(swing.high))),
            number(words("range", low=share(swing.saving_at_low), high=share(swing.saving_at_high))),
        )
        for swing in answer.swings
    ]
    heads = (words("cost.input"), words("interval"), words("cost.saved", month=answer.swing_month))
    return table(heads, rows, words("cost.hangs"))


def inputs(answer: Cost, words: Phrases) -> Html:
    """Return every input with its source and date."""
    rows = [
        (
            words.known(f"input.{each.what}", each.what),
            number(f"{amount(each.value)} {words.said(each.unit)}"),
            el("td", each.date or "–", class_="date"),
            el("td", each.source, class_="wrap", lang="en"),
        )
        for each in answer.inputs
    ]
    heads = (words("cost.input"), words("speed.value"), words("date"), words("source_head"))
    return fold(words("cost.inputs"), table(heads, rows, words("cost.inputs")))
