"""The fit of the efficiencies: the shipped values are what it gives within its doubt, and what can be
expected of other pages' measurements."""

from math import log

import numpy as np
import pytest
from bench.fit import Case, Fit, fit, kind_of, laid_over, normal_equations, parameters
from bench.refit import NINETY

from oomless import facts
from oomless.truth.tables import read_table
from oomless.truth.validate import score
from tables.score import Budget, records
from truth.test_speed_rows import FRESH, MORE, TABLE, check_kinds

ONE_SOURCE_OUT = {
    "decode, batch 1, one device": Budget(0.08, 0.25, scored=0.8, inside=0.9),
    "decode, batch 1, several": Budget(0.08, 0.15, scored=0.8, inside=0.9),
    "first token": Budget(0.16, 0.60, scored=0.8, inside=0.9),
    "throughput at load": Budget(0.17, 0.34, scored=0.8, inside=0.9),
}
"""Constants fitted anew without any row of a row's source: what can be expected of another page's
measurements."""


@pytest.mark.slow
def test_errors_without_a_rows_own_source_stay_within_their_budgets() -> None:
    sources = {row["id"]: row["source"] for row in records(TABLE)}
    table, more = read_table(TABLE), read_table(MORE) + read_table(FRESH)
    scored = []
    for source in sorted(set(sources.values())):
        # no row of perf_fresh.csv is of such a source
        found = fit([row for row in table if sources[row.id] != source] + more)
        scored += [(row, score(row, found.efficiencies)) for row in table if sources[row.id] == source]
    check_kinds(scored, ONE_SOURCE_OUT)


@pytest.mark.slow
def test_shipped_constants_lie_within_the_doubt_of_todays_fit() -> None:
    """Its values differ from those shipped by at most 1.2 of their deviations: a difference that rows cannot
    tell, while budgets of rows kept aside (test_speed_rows.py) hold the shipped ones. Rows on the edge of
    speaking for a constant come and go with any change of the model."""
    found = fit(read_table(TABLE) + read_table(MORE) + read_table(FRESH))
    shipped = {row.name: row.constant for row in facts.conditional_rows("efficiencies")}
    assert set(found.values) <= set(shipped)
    for name, value in found.values.items():
        constant = shipped[name]
        assert abs(log(value / constant.value)) < NINETY * found.deviations[name], name
        assert constant.low < value < constant.high, name
        assert constant.num_runs == pytest.approx(len(found.support[name]), rel=0.1, abs=3), name


def test_a_row_far_off_moves_a_constant_less_than_one_within_its_scatter() -> None:
    """Counted linearly, engines with faults of their own made kernels a fifth longer."""
    constants = parameters()
    name = "weights/llamacpp/unified/"
    values = {name: constants[name].prior}
    row = next(row for row in read_table(TABLE) if row.quantity == "decode")

    def pull(error: float) -> float:
        case = Case(row, "decode", 0.08, (name,))
        _, gradient = normal_equations(
            [case], [name], constants, values, np.array([error]), np.array([[1.0]])
        )
        return -float(gradient[0])

    assert 0 < pull(0.8) < pull(0.1) < pull(0.15)


def test_time_between_tokens_of_a_steady_load_is_fitted_and_that_of_a_burst_is_not() -> None:
    rows = [row for row in (*read_table(TABLE), *read_table(FRESH)) if row.quantity == "serving"]
    kinds = {row.configuration["concurrency_or_batch"]: kind_of(row) for row in rows}
    assert {kind for load, kind in kinds.items() if load.isdecimal()} == {"throughput"}
    assert {kind for load, kind in kinds.items() if not load.isdecimal()} == {"serving"}


def test_a_refit_answers_with_its_own_values_and_names_them() -> None:
    constants = parameters()
    name = "weights/llamacpp/unified/"
    assert 0 < constants[name].row.constant.value < 1
    refit = Fit({name: 0.5}, {}, {}).efficiencies
    assert refit.value("weights", "unified", "llamacpp") == 0.5
    assert refit.value("weights", "hbm") == laid_over(constants, {}).value("weights", "hbm")
    assert refit.cite("weights").endswith(f"weights; {constants[name].row.constant.source}")
