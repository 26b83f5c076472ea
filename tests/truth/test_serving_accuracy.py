"""The estimator against measured rows (tests/tables/inference.csv): the error table, and budgets that only
shrink."""

import json
import random
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from command import call
from oomless.engines import engine
from oomless.facts.options import LLAMA
from oomless.model.catalogue_names import catalogue_name
from oomless.model.load import load
from oomless.report.validate_text import validate_table_text
from oomless.truth.tables import MeasuredRow, read_table
from oomless.truth.validate import Scored, score, summarize, validate_table
from tables.score import TABLES, Budget, check_errors, errors, records, write_records

LLAMA_WORDS = [word for name in LLAMA.split() for word in engine(name).rows.words]
TABLE = TABLES / "inference.csv"

ERRORS = {
    "weights_per_gpu": Budget(median=0.0002, p90=0.005, scored=1.0),
    "kv_bytes_per_gpu": Budget(median=0.003, p90=0.03, scored=0.9),
    "kv_tokens": Budget(median=0.003, p90=0.02, scored=0.9),
}
"""Errors over all engines, and the least share of vLLM's rows that must be scored."""
FOUNDING = (
    "llama deepseek deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_v41 "
    "qwen2 qwen3 qwen3_moe mistral mixtral"
).split()
"""Families that the project began with: the budget of each quantity of their cache, alone and together."""
FOUNDING_CACHE = Budget(median=0.003, p90=0.02)
OF_ITS_OWN = {"782": 0.036}
"""A row whose model was catalogued later, and its bound: FP8 by Marlin on an RTX 3090."""


class Interval(NamedTuple):
    """The least share of measured values inside the stated interval, and the most that its median width may
    be."""

    inside: float
    width: float


INTERVALS = {
    "activation_peak": Interval(0.9, 0.25),
    "non_torch": Interval(0.9, 0.25),
    "cuda_graph": Interval(0.9, 0.5),
}


def known(row: MeasuredRow) -> bool:
    """A row of the best confidence about vLLM and a model of the catalogue: what this project answers for."""
    configuration = row.configuration
    return (
        row.confidence == "A"
        and configuration["engine"] == "vLLM"
        and catalogue_name(configuration["model"]) is not None
    )


@pytest.fixture(scope="module")
def scored() -> tuple[Scored, ...]:
    return tuple(score(row) for row in read_table(TABLE) if known(row))


