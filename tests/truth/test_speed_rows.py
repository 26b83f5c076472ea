"""Measured speeds beside predicted ones: every word of the tables is read, errors and bands stay within their
budgets."""

from itertools import product

import pytest

from oomless.truth.speed_rows import layout_of, question
from oomless.truth.speed_training_rows import recipe_of, training_of
from oomless.truth.speed_workload import Sent, requests_of, sent
from oomless.truth.tables import MeasuredRow, read_table, said
from oomless.truth.validate import Scored, score
from tables.score import TABLES, Budget, check

TABLE, MORE, FRESH = TABLES / "perf.csv", TABLES / "perf_more.csv", TABLES / "perf_fresh.csv"
HELD_OUT = TABLES / "perf_held_out.csv"


FITTED = {
    "decode, batch 1, one device": Budget(0.05, 0.13, inside=0.95, scored=0.8),
    "decode, batch 1, several": Budget(0.04, 0.06, inside=0.95, scored=0.8),
    "first token": Budget(0.1, 0.39, scored=0.8, inside=0.9),
    "throughput at load": Budget(0.12, 0.295, scored=0.8, inside=0.95),
    "bursts": Budget(0.12, 0.188, scored=1.0, inside=0.95),
}
"""Constants fitted with the rows, but bursts."""
FITTED_FRESH = {
    "decode, batch 1, one device": Budget(0.045, 0.1, scored=0.8, inside=0.95),
    "decode, batch 1, several": Budget(0.068, 0.11, scored=0.8, inside=0.95),
    "first token": Budget(0.085, 0.345, scored=0.8, inside=0.95),
    "throughput at load": Budget(0.11, 0.38, scored=0.8, inside=0.93),
    "bursts": Budget(0.16, 0.29, scored=1.0, inside=0.88),
}
"""The same for the rows of perf_fresh.csv, which were written down before anything was predicted for them
(blind: 16, 14, 16, 17 % median)."""
NEVER_FITTED = {
    "decode, batch 1, one device": Budget(0.115, 0.2, scored=0.8, inside=0.95),
    "decode, batch 1, several": Budget(0.04, 0.22, scored=0.8, inside=0.95),
    "first token": Budget(0.15, 0.31, inside=0.9, scored=0.8),
    "throughput at load": Budget(0.17, 0.44, inside=0.91, scored=0.8),
}
"""Rows of a second blind round, of servers as people run them: 42 % off under load when they were written.
No constant is fitted to them but what a first token of SGLang spends outside of kernels."""
ROUND_3 = {
    "decode": Budget(0.1, 0.27, scored=1.0, inside=0.95),
    "prefill": Budget(0.15, 0.32, scored=1.0, inside=0.9),
    "serving": Budget(0.07, 0.18, scored=1.0, inside=0.95),
    "throughput": Budget(0.108, 0.255, scored=1.0, inside=0.95),
    "training": Budget(0.1, 0.12, scored=1.0, inside=0.95),
}
"""A third round, by kind of figure, to which nothing is fitted: 17, 69, 20 and 17 % off when it was written
down, and training not scored."""

ROUND_4 = {
    "decode": Budget(0.056, 0.4, scored=1.0, inside=0.84),
    "prefill": Budget(0.22, 0.53, scored=1.0, inside=0.92),
    "throughput": Budget(0.19, 0.78, scored=1.0, inside=0.85),
}
"""A fourth round of SGLang's and gpustack's own pages, to which nothing is fitted: 8, 22 and 21 % off when it
was written down, 77, 85 and 74 % inside (tests/tables/blind/speed_4.jsonl)."""

ROUND_5 = {
    "decode": Budget(0.11, 0.2, scored=1.0, inside=0.95),
    "prefill": Budget(0.15, 0.36, scored=1.0, inside=0.95),
    "serving": Budget(0.26, 0.28, scored=1.0, inside=0.95),
    "throughput": Budget(0.16, 0.54, scored=1.0, inside=0.92),
    "training": Budget(0.11, 0.19, scored=1.0, inside=0.95),
}
"""A fifth round, of other pages: 10, 14, 25, 19 and 17 % off when it was written down, and 36 of 40 inside
(tests/tables/blind/speed_5.jsonl). Nothing is fitted to it."""

