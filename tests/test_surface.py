"""What users and scripts rely on is frozen under tests/surface: options, JSON keys, exit codes, names of the
package.

A change shows as a diff. If it is meant: OOMLESS_UPDATE_SURFACE=1 make test.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import oomless
from command import call
from frozen import check
from oomless.cli.app import COMMANDS, app

TABLE = Path(__file__).parent / "tables" / "inference.csv"


def options() -> Iterator[str]:
    """`COMMAND --option` a line, arguments in capitals."""
    context = click.Context(app)
    yield from (f"oomless {name}" for param in app.params for name in param.opts)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Argument):
                yield f"oomless {name} {param.human_readable_name}"
            for option in param.opts if isinstance(param, click.Option) else []:
                yield f"oomless {name} {option}{value_of(param)}"


def value_of(param: click.Parameter) -> str:
    """What stands behind an option: its choices, the name of its type, or nothing."""
    if isinstance(param.type, click.Choice):
        return f" {{{','.join(param.type.choices)}}}"
    return "" if getattr(param, "is_flag", False) else f" {param.type.name}"


def test_options_are_frozen() -> None:
    check("options.txt", options())


def test_every_option_has_a_help_text() -> None:
    context = click.Context(app)
    commands = [command for name in COMMANDS if (command := app.get_command(context, name)) is not None]
    silent = [
        param.opts[0]
        for command in commands
        for param in command.params
        if isinstance(param, click.Option) and not param.help
    ]
    assert not silent


def test_names_of_the_package_are_frozen() -> None:
    check("python.txt", oomless.__all__)
    assert [name for name in oomless.__all__ if not hasattr(oomless, name)] == []


# JSON: every path with the types that occur there; "*" stands for names that are data

OPEN = {"by_category", "summary", "excluded", "files", "break_even_month", "savings"}
"""Objects whose keys are data: categories, quantities, reasons, names of files, what is counted."""


def paths(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every value in a document."""
    match value:
        case dict():
            yield path, "object"
            for key, inner in value.items():
                last = path.rpartition(".")[2]
                yield from paths(inner, f"{path}.{'*' if last in OPEN else key}".lstrip("."))
        case list():
            yield path, "array"
            for inner in value:
                yield from paths(inner, f"{path}[]")
        case None:
            yield path, "null"
        case bool() | int() | float() | str():
            yield path, type(value).__name__


def schema(*documents: object) -> list[str]:
    types: dict[str, set[str]] = {}
    for document in documents:
        for path, kind in paths(document):
            types.setdefault(path, set()).add(kind)
    return [f"{path or '.'}: {' | '.join(sorted(kinds))}" for path, kinds in types.items()]


def document(*words: str) -> dict[str, Any]:
    answer = call(*words, "--json")
    assert answer.code in (0, 3), answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


INFER = (
    ("deepseek-v3", "--gpu", "h200:8"),
    ("deepseek-v3", "--gpu", "h100:8x2", "--tp", "8", "--pp", "2", "--quantization", "fp8"),
    ("deepseek-v4-flash", "--gpu", "h200:8", "--speculative-config", "mtp"),
    ("deepseek-v4.1-flash", "--gpu", "b200:8", "--context", "4096", "--concurrency", "8"),
    ("deepseek-r1-distill-qwen-7b", "--gpu", "24GiB", "--max-model-len", "8192", "--enforce-eager"),
)


def test_infer_json_is_frozen() -> None:
    check("infer_json.txt", schema(*(document("infer", *words) for words in INFER)))


TRAIN = (
    ("deepseek-coder-1.3b", "--gpu", "a100-80gb", "--precision", "bf16", "--seq-len", "2048"),
    ("deepseek-v2-lite", "--gpu", "a100-80gb", "--method", "lora"),
    (
        "deepseek-v3",
        "--gpu",
        "h100:256",
        "--framework",
        "fsdp",
        "--pp",
        "8",
        "--ep",
        "16",
        "--recompute",
        "full",
        "--offload",
        "optimizer",
    ),
    ("deepseek-r1-distill-qwen-7b", "--gpu", "rtx-4090", "--method", "full"),
)


def test_train_json_is_frozen() -> None:
    check("train_json.txt", schema(*(document("train", *words) for words in TRAIN)))


@pytest.mark.parametrize("words", TRAIN, ids=lambda words: words[0])
def test_train_json_has_the_keys_of_the_contract(words: tuple[str, ...]) -> None:
    answer = document("train", *words)
    found = {path for path, _ in paths(answer)}
    peaks = ["peaks.allocated_bytes", "peaks.reserved_bytes", "peaks.device_bytes", "peaks.phase"]
    assert [key for key in CONTRACT if key not in found and not key.startswith("kv_cache")] == []
    assert [key for key in peaks if key not in found] == []
    assert answer["schema"] == "oomless/estimate/1"
    assert answer["peaks"]["phase"] in ("forward", "backward", "optimizer")
    wrong = [
        (path, kind)
        for path, kind in paths(answer)
        if (path.endswith("bytes") or ".by_category." in path) and kind != "int"
    ]
    assert not wrong


