"""Why a log and its prediction differ, where that is known: a rule each."""

from collections.abc import Callable

from ...estimate.serving.estimate import Estimate
from ...ledger import Compared
from ...units import format_bytes
from .log_facts import arguments
from .log_question import LogQuestion
from .logged_run import LoggedRun

Rule = Callable[[Compared, LoggedRun, LogQuestion, Estimate | None], str]
NEAR = 0.02
"""Below this share of the measured value there is nothing to give a reason for."""


def reason_for(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """Return why a figure is not what was predicted; empty where it is, or where nobody knows."""
    if row.predicted is None or (row.error is not None and abs(row.error) < NEAR):
        return ""
    return next((text for rule in RULES if (text := rule(row, run, asked, estimate))), "")


def others_on_card(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """Another process held memory when the engine started: free is less than total."""
    free, total = run.figure("gpu_free_bytes"), run.figure("gpu_memory_bytes")
    said = run.first("gpu_free_bytes")
    if row.key not in ("kv_cache.pool", "kv_tokens") or said is None or free is None or total is None:
        return ""
    held = total - free
    if held < total * 0.05:
        return ""
    return f"{format_bytes(round(held))} of the card were taken before the engine started ({said.source})"


def draft_loaded(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """A draft was loaded beside the model, and the question does not have it."""
    drafted = run.of_ranks("weights_bytes", "draft") or run.first("drafted")
    if not drafted or asked.question is None or asked.question.asked.speculative:
        return ""
    if row.key in ("weights", "kv_cache.pool", "kv_tokens", "runtime.cuda_graphs"):
        return "a draft model was loaded, which the prediction does not hold"
    return ""


def no_graphs(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """Graphs were off, or measured below nothing: memory was given back while they were captured."""
    if row.key == "runtime.cuda_graphs" and row.measured is not None and row.measured < 0:
        return "the allocator gave memory back while graphs were captured: the log's difference is negative"
    return ""


def implied_share(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """The log does not state the share, and the pool says that it was another one than the default."""
    if row.key != "kv_cache.pool" or "gpu_memory_utilization" not in asked.assumed or estimate is None:
        return ""
    capacity = estimate.hardware.card.memory_bytes
    used = estimate.request.gpu_memory_utilization
    if not capacity or not used or row.measured is None or row.predicted is None:
        return ""
    implied = used + (row.measured - row.predicted) / capacity
    if not 0.05 < implied <= 1 or abs(implied - used) < 0.02:
        return ""
    return f"a utilisation of {implied:.2f} instead of {used:.2f} would give this pool"


def offloaded_cache(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """Part of the layers lies on the host, with its part of the cache."""
    layers, held = run.first("layers"), run.first("layers_offloaded")
    if row.key != "kv_cache.pool" or layers is None or held is None or layers.value == held.value:
        return ""
    return f"{held.value:.0f} of {layers.value:.0f} layers lie on the card, and their cache with them"


def output_on_host(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """Ollama puts repeating layers on the card first, and the output layer only if all of them fit; llama.cpp
    by itself counts it as the first. Its weights are then copied into the compute buffer for each batch."""
    layers, held, repeating = (
        run.first(word) for word in ("layers", "layers_offloaded", "repeating_offloaded")
    )
    if layers is None or held is None or repeating is None:
        return ""
    if held.value == layers.value or repeating.value != held.value:
        return ""
    match row.key:
        case "weights" | "kv_cache.pool":
            return "the output layer lies on the host, and one layer more on the card instead"
        case "activations.compute_buffer":
            return "the output layer lies on the host, and its weights are copied into this buffer"
        case _:
            return ""


def unsaid_type(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """A log of llama.cpp without the lines of its loader says no type of the weights."""
    if row.key != "weights" or "quantization" not in asked.assumed:
        return ""
    return (
        "the log says no type of the weights, and they were taken as published: --model NAME-Q4_K_M says one"
    )


def other_release(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """The release is not among those whose source was read: it lies between two rules."""
    if row.key == "weights" or "engine_version" not in asked.assumed:
        return ""
    return "the log names no release, and the rules of the newest one were taken"


def sixteen_bit_modules(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """A quantised checkpoint of somebody's keeps modules in 16 bit that the rule quantises."""
    if row.key != "weights" or row.error is None or row.error > -NEAR or asked.question is None:
        return ""
    if run.names_devices:
        return ""  # a GGUF's type says what each tensor is
    if not (asked.question.asked.quantization or asked.question.model.quantization):
        return ""
    missing = format_bytes(round((row.measured or 0) - (row.predicted or 0)))
    layout = asked.question.asked.layout
    if layout is not None and layout.dp > 1 and asked.question.model.kinds.has_experts:
        return f"a rank holds {missing} more: copies of experts for balance, or modules in 16 bit"
    return f"the checkpoint holds {missing} more: makers leave modules in 16 bit (its config.json lists them)"


def pooled_images(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """A multimodal profile run holds the encoder's batch of the largest images."""
    if row.key != "activations.profile_run" or "limit_mm_per_prompt" not in arguments(run).asked:
        return ""
    return "the profile run encodes the images that --limit-mm-per-prompt allows"


def pool_by_hand(row: Compared, run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> str:
    """The pool's size was given, so that no share of the card decides it."""
    if row.key not in ("kv_cache.pool", "kv_tokens"):
        return ""
    printed = arguments(run)
    given = next((name for name in SIZES_OF_POOL if printed.text(name)), "")
    if given:
        return f"the pool was given by hand: {given} {printed.text(given)}"
    return "on a CPU VLLM_CPU_KVCACHE_SPACE sets the pool" if run.first("host_bytes") is not None else ""


SIZES_OF_POOL = ("kv_cache_memory_bytes", "num_gpu_blocks_override", "max_total_tokens", "max_tokens")
RULES: tuple[Rule, ...] = (
    pool_by_hand,
    others_on_card,
    draft_loaded,
    no_graphs,
    implied_share,
    unsaid_type,
    output_on_host,
    offloaded_cache,
    sixteen_bit_modules,
    pooled_images,
    other_release,
)
