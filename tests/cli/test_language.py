"""`--lang`, OOMLESS_LANG and the locale choose the language of text; JSON, flags, names and numbers never
change with it."""

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from written_runs import MIB, end, leak, question, sample, start, step, two_ranks, write

from command import call
from oomless.cli.app import app
from oomless.monitor.blame import ADVICE
from oomless.monitor.entries import Entry, Leak, MemoryDeath, MonitorFault
from oomless.report.messages import in_chinese, is_english
from oomless.report.printed_tables import cells_of

LOCALES = ("OOMLESS_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
QUESTIONS = (
    ("infer", "deepseek-r1", "--gpu", "h20:8", "--concurrency", "64", "--context", "32k"),
    ("infer", "deepseek-v4-flash", "--gpu", "h200:8"),
    ("infer", "deepseek-v4-flash", "--gpu", "a100-80gb:8"),
    ("infer", "deepseek-r1", "--gpu", "h20:8", "--tp", "7"),
    ("infer", "deepsek-r1", "--gpu", "h20:8"),
    ("train", "deepseek-v2-lite", "--gpu", "a100-80gb:8"),
    ("train", "deepseek-v2-lite", "--gpu", "h100:8", "--method", "lora"),
)
REPORTS = (
    "infer deepseek-r1 --gpu h20:8 --explain all",
    "infer deepseek-r1 --gpu h200:8 --compare kv-cache-dtype=auto,fp8",
    "train deepseek-v2-lite --gpu a100-80gb:8 --explain all",
    "train deepseek-v2-lite --gpu a100-80gb:8 --compare zero=1,2,3",
    "plan deepseek-r1 --gpu h200 --gpu b200 --context 32k --concurrency 16 --front",
    "plan deepseek-r1 --gpu h200 --fastest --disaggregate --rows 1",
    "plan deepseek-r1 --gpu rtx-3060 --host-memory 64GiB",
    "plan deepseek-r1-distill-qwen-7b --for train --gpu h100 --max-gpus 2",
    "plan --largest-model --gpu rtx-3060 --rows 1",
    "tune deepseek-r1-distill-qwen-7b --gpu h100 --concurrency 8 --slo ttft=2s,tpot=50ms",
    "tune qwen3-30b-a3b --gpu rtx-4090:2 --context 16k --concurrency 8 --slo ttft=1ms",
    "guide qwen3-32b --gpu rtx-4090:2 --context 16k",
    "infer gpt-oss-20b --gpu strix-halo",
    "train qwen2.5-7b --gpu h100:8 --framework verl --task grpo",
    "train qwen3-8b --gpu h100:8 --framework megatron-lm --tp 2 --pp 2",
    "speed deepseek-r1 --gpu h200:8 --concurrency 32",
    "speed qwen3-8b --gpu h100 --arrival-rate 2 --requests 20",
    "cost --gpu h100:8",
    "cost --gpu h100 --list-prices",
    "claims",
    "claims C07",
    "accuracy",
    "gpus h100",
    "models v3.2",
    "engines",
    "doctor",
    "config show",
    "guide deepseek-v2-lite --gpu h100",
    "trace --from docs/traces/coder-1.3b.trace --gpu rtx-4090",
    "validate tests/tables/verdicts_train_2.csv",
    "top --once",
    "config calibrations",
    "config nothing",
    "monitor",
    "monitor show",
    "monitor show nothing",
    "monitor --budget 5GiB",
    "web --port 70000",
    "web --port many",
    "gpus one two",
    "compress --to int4",
    "run",
    "foo",
    "infer deepseek-r1 --gpu h20:8 --foo",
    "infer deepseek-r1 --gpu h20:8 --tp",
    "infer",
)
LOG = """INFO 06-01 10:00:00 [core.py:58] Initializing a V1 LLM engine (v0.9.0) with config: \
model='deepseek-ai/DeepSeek-R1', tensor_parallel_size=8, max_seq_len=163840
INFO Model loading took 79.2487 GiB and 3.1 seconds
INFO Available KV cache memory: 30.10 GiB
INFO GPU KV cache size: 437,760 tokens
"""
AS_THEY_ARE = ("$", "=", "source:", "来源：", "|--", "oomless ")
"""What lines of commands, formulas and sources begin with: they are the same in both languages."""


@pytest.fixture(autouse=True)
def no_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOCALES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("words", QUESTIONS)
def test_chinese_text_has_no_english_sentence(words: tuple[str, ...]) -> None:
    english, chinese = call(*words), call(*words, "--lang", "zh")
    assert chinese.code == english.code
    lines = f"{chinese.out}{chinese.err}".splitlines()
    assert lines != f"{english.out}{english.err}".splitlines()
    assert not [line for line in lines if is_english(line)]


def test_json_is_the_same_in_both_languages() -> None:
    for words in QUESTIONS:
        assert call(*words, "--json", "--lang", "zh") == call(*words, "--json")


def test_the_flag_comes_before_the_variable_and_the_variable_before_the_locale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = QUESTIONS[3]
    english, chinese = call(*words).err, call(*words, "--lang=zh").err
    assert english != chinese
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert call(*words).err == chinese
    monkeypatch.setenv("LC_ALL", "C")
    assert call(*words).err == english
    monkeypatch.setenv("OOMLESS_LANG", "zh")
    assert call(*words).err == chinese
    assert call(*words, "--lang", "en").err == english


def test_another_language_is_refused() -> None:
    found = call("gpus", "--lang", "fr")
    assert (found.code, found.out) == (2, "")
    assert "--lang fr is not known" in found.err


def english_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if not line.startswith(AS_THEY_ARE) and is_english(line)]