PLAN = (
    (
        "deepseek-r1",
        "--gpu",
        "h100:8x2",
        "--gpu",
        "h200",
        "--context",
        "4096",
        "--concurrency",
        "8",
        "--weights-in-memory",
    ),
    ("deepseek-r1", "--gpu", "h200:8", "--context", "8192", "--concurrency", "64", "--disaggregate"),
    ("deepseek-coder-1.3b", "--gpu", "dgx-spark", "--gpu", "raspberry-pi-5"),
    ("deepseek-v2-lite", "--for", "train", "--gpu", "h100:8", "--global-batch", "64"),
    ("deepseek-v2-lite", "--for", "train", "--gpu", "gaudi-3:1", "--method", "lora"),
    ("deepseek-r1", "--gpu", "rtx-4090:1"),
)


def test_plan_json_is_frozen() -> None:
    check("plan_json.txt", schema(*(document("plan", *words) for words in PLAN)))


PLAN_CONTRACT = """
schema request rows rows[].gpu rows[].num_gpus rows[].num_nodes rows[].engine rows[].layout rows[].precision
rows[].verdict rows[].headroom_bytes rows[].tokens_per_s.value rows[].tokens_per_s.low
rows[].tokens_per_s.high rows[].usd_per_million_tokens rows[].ttft_s rows[].tpot_s rows[].usd_per_hour.value
rows[].usd_per_hour.provider rows[].usd_per_hour.tier rows[].usd_per_hour.date rows[].estimate
rows[].launch.command rows[].launch.files excluded
""".split()


def test_plan_json_has_the_keys_of_the_contract() -> None:
    found = {path for words in PLAN for path, _ in paths(document("plan", *words))}
    assert [key for key in PLAN_CONTRACT if key not in found] == []


TUNE = (
    (
        "deepseek-r1",
        "--gpu",
        "h20:8",
        "--context",
        "32768",
        "--concurrency",
        "8",
        "--slo",
        "ttft=30s,tpot=50ms",
    ),
    ("deepseek-r1", "--gpu", "h200:8", "--kv-cache-dtype", "fp8", "--allow", "cache"),
    ("deepseek-r1", "--gpu", "rtx-4090:1", "--engine", "llamacpp", "--quantization", "q4_k_m"),
)


def test_tune_json_is_frozen() -> None:
    check("tune_json.txt", schema(*(document("tune", *words) for words in TUNE)))


def test_guide_json_is_frozen() -> None:
    asked = ("deepseek-r1-distill-qwen-32b", "--gpu", "rtx-4090:2", "--context", "16384")
    check(
        "guide_json.txt",
        schema(
            document("guide", *asked), document("guide", "deepseek-r1", "--gpu", "t4:1", "--engine", "vllm")
        ),
    )


def test_cost_json_is_frozen() -> None:
    asked = ("--gpu", "h100:8", "--months", "12", "--tokens-per-s", "1000")
    given = ("--gpu", "dgx-spark", "--buy-usd", "4000", "--rent-usd-per-hour", "0.1", "--months", "12")
    check("cost_json.txt", schema(document("cost", *asked), document("cost", *given)))


def test_validate_json_is_frozen() -> None:
    check("validate_json.txt", schema(document("validate", str(TABLE))))


@pytest.mark.parametrize("command", ["accuracy", "claims", "models", "gpus", "engines", "doctor"])
def test_json_of_the_other_commands_is_frozen(command: str) -> None:
    check(f"{command}_json.txt", schema(document(command)))


CONTRACT = """
schema model.name model.num_parameters model.num_active_parameters model.checkpoint_bytes request ranks
ranks[].group ranks[].num_ranks ranks[].capacity_bytes ranks[].total_bytes ranks[].low_bytes
ranks[].high_bytes ranks[].by_category ranks[].lines ranks[].lines[].category ranks[].lines[].what
ranks[].lines[].bytes ranks[].lines[].low_bytes ranks[].lines[].high_bytes ranks[].lines[].kind
ranks[].lines[].formula ranks[].lines[].source kv_cache.bytes_per_token kv_cache.fixed_bytes_per_sequence
kv_cache.pool_bytes kv_cache.needed_bytes kv_cache.max_tokens kv_cache.max_concurrency host.ram_bytes
host.disk_bytes verdict worst_rank headroom_bytes warnings
""".split()


