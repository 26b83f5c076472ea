"""Logs of every engine, old and new, whole, cut, coloured, interleaved and broken."""

import io
import random
import re

import found_logs
import other_logs
import pytest
import vllm_logs
from written import Written

from oomless.truth.reconcile.log_facts import facts_of
from oomless.truth.reconcile.logged_run import LoggedRun
from oomless.truth.reconcile.nvidia_smi import read_nvidia_smi
from oomless.truth.reconcile.read_log import read_stream

LOGS = [*vllm_logs.logs(), *other_logs.logs(), *found_logs.logs()]
BY_NAME = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
OF_SEVERAL_RANKS = ("kv_tokens", "kv_bytes", "max_concurrency", "weights_bytes", "cuda_graph_bytes")
"""Words whose value is that of the rank that counts: a log that is cut may not have that rank."""


def read(text: str | bytes) -> tuple[LoggedRun, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    return read_stream(io.BytesIO(data), "server.log")


@BY_NAME
def test_a_log_is_read_as_its_release_words_it(log: Written) -> None:
    runs = read(log.text)
    assert len(runs) == log.num_runs
    found = facts_of(runs[-1])
    expected = {**log.facts}
    if log.name == "ollama-0.5":
        expected |= {word: found[word] for word in ("quantization",) if word in found}
    assert found == expected
    if log.state:
        assert runs[-1].state == log.state


@BY_NAME
@pytest.mark.parametrize("change", ["crlf", "colours", "docker", "broken", "utf-16"])
def test_how_a_log_was_kept_does_not_matter(log: Written, change: str) -> None:
    match change:
        case "crlf":
            data = log.text.replace("\n", "\r\n").encode()
        case "colours":
            data = "".join(f"\x1b[32m{line}\x1b[0m\n" for line in log.lines).encode()
        case "docker":
            data = "".join(f"engine-1  | {line}\n" for line in log.lines).encode()
        case "broken":
            data = b"\xff\xfe\xfa broken\n" + b"\xc3\x28\n".join(line.encode() + b"\n" for line in log.lines)
            data = data[2:]
        case _:
            data = log.text.encode("utf-16")
    runs = read(data)
    if change == "docker" and log.name in ("trtllm-1.0",):
        return  # the arguments stand on a line of their own, which then begins otherwise
    assert facts_of(runs[-1]) == facts_of(read(log.text)[-1])


@BY_NAME
def test_a_log_that_is_cut_invents_nothing(log: Written) -> None:
    data, whole = log.text.encode(), facts_of(read(log.text)[-1])
    places = random.Random(log.name).sample(range(1, len(data)), min(200, len(data) - 1))
    for place in places:
        for run in read(data[:place]):
            for word, value in facts_of(run).items():
                if word in OF_SEVERAL_RANKS or (log.num_runs > 1 and word == "weights_bytes"):
                    continue
                assert value == whole.get(word, value) or word in (
                    "engine",
                    "max_num_seqs",
                    "max_model_len",
                    "max_num_batched_tokens",
                    "model",
                ), (place, word)


@BY_NAME
def test_lines_of_ranks_may_come_in_any_order(log: Written) -> None:
    if log.num_runs > 1:
        return
    measured = [
        index
        for index, line in enumerate(log.lines)
        if "Available KV" in line or "KV Cache is allocated" in line
    ]
    ranks = {re.match(r"\[[^\]]*\]|\S+", log.lines[index]) for index in measured}
    if len({each[0] for each in ranks if each}) < 2:  # a process prints its caches in the order of its models
        return
    lines = list(log.lines)
    moved = [lines[index] for index in measured]
    random.Random(1).shuffle(moved)
    for index, line in zip(measured, moved, strict=True):
        lines[index] = line
    assert facts_of(read("\n".join(lines) + "\n")[-1]) == facts_of(read(log.text)[-1])


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_flipped_raise_nothing(seed: int) -> None:
    chance = random.Random(seed)
    log = chance.choice(LOGS)
    data = bytearray(log.text.encode())
    for _ in range(100):
        data[chance.randrange(len(data))] = chance.randrange(256)
        for run in read(bytes(data)):
            facts_of(run)


def test_a_text_of_something_else_has_no_runs() -> None:
    assert read("the quick brown fox\nallocated 3 GiB of nothing\n") == ()


def test_peaks_of_a_live_engine_are_kept() -> None:
    log = next(log for log in LOGS if log.name == "vllm-0.11.0-v1")
    assert read(log.text)[0].peaks == {"live_running": 3.0, "live_waiting": 1.0, "live_kv_usage": 0.125}


def test_a_draft_is_not_the_model() -> None:
    log = next(log for log in LOGS if log.name == "sglang-0.5.6-eagle")
    drafts = read(log.text)[0].of_ranks("weights_bytes", "draft")
    assert [round(value.value / 2**30, 2) for value in drafts.values() if isinstance(value.value, float)] == [
        4.6
    ]


def test_a_text_that_a_page_wrapped_is_one() -> None:
    text = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.40 GiB.\n"
        "GPU 0 has a total capacity of 8.00 GiB of which 0\n"
        "bytes is free. Including non-PyTorch memory, this process has\n"
        "17179869184.00 GiB memory in use. Of the allocated memory 7.10 GiB is allocated by\n"
        "PyTorch, and 0.20 GiB is reserved by PyTorch but unallocated.\n"
    )
    (run,) = read(text)
    (oom,) = run.ooms
    assert (oom.total_bytes, oom.free_bytes) == (8 * 2**30, 0)
    assert oom.reserved_unallocated_bytes == round(0.2 * 2**30)