TRAINING = {
    "perf_training.csv": Budget(0.1, 0.28, scored=1.0, inside=0.85),
    "perf_training_2.csv": Budget(0.14, 0.37, scored=1.0, inside=0.91),
    "perf_training_offload.csv": Budget(0.51, 1.6, scored=1.0, inside=0.66),
}
"""Training of other frameworks and sources than the third round's, to which nothing is fitted; of the second
table 23 and 83 % off, 72 % inside, when it was written down. The third is one machine with optimizers in
host memory, whose slowness is the end of a band (efficiencies.csv, host_update), and without."""


def kind_of(row: MeasuredRow) -> str:
    """The class of a row, as the budgets call it."""
    cells = row.configuration
    match row.quantity:
        case "decode" if cells["concurrency_or_batch"] == "1":
            return f"decode, batch 1, {'one device' if cells['n_gpus'] == '1' else 'several'}"
        case "prefill":
            return "first token"
        case "throughput":
            return "throughput at load"
        case "serving":
            return "bursts"
    return ""


def check_kinds(scored: list[tuple[MeasuredRow, Scored]], budgets: dict[str, Budget]) -> None:
    for kind, budget in budgets.items():
        mine = [answer for row, answer in scored if kind_of(row) == kind and row.confidence == "A"]
        check(mine, budget, kind)


@pytest.fixture(scope="module")
def table() -> list[MeasuredRow]:
    return read_table(TABLE)


def test_errors_and_bands_stay_within_their_budgets(table: list[MeasuredRow]) -> None:
    check_kinds([(row, score(row)) for row in table], FITTED)
    check_kinds([(row, score(row)) for row in read_table(FRESH)], FITTED_FRESH)


def test_errors_of_rows_that_nothing_is_fitted_to_stay_within_their_budgets() -> None:
    check_kinds([(row, score(row)) for row in read_table(HELD_OUT)], NEVER_FITTED)


@pytest.mark.parametrize(
    ("number", "quantity", "budget"),
    [
        (number, *each)
        for number, budgets in ((3, ROUND_3), (4, ROUND_4), (5, ROUND_5))
        for each in budgets.items()
    ],
)
def test_errors_of_later_rounds_stay_within_their_budgets(number: int, quantity: str, budget: Budget) -> None:
    rows = [score(row) for row in read_table(TABLES / f"perf_round{number}.csv") if row.quantity == quantity]
    check(rows, budget, quantity)


@pytest.mark.parametrize("table", TRAINING)
def test_errors_of_training_stay_within_their_budget(table: str) -> None:
    check([score(row) for row in read_table(TABLES / table)], TRAINING[table], table)


@pytest.mark.parametrize(
    ("batch", "setting", "micro", "recompute", "method"),
    [
        ("GBS 2048 MBS 4", "activation checkpointing", 4, "full", "full"),
        ("global batch 512, micro batch 8", "no activation checkpointing", 8, "none", "full"),
        ("local batch size 2", "full recompute; LoRA", 2, "full", "lora"),
        ("batch 3", "per-op selective checkpointing", 3, "selective", "full"),
    ],
)
def test_words_of_a_training_row_are_read(
    batch: str, setting: str, micro: int, recompute: str, method: str
) -> None:
    cells = {
        "parallelism": "FSDP64",
        "concurrency_or_batch": batch,
        "setting": setting,
        "model": "MPT-7B",
        "input_len": "2048",
        "quant": "BF16",
    }
    asked = training_of(cells, recipe_of("llm-foundry"), 64)
    assert (asked.micro_batch, asked.recompute, asked.method) == (micro, recompute, method)


@pytest.mark.parametrize("engine", ["torchtitan", "Megatron-Bridge", "NeMo 25.04", "llm-foundry", "llmq"])
@pytest.mark.parametrize("model", ["MPT-30B", "Qwen2.5-7B", "DeepSeek-V3"])
def test_training_of_every_recipe_is_scored(engine: str, model: str) -> None:
    found = answer(
        "training",
        "tok/s/GPU",
        engine=engine,
        model=model,
        n_gpus="64",
        parallelism="EP8" if model == "DeepSeek-V3" else "FSDP64",
        concurrency_or_batch="GBS 512 MBS 1",
        metric="training throughput per GPU",
    )
    assert found.status == "scored", found.reason