@pytest.mark.parametrize("question", REPORTS)
def test_every_report_is_chinese(question: str) -> None:
    found = call(*question.split(), "--lang", "zh")
    assert english_lines(found.out + found.err) == []


OOM = """torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total \
capacity of 79.15 GiB of which 1.06 GiB is free. Including non-PyTorch memory, this process has 78.08 GiB \
memory in use. Of the allocated memory 74.46 GiB is allocated by PyTorch, and 2.39 GiB is reserved by \
PyTorch but unallocated.
"""


def test_a_death_is_told_in_chinese(tmp_path: Path) -> None:
    file = tmp_path / "train.log"
    file.write_text(OOM, encoding="utf-8")
    found = call("reconcile", str(file), "--lang", "zh")
    assert "张量 74.46 GiB" in found.out
    assert [line for line in english_lines(found.out) if "`" not in line] == []


def test_a_reconciled_log_is_told_in_chinese(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    file.write_text(LOG, encoding="utf-8")
    found = call("reconcile", str(file), "--gpu", "h200:8", "--lang", "zh")
    assert "缓存池" in found.out
    assert english_lines(found.out.replace(str(tmp_path), "")) == []


def told() -> Leak:
    """A leak as the monitor tells it."""
    return leak(3)._replace(leak="retained_graph", advice=ADVICE["retained_graph"])


def death() -> MemoryDeath:
    sizes = (200 * MIB, "CUDA out of memory", 700 * MIB, 900 * MIB, 950 * MIB)
    return MemoryDeath(3, 0.0, "backward", "layers.3", *sizes, 4096, (4, 1024), "AdamW")


RUNS: dict[str, tuple[Entry, ...]] = {
    "ended": (start(), question(), step(1), sample(2), told(), end(3)),
    "died": (start(), question(), step(1), sample(2), step(3, retries=2, reserved_bytes=900 * MIB), death()),
    "failed": (start(), step(1), MonitorFault(2, 0.0, "the end of backward", "division by zero"), step(2)),
    "no counter": (start()._replace(counter="resident", capacity_bytes=None), step(1)),
    "begun": (start(),),
}


@pytest.mark.parametrize("name", [*RUNS, "two ranks"])
def test_a_watched_run_is_told_in_chinese(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "运行"
    if name in RUNS:
        write(folder, *RUNS[name])
    else:
        two_ranks(folder)
    found = call("monitor", "show", str(folder), "--lang", "zh")
    assert "LlamaForCausalLM" in found.out
    assert english_lines(found.out.replace("\n  empty it", "")) == []
    both = call("monitor", "--compare", str(folder), str(folder), "--lang", "zh")
    assert english_lines(both.out) == []


def commands_below(command: click.Command, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from commands_below(below, (*name, each))


@pytest.mark.parametrize("name", list(commands_below(app)), ids=" ".join)
def test_help_is_chinese(name: tuple[str, ...]) -> None:
    found = call(*name, "--help", "--lang", "zh")
    assert found.out.startswith("用法：oomless")
    assert english_lines(found.out.partition("示例：")[0]) == []
    assert found.out != call(*name, "--help").out


def test_wide_characters_are_aligned() -> None:
    """Numbers of a column end in the same column of the terminal, whatever stands before them."""
    printed = call("infer", "deepseek-r1", "--gpu", "h200:8", "--compare", "kv-cache-dtype=auto,fp8")
    chinese = call(
        "infer", "deepseek-r1", "--gpu", "h200:8", "--compare", "kv-cache-dtype=auto,fp8", "--lang=zh"
    )
    for text in (printed.out, chinese.out):
        rows = [cells_of(line) for line in text.splitlines() if line[-1:].isdigit()]
        assert len({(row[1].end, row[2].end) for row in rows}) == 1


ELSEWHERE = (
    "infer --from {}/none.json",
    "infer --command @{}/none.yaml --gpu h100",
    "train --from {}/broken.yaml --gpu h100",
    "infer Qwen/None-9B --gpu h100",
    "infer Qwen/Qwen3-8B-AWQ --gpu h100",
)
"""Questions whose errors quote a system, a parser or a network, whose words are English."""


@pytest.mark.parametrize("question", ELSEWHERE)
def test_what_quotes_another_is_said_in_chinese(
    question: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "broken.yaml").write_text("a: [1\nb: {", encoding="utf-8")
    found = call(*question.format(tmp_path).split(), "--lang", "zh")
    assert all(re.search("[\u4e00-\u9fff]", line) for line in found.err.splitlines()), found.err


def test_what_a_file_leaves_to_a_trainer_is_said_in_chinese(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text(
        '{"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", '
        '"memory_efficient_linear": false}, "train_micro_batch_size_per_gpu": 1}',
        encoding="utf-8",
    )
    found = call("train", "qwen3-8b", "--from", str(tmp_path / "ds.json"), "--gpu", "h100:8", "--lang", "zh")
    assert "由训练器填写" in found.out
    assert english_lines(found.out.replace(str(tmp_path), "")) == []


def test_what_a_command_leaves_out_is_said_in_chinese() -> None:
    command = "llamafactory-cli train --model_name_or_path Qwen/Qwen3-32B --stage sft --finetuning_type lora"
    found = call("train", "--command", command, "--gpu", "h100", "--lang", "zh")
    assert "没有写的由" in found.out
    assert english_lines(found.out) == []


def test_names_of_columns_stay_in_chinese(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    found = call("validate", str(tmp_path / "rows.csv"), "--lang", "zh")
    assert "`optimizer`" in found.err


@pytest.mark.parametrize(
    "formula",
    [
        "61 layers x 1152 B + 61 indexers x 132 B",
        "12 layers x 1024 B + 36 states x 274432 B in pages of 393216 B x 2",
        "30 layers x 4096 B + 30 layers x 4096 B up to 1024 tokens",
        "70,272 B in 61 layers + 8,052 B of index keys",
        "3 states x 4096 B a sequence",
    ],
)
def test_each_term_of_a_formula_is_chinese(formula: str) -> None:
    assert not re.search(r"layers|states|indexers|keys|tokens|pages", in_chinese(formula))


IN_TABLES = "x-211 x-865 x-813 x-050 x-756 x-013 x-1623 v-121 x-507 x-721 x-1628 x-419"
"""Cases whose answers said something in English: labels with commas, notes of rare kinds."""


def questions_of(ids: str) -> dict[str, str]:
    tables = (Path(__file__).parents[1] / "tables").glob("verdicts*.csv")
    rows = (row for table in tables for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    return {row["id"]: row["args"] for row in rows if row["id"] in ids.split()}


@pytest.mark.parametrize("case", IN_TABLES.split())
def test_every_answer_of_the_tables_is_chinese(case: str) -> None:
    words = [word for word in shlex.split(questions_of(IN_TABLES)[case]) if word != "--json"]
    found = call(*words, "--lang", "zh")
    assert english_lines(found.out + found.err) == []


def test_a_token_has_one_name_and_months_that_never_come_are_chinese() -> None:
    """The glossary keeps `token`; a page and four messages had a word of their own."""
    root = Path(__file__).parents[2]
    pages = [*(root / "docs/zh").glob("*.md"), *(root / "src/oomless/report/words").glob("*.csv")]
    assert [path.name for path in pages if "词元" in path.read_text(encoding="utf-8")] == []
    found = call("--lang", "zh", "cost", "--gpu", "h100:8", "--utilization", "0.5").out
    assert "不回本到" in found
    assert not re.search(r"\bnever\b|\bUSD\b", found)
