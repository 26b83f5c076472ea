"""The most likely efficiencies, given measured rows and what was published of each before.

Each constant is positive, so its logarithm is what is fitted: the sum of ((log predicted - log measured) /
scatter of its kind)^2 over rows, of large errors less, plus ((log value - log prior) / spread of the prior)^2
over constants. Rows of one kind, engine and card count as the root of their number: ten rows of a page are
not ten measurements.
"""

from collections import Counter
from math import exp, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oomless import facts
from oomless.errors import OomlessError
from oomless.facts import ConditionalRow, conditional_row
from oomless.speed.efficiency import Efficiencies
from oomless.truth.speed_harness import predict_speed
from oomless.truth.speed_rows import question
from oomless.truth.tables import Incomplete, MeasuredRow

SCATTER = {"decode": 0.08, "prefill": 0.2, "throughput": 0.2}
"""Expected error of a row of each kind, and the kinds that are fitted: the others wait on schedulers, not on
constants."""
HEARSAY = 3.0
"""How much wider the scatter of a row of confidence B is."""
ROUNDS = 10
SLOPES_AT = (0, 2, 4)
"""Rounds that work the slopes out anew; between them they change little."""
STEP = 0.05
FAR = 2.385
"""An error of so many times the scatter weighs half and a larger one less (Cauchy's weights, as good as least
squares within 5 % where errors are normal): a fault of a row or of a rule is not to move constants."""
LONGEST_STEP = 0.7

Matrix = NDArray[np.float64]


class Parameter(NamedTuple):
    """A row of efficiencies.csv that is fitted."""

    row: ConditionalRow
    prior: float
    """What is published elsewhere, or assumed: the value before any measured row was seen."""
    spread: float
    """Standard deviation of the prior's logarithm."""

    def at(self, value: float) -> ConditionalRow:
        """Return the row with another value, to be laid over the table."""
        return self.row._replace(constant=self.row.constant._replace(value=value), from_overlay=True)


class Fit(NamedTuple):
    """Fitted constants by name, with the standard deviation of each logarithm and the rows that speak for
    it."""

    values: dict[str, float]
    deviations: dict[str, float]
    support: dict[str, tuple[str, ...]]

    @property
    def efficiencies(self) -> Efficiencies:
        """Return the fitted values laid over the table."""
        return laid_over(parameters(), self.values)


class Case(NamedTuple):
    """A measured row, and the constants that its prediction looks up."""

    row: MeasuredRow
    kind: str
    scatter: float
    uses: tuple[str, ...]


def parameters(only: str = "") -> dict[str, Parameter]:
    """Return the rows of efficiencies.csv that have a prior with a spread, by name; `only`: those of one
    class of engines, and of cards on which no other was measured."""
    found = {}
    measured = facts.table("measured")
    others = {cells["device"] for cells in measured if cells["engine"] != only}
    alone = {cells["device"] for cells in measured} - others
    for cells in facts.table("efficiencies"):
        row = conditional_row("efficiencies", cells)
        own = only in ("", cells["engine"]) or cells["device"] in alone
        if float(cells["spread"]) > 0 and own:
            found[row.name] = Parameter(row, float(cells["prior"]), float(cells["spread"]))
    return found


def laid_over(constants: dict[str, Parameter], values: dict[str, float]) -> Efficiencies:
    """Return the table with these values."""
    return Efficiencies(tuple(constants[name].at(value) for name, value in values.items()))


def fit(table: list[MeasuredRow], only: str = "") -> Fit:
    """Return the most likely constants, given rows. Constants that no row depends on stay at their priors;
    `only`: those of one class of engines, others as the table has them."""
    constants = parameters(only)
    values = {name: each.prior for name, each in constants.items()}
    cases = [case for row in table if (case := case_of(row, constants)) is not None]
    names = sorted({name for case in cases for name in case.uses})
    slopes = np.zeros((len(cases), len(names)))
    hessian = np.eye(len(names))
    for turn in range(ROUNDS):
        errors = np.array([error(case, constants, values) for case in cases])
        if turn in SLOPES_AT:
            slopes = slopes_of(cases, names, constants, values, errors)
        hessian, gradient = normal_equations(cases, names, constants, values, errors, slopes)
        steps = np.clip(np.linalg.solve(hessian, gradient), -LONGEST_STEP, LONGEST_STEP)
        values |= {name: values[name] * exp(step) for name, step in zip(names, steps, strict=True)}
    spreads = {name: each.spread for name, each in constants.items()}
    fitted = dict(zip(names, np.sqrt(np.diag(np.linalg.inv(hessian))).tolist(), strict=True))
    place = {name: index for index, name in enumerate(names)}
    support = {
        name: tuple(
            case.row.id for case, slope in zip(cases, slopes, strict=True) if abs(slope[place[name]]) > 0.1
        )
        if name in place
        else ()
        for name in constants
    }
    return Fit(values, spreads | fitted, support)


