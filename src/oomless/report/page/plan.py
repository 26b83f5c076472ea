"""Which hardware? as a part of the page: the first row, price against speed, and a table that sorts."""

import shlex
from collections.abc import Sequence
from urllib.parse import urlencode

from ...api.plan import LargestModels, PlanAnswer
from ...api.screen import rate_of, seconds
from ...plan.answer import Plan
from ...plan.candidates import PlannedRow
from ...plan.search import PlanRow
from ...plan.training_answer import TrainingPlan
from ...plan.training_search import TrainingRow
from ...units import billions, format_bytes, gib
from ..chart.axes import Axis, Chart
from ..chart.plot import PlotCurve, Plotted, Point, plot
from ..language import Phrases
from ..plan_text import rate_text
from .estimate import pairs_of
from .html import Html, el, figure, fold, join, notes, number, table, whole_words

AnyPlanned = PlannedRow[PlanRow] | PlannedRow[TrainingRow]
MOST_MISSES = 5


def plan_part(answer: PlanAnswer | LargestModels, words: Phrases) -> Html:
    """Return the whole answer of `plan`."""
    if isinstance(answer, LargestModels):
        return largest_part(answer, words)
    plan = answer.plan
    rows: list[AnyPlanned] = [*plan.rows]
    if not rows:
        return join((el("p", words("plan.none"), class_="verdict no"), left_out(plan, words)))
    return join(
        (
            first_part(rows[0], words),
            el("p", question(plan, words), class_="question"),
            picture(plan, rows, words),
            row_table(rows, words),
            el("p", words("plan.front"), class_="key"),
            extras(answer, words),
            left_out(plan, words),
            notes(words("notes"), map(words.said, plan.warnings)),
        )
    )


def question(plan: Plan | TrainingPlan, words: Phrases) -> str:
    """Return what was asked."""
    if isinstance(plan, Plan):
        return words(
            "question.plan",
            model=plan.model.name,
            load=f"{plan.wanted.concurrency:,} × {plan.input_len + plan.output_len:,}",
            prompt=f"{plan.input_len:,}",
            output=f"{plan.output_len:,}",
        )
    training = plan.training
    return words(
        "question.plan_train", model=plan.model.name, method=training.method, length=f"{training.seq_len:,}"
    )


def setting(row: PlanRow | TrainingRow, words: Phrases) -> str:
    """Return layout and precision in a few words."""
    if isinstance(row, TrainingRow):
        return words(
            "plan.how_train",
            layout=words.said(row.layout_words).replace(", ", words("comma")),
            recompute=row.estimate.request.recompute,
            micro=row.asked.micro_batch,
            accum=row.estimate.request.grad_accum,
        )
    request, model = row.estimate.request, row.estimate.model
    return words(
        "plan.how",
        layout=words.said(row.layout_words).replace(", ", words("comma")),
        replicas=words("plan.replicas", count=row.replicas) if row.replicas > 1 else "",
        weights=request.quantization or model.quantization or request.dtype,
        cache=row.estimate.kv_cache.dtype,
        host=words("plan.host", count=row.asked.n_cpu_moe) if row.asked.n_cpu_moe else "",
    )


def first_part(planned: AnyPlanned, words: Phrases) -> Html:
    """Return the best row: its cards, price, speed, and how it is started."""
    row = planned.row
    return join(
        (
            el(
                "p",
                words(
                    "plan.first" if row.fits else "plan.first_tight",
                    gpu=row.gpu,
                    engine=row.runner,
                    setting=setting(row, words),
                    amount=format_bytes(row.headroom_bytes),
                ),
                class_=f"verdict {'fits' if row.fits else 'tight'}",
            ),
            el("ul", [el("li", each) for each in figures(row, words)], class_="figures"),
            launch_part(planned, words),
        )
    )


def figures(row: PlanRow | TrainingRow, words: Phrases) -> list[str]:
    """Return price and speed of a row, as sentences."""
    found = (
        []
        if row.price is None
        else [words("plan.rent", usd=f"{row.usd_per_hour:,.2f}", who=words.said(row.price.label))]
    )
    if isinstance(row, PlanRow) and row.speed is not None:
        speed = row.speed
        found.append(
            words(
                "plan.speed",
                rate=rate_text(speed.tokens_per_s),
                first=seconds(speed.ttft_s.value),
                each=seconds(speed.tpot_s.value),
            )
        )
    elif isinstance(row, TrainingRow) and row.speed is not None:
        step = row.speed.step_s
        rate = rate_of(row.speed.tokens_per_s.value)
        found.append(
            words(
                "step",
                step=seconds(step.value),
                band=f"{seconds(step.low)} – {seconds(step.high)}",
                rate=rate,
            )
        )
    return found


def launch_part(planned: AnyPlanned, words: Phrases) -> Html:
    """Return the command that starts a row and its files, to be copied or saved, and the row as a question of
    its own."""
    launch = planned.launch
    command, *rest = planned.arguments
    pairs = [("model", rest[0]), *(pairs_of(command, shlex.join(rest[1:])) or ())]
    files = [
        fold(
            el("code", name),
            el("pre", whole_words(content), data_name=name, tabindex="0"),
            el("button", words("save"), type="button", class_="save", data_name=name),
        )
        for name, content in launch.files.items()
    ]
    return el(
        "div",
        el("pre", whole_words(launch.command), class_="command", tabindex="0"),
        el("button", words("copy"), type="button", class_="copy"),
        " ",
        el("a", words("plan.open"), href=f"#{command}?{urlencode(pairs)}"),
        el("p", words.said(launch.note), class_="key") if launch.note else None,
        files,
        class_="launch",
    )


