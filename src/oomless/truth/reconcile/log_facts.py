"""A run of a log -> the facts that it states, in the words of `reconcile --json`; nothing is filled in."""

import re
from collections.abc import Mapping

from ...recording.log_lines import number
from ...recording.printed_arguments import LEFT_TO_THE_ENGINE, Arguments, printed_arguments
from .logged_run import LoggedRun

Fact = str | int | float | bool

COUNTS = ("tp", "pp", "dp", "ep", "max_model_len", "max_num_seqs", "max_num_batched_tokens")
SMALLEST = ("kv_bytes", "kv_tokens", "max_concurrency")
LARGEST = (
    "weights_bytes",
    "activation_bytes",
    "non_torch_bytes",
    "cuda_graph_bytes",
    "compute_buffer_bytes",
    "gpu_memory_bytes",
)
WORDS = (
    "engine",
    "engine_version",
    "model",
    "gpu",
    "gpu_memory_bytes",
    "tp",
    "pp",
    "dp",
    "ep",
    "dtype",
    "quantization",
    "kv_cache_dtype",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "enforce_eager",
    "weights_bytes",
    "kv_bytes",
    "kv_tokens",
    "activation_bytes",
    "non_torch_bytes",
    "cuda_graph_bytes",
    "compute_buffer_bytes",
    "max_concurrency",
)
"""The words of contract and JSON, in their order."""
SHORT_TYPES = {"half": "float16", "float": "float32"}
"""Words for a type that engines take beside its name (vllm/config: STR_DTYPE_TO_TORCH_DTYPE)."""


def arguments(run: LoggedRun) -> Arguments:
    """Return the printed configuration of a run."""
    asked, resolved = run.first("asked"), run.first("resolved")
    return Arguments(
        printed_arguments(str(asked.value)) if asked else {},
        printed_arguments(str(resolved.value)) if resolved else {},
    )


def facts_of(run: LoggedRun) -> dict[str, Fact]:
    """Return what the log states: configuration as printed, measured figures of the rank that counts."""
    found: dict[str, Fact] = {"engine": run.engine}
    found |= _configuration(run)
    for word in (*LARGEST, *SMALLEST):
        values = (run.on_cards(word) or run.of_ranks(word)).values()
        if values:
            amounts = [value.value for value in values if isinstance(value.value, float)]
            found[word] = _plain(word, min(amounts) if word in SMALLEST else max(amounts))
    if "weights_bytes" not in found and (loaded := _freed_by_load(run)) is not None:
        found["weights_bytes"] = loaded
    if "kv_tokens" not in found and (tokens := _tokens_of_blocks(run, found)) is not None:
        found["kv_tokens"] = tokens
    if "kv_tokens" not in found and (pool := run.of_ranks("pool_tokens")):
        found["kv_tokens"] = min(int(each.value) for each in pool.values() if isinstance(each.value, float))
    if "kv_bytes" not in found and (total := run.first("kv_total_bytes")):
        found["kv_bytes"] = _plain("kv_bytes", total.value)
    return {word: found[word] for word in WORDS if word in found}


def _plain(word: str, value: float | str) -> Fact:
    if isinstance(value, str):
        return value
    return round(value, 4) if word in ("max_concurrency", "gpu_memory_utilization") else round(value)