def case_of(row: MeasuredRow, constants: dict[str, Parameter]) -> Case | None:
    """Return a row as a case of the fit; None where it is not fitted or not answered."""
    kind = kind_of(row)
    scatter = SCATTER.get(kind)
    if scatter is None or row.confidence not in ("A", "B"):
        return None
    looked_up = laid_over(constants, {name: each.prior for name, each in constants.items()})
    try:
        if is_unmodelled(row):
            return None
        predict_speed(row.configuration, row.quantity, row.unit, looked_up)
    except (Incomplete, OomlessError):
        return None
    uses = {found.name for found in looked_up.used.values()} & constants.keys()
    return Case(row, kind, scatter * (1 if row.confidence == "A" else HEARSAY), tuple(sorted(uses)))


def kind_of(row: MeasuredRow) -> str:
    """Return the kind of a row: the time between tokens under a load that stays the same is the other side of
    its throughput; under a burst it waits on schedulers."""
    cells = row.configuration
    steady = cells["metric"].startswith("TPOT") and cells["concurrency_or_batch"].isdecimal()
    return "throughput" if row.quantity == "serving" and steady else row.quantity


def is_unmodelled(row: MeasuredRow) -> bool:
    """Return whether a row is of prompts of linear attention under llama.cpp: chains of small operators a
    chunk, of which nothing here knows the number."""
    setup = question(row.configuration).setup
    return (
        row.quantity == "prefill"
        and setup.run.engine == "llamacpp"
        and any(kind == "linear" for kind, _ in setup.net.kinds)
    )


def error(case: Case, constants: dict[str, Parameter], values: dict[str, float]) -> float:
    """Return log(predicted / measured)."""
    row, used = case.row, {name: values[name] for name in case.uses}
    predicted, _, _ = predict_speed(row.configuration, row.quantity, row.unit, laid_over(constants, used))
    return log(predicted / row.value)


def slopes_of(
    cases: list[Case],
    names: list[str],
    constants: dict[str, Parameter],
    values: dict[str, float],
    errors: Matrix,
) -> Matrix:
    """Return how much each case's error grows with the logarithm of each constant."""
    place = {name: index for index, name in enumerate(names)}
    slopes = np.zeros((len(cases), len(names)))
    for index, case in enumerate(cases):
        for name in case.uses:
            moved = {**values, name: values[name] * exp(STEP)}
            slopes[index, place[name]] = (error(case, constants, moved) - errors[index]) / STEP
    return slopes


def normal_equations(
    cases: list[Case],
    names: list[str],
    constants: dict[str, Parameter],
    values: dict[str, float],
    errors: Matrix,
    slopes: Matrix,
) -> tuple[Matrix, Matrix]:
    """Return the matrix and the right side of one Gauss-Newton step."""
    crowds = [(case.kind, case.row.configuration["engine"], case.row.configuration["gpu"]) for case in cases]
    crowd = Counter(crowds)
    scatters = np.array([case.scatter for case in cases])
    weights = 1 / (1 + (errors / (FAR * scatters)) ** 2) / scatters**2
    weights /= np.sqrt([crowd[each] for each in crowds])
    spreads = np.array([constants[name].spread for name in names])
    away = np.array([log(values[name] / constants[name].prior) for name in names])
    matrix = slopes.T @ (weights[:, None] * slopes) + np.diag(1 / spreads**2)
    return matrix, -slopes.T @ (weights * errors) - away / spreads**2