def test_the_band_of_an_optimizer_on_the_host_holds_what_was_measured() -> None:
    """Every state crossed PCIe, at full speed: 36 s in place of 14 were outside."""
    rows = read_table(TABLES / "perf_training_offload.csv")
    found = [score(row) for row in rows if "on the host" in row.configuration["setting"]]
    assert len(found) == 3
    assert all((one.low or 0) <= one.measured <= (one.high or 0) for one in found)


def test_half_of_the_first_tokens_are_too_low_and_nine_of_ten_inside() -> None:
    """Of SGLang and vLLM, whose servers add what no kernel explains: before, 14 of 17 were too low."""
    found = [
        score(row)
        for path in (TABLE, MORE, FRESH, HELD_OUT, TABLES / "perf_round4.csv")
        for row in read_table(path)
        if row.configuration["metric"].startswith("TTFT")
        and row.configuration["engine"].startswith(("SGLang", "vLLM"))
    ]
    assert len(found) >= 28
    assert 0.3 <= sum((one.rel_error or 0) > 0 for one in found) / len(found) <= 0.7
    assert sum((one.low or 0) <= one.measured <= (one.high or 0) for one in found) >= 0.85 * len(found)


@pytest.mark.parametrize(
    ("word", "ranks", "groups"),
    [("TP8 DP4", 8, 4), ("TP8 + DP attention", 8, 1), ("TP8 DP8", 8, 8), ("TP8+EP", 8, 1)],
)
def test_groups_of_sglang_lie_inside_of_its_tensor_ranks(word: str, ranks: int, groups: int) -> None:
    layout = layout_of(word, 8, "sglang")
    assert (layout.num_ranks, layout.dp) == (ranks, groups)


def test_a_row_without_a_release_is_of_the_newest_of_its_day() -> None:
    cells = {**BASE, "engine": "SGLang", "model": "Llama-3.3-70B", "gpu": "H200", "n_gpus": "4"}
    found = {
        day: question({**cells, "parallelism": "TP4", "date": day}).setup.run.captured
        for day in ("2025-01", "2025-12-10")
    }
    assert found == {"2025-01": 160, "2025-12-10": 512}


def test_a_note_gives_its_setting_and_nothing_that_was_measured() -> None:
    assert said("94.91 requests a second; TPOT 12 ms; 500 prompts") == "500 prompts"
    assert sent({"setting": ""}, "64") is None
    run = sent({"setting": "ShareGPT lengths; 1000 prompts"}, "100")
    assert run == Sent(1000, 100, "sharegpt")
    drawn = requests_of(run, 300, 200)
    assert sum(one.output_tokens for one in drawn) / 1000 == pytest.approx(200, rel=0.01)


def test_predictions_see_the_configuration_alone(table: list[MeasuredRow]) -> None:
    for row in table[::7]:
        before, after = score(row), score(row._replace(value=1.0))
        assert (before.predicted, before.low, before.high) == (after.predicted, after.low, after.high)


# every word that occurs in such tables