def test_the_table_of_errors_is_printed(
    scored: tuple[Scored, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    table = validate_table_text(summarize(scored))
    with capsys.disabled():
        print(f"\n\nvLLM, confidence A, models of the catalogue\n{table}")
    assert "weights_per_gpu" in table


def test_buffers_and_caches_of_llama_cpp() -> None:
    """Rows of llama.cpp, ik_llama.cpp and Ollama: the graph is replayed, so most buffers are exact."""
    rows = [
        score(row)
        for row in read_table(TABLE)
        if row.confidence == "A" and row.configuration["engine"] in LLAMA_WORDS
    ]
    buffers = errors(rows, "compute_buffer")
    assert len(buffers) >= 35
    check_errors(buffers, Budget(median=0.001, p90=0.03))
    caches = errors([row for row in rows if row.unit == "MiB"], "kv_bytes_per_gpu")
    assert len(caches) >= 38
    assert caches[-1] <= 0.002


def test_rows_of_llama_cpp_that_were_found_afterwards() -> None:
    """Logs found in public in three rounds, each scored before any rule was changed for it; then causes were
    mended."""
    table = [
        row for row in read_table(TABLE.parent / "inference_fresh_llamacpp.csv") if row.confidence == "A"
    ]
    rows = [score(row) for row in table]
    caches = {row.id: abs(row.rel_error or 0) for row in rows if row.quantity == "kv_bytes_per_gpu"}
    assert len(caches) >= 80
    assert {name for name, error in caches.items() if error > 0.00001} == {
        "r2-gptoss20b-htp-kv"
    }  # 105.19 MiB, of two logged sums
    assert max(caches.values()) <= 0.00003
    files = {row.id: abs(row.rel_error or 0) for row in rows if row.quantity == "weights_per_gpu"}
    assert len(files) >= 28
    assert {name for name, error in files.items() if error > 0.0005} == FILES_NOT_YET
    buffers = {row.id: abs(row.rel_error or 0) for row in rows if row.quantity == "compute_buffer"}
    assert len(buffers) >= 50
    assert {name for name, error in buffers.items() if error > 0.01} == set(BUFFERS_NOT_YET)
    assert all(buffers[name] <= most for name, most in BUFFERS_NOT_YET.items())
    assert median(buffers.values()) <= 0.002
    within = [
        row.id
        for row in rows
        if row.id in buffers and (row.low or 0) <= row.measured <= (row.high or 0) + 0.005
    ]
    assert set(buffers) - set(within) == {"llama-70b-rpc-compute"}


FILES_NOT_YET = {
    "r2-qwen35-9b-262k-weights",  # bartowski's files of hybrids keep more than llama-quantize would
    "r3-qwen35-9b-m4pro-weights",
    "r3-gemma4-e4b-4050-weights",  # whose file it is, is not said
    "r3-codegeex4-m4-weights",  # Metal maps a file without its embedding
}
BUFFERS_NOT_YET = {
    "hermes3-compute": 0.26,  # 18 of 33 layers left to the host by Ollama
    "r2-qwen35-9b-262k-compute": 0.011,  # its build is not said: before #21038 of April 2026 it is exact
    "phi3-mini-compute": 0.041,  # its build is not said: with the rows of #14959 it is exact
    "llama-70b-rpc-compute": 0.15,  # cards over RPC
    "pythia-2.8b-compute": 0.062,  # fused heads of GPT-NeoX
    "gptoss-512-compute": 0.016,
    "llama3-70b-2cards-compute": 0.011,  # the output is on the host, and its type not said
    "r2-gemma4-e4b-full-compute": 0.018,  # embeddings of each layer
    "r2-gptoss120b-lms-compute": 0.32,  # sinks without flash attention
    "r2-qwen38-27b-mtp-compute": 0.086,  # Vulkan reorders the graph, and so does Metal
    "r2-qwen35-9b-slots-compute": 0.083,
    "r2-trinity-q8-compute": 0.041,
    "r2-coder-next-compute": 0.039,
    "r2-qwq-ollama-compute": 0.044,  # 36 of 65 layers left to the host
    "r3-qwen38-27b-ub512-compute": 0.014,  # Vulkan
    "r3-qwen38-27b-fit512-compute": 0.028,
    "r3-qwen38-27b-32k-compute": 0.073,
    "r3-qwen35-9b-18of33-compute": 0.139,
    "r3-qwen35-9b-31of33-compute": 0.041,
    "r3-gemma4-e4b-m4-compute": 0.09,  # embeddings of each layer
    "r3-qwen35-9b-m4pro-compute": 0.02,
    "r3-gptoss20b-m5-server-compute": 0.016,
}


@pytest.mark.parametrize("quantity", ERRORS)
def test_errors_of_all_engines_stay_within_their_budget(quantity: str) -> None:
    rows = [score(row) for row in read_table(TABLE) if row.confidence == "A" and row.quantity == quantity]
    found = errors(rows, quantity)
    assert len(found) >= (0.85 if quantity.startswith("kv") else 0.9) * len(rows)
    check_errors(found, ERRORS[quantity])


@pytest.mark.parametrize(
    "quantities", [("kv_bytes_per_gpu",), ("kv_tokens",), ("kv_bytes_per_gpu", "kv_tokens")]
)
def test_cache_errors_of_the_founding_families(quantities: tuple[str, ...]) -> None:
    rows = [
        row
        for row in read_table(TABLE)
        if known(row) and family(row) in FOUNDING and row.quantity in quantities
    ]
    scored = [score(row) for row in rows]
    assert all(abs(row.rel_error or 0) <= OF_ITS_OWN.get(row.id, 1) for row in scored)
    found = errors([row for row in scored if row.id not in OF_ITS_OWN], *quantities)
    assert len(found) >= 0.9 * len(rows)
    check_errors(found, FOUNDING_CACHE)


def family(row: MeasuredRow) -> str:
    name = catalogue_name(row.configuration["model"])
    assert name
    return load(name).family


@pytest.mark.parametrize("quantity", ["kv_bytes_per_gpu", "kv_tokens"])
def test_no_row_of_any_engine_and_confidence_has_less_room_than_was_promised(quantity: str) -> None:
    """A wrong "fits", looked for in every row that is scored."""
    scored = [score(row) for row in read_table(TABLE) if row.quantity == quantity]
    assert not [row for row in scored if row.low is not None and row.measured < row.low - digit(row)]


@pytest.mark.parametrize("quantity", ERRORS)
def test_rows_about_known_models_are_scored(quantity: str, scored: tuple[Scored, ...]) -> None:
    mine = [row for row in scored if row.quantity == quantity]
    left_out = [f"{row.id}: {row.status}, {row.reason}" for row in mine if row.status != "scored"]
    assert len(left_out) <= (1 - ERRORS[quantity].scored) * len(mine), left_out


@pytest.mark.parametrize("quantity", INTERVALS)
def test_stated_intervals_hold_and_are_narrow(quantity: str, scored: tuple[Scored, ...]) -> None:
    numbers = summarize(scored)[quantity]
    assert numbers.num_scored >= 20
    assert (numbers.share_inside or 0) >= INTERVALS[quantity].inside
    assert (numbers.median_width or 9) <= INTERVALS[quantity].width


@pytest.mark.parametrize("quantity", ["kv_bytes_per_gpu", "kv_tokens"])
def test_no_row_has_less_room_than_was_promised(quantity: str, scored: tuple[Scored, ...]) -> None:
    """A measured capacity below the interval would have been a wrong "fits", the worst error there is."""
    wrong = [
        row
        for row in scored
        if row.quantity == quantity and row.low is not None and row.measured < row.low - digit(row)
    ]
    assert not wrong


def digit(row: Scored) -> float:
    """Half of the last digit that was printed."""
    return 0.005 if row.unit.startswith("GiB") else 0.5


def test_every_interval_holds_its_prediction(scored: tuple[Scored, ...]) -> None:
    for row in scored:
        if row.predicted is not None and row.low is not None and row.high is not None:
            assert row.low <= row.predicted <= row.high, row


# what a prediction may see

MEASURED = {
    "value": "1",
    "exact_formula_value": "2",
    "naive_formula_value": "3",
    "rel_diff_pct": "4",
    "notes": "the cache takes 17 GiB",
    "verbatim_log_line": "Available KV cache memory: 17.00 GiB",
}
"""Columns that no prediction may read. Source and date are not among them: builds of llama.cpp are known by
their date alone."""


def test_predictions_see_the_configuration_alone(tmp_path: Path) -> None:
    rows = records(TABLE)
    assert MEASURED.keys() <= rows[0].keys()
    names = [row["id"] for row in rows]
    random.Random(0).shuffle(names)
    changed = [{**row, **MEASURED, "id": name} for row, name in zip(rows, names, strict=True)]
    blind = write_records(tmp_path / "blind.csv", changed)
    before, after = validate_table(TABLE), validate_table(blind)
    seen = [
        (row.quantity, row.predicted, row.low, row.high, row.unit, row.status, row.reason) for row in before
    ]
    assert [
        (row.quantity, row.predicted, row.low, row.high, row.unit, row.status, row.reason) for row in after
    ] == seen


# the JSON of the contract

ROW = "id quantity measured predicted low high unit rel_error status reason".split()
SUMMARY = (
    "num_rows num_scored num_unsupported num_incomplete num_unreadable median_abs_rel_error "
    "p90_abs_rel_error max_abs_rel_error "
    "share_inside median_width"
).split()


def test_validate_json_is_that_of_the_contract() -> None:
    answer = call("validate", str(TABLE), "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    assert document["schema"] == "oomless/validate/1"
    assert [row["id"] for row in document["rows"]] == [row.id for row in read_table(TABLE)]
    for row in document["rows"]:
        assert list(row) == ROW
        assert row["status"] in ("scored", "unsupported", "incomplete", "unreadable")
        assert (row["predicted"] is None) == (row["status"] != "scored")
        assert bool(row["reason"]) == (row["status"] != "scored")
    for quantity, numbers in document["summary"].items():
        assert list(numbers) == SUMMARY
        mine = [row for row in document["rows"] if row["quantity"] == quantity]
        assert numbers["num_rows"] == len(mine)
        counted = ("num_scored", "num_unsupported", "num_incomplete", "num_unreadable")
        assert sum(numbers[name] for name in counted) == len(mine)


def test_confidence_chooses_rows() -> None:
    best = json.loads(call("validate", str(TABLE), "--confidence", "A", "--json").out)
    assert {row["id"] for row in best["rows"]} == {
        row.id for row in read_table(TABLE) if row.confidence == "A"
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "columns"),
        ("a,b\n1,2\n", "columns"),
        ("\x00\x01\x02", "validate-me.csv"),
    ],
    ids=["empty", "other columns", "binary"],
)
def test_a_table_of_another_kind_is_refused(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "validate-me.csv"
    path.write_text(text, encoding="utf-8")
    answer = call("validate", str(path))
    assert (answer.code, answer.out) == (1, "")
    assert word in answer.err
    assert "internal error" not in answer.err


@pytest.mark.parametrize("text", ['{"id": 1}\n', "{" * 10_000], ids=["record without args", "deep"])
def test_a_record_that_is_none_costs_no_table(text: str, tmp_path: Path) -> None:
    path = tmp_path / "validate-me.jsonl"
    path.write_text(text, encoding="utf-8")
    answer = call("validate", str(path), "--json")
    assert answer.code == 0
    assert {row["status"] for row in json.loads(answer.out)["rows"]} == {"unreadable"}


def with_value(value: str, folder: Path) -> tuple[str, Path]:
    """The id of a row, and a table of it alone with another measured value."""
    row = records(TABLE)[0]
    return row["id"], write_records(folder / "table.csv", [{**row, "value": value}])


@pytest.mark.parametrize("value", ["", "many", "12 GiB"])
def test_a_value_that_is_no_number_is_named_with_its_row(value: str, tmp_path: Path) -> None:
    name, path = with_value(value, tmp_path)
    answer = call("validate", str(path), "--json")
    assert answer.code == 0
    (row,) = json.loads(answer.out)["rows"]
    assert (row["id"], row["status"]) == (name, "unreadable")
    assert row["reason"]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_measured_value_without_a_size_never_reaches_the_json(value: str, tmp_path: Path) -> None:
    answer = call("validate", str(with_value(value, tmp_path)[1]), "--json")
    assert answer.code in (0, 1)
    if answer.code == 0:
        json.loads(answer.out, parse_constant=lambda word: pytest.fail(f"{word} in the JSON"))


def test_rows_that_cannot_be_read_are_named_below_the_table(tmp_path: Path) -> None:
    """A file that is no table at all ended in an empty table and 0."""
    path = tmp_path / "config.jsonl"
    path.write_text("{\n")
    assert "line 1: unreadable: not valid JSON" in call("validate", str(path)).out