def _configuration(run: LoggedRun) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    printed = arguments(run)
    for name, word, unit in run.rules.arguments:
        text = printed.text(name)
        if text is None or word in found:
            continue
        value = number(text) if unit in ("count", "share") else None
        if unit == "flag" and text in ("True", "False"):
            found[word] = text == "True"
        elif unit in ("count", "share") and value is not None:
            found[word] = int(value) if unit == "count" else value
        elif unit == "text":
            plain = text.removeprefix("torch.")
            found[word] = SHORT_TYPES.get(plain, plain) if word == "dtype" else plain
    for word in ("engine_version", "gpu", "dtype", "quantization", "kv_cache_dtype", "model"):
        value_said = run.first(word)
        if value_said is not None and word not in found and value_said.value not in LEFT_TO_THE_ENGINE:
            found[word] = str(value_said.value)
    for word in (*COUNTS, "gpu_memory_utilization"):
        said = run.figure(word)
        if said is not None and (word not in found or word in run.rules.resolved):
            found[word] = _plain(word, said)
    cells = run.first("context")
    if "max_model_len" not in found and cells is not None and found.get("max_num_seqs", 1) == 1:
        found["max_model_len"] = _plain("max_model_len", cells.value)
    if found.get("enable_expert_parallel") and isinstance(tp := found.get("tp"), int):
        found["ep"] = tp * int(found.get("dp", 1))
    elif not run.rules.says_expert_size:
        found.pop("ep", None)
    if printed.asked or printed.resolved:
        found = {**dict.fromkeys(run.rules.sizes_left_out, 1), **found}
    for word in ("dtype", "quantization", "kv_cache_dtype"):
        said_as = str(found.get(word, "fp8"))
        if not _is_word(said_as) or (word == "kv_cache_dtype" and not re.search(r"\d", said_as)):
            del found[word]
    if "model" not in found and (folder := run.text("model_folder")):
        found["model"] = folder.replace("--", "/", 1)
    if "model" not in found and (file := run.text("model_file")):
        found["model"] = file.replace("\\", "/").rpartition("/")[2]
    return found


def cache_type(run: LoggedRun, found: Mapping[str, object]) -> str:
    """Return the type of the cache as measured tables write it; "" where the log does not say it."""
    keys, values = run.text("cache_type_k"), run.text("cache_type_v")
    if keys:
        return keys if not values or keys == values else f"K {keys}, V {values}"
    return str(found.get("kv_cache_dtype", ""))


def _is_word(text: object) -> bool:
    """Whether a text may be a type or a method: letters and figures, and not None or auto with a byte that
    was damaged on the way.

    >>> _is_word("fp8_e4m3"), _is_word("Q4_K - Medium"), _is_word("Nane"), _is_word("'auto' pi")
    (True, True, False, False)
    """
    if not isinstance(text, str) or not WORD.fullmatch(text) or text.startswith("None"):
        return False
    return not any(
        len(text) == len(word) and sum(one != other for one, other in zip(text, word, strict=True)) == 1
        for word in LEFT_TO_THE_ENGINE
        if len(word) > 2
    )


WORD = re.compile(r"[A-Za-z0-9][\w.:/+-]*(?: [\w.:/+-]+)*(?: \([\w. ]+\))?", re.ASCII)


def _freed_by_load(run: LoggedRun) -> int | None:
    """Weights of a release that prints what is free before and after loading, and not what it took."""
    before, behind = run.of_ranks("gpu_free_bytes"), run.of_ranks("free_after_load_bytes")
    taken = [
        before[label].value - behind[label].value  # type: ignore[operator]  # both are figures
        for label in before
        if label in behind
    ]
    return round(max(taken)) if taken and max(taken) > 0 else None


def _tokens_of_blocks(run: LoggedRun, found: dict[str, Fact]) -> int | None:
    """Tokens of a cache that is printed in blocks: the block size is what the printed concurrency implies,
    or the one that is printed, or the engine's own."""
    blocks = [int(each.value) for each in run.of_ranks("kv_blocks").values() if isinstance(each.value, float)]
    if not blocks:
        return None
    count, size = min(blocks), 0
    length, times = run.figure("length_of_concurrency"), run.figure("max_concurrency")
    if length is not None and times is not None and count:
        implied = length * times / count
        size = next((each for each in (1, 8, 16, 32, 64, 128, 256) if abs(implied / each - 1) < 0.02), 0)
        return count * size if size else None
    printed = number(arguments(run).text("block_size") or "")
    said = run.figure("block_size")
    if said is not None:
        size = int(said)
    elif printed is not None:
        size = int(printed)
    else:
        size = run.rules.unsaid_block(run.text)
    return count * size if size else None


KEYS = {
    "weights_bytes": "weights",
    "kv_bytes": "kv_cache.pool",
    "activation_bytes": "activations.profile_run",
    "non_torch_bytes": "runtime.non_torch",
    "cuda_graph_bytes": "runtime.cuda_graphs",
    "compute_buffer_bytes": "activations.compute_buffer",
    "needed_bytes": "kv_cache.needed",
    "output_bytes": "logits.decoder",
    "state_bytes": "kv_cache.states",
    "draft_graph_bytes": "runtime.cuda_graphs",
}
"""A measured word -> the key of the lines that it stands beside."""