def row_table(rows: list[AnyPlanned], words: Phrases) -> Html:
    """Return every row; a head sorts by its column."""
    heads = ["cards", "engine", "setting", "spare", "rate", "usd", "usd_million", "price"]
    found = [_row(planned, words) for planned in rows]
    return ranked_table([f"plan.{name}" for name in heads], found, [each.why for each in rows], words)


def ranked_table(heads: list[str], rows: list[list[object]], why: list[str], words: Phrases) -> Html:
    """Return rows under heads that sort, and in a last column why each is behind the first, where any is."""
    if any(why):
        heads = [*heads, "plan.why"]
        reasons = [el("td", words.said(each) or "–", class_="wrap") for each in why]
        rows = [[*row, reason] for row, reason in zip(rows, reasons, strict=True)]
    buttons = [el("button", words(name), type="button", class_="sort") for name in heads]
    return table(buttons, rows, words("plan.table"), class_="sortable")


def _row(planned: AnyPlanned, words: Phrases) -> list[object]:
    row = planned.row
    rate, million = row.rate, row.usd_per_million_tokens
    mark = "★ " if planned.on_front else ""
    return [
        f"{mark}{row.gpu}",
        row.runner,
        el("td", setting(row, words), class_="wrap"),
        number(f"{gib(row.headroom_bytes):.1f}{'' if row.fits else ' ~'}", row.headroom_bytes),
        number("?" if row.speed is None else rate_text(row.speed.tokens_per_s), rate or 0.0),
        number("?" if row.usd_per_hour is None else f"{row.usd_per_hour:,.2f}", row.usd_per_hour),
        number("?" if million is None else f"{million:,.2f}", million),
        el("td", "–" if row.price is None else words.said(row.price.label), class_="wrap"),
    ]


def picture(plan: Plan | TrainingPlan, rows: list[AnyPlanned], words: Phrases) -> Html | None:
    """Return price against speed in a frame; None where no row has both."""
    found = chart_of(rows, words)
    return None if found is None else figure(found.on_page(), words("plan.picture"))


def chart_of(rows: Sequence[AnyPlanned], words: Phrases) -> Chart | None:
    """Return price against speed: every row a point, those that no other beats joined by steps."""
    points = [
        Point(
            row.usd_per_hour,
            row.rate,
            "best" if planned.on_front else "other",
            row.gpu,
            f"{row.gpu}, {row.runner}: {row.usd_per_hour:,.2f} USD/h, {rate_of(row.rate)} tokens/s",
        )
        for planned in rows
        if (row := planned.row).usd_per_hour is not None and row.rate is not None
    ]
    if not points:
        return None
    front = sorted((point.x, point.y) for point in points if point.name == "best")
    x = Axis(words("plan.axis_usd"), max(point.x for point in points) * 1.05)
    y = Axis(words("plan.axis_rate"), max(point.y for point in points) * 1.05)
    curves = [PlotCurve(steps(front), "front", words("plan.front"))] if len(front) > 1 else []
    return plot(x, y, Plotted(points, curves), words("plan.picture"))


def steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return rising points joined by steps: below and right of the line another row is beaten.

    >>> steps([(1, 10), (2, 30), (3, 20)])
    [(1, 10), (2, 10), (2, 30)]
    """
    found: list[tuple[float, float]] = []
    for x, y in points:
        if found and y <= found[-1][1]:
            continue  # more room, not more speed
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found


def left_out(plan: Plan | TrainingPlan, words: Phrases) -> Html:
    """Return what was left out, how often, and the nearest misses."""
    counted = words(
        "plan.counted", candidates=f"{plan.num_candidates:,}", estimates=f"{plan.num_estimates:,}"
    )
    reasons = [
        el("li", f"{count:,}{words('colon')}{words.said(reason)}")
        for reason, count in sorted(plan.excluded.items(), key=lambda each: -each[1])
    ]
    misses = [
        el("li", f"{miss.gpu}, {miss.engine}, {words.said(miss.what)}: +{format_bytes(miss.missing_bytes)}")
        for miss in plan.misses[:MOST_MISSES]
    ]
    near = (el("h4", words("plan.misses")), el("ul", misses)) if misses else ()
    return fold(counted, el("ul", reasons), near, class_="notes")


def extras(answer: PlanAnswer, words: Phrases) -> Html | None:
    """Return what is asked beside the rows, as the command line says it."""
    from ..plan_extra_text import disaggregated_text, in_memory_text

    texts = [
        *([] if answer.disaggregated is None else [disaggregated_text(answer.disaggregated)]),
        *([] if answer.in_memory is None else [in_memory_text(answer.in_memory)]),
    ]
    return join(el("pre", each, lang="en", tabindex="0") for each in texts) if texts else None


def largest_part(answer: LargestModels, words: Phrases) -> Html:
    """Return which models the cards hold."""
    if not answer.found:
        return el("p", words("plan.none"), class_="verdict no")
    heads = ("model", "billions", "bits", "cards", "engine", "spare", "rate")
    rows = [
        (
            held.name,
            number(f"{billions(held.num_parameters):.1f}", held.num_parameters),
            number(f"{held.bits_a_weight:.1f}", held.bits_a_weight),
            held.row.gpu,
            held.row.runner,
            number(f"{gib(held.row.headroom_bytes):.1f}", held.row.headroom_bytes),
            number("?" if held.row.rate is None else rate_of(held.row.rate), held.row.rate),
        )
        for held in answer.found
    ]
    buttons = [el("button", words(f"plan.{name}"), type="button", class_="sort") for name in heads]
    return table(buttons, rows, words("plan.table"), class_="sortable")
