"""A log's question, its prediction, the reasons for differences, the rows, and why memory ran out."""

import csv
import io
import re
from pathlib import Path

import found_logs
import other_logs
import pytest
import vllm_logs
from written import Written

from oomless.api.reconcile import beside_prediction
from oomless.engines.llamacpp.builds import build_day
from oomless.truth.reconcile.log_llama import file_type
from oomless.truth.reconcile.log_model import model_name
from oomless.truth.reconcile.log_question import question_of
from oomless.truth.reconcile.log_row import COLUMNS
from oomless.truth.reconcile.logged_run import LoggedRun
from oomless.truth.reconcile.read_log import read_stream
from oomless.truth.reconcile.reconciled import ReconciledRun
from oomless.truth.reconcile.scrub import scrub
from oomless.truth.validate import validate_table

VLLM = {log.name: log for log in vllm_logs.logs()}


def runs_of(text: str) -> tuple[LoggedRun, ...]:
    return read_stream(io.BytesIO(text.encode()), "server.log")


def beside(text: str, gpu: str = "h100", model: str = "") -> ReconciledRun:
    return beside_prediction(runs_of(text), gpu, model).runs[-1]


def reasons(found: ReconciledRun) -> dict[str, str]:
    return {row.key: row.reason for row in found.rows}


@pytest.mark.parametrize("log", VLLM.values(), ids=VLLM)
def test_the_question_of_every_log_is_found(log: Written) -> None:
    asked = question_of(runs_of(log.text)[-1], "910b" if "ascend" in log.name else "h100")
    if log.name == "vllm-0.2.7":
        assert asked.missing == ("engine_version",)
        return
    assert asked.question is not None
    assert asked.question.model.name == "llama-3.1-8b"
    layout = asked.question.asked.layout
    assert layout is not None
    assert layout.tp == log.facts["tp"]


DEAD = """(VllmWorker rank=3 pid=5406) INFO 04-25 10:23:50 [gpu_model_runner.py:1347] Model loading took \
32.8892 GiB and 25.1 seconds
(VllmWorker rank=3 pid=5406) ERROR 04-25 10:24:22 torch.OutOfMemoryError: CUDA out of memory. Tried to \
allocate 4.00 GiB. GPU 3 has a total capacity of 44.53 GiB of which 3.21 GiB is free.
"""


def test_a_piece_of_a_log_is_asked_with_what_the_user_adds() -> None:
    """It has no release, and its fourth rank is not one of one: 131 GiB were predicted for 32.89."""

    def asked(gpu: str, release: str) -> ReconciledRun:
        found = beside_prediction(runs_of(DEAD), gpu, "deepseek-r1-distill-llama-70b", release)
        return found.runs[-1]

    whole = asked("l40s:4", "0.8.4")
    assert whole.asked.missing == ()
    assert "engine_version" not in whole.asked.assumed
    assert [round((row.predicted or 0) / (row.measured or 1), 2) for row in whole.rows] == [1.0]
    assert asked("l40s:4", "").asked.missing == ("engine_version",)
    assert asked("l40s", "0.8.4").asked.missing == ("tp",)


HEAD = "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"
SAID = f"SpeculativeConfig(method='eagle3', model='{HEAD}', num_spec_tokens=3)"


def test_a_head_of_the_log_is_in_its_question() -> None:
    """Its weights are predicted with the model's: 0.79 GiB, which the log does not have here."""
    log = VLLM["vllm-0.11.0-v1"].text
    plain, drafted = (
        beside(text) for text in (log, log.replace("speculative_config=None", f"speculative_config={SAID}"))
    )
    before, after = (
        next(row.predicted for row in each.rows if row.key == "weights") for each in (plain, drafted)
    )
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(2 * 424_721_664, rel=0.01)
    assert drafted.command[-2] == "--speculative-config"
    assert HEAD.lower() in drafted.command[-1]