def test_a_text_that_breaks_behind_the_capacity_is_read_on() -> None:
    text = (
        "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 7 has a total capacity of 178.35 GiB of "
        "which 3.28 GiB is free.\n"
        "Including non-PyTorch memory, this process has 175.06 GiB memory in use.\n"
        "139.09 GiB allowed; Of the allocated memory 132.00 GiB is allocated by PyTorch, "
        "with 113.88 MiB allocated in\nprivate pools (e.g., CUDA Graphs), and 3.50 GiB is "
        "reserved by PyTorch but unallocated.\n"
    )
    (oom,) = read(text)[0].ooms
    assert (oom.allocated_bytes, oom.reserved_unallocated_bytes) == (132 * 2**30, round(3.5 * 2**30))
    assert oom.private_pools_bytes == round(113.88 * 2**20)


def test_a_timer_of_deepspeed_tells_the_peak() -> None:
    log = next(log for log in LOGS if log.name == "deepspeed-timer")
    (peak,) = read(log.text)[0].of_ranks("peak_allocated").values()
    assert peak.value == 54.06 * 2**30


def test_a_refusal_before_the_end_of_an_engine_is_one_run() -> None:
    text = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity "
        "of 8.00 GiB of which 1.00 GiB is free.\n(EngineCore_DP0 pid=1) ERROR EngineCore failed to start.\n"
    )
    assert [run.state for run in read(text)] == ["oom"]


