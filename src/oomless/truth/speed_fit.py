"""Fit the constants of speed.csv to measured rows: the most likely values, given what was published of each
before.

Each constant is positive, so its logarithm is what is fitted: the sum of ((log predicted - log measured) /
scatter of its kind)^2 over rows, large errors counted linearly, plus ((log value - log prior) / spread of the
prior)^2 over constants. A row counts as its source's share: ten rows of one page are not ten measurements.
"""

from collections import Counter
from collections.abc import Callable
from math import exp, log
from typing import NamedTuple

from ..errors import OomlessError
from ..speed.efficiency import Efficiency, recorded, replaced, rows
from .serving_rows import Incomplete
from .speed_harness import predict_speed
from .speed_rows import question
from .tables import Row

SCATTER = {"decode": 0.08, "prefill": 0.2, "throughput": 0.2}
"""Expected error of a row of each kind, and the kinds that are fitted: the others wait on schedulers, not on
constants."""
HEARSAY = 3.0
"""How much wider the scatter of a row of confidence B is."""
ROUNDS = 6
SLOPES_AT = (0, 2, 4)
"""Rounds that work the slopes out anew; between them they change little."""
STEP = 0.05
HUBER = 1.5
"""Errors beyond so many times the scatter count linearly."""


class Fit(NamedTuple):
    """Fitted constants by id, with the standard deviation of each logarithm and the rows that speak for
    it."""

    values: dict[str, float]
    deviations: dict[str, float]
    support: dict[str, tuple[str, ...]]


class _Case(NamedTuple):
    row: Row
    measured: float
    scatter: float
    uses: tuple[str, ...]


def fit(table: list[Row], free: Callable[[Efficiency], bool] = lambda row: row.spread > 0) -> Fit:
    """The most likely constants, given rows. Constants that no row depends on stay at their priors."""
    constants = {row.id: row for row in rows() if free(row)}
    values = {name: row.prior for name, row in constants.items()}
    with replaced(values):
        cases = [case for row in table if (case := _case(row, constants)) is not None]
    names = sorted({name for case in cases for name in case.uses})
    slopes: dict[tuple[int, str], float] = {}
    hessian: list[list[float]] = []
    for turn in range(ROUNDS):
        errors = [_error(case, values) for case in cases]
        for index, case in enumerate(cases):
            for name in case.uses if turn in SLOPES_AT else ():
                moved = {**values, name: values[name] * exp(STEP)}
                slopes[index, name] = (_error(case, moved) - errors[index]) / STEP
        hessian, gradient = _normal(cases, names, constants, values, errors, slopes)
        steps = _solve(hessian, gradient)
        values = {
            **values,
            **{
                name: values[name] * exp(max(min(step, 0.7), -0.7))
                for name, step in zip(names, steps, strict=True)
            },
        }
    deviations = {name: row.spread for name, row in constants.items()}
    for position, name in enumerate(names):
        unit = [0.0] * len(names)
        unit[position] = 1.0
        deviations[name] = _solve(hessian, unit)[position] ** 0.5
    support = {
        name: tuple(case.row.id for i, case in enumerate(cases) if abs(slopes.get((i, name), 0)) > 0.1)
        for name in constants
    }
    return Fit(values, deviations, support)


def _case(row: Row, constants: dict[str, Efficiency]) -> _Case | None:
    scatter = SCATTER.get(row.quantity)
    if scatter is None or row.confidence not in ("A", "B"):
        return None
    try:
        if _unmodelled(row):
            return None
        with recorded() as used:
            predict_speed(row.configuration, row.quantity, row.unit)
    except (Incomplete, OomlessError):
        return None
    return _Case(
        row,
        row.value,
        scatter * (1 if row.confidence == "A" else HEARSAY),
        tuple(sorted(used & constants.keys())),
    )


def _unmodelled(row: Row) -> bool:
    """Prompts of linear attention under llama.cpp: chains of small operators a chunk, of which nothing here
    knows the number."""
    setup = question(row.configuration).setup
    return (
        row.quantity == "prefill"
        and setup.run.engine == "llamacpp"
        and any(kind == "linear" for kind, _ in setup.net.kinds)
    )


def _error(case: _Case, values: dict[str, float]) -> float:
    """log(predicted / measured)."""
    with replaced(values):
        predicted, _, _ = predict_speed(case.row.configuration, case.row.quantity, case.row.unit)
    return log(predicted / case.measured)


def _normal(
    cases: list[_Case],
    names: list[str],
    constants: dict[str, Efficiency],
    values: dict[str, float],
    errors: list[float],
    slopes: dict[tuple[int, str], float],
) -> tuple[list[list[float]], list[float]]:
    """The normal equations of one Gauss-Newton step."""
    place = {name: index for index, name in enumerate(names)}
    crowd = Counter(
        (case.row.quantity, case.row.configuration["engine"], case.row.configuration["gpu"]) for case in cases
    )
    matrix = [[0.0] * len(names) for _ in names]
    right = [0.0] * len(names)
    for index, case in enumerate(cases):
        size = abs(errors[index]) / case.scatter
        among = crowd[case.row.quantity, case.row.configuration["engine"], case.row.configuration["gpu"]]
        weight = min(1.0, HUBER / size if size else 1.0) / case.scatter**2 / among**0.5
        for name in case.uses:
            slope = slopes[index, name]
            right[place[name]] -= weight * slope * errors[index]
            for other in case.uses:
                matrix[place[name]][place[other]] += weight * slope * slopes[index, other]
    for name in names:
        row = constants[name]
        matrix[place[name]][place[name]] += 1 / row.spread**2
        right[place[name]] -= log(values[name] / row.prior) / row.spread**2
    return matrix, right


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a symmetric, positive definite system, by elimination."""
    size = len(right)
    work = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda index: abs(work[index][column]))
        work[column], work[pivot] = work[pivot], work[column]
        for index in range(column + 1, size):
            factor = work[index][column] / work[column][column]
            if factor:
                work[index] = [a - factor * b for a, b in zip(work[index], work[column], strict=True)]
    solution = [0.0] * size
    for index in reversed(range(size)):
        rest = sum(work[index][other] * solution[other] for other in range(index + 1, size))
        solution[index] = (work[index][size] - rest) / work[index][index]
    return solution