@pytest.mark.parametrize(
    ("said", "head", "draft"),
    [
        (f"speculative_algorithm='EAGLE3', speculative_draft_model_path='{HEAD}'", "eagle3", HEAD.lower()),
        ("speculative_algorithm='EAGLE3', speculative_draft_model_path='/models/head'", "eagle3", None),
        ("speculative_algorithm='EAGLE', speculative_draft_model_path=None", None, None),
    ],
)
def test_server_args_name_the_head(said: str, head: str | None, draft: str | None) -> None:
    log = next(each for each in other_logs.logs() if each.name == "sglang-0.5.6-eagle")
    text = log.text.replace("speculative_algorithm='EAGLE'", f"{said}, speculative_num_steps=3")
    asked = question_of(runs_of(text)[-1], "h200")
    assert asked.question is not None
    found = asked.question.asked.speculation
    assert found is not None
    assert (found.head, found.draft, found.own_draft) == (head, draft, head is None)
    assert (asked.question.model.drafter is not None) is (head is not None)


def test_weights_are_as_predicted() -> None:
    found = beside(VLLM["vllm-0.11.0-v1"].text)
    weights = next(row for row in found.rows if row.key == "weights")
    assert weights.error == pytest.approx(0, abs=0.001)
    assert found.command[:4] == ["infer", "llama-3.1-8b", "--gpu", "h100:1"]


def test_a_release_that_names_no_card_is_not_compared_where_the_card_matters() -> None:
    found = beside(VLLM["vllm-0.9.2-v1"].text, gpu="")
    assert found.asked.missing == ("gpu",)
    assert found.command == []
    assert {row.key: row.predicted is None for row in found.rows}["kv_cache.pool"]
    assert not {row.key: row.predicted is None for row in found.rows}["weights"]


def with_line(name: str, line: str, *changes: tuple[str, str]) -> str:
    text = VLLM[name].text + line + "\n"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_another_process_on_the_card_is_a_reason() -> None:
    line = (
        "INFO [gpu_worker.py:1] Free memory on device (40.00/79.19 GiB) on startup. Desired GPU memory "
        "utilization is (0.85, 67.31 GiB)."
    )
    found = beside(
        with_line(
            "vllm-0.11.0-v1", line, ("Available KV cache memory: 50.25", "Available KV cache memory: 12.25")
        )
    )
    assert "39.19 GiB of the card were taken before the engine started" in reasons(found)["kv_cache.pool"]


def test_a_share_that_the_log_implies_is_a_reason() -> None:
    text = VLLM["vllm-0.11.0-v1"].text.replace(", 'gpu_memory_utilization': 0.85", "")
    text = text.replace("memory: 50.25 GiB", "memory: 47.25 GiB")
    assert "a utilisation of 0.8" in reasons(beside(text))["kv_cache.pool"]


def test_a_pool_by_hand_is_a_reason() -> None:
    text = VLLM["vllm-0.12.0-v1"].text.replace(
        "'max_model_len'", "'kv_cache_memory_bytes': 9000000, 'max_model_len'"
    )
    assert "given by hand: kv_cache_memory_bytes 9000000" in reasons(beside(text))["kv_cache.pool"]


def test_graphs_below_nothing_have_a_reason() -> None:
    text = VLLM["vllm-0.11.0-v1"].text.replace("took 0.62 GiB", "took -0.41 GiB")
    assert "gave memory back" in reasons(beside(text))["runtime.cuda_graphs"]


def test_a_draft_is_a_reason() -> None:
    loads = VLLM["vllm-0.11.0-v1"].text
    text = loads.replace(
        "Model loading took 14.9888",
        "Loading drafter model...\n(EngineCore_DP0 pid=20) INFO Model loading took 17.5",
    )
    assert "a draft model was loaded" in reasons(beside(text))["weights"]


def test_modules_in_16_bit_are_a_reason() -> None:
    text = (
        VLLM["vllm-0.11.0-v1"]
        .text.replace("quantization=None", "quantization=fp8")
        .replace("14.9888", "10.5")
    )
    assert "makers leave modules in 16 bit" in reasons(beside(text))["weights"]