ENGINES = (
    "CloudMatrix-Infer;MindIE;MindIE 1.0.RC3;Ollama;Ollama "
    "0.1.41;Ollama/llama.cpp;SGLang;SGLang 0.5.3;SGLang 0.5.5;SGLang 0.5.7;"
    "SGLang PD + EP;"
    "TensorRT Edge-LLM 0.7.0;TensorRT-LLM 0.5;TensorRT-LLM 0.5-0.6.1;TensorRT-LLM "
    "1.0;TensorRT-LLM 1.2.0rc1;distributed-llama;llama.cpp;"
    "llama.cpp Metal;llama.cpp ccbc84a;vLLM;vLLM 0.11.0;vLLM 0.13.0"
).split(";")
MODELS = (
    "DeepSeek-R1;DeepSeek-R1-0528;DeepSeek-R1-671B;DeepSeek-R1-Distill-14B;DeepSeek-R1-Distill-70B;DeepSeek-V3.2;DeepSeek-V3/R1;GPT-J-6B;"
    "LLaMA-70B;LLaMA-7B;Llama-2-13B;Llama-3-70B;Llama-3-8B;Llama-3.1-405B;Llama-3.1-70B;Llama-3.1-8B;Llama-3.2-3B;Llama-3.3-70B;"
    "Nemotron-3-Nano-4B;Phi-3-3.8B;Qwen3-1.7B;Qwen3-14B;Qwen3-235B-A22B;Qwen3-30B-A3B;Qwen3-32B;Qwen3-8B;TinyLlama-1.1B;gpt-oss-120b"
).split(";")
QUANTS = (
    "BF16;F16;FP16;FP4;FP8;INT4 GPTQ;INT8;IQ1_S 1.56bpw;MXFP4;NVFP4;Q3_K_S "
    "2.70bpw;Q4;Q4_0;Q4_K_M;Q4_K_M (Ollama default);Q8_0;"
    "W4A16/NVFP4;W8A8"
).split(";")
GPUS = (
    "A100 PCIe 80GB;A100 SXM;A100 SXM 80GB;A40;AmpereOne A192-32X 512GB;Ascend 910B;Ascend "
    "910C;B200;DGX Spark GB10;GB200;H100 80GB HBM3;"
    "H100 PCIe 80GB;H100 SXM;H100 SXM 80GB;H20 96GB;H200;Jetson AGX Thor;L40S;M1 Max 32c "
    "64GB;M2 Ultra 76c 192GB;M3 Max 40c 64GB;"
    "M4 Mac mini 10c 32GB;Mac Studio M3 Ultra;Mac Studio M3 Ultra 512GB;Mac mini M4 16GB;RTX "
    "3090;RTX 4090;RTX 6000 Ada;RTX PRO 6000 SE;"
    "Raspberry Pi 5;Raspberry Pi 5 16GB;Raspberry Pi 5 4GB;Raspberry Pi 5 8GB"
).split(";")
PARALLELISM = (
    "-;EP16 decode;PD + EP320 (from memory);PD disaggregated EP;PP8;TP1;TP1 (count not "
    "re-checked);TP16;TP2;TP4;TP4 over Ethernet;TP8;"
    "TP8 + DP attention;TP8 DP8;TP8 PP2;TP8 prefill;TP8+EP;layer split;prefill 4 nodes + "
    "decode 9 nodes EP72 (from memory)"
).split(";")
METRICS = (
    ("decode", "TPOT", "ms"),
    ("serving", "TPOT mean", "ms"),
    ("prefill", "TTFT", "ms"),
    ("serving", "TTFT mean", "ms"),
    ("decode", "decode", "tok/s"),
    ("decode", "decode throughput", "tok/s"),
    ("decode", "decode throughput per NPU", "tok/s"),
    ("prefill", "first-token latency", "ms"),
    ("prefill", "input throughput per 8-GPU node", "tok/s"),
    ("prefill", "input throughput per node", "tok/s"),
    ("throughput", "output throughput", "tok/s"),
    ("throughput", "output throughput per 8-GPU node", "tok/s"),
    ("throughput", "output throughput per GPU", "tok/s/GPU"),
    ("throughput", "output throughput per node", "tok/s"),
    ("throughput", "output throughput, all GPUs", "tok/s"),
    ("memory", "peak GPU memory", "MB"),
    ("prefill", "prefill", "tok/s"),
    ("prefill", "prefill throughput per NPU", "tok/s"),
    ("throughput", "total (in+out) throughput", "tok/s"),
    ("throughput", "total throughput per GPU", "tok/s"),
)
BASE = {
    "date": "2025-08",
    "engine": "vLLM 0.11.0",
    "model": "Qwen3-8B",
    "params_b": "8.2",
    "active_params_b": "8.2",
    "weight_bytes_gb": "",
    "quant": "BF16",
    "gpu": "H100 SXM",
    "n_gpus": "1",
    "parallelism": "TP1",
    "input_len": "512",
    "output_len": "128",
    "concurrency_or_batch": "1",
    "metric": "decode",
}


def answer(quantity: str, unit: str, **cells: str) -> Scored:
    found = score(MeasuredRow("x", "speed", quantity, 1.0, unit, {**BASE, **cells}, "A"))
    assert found.status in ("scored", "unsupported", "incomplete")
    assert (found.predicted is None) == bool(found.reason)
    if found.predicted is not None:
        assert 0 < (found.low or 0) <= found.predicted <= (found.high or 0)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_engines(engine: str) -> None:
    known = not engine.startswith(("CloudMatrix", "MindIE"))
    assert (answer("decode", "tok/s", engine=engine).status == "scored") == known


