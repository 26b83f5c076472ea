"""Pieces of logs, as people paste them: what the piece does not say is taken from beside it or named."""

import io

from oomless.api.reconcile import beside_prediction
from oomless.truth.reconcile.read_log import read_stream
from oomless.truth.reconcile.reconciled import ReconciledRun


def beside(text: str, *given: str) -> ReconciledRun:
    return beside_prediction(read_stream(io.BytesIO(text.encode()), "a.log"), *given).runs[-1]


LOADED = (
    "[2025-05-09 15:00:14 DP{0} TP{1}] Load weight end. type=DeepseekV3ForCausalLM, mem usage=105.59 GB.\n"
)


def test_ranks_of_sglang_name_their_groups() -> None:
    """Attention lies whole on each rank of a group of one; 79.8 GiB were predicted, those of eight."""
    text = "".join(LOADED.format(group, group) for group in (2, 0, 7))
    found = beside(text, "h200:8", "deepseek-v3")
    assert found.command[-3:] == ["--dp", "8", "--enable-dp-attention"]
    assert "copies of experts" in found.rows[0].reason
    assert "engine_version" in found.asked.assumed
    pairs = "".join(LOADED.format(group, rank) for group, rank in ((1, 2), (1, 3), (0, 0)))
    assert beside(pairs, "h200:8", "deepseek-v3").command[-2:] == ["4", "--enable-dp-attention"]
    copies = "".join(LOADED.format(group, rank) for group, rank in ((1, 0), (1, 1), (0, 0), (0, 1)))
    assert "--enable-dp-attention" not in beside(copies, "h200:8", "deepseek-v3").command


def test_the_release_beside_a_log_counts() -> None:
    """SGLang's log names none, and the newest stood in for what was given."""
    found = beside(LOADED.format(0, 0), "h200:8", "deepseek-v3", "0.4.6")
    assert found.command[found.command.index("--engine-version") + 1] == "0.4.6"
    assert "engine_version" not in found.asked.assumed


LLAMA = """load_tensors: offloading 28 repeating layers to GPU
load_tensors: offloading output layer to GPU
load_tensors: offloaded 29/29 layers to GPU
load_tensors:        CUDA0 model buffer size =  4168.09 MiB
load_tensors:   CPU_Mapped model buffer size =   292.36 MiB
llama_context: n_seq_max     = 1
llama_context: n_ctx         = 4096
"""


def test_a_type_of_weights_stands_in_the_models_name() -> None:
    """13.17 GiB of 16 bit were predicted, and the release was blamed."""
    bare = beside(LLAMA, "rtx-3060", "deepseek-r1-distill-qwen-7b")
    assert "gpu" not in bare.asked.assumed
    assert "quantization" in bare.asked.assumed
    assert "says no type of the weights" in bare.rows[0].reason
    typed = beside(LLAMA, "rtx-3060", "unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M", "b4500")
    assert typed.asked.assumed == ()
    assert abs(typed.rows[0].error or 0) < 1e-5
    assert "2025-01-17" in typed.command


def test_a_process_in_a_container_is_named_with_the_rest() -> None:
    """Its number there is another one: the card's 23.65 GiB were said to hold 21.51 and 21.98 beside."""
    held = "".join(f"Process {pid} has 398.00 MiB memory in use. " for pid in (62201, 62203, 62204, 62202))
    text = (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 136.00 MiB. GPU 0 has a total "
        f"capacty of 23.65 GiB of which 93.81 MiB is free. {held}Process 62200 has 21.98 GiB memory in use. "
        "Of the allocated memory 21.51 GiB is allocated by PyTorch, and 2.30 MiB is reserved by PyTorch but "
        "unallocated.\n"
    )
    found = beside(text)
    assert found.asked.missing == ("model", "gpu")
    assert found.explanation is not None
    named = dict(found.explanation.held)
    assert 470 < named["this process beside torch"] / 2**20 < 490
    assert "process 62200" not in named
    assert sum(named.values()) / 2**30 < 23.7


def test_what_was_given_is_not_asked_for_again() -> None:
    text = (
        "[rank0]:[titan] 2025-10-15 10:37:07 - root - INFO - step: 10  loss: 10.2  memory: 44.84GiB(47.19%)\n"
    )
    assert beside(text, "h100:4", "llama-3.1-8b").asked.missing == ()


REFUSED = (
    "ValueError: To serve at least one request with the models's max seq len (40960), (10.00 GiB KV cache "
    "is needed, which is larger than the available KV cache memory (7.51 GiB). Based on the available "
    "memory, the estimated maximum model length is 30752. Try increasing `gpu_memory_utilization`\n"
)


def test_the_length_that_an_engine_says_would_fit_is_repeated_as_its_own() -> None:
    """It was left out without a model, and with one it left -3.60 GiB."""
    alone = beside(REFUSED).explanation
    assert alone is not None
    assert (alone.needed_bytes, alone.pool_bytes) == (10 << 30, round(7.51 * 2**30))
    assert [(each.flags, each.headroom_bytes) for each in alone.advice] == [("--max-model-len 30752", None)]
    start = "INFO [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: model='Qwen/Qwen3-32B', "
    whole = beside(f"{start}dtype=torch.bfloat16, max_seq_len=40960\n{REFUSED}", "h100").explanation
    assert whole is not None
    assert whole.advice[0].flags == "--max-model-len 30752"
    assert all(each.headroom_bytes is None or each.headroom_bytes >= 0 for each in whole.advice)
    short = REFUSED.replace("7.51 GiB", "0.12 GiB").replace("30752", "480")
    nobody = beside(f"{start}dtype=torch.bfloat16, max_seq_len=40960\n{short}", "h100").explanation
    assert nobody is not None
    assert nobody.advice
    assert "--max-model-len 480" not in {each.flags for each in nobody.advice}


def test_an_excerpt_of_a_tensor_rank_is_of_all_cards_that_are_named() -> None:
    """One rank was taken, on which a pool of -151.65 GiB was predicted (vllm#21348)."""
    text = (
        "[2025-07-22 10:00:00 TP0] KV Cache is allocated. #tokens: 367404, K size: 8.23 GB, V size: 8.23 GB\n"
    )
    several = beside(text, "h100:4", "qwen3-235b-a22b-fp8", "0.4.9")
    assert several.command[several.command.index("--tp") + 1] == "4"
    assert (several.rows[0].predicted or 0) > 0
    alone = beside(text, "h200", "qwen3-8b", "0.4.9")
    assert alone.command[alone.command.index("--tp") + 1] == "1"