def test_an_output_layer_on_the_host_is_a_reason() -> None:
    """Ollama leaves it there until all others fit: 347 MiB of weights and the buffer had no reason."""
    log = found_logs.half_host()
    held = re.search(r"offloaded (\d+)/\d+ layers", log.text)
    assert held is not None
    text = log.text.replace(held[0], f"offloading {held[1]} repeating layers to GPU\n{held[0]}")
    text = re.sub(r"(CUDA0 compute buffer size = +)[\d.]+", r"\g<1>9999.00", text)
    found = reasons(beside(text, ""))["activations.compute_buffer"]
    assert found == "the output layer lies on the host, and its weights are copied into this buffer"


def test_what_is_asked_on_the_command_line_counts() -> None:
    text = VLLM["vllm-0.11.0-v1"].text.replace(vllm_logs.MODEL, "/models/my-own")
    assert beside(text).asked.missing == ("model",)
    assert beside(text, model="llama-3.1-8b").comparison.estimate is not None


def test_the_length_that_the_engine_names_fits_when_asked_again() -> None:
    found = beside(
        (Path(__file__).parents[2] / "tables" / "logs" / "vllm-too-long.log").read_text(), "rtx-4090"
    )
    assert found.state == "failed"
    assert found.explanation is not None
    (first, *_) = found.explanation.advice
    assert first.flags == "--max-model-len 36272"
    assert (first.headroom_bytes or 0) > 0


def test_a_smaller_share_is_advised_where_a_start_was_short() -> None:
    text = VLLM["vllm-oom"].text.replace("total capacity of 14.57", "total capacity of 79.10")
    found = beside(text)
    assert found.explanation is not None
    assert any(each.flags.startswith("--gpu-memory-utilization 0.8") for each in found.explanation.advice)
    assert all((each.headroom_bytes or 0) >= 0 for each in found.explanation.advice)


def test_who_held_the_card_adds_up() -> None:
    found = beside((Path(__file__).parents[2] / "tables" / "logs" / "training-oom.log").read_text(), "")
    assert found.explanation is not None
    oom = found.explanation.oom
    assert oom is not None
    assert oom.total_bytes is not None
    assert sum(held for _, held in found.explanation.held) == pytest.approx(oom.total_bytes, rel=0.001)
    assert found.explanation.fragmentation


@pytest.mark.parametrize(
    "name", ["vllm-0.11.0-v1", "vllm-0.10.2-v1", "vllm-0.27.1-v1", "vllm-0.7.2-v0", "vllm-0.10.0-tp4"]
)
def test_rows_are_predicted_as_the_log_is(name: str, tmp_path: Path) -> None:
    found = beside_prediction(runs_of(VLLM[name].text), "h100")
    rows = found.measured_rows()
    assert rows
    assert list(rows[0]) == list(COLUMNS)
    table = tmp_path / "rows.csv"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    scored = {row.quantity: row for row in validate_table(table)}
    assert all(row.status == "scored" for row in scored.values()), scored
    weights = next(row for row in found.runs[-1].rows if row.key == "weights")
    assert weights.predicted is not None
    assert scored["weights_per_gpu"].predicted == pytest.approx(weights.predicted / 2**30)


LLAMA = [log for log in other_logs.llama_logs() if log.name in ("llamacpp-2026", "llamacpp-two-cards")]
LLAMA.append(found_logs.half_host())


@pytest.mark.parametrize("log", LLAMA, ids=lambda log: log.name)
def test_rows_of_llamacpp_ask_what_the_log_asks(log: Written, tmp_path: Path) -> None:
    """Slots, layers on the cards, micro-batch and build were left out, and one card's share was taken for all
    of them, as was the cache of the cards for that of the host too: other figures were predicted than for the
    log."""
    found = beside_prediction(runs_of(log.text))
    table = tmp_path / "rows.csv"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found.measured_rows())
    rows = {row.quantity: row for row in validate_table(table)}
    assert not [row for row in found.measured_rows() if "CPU" in row["verbatim_log_line"]]
    assert {row.status for row in rows.values()} == {"scored"}, rows
    for quantity in ("weights_per_gpu", "kv_bytes_per_gpu"):
        assert rows[quantity].predicted == pytest.approx(rows[quantity].measured, rel=1e-3)
    asked = {row.key: row.predicted for row in found.runs[-1].rows}
    if "CUDA1" not in log.text and (buffer := asked["activations.compute_buffer"]):
        assert rows["compute_buffer"].predicted == pytest.approx(buffer / 2**20, rel=1e-4)


