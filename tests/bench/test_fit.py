"""The fit of the efficiencies: the shipped values are what it gives, and what can be expected of other pages'
measurements."""

from math import log

import pytest
from bench.fit import Fit, fit, laid_over, parameters

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
def test_shipped_constants_are_what_the_fit_gives() -> None:
    found = fit(read_table(TABLE) + read_table(MORE) + read_table(FRESH))
    shipped = {row.name: row.constant for row in facts.conditional_rows("efficiencies")}
    assert set(found.values) <= set(shipped)
    for name, value in found.values.items():
        assert abs(log(value / shipped[name].value)) < 0.02, name
        assert shipped[name].num_runs == len(found.support[name]), name


def test_a_refit_answers_with_its_own_values_and_names_them() -> None:
    constants = parameters()
    name = "weights/llamacpp/unified/"
    assert 0 < constants[name].row.constant.value < 1
    refit = Fit({name: 0.5}, {}, {}).efficiencies
    assert refit.value("weights", "unified", "llamacpp") == 0.5
    assert refit.value("weights", "hbm") == laid_over(constants, {}).value("weights", "hbm")
    assert refit.cite("weights").endswith(f"weights; {constants[name].row.constant.source}")
