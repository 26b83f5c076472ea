"""`oomless plan --for infer`: from a question to ranked rows, each with the question that re-estimates it and
what starts it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..engines import engine
from ..errors import OomlessError
from ..estimate.serving.drafting import beside_draft
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..model.load import load
from ..model.model import Model
from ..run.options import arguments
from ..run.serving import Asked, Layout
from ..speed.network import need_decoder
from ..units import format_bytes
from .candidates import Miss, PlannedRow, plan_screen
from .goals import Wanted
from .launch import Launch
from .launch.serving import ServedWeights, one_of_several, serving_launch
from .prices import Price
from .ranking import rank, why_not
from .search import PlanRow, Search


class Plan(NamedTuple):
    """Hardware and settings that serve a load, ranked, with what was left out and why."""

    model: Model
    model_word: str
    wanted: Wanted
    input_len: int
    output_len: int
    rows: tuple[PlannedRow[PlanRow], ...]
    front: tuple[PlanRow, ...]
    num_more: int
    """Rows that are not shown."""
    excluded: dict[str, int]
    misses: tuple[Miss, ...]
    num_candidates: int
    num_estimates: int
    warnings: tuple[str, ...]
    search: Search | None = None
    """What was searched, for questions that go on from here."""
    all_rows: tuple[PlanRow, ...] = ()
    """Every row, shown or not."""

    def to_json(self) -> dict[str, Any]:
        """The object that `plan --json` prints."""
        from .plan_json import plan_json  # most ask for the rows alone

        return plan_json(self)

    def __repr__(self) -> str:
        load = f"{self.wanted.concurrency:,} x {self.input_len + self.output_len:,} tokens"
        question = f"{self.model.name}: {load}, the {self.wanted.goal}"
        return plan_screen(question, self.rows, self.num_more, self.excluded)


def plan_serving(
    model: str | Model,
    wanted: Wanted,
    table: tuple[Price, ...] | None = None,
    *,
    offline: bool = False,
    revision: str | None = None,
) -> Plan:
    """Which cards and settings serve the load.

    >>> found = plan_serving("deepseek-r1", Wanted(gpus=("h200",), context=32768, concurrency=64))
    >>> found.rows[0].row.gpu, found.rows[0].row.estimate.verdict
    ('h200-141gb-sxm:8', 'fits')
    """
    wanted.check(table)
    found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    need_decoder(found)
    if wanted.speculation is not None:
        found = beside_draft(found, Asked(speculation=wanted.speculation), offline)
    word = model if isinstance(model, str) else model.name
    search = Search(found, word, wanted, table)
    result = search.run()
    ranked = rank(
        result.rows,
        wanted.goal,
        wanted.limits,
        not any(":" in word for word in wanted.gpus),
        bool(wanted.gpus),
    )
    shown = ranked.rows[: wanted.rows]
    on_front = {id(row) for row in ranked.front}
    rows = tuple(
        PlannedRow(
            row,
            arguments_of(row.estimate, row.asked, word, row.gpu),
            launch_of(found, word, row),
            why_not(row, shown[0], wanted.goal) if row is not shown[0] else "",
            id(row) in on_front,
            copies_of(row),
        )
        for row in shown
    )
    return Plan(
        model=found,
        model_word=word,
        wanted=wanted,
        input_len=search.input_len,
        output_len=search.output_len,
        rows=rows,
        front=ranked.front,
        num_more=len(ranked.rows) - len(shown),
        excluded=dict(sorted({**result.excluded, **ranked.excluded}.items())),
        misses=result.misses,
        num_candidates=result.num_candidates,
        num_estimates=result.num_estimates,
        warnings=(*cheaper_unmeasured(ranked.rows, wanted.goal), *warnings_of(rows)),
        search=search,
        all_rows=result.rows,
    )


def launch_of(model: Model, word: str, row: PlanRow, pasted: ServedWeights | None = None) -> Launch:
    """What starts a row; the same once more for each replica. A file is named by the type counted."""
    used = row.estimate.request
    asked = row.asked._replace(concurrency=used.concurrency)
    if asked.quantization is None and engine(used.engine).file_types:
        asked = asked._replace(quantization=used.quantization)
    launch = serving_launch(model, word, one_of_several(asked, used), row.hardware, pasted)
    return launch._replace(note="; ".join(filter(None, (launch.note, again_for_each(row)))))


def again_for_each(row: PlanRow) -> str:
    """Return what is to do for each replica; nothing where there is one."""
    if row.replicas == 1:
        return ""
    return (
        f"{row.gpu}: {row.replicas} replicas: start the command once for each, with "
        "cards and a port of its own"
    )


def copies_of(row: PlanRow) -> int:
    """How many engines one card holds, each with the same load: they divide its memory, and share its speed.

    >>> found = plan_serving(
    ...     "profile-deepseek-lite-0.7b",
    ...     Wanted(gpus=("rtx-4090:1",), context=2048, concurrency=16, engines=("vllm",)),
    ... )
    >>> [planned.copies for planned in found.rows][:1]
    [3]
    """
    if row.hardware.num_gpus > 1 or not row.fits or row.asked.instances > 1 or row.hardware.card.alone:
        return 1
    low, high = 1, MOST_COPIES + 1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            fits = (
                estimate_serving(
                    row.estimate.model, row.asked._replace(instances=middle), row.hardware
                ).verdict
                == "fits"
            )
        except OomlessError:
            fits = False
        low, high = (middle, high) if fits else (low, middle)
    return low


MOST_COPIES = 16


def arguments_of(estimate: Estimate, asked: Asked, word: str, gpu: str) -> tuple[str, ...]:
    """Return the `infer` command that asks the same question again.

    >>> from ..estimate.serving.estimate import estimate_serving
    >>> from ..run.hardware import parse_gpu
    >>> question = Asked(layout=Layout(tp=8), context=4096, concurrency=2)
    >>> answer = estimate_serving(load("deepseek-r1"), question, parse_gpu("h200:8"))
    >>> " ".join(arguments_of(answer, question, "deepseek-r1", "h200:8"))
    'infer deepseek-r1 --gpu h200:8 --engine vllm --engine-version 0.33.0 --tp 8 --context 4096
     --concurrency 2'
    """
    changed, first = asked.changed(), engine(asked.engine).axis
    fields = dict.fromkeys((first, *(name for name in changed if name in Layout._fields), *changed))
    values = [("gpu", gpu), ("engine", asked.engine), ("engine_version", estimate.request.engine_version)]
    return (
        "infer",
        word,
        *arguments("infer", (*values, *((name, asked.value(name)) for name in fields))),
    )


MOST_CHEAPER = 3


def cheaper_unmeasured(rows: Sequence[PlanRow], goal: str) -> tuple[str, ...]:
    """Name the cheapest cards that hold the load for less than the first row and stand behind it because
    nobody measured their speed."""
    if goal != "cheapest" or not rows or not rows[0].is_measured or rows[0].usd_per_hour is None:
        return ()
    least, behind = rows[0].usd_per_hour, dict[str, tuple[float, str]]()
    for row in rows:
        cost = row.usd_per_hour
        if cost is not None and cost < least and row.fits and row.is_known and not row.is_measured:
            name = row.hardware.card.name
            behind[name] = min(behind.get(name, (cost, row.gpu)), (cost, row.gpu))
    if not behind:
        return ()
    named = ", ".join(f"{gpu} {cost:.2f} USD" for cost, gpu in sorted(behind.values())[:MOST_CHEAPER])
    return (f"cheaper an hour, and behind since no speed of theirs was measured: {named}",)


def warnings_of(rows: tuple[PlannedRow[PlanRow], ...]) -> tuple[str, ...]:
    """What a reader must know of the rows that are shown; each note once."""
    notes: dict[str, None] = {}
    for planned in rows:
        row = planned.row
        if row.price is None:
            notes[f"nobody known rents out {row.hardware.kinds}: it has no price"] = None
        again = again_for_each(row)
        own = planned.launch.note.removesuffix(again).removesuffix("; ")
        notes |= dict.fromkeys(filter(None, (own, again)))
        card = row.hardware.card
        if card.confidence in ("C", "D"):
            notes[f"the figures of {card.name} are of low confidence ({card.confidence})"] = None
        if row.estimate.ram_bytes and (row.asked.n_cpu_moe or row.asked.n_gpu_layers is not None):
            notes[
                f"{row.gpu}: {format_bytes(row.estimate.ram_bytes)} of the host hold what the cards do "
                "not; a rent may not include so much"
            ] = None
            notes |= dict.fromkeys(() if row.speed is None else row.speed.warnings[:1])
    return tuple(notes)