def test_a_total_without_a_device_is_in_bytes() -> None:
    log = next(log for log in other_logs.llama_logs() if log.name == "llamacpp-2023")
    units = {row["quantity"]: row["unit"] for row in beside_prediction(runs_of(log.text)).measured_rows()}
    assert units["kv_bytes_per_gpu"] == "bytes"


def test_rows_name_nobody() -> None:
    text = VLLM["vllm-0.11.0-v1"].text.replace(vllm_logs.MODEL, "/home/anna/models/Llama-3.1-8B-Instruct")
    text = text.replace("(EngineCore_DP0 pid=20) INFO", "(EngineCore_DP0 pid=20, ip=10.1.2.3) INFO")
    for row in beside_prediction(runs_of(text), "h100").measured_rows():
        assert "anna" not in str(row)
        assert "10.1.2.3" not in str(row)
    assert scrub("token=abc /Users/bob/x") == "token=KEY /Users/user/x"


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        (
            "/root/.cache/huggingface/hub/models--meta-llama--Meta-Llama-3-8B-Instruct/snapshots/8af",
            "llama-3-8b",
        ),
        ("C:\\models\\Qwen2.5-3B-Instruct-Q4_K_M.gguf", "qwen2.5-3b"),
        ("/opt/llm/deepseek-r1-14b", "deepseek-r1-distill-qwen-14b"),
        ("/data/DeepSeek-R1-0528-w8a8", "deepseek-r1-0528"),
        ("/data/Qwen3-32B-w8a8-MindIE", "qwen3-32b"),
        ("somebody/gemma-4-26B-A4B-it-qat-AWQ-INT4", "gemma-4-26b-a4b"),
        ("Somebody/Something-New-9B", None),
        ("", None),
    ],
)
def test_names_of_models(printed: str, name: str | None) -> None:
    assert model_name(printed) == name


def test_a_log_of_ollama_is_of_its_day() -> None:
    """It prints its own release and no build of llama.cpp: the newest was taken for every log. Of a release
    that is not known the log's month counts."""
    log = next(log for log in other_logs.llama_logs() if log.name == "llamacpp-2026")
    own = "\n".join(line for line in log.lines if "build" not in line)
    text = (
        'time=2025-11-04T08:00:00.000Z level=INFO source=routes.go:1 msg="Listening on 127.0.0.1:11434 '
        '(version 0.12.9)"\n'
        'time=2025-11-04T08:00:01.000Z level=INFO source=server.go:1 msg="starting runner" cmd="/bin/ollama '
        'runner --model /models/blobs/sha256-ab --port 1"\n' + own + "\n"
    )
    for release, day in (("0.12.9", "2025-10-31"), ("0.0.0", "2025-11")):
        asked = question_of(runs_of(text.replace("0.12.9", release))[-1])
        assert asked.question is not None
        assert asked.question.asked.engine == "ollama"
        assert asked.question.asked.engine_version == day
        assert ("engine_version" in asked.assumed) == (release == "0.0.0")


def test_types_and_builds_of_llamacpp() -> None:
    assert [file_type(each) for each in ("Q5_K - Small", "all F32", "IQ4_XS - 4.25 bpw")] == [
        "Q5_K_S",
        "F32",
        "IQ4_XS",
    ]
    days = [build_day("llamacpp", each) for each in ("1 (abc)", "4701 (ab)", "99999 (ab)", "1234567")]
    assert days == [None, "2025-02-14", "2026-08-25", None]
