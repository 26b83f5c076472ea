"""Each finding of the review by hostile input, and the tests that would have caught it: none is missing, and
none has gone."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FINDINGS: dict[str, tuple[str, ...]] = {
    "H1 what is written is code that a name injects": (
        "plan/test_hostile_names.py::test_a_name_arrives_whole_and_is_not_run",
        "plan/test_hostile_names.py::test_a_name_that_is_no_utf8_arrives_or_is_refused",
        "plan/test_hostile_names.py::test_folders_on_disk_through_the_command",
        "plan/test_hostile_names.py::test_no_f_string_of_the_room_holds_a_name",
    ),
    "H2 patterns that backtrack": (
        "model/test_name_patterns.py::test_bombs_end_whatever_way_they_come",
        "model/test_name_patterns.py::test_a_long_list_of_patterns_is_answered_or_refused",
    ),
    "H3 dotted keys of TOML": ("hostile/test_growing_files.py::test_dotted_keys_are_refused",),
    "H4 a hub that holds the client for ever": (
        "model/test_hub_deadline.py::test_every_exchange_ends_within_its_limit",
        "hostile/test_hub_answers.py::test_every_hostile_answer_ends",
    ),
    "H5 a trace that unpacks to gigabytes": (
        "hostile/test_growing_files.py::test_a_trace_that_unpacks_to_gigabytes_is_refused",
    ),
    "H6 variables that multiply": ("hostile/test_growing_files.py::test_variables_that_multiply",),
    "H7 ordinary questions": (
        "hostile/test_everyday_faults.py::test_a_stage_that_keeps_nothing_a_token",
        "hostile/test_everyday_faults.py::test_a_plan_over_64_cards",
        "hostile/test_everyday_faults.py::test_prices_of_a_card_that_has_none",
        "hostile/test_everyday_faults.py::test_more_slots_than_cells",
        "hostile/test_everyday_faults.py::test_blocks_of_any_size",
        "hostile/test_fuzz_flags.py::test_two_thousand_combinations_of_flags",
    ),
    "H8 code of a hub in a trace": (
        "trace/test_foreign_code.py::test_no_code_but_that_of_transformers_is_loaded",
    ),
    "H9 many shards": (
        "model/test_hub_deadline.py::test_many_shards_are_counted_together",
        "hostile/test_growing_files.py::test_one_shard_under_many_names_is_counted_as_often",
        "hostile/test_growing_files.py::test_one_part_under_many_names_is_refused",
    ),
    "M1 a bad cell": (
        "hostile/test_bad_cells.py::test_a_bad_cell_costs_its_row_alone",
        "hostile/test_bad_cells.py::test_every_column_with_every_bad_cell",
        "truth/test_verdicts.py::test_a_bad_row_loses_no_table",
    ),
    "M2 damaged traces": (
        "hostile/test_damaged_traces.py::test_an_empty_trace_is_shown",
        "hostile/test_damaged_traces.py::test_a_damaged_trace_is_refused_before_anything_is_shown",
    ),
    "M3 numbers without end": (
        "hostile/test_growing_files.py::test_numbers_beyond_all_use",
        "hostile/test_growing_files.py::test_numbers_and_aliases_of_training_files",
        "hostile/test_growing_files.py::test_arrivals_beyond_all_time",
        "cli/test_digits.py::test_files",
    ),
    "M4 YAML": ("hostile/test_growing_files.py::test_numbers_and_aliases_of_training_files",),
    "M5 what stdout cannot encode": (
        "hostile/test_shown_text.py::test_what_stdout_cannot_encode_is_spelled_out",
    ),
    "M6 control characters, long messages": (
        "hostile/test_shown_text.py::test_keys_are_shown_as_text",
        "hostile/test_shown_text.py::test_arguments_that_nobody_knows_are_named_in_short",
        "hostile/test_damaged_traces.py::test_names_in_a_trace_are_text",
        "hostile/test_hub_answers.py::test_every_hostile_answer_ends",
    ),
    "M7 bytes that are no bound of memory": (
        "hostile/test_growing_files.py::test_a_config_of_empty_objects",
        "hostile/test_growing_files.py::test_tables_of_many_rows_are_refused",
        "hostile/test_hub_answers.py::test_every_hostile_answer_ends",
    ),
    "M8 ten thousand layers": (
        "hostile/test_growing_files.py::test_ten_thousand_layers_are_refused",
        "hostile/test_growing_files.py::test_a_long_pattern_of_layers_is_refused",
    ),
    "M9 a plan for training": ("hostile/test_everyday_faults.py::test_a_plan_for_training_ends",),
    "M10 layers on the host": (
        "hostile/test_growing_files.py::test_layers_on_the_host_are_at_most_those_that_are_there",
    ),
    "M11 vision towers": ("hostile/test_everyday_faults.py::test_a_vision_tower_that_cannot_be",),
    "M12 JSON that is none": (
        "hostile/test_growing_files.py::test_shares_that_are_none",
        "hostile/test_growing_files.py::test_numbers_beyond_all_use",
        "hostile/test_fuzz_flags.py::test_two_thousand_combinations_of_flags",
        "test_whole_files.py::test_every_object_that_is_printed_is_written_by_one_writer",
    ),
    "M13 totals that are absurd": (
        "model/test_hub_deadline.py::test_totals_that_cannot_be_are_no_verdict",
        "model/test_hub.py::test_headers_on_request",
    ),
    "M14 a command of one long word": (
        "hostile/test_growing_files.py::test_a_long_command_is_read_in_linear_time",
    ),
    "L1 exit codes": (
        "hostile/test_codes_and_places.py::test_a_fault_in_a_file_is_the_file_s",
        "hostile/test_codes_and_places.py::test_an_override_is_typed",
    ),
    "L2 places without permission": (
        "hostile/test_codes_and_places.py::test_places_that_cannot_be_written",
        "test_whole_files.py::test_a_name_that_is_too_long_or_no_utf8_is_an_error",
    ),
    "L3 the umask, a full disk": (
        "hostile/test_codes_and_places.py::test_a_plot_has_the_permissions_of_the_umask",
        "test_whole_files.py::test_permissions_are_those_of_the_umask",
        "test_whole_files.py::test_a_full_disk_leaves_nothing",
    ),
    "L4 a cache that somebody wrote into": (
        "model/test_hub_deadline.py::test_a_cache_that_somebody_wrote_into_is_read_anew",
        "cli/test_files_without_end.py::test_no_regular_file_is_refused",
    ),
    "L5 a password in the address": (
        "model/test_hub_deadline.py::test_a_login_in_the_address_is_sent_and_never_shown",
    ),
    "L6 a full stderr": ("hostile/test_codes_and_places.py::test_a_full_stderr_leaves_the_code_as_it_is",),
    "L7 a byte order mark": ("hostile/test_codes_and_places.py::test_a_byte_order_mark_is_no_fault",),
    "L8 low ends below zero": (
        "hostile/test_everyday_faults.py::test_no_line_of_a_megatron_run_is_below_zero",
        "hostile/test_bad_cells.py::test_every_column_with_every_bad_cell",
    ),
    "L9 wrong values of Python": (
        "hostile/test_everyday_faults.py::test_wrong_values_of_the_python_interface",
    ),
    "L10 models that are kept for ever": (
        "hostile/test_everyday_faults.py::test_questions_about_many_models_keep_nothing",
        "hostile/test_what_held.py::test_threads_answer_alike",
    ),
    "L11 narrow terminals": (
        "cli/test_terminal.py::test_sentences_are_folded_at_words_and_tables_stay_whole",
        "cli/test_terminal.py::test_commands_and_json_are_never_folded",
    ),
    "L12 links as targets": (
        "hostile/test_codes_and_places.py::test_places_that_cannot_be_written",
        "test_whole_files.py::test_what_is_no_regular_file_is_not_opened",
    ),
}
COUNTS = {"H": 9, "M": 14, "L": 12}


def test_every_finding_is_here() -> None:
    wanted = [f"{kind}{number}" for kind, count in COUNTS.items() for number in range(1, count + 1)]
    assert [finding.split(" ")[0] for finding in FINDINGS] == wanted


@pytest.mark.parametrize("finding", FINDINGS)
def test_its_tests_are_there(finding: str) -> None:
    assert FINDINGS[finding]
    for name in FINDINGS[finding]:
        file, _, test = name.partition("::")
        assert test in defined_in(file), name


@cache
def defined_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