@pytest.mark.parametrize("words", INFER, ids=lambda words: words[0])
def test_infer_json_has_the_keys_of_the_contract(words: tuple[str, ...]) -> None:
    answer = document("infer", *words)
    found = {path for path, _ in paths(answer)}
    assert [key for key in CONTRACT if key not in found] == []
    assert answer["schema"] == "oomless/estimate/1"
    assert answer["verdict"] in ("fits", "tight", "does_not_fit")
    assert {line["kind"] for rank in answer["ranks"] for line in rank["lines"]} <= {
        "exact",
        "fitted",
        "assumed",
    }


def test_every_number_of_bytes_is_an_integer() -> None:
    for words in INFER:
        wrong = [
            (path, kind)
            for path, kind in paths(document("infer", *words))
            if (path.endswith("bytes") or ".by_category." in path) and kind != "int"
        ]
        assert not wrong


EXITS = (
    ("guide", "deepseek-r1", "--gpu", "h200:8"),
    ("guide", "deepseek-r1", "--gpu", "t4:1", "--engine", "vllm"),
    ("guide", "deepseek-r1"),
    ("tune", "deepseek-r1"),
    ("tune",),
    ("tune", "deepseek-r1", "--gpu", "h200:8"),
    ("tune", "deepseek-r1", "--gpu", "h200:8", "--slo", "ttft=2"),
    ("tune", "deepseek-r1", "--gpu", "t4:1"),
    ("infer", "deepseek-v3", "--gpu", "h200:8"),
    ("infer", "deepseek-v3", "--gpu", "h200:8", "--json"),
    ("infer", "deepseek-v3", "--gpu", "h100:8"),
    ("infer", "deepseek-v3", "--gpu", "h100:8", "--json"),
    ("infer", "deepseek-v3", "--gpu", "h100"),
    ("infer", "deepseek-v3"),
    ("infer",),
    ("infer", "deepseek-v3", "--gpu", "80"),
    ("infer", "deepseek-v3", "--gpu", "h200:8", "--tp", "3"),
    ("infer", "deepseek-v33", "--gpu", "h200:8"),
    ("infer", "deepseek-v3", "--gpu", "h201:8"),
    ("infer", "deepseek-v3", "--gpu", "h200:8", "--engine", "vlm"),
    ("infer", "deepseek-v3", "--gpu", "h200:8", "--engine-version", "0.4.0"),
    ("infer", "deepseek-v4-flash", "--gpu", "h200:8", "--engine-version", "0.8.5"),
    ("infer", "deepseek-v3", "--gpu", "v100-32gb:8"),
    ("infer", "./no/such/config.json", "--gpu", "h200:8"),
    ("plan", "deepseek-r1", "--gpu", "h200", "--json"),
    ("plan", "deepseek-r1", "--gpu", "h100:1"),
    ("plan", "deepseek-r1", "--gpu", "h100:1", "--json"),
    ("plan", "deepseek-r1", "--quantization", "2:4"),
    ("plan", "deepseek-v4-flash", "--fastest", "--fewest"),
    ("plan", "deepseek-v2-lite", "--for", "train", "--gpu", "h100:1", "--method", "lora"),
    ("plan", "--largest-model", "--gpu", "raspberry-pi-5"),
    ("plan",),
    ("cost", "--gpu", "h100:8"),
    ("cost", "--gpu", "h100:8", "--provider", "nobody"),
    ("cost", "--gpu", "h100:8", "--prices", "no-such-file.csv"),
    ("cost", "--list-prices"),
    ("cost",),
    ("accuracy",),
    ("claims",),
    ("claims", "C02"),
    ("claims", "C99"),
    ("models",),
    ("models", "no-such-model"),
    ("gpus",),
    ("engines",),
    ("doctor",),
    ("completion", "bash"),
    ("completion", "dos"),
    ("validate", "no-such-table.csv"),
    ("no-such-command",),
    ("--version",),
    ("--help",),
    (),
)


def test_exit_codes_are_frozen() -> None:
    check(
        "exit_codes.txt",
        (f"oomless {' '.join(words)}".rstrip() + f": {call(*words).code}" for words in EXITS),
    )


def test_tight_is_done_unless_strict_is_asked_for() -> None:
    words = next(each for each in tight_questions() if document("infer", *each)["verdict"] == "tight")
    assert call("infer", *words).code == 0
    assert call("infer", *words, "--json").code == 0
    assert call("infer", *words, "--strict").code == 3
    assert call("infer", *words, "--strict", "--json").code == 3


def tight_questions() -> Iterator[tuple[str, ...]]:
    """The 7B model on ever smaller cards: on the way from fits to does not fit lies tight."""
    for quarters in range(120, 60, -1):
        yield "deepseek-llm-7b", "--gpu", f"{quarters / 4}GiB", "--max-model-len", "4096", "--tp", "1"