@pytest.mark.parametrize(
    ("model", "quant"), [*product(MODELS, ("FP8", "Q4_K_M")), *product(MODELS[:1] + MODELS[-5:], QUANTS)]
)
def test_models_and_quantisations(model: str, quant: str) -> None:
    engine = "llama.cpp" if "Q" in quant and "GPTQ" not in quant else "vLLM"
    sizes = {"params_b": "671", "active_params_b": "37"} if "DeepSeek-R1" in model else {}
    found = answer("decode", "tok/s", model=model, quant=quant, engine=engine, **sizes)
    assert found.status == "scored", found.reason


@pytest.mark.parametrize("gpu", GPUS)
def test_cards(gpu: str) -> None:
    found = answer("decode", "tok/s", gpu=gpu, engine="llama.cpp", quant="Q4_K_M")
    assert (found.status == "scored") == ("Ascend" not in gpu), found.reason


@pytest.mark.parametrize("word", PARALLELISM)
def test_parallelism(word: str) -> None:
    num = (
        "16"
        if "16" in word or "PP2" in word
        else "4"
        if "4" in word
        else "2"
        if "2" in word
        else "1"
        if "1" in word or word == "-"
        else "8"
    )
    found = answer(
        "decode", "tok/s", parallelism=word, n_gpus=num, engine="SGLang", model="DeepSeek-R1", quant="FP8"
    )
    assert (found.status == "incomplete") == ("memory" in word or "PD" in word), found.reason


@pytest.mark.parametrize(("kind", "metric", "unit"), METRICS)
@pytest.mark.parametrize("load", ["1", "64", "max load", "500 prompts at once", "SLA"])
def test_metrics(kind: str, metric: str, unit: str, load: str) -> None:
    found = answer(kind, unit, metric=metric, concurrency_or_batch=load)
    assert found.status == "scored" or load in ("SLA", "max load"), found.reason


def test_a_time_in_tokens_a_second_is_answered_without_a_traceback() -> None:
    assert answer("prefill", "tok/s", metric="TTFT").status == "incomplete"


def test_a_mean_of_bits_scales_what_a_mix_chosen_by_hand_spares() -> None:
    """A file of DeepSeek-R1 at 2.7 bits a value reads less than Q3_K_S gives, one at IQ1_S's own 1.56 bits
    what IQ1_S gives."""
    cells = {
        "engine": "llama.cpp",
        "model": "DeepSeek-R1",
        "params_b": "671",
        "active_params_b": "37",
        "gpu": "Mac Studio M3 Ultra 512GB",
    }
    plain, mean = (
        answer("decode", "tok/s", quant=quant, **cells).predicted for quant in ("Q3_K_S", "Q3_K_S 2.70bpw")
    )
    assert mean is not None
    assert plain is not None
    assert mean > plain
    named = answer("decode", "tok/s", quant="IQ1_S 1.56bpw", **cells).predicted
    assert named == answer("decode", "tok/s", quant="IQ1_S", **cells).predicted


def test_a_run_of_equal_requests_ends_in_a_wave_that_is_not_full() -> None:
    """1500 requests of 128 / 4096 tokens (perf-overview.md) end with fewer places taken; of another length
    nothing is known of the run."""
    cells = {
        "engine": "TensorRT-LLM 1.0",
        "model": "Llama-3.1-8B",
        "quant": "FP8",
        "concurrency_or_batch": "max load",
        "output_len": "4096",
    }
    finite, steady = (
        answer(
            "throughput", "tok/s", metric="output throughput, all GPUs", input_len=length, **cells
        ).predicted
        for length in ("128", "127")
    )
    assert finite is not None
    assert steady is not None
    assert finite < steady


@pytest.mark.parametrize(
    "cells",
    [
        {"input_len": "short"},
        {"input_len": "", "output_len": ""},
        {"n_gpus": ""},
        {"quant": "?"},
        {"gpu": ""},
    ],
)
def test_odd_cells_are_answered(cells: dict[str, str]) -> None:
    answer("decode", "tok/s", **cells)