def test_what_follows_a_refusal_is_no_other_cause() -> None:
    """The process above says that its core did not start; the run was called one that failed."""
    text = (
        "(EngineCore_DP0 pid=7) INFO [gpu_model_runner.py:1] Model loading took 7.0 GiB memory\n"
        "(EngineCore_DP0 pid=7) torch._inductor.exc.InductorError: OutOfMemoryError: HIP out of memory. "
        "Tried to allocate 80.00 MiB. GPU 0 has a total capacity of 8.00 GiB of which 0 bytes is free.\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert [run.state for run in read(text)] == ["oom"]


def test_a_short_word_for_a_type_is_the_type() -> None:
    """`half` was no known type, and the run had no question."""
    text = next(log for log in LOGS if log.name == "vllm-0.11.0-v1").text
    asked = text.replace("'model': ", "'dtype': 'half', 'model': ")
    assert facts_of(read(asked)[-1])["dtype"] == "float16"


def test_a_build_of_llamacpp_is_named_either_way() -> None:
    text = "build_info: b8854-de71b5f81\nload_tensors:        CUDA0 model buffer size =  3000.50 MiB\n"
    assert facts_of(read(text)[-1])["engine_version"] == "b8854-de71b5f81"


def test_a_device_of_axolotl_is_named_anew() -> None:
    text = (
        "[RANK:0] cuda:0 memory usage baseline: 0.000GB (+0.357GB misc)\n"
        "[RANK:0] cuda:0 memory usage while training: 14.500GB (+5.142GB cache, +0.771GB misc)\n"
    )
    (allocated,) = read(text)[0].of_ranks("allocated").values()
    assert allocated.value == 14.5 * 2**30


def test_a_name_that_nvidia_smi_cuts_is_no_name() -> None:
    """A laptop's "RTX 5090 ..." has 24 GB; its memory was laid to the card above."""
    text = (
        "| NVIDIA-SMI 591.74                 Driver Version: 591.74         CUDA Version: 13.1     |\n"
        "|   0  NVIDIA GeForce RTX 4090      WDDM  |   00000000:02:00.0  On |                  N/A |\n"
        "| N/A   43C    P8             13W /   93W |     737MiB /  24564MiB |      2%      Default |\n"
        "|   1  NVIDIA GeForce RTX 5090 ...  WDDM  |   00000000:03:00.0 Off |                  N/A |\n"
        "| N/A   43C    P8             13W /   93W |   20737MiB /  24463MiB |      2%      Default |\n"
    )
    run = read_nvidia_smi(text, "smi.txt")
    assert {label: each.value for label, each in run.of_ranks("gpu").items()} == {
        "GPU 0": "NVIDIA GeForce RTX 4090"
    }
    assert {label: each.value for label, each in run.of_ranks("used_bytes").items()} == {
        "GPU 0": 737 * 2**20,
        "GPU 1": 20737 * 2**20,
    }


def test_other_programs_that_allocate_are_no_death() -> None:
    assert read("PHP Fatal error: Allowed memory exhausted (tried to allocate 4096 bytes) in a.php\n") == ()
    assert read("If you run out of memory, lower --gpu-memory-utilization\n") == ()


def test_a_refusal_that_a_traceback_repeats_is_one() -> None:
    text = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity "
        "of 8.00 GiB of which 1.00 GiB is free.\n"
    )
    assert len(read(text * 3)[0].ooms) == 1


def invented(log: Written, data: bytes) -> set[str]:
    """Words that a damaged log seems to state and that the whole one does not."""
    stated = {word for run in read(log.text) for word in facts_of(run)}
    return {word for run in read(data) for word in facts_of(run)} - stated


@pytest.mark.parametrize("word", ["None", "auto"])
def test_a_damaged_word_is_no_type(word: str) -> None:
    """`Xone` was a quantization."""
    for log in LOGS:
        for damaged in (b"\x87" + word[1:].encode(), b"X" + word[1:].encode()):
            data = log.text.encode().replace(f"={word}".encode(), b"=" + damaged)
            assert invented(log, data) == set(), log.name


@pytest.mark.slow
def test_a_hundred_thousand_flipped_bytes() -> None:
    chance, found = random.Random(15), set[str]()
    for _ in range(2000):
        log = chance.choice(LOGS)
        data = bytearray(log.text.encode())
        for _ in range(50):
            data[chance.randrange(len(data))] = chance.randrange(256)
        found |= {f"{log.name}: {word}" for word in invented(log, bytes(data))}
    assert len(found) <= 2, found  # of 2,000 logs: two bytes of one word of four, which nothing gives away
