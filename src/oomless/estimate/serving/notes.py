"""What a reader must know before trusting an answer about serving, and which flags do nothing."""

from ...engines import engine
from ...engines.record import Engine
from ...engines.support import Support
from ...errors import UsageError
from ...facts.release import read_release
from ...ledger import Ledger, sums
from ...model.attention import DSA, V4, V41
from ...model.model import Model
from ...run.cards import Card, Hardware
from ...run.serving import Asked, Resolved
from ...units import format_bytes
from .stage_rank import StageRank


def warnings(model: Model, request: Resolved, hardware: Hardware, worst: Ledger) -> tuple[str, ...]:
    """What a reader must know before trusting the number."""
    card = hardware.card
    in_file = engine(request.engine).in_file
    found = list((in_file(model, request) if in_file else model).warnings)
    if hardware.reading:
        found.append(hardware.reading)
    if model.encodes:
        found.append(
            "an encoder: no cache; never compared with a run (Text Embeddings Inference is no engine here)"
        )
    if card.confidence in ("C", "D"):
        found.append(
            f"the figures of {card.name} are of low confidence ({card.confidence}): check its real memory"
        )
    if any(word in card.memory_source for word in ("assumed", "decimal", "sysctl", "the least is taken")):
        found.append(f"memory of {card.name}: {card.memory_source}")
    if card.note.startswith(("a synthetic card", "a slice")):
        found.append(card.note)
    if not card.is_nvidia:
        found.append(f"overheads were measured on NVIDIA cards; on {card.name} they are assumed")
    found += [*beyond_known(request), *multiplied_in_16_bit(model, request, card)]
    most = engine(request.engine).most_devices
    if most and request.layout.num_ranks > most:
        found.append(f"more than {most} cards: {request.engine} starts in builds made for so many alone")
    if may_be_idle(request):
        found += idle_flags(model, request)
    if worst.overrun_bytes:
        share = engine(request.engine).share_flag
        lower = f": lower {share}" if share else ""
        found.append(
            "the pool is taken whole, needed or not, and what comes beside it (context, "
            f"graphs) may pass the card{lower}"
        )
    assumed = [line.what for line in worst.lines if line.kind == "assumed"]
    if assumed:
        found.append(f"assumed, not measured for this case: {', '.join(assumed)}")
    if request.context > request.max_model_len:
        raise UsageError(
            f"--context {request.context} is more than --max-model-len {request.max_model_len}",
            "ask for less"
            if request.max_model_len >= model.max_positions
            else "raise --max-model-len or ask for less",
            "max_model_len",
        )
    return tuple(found)


def may_be_idle(request: Resolved) -> bool:
    """Whether a flag was given that does nothing for some models."""
    return bool(
        request.num_redundant_experts
        or request.speculative
        or request.images_per_prompt
        or request.indexer_kv_dtype != "auto"
        or request.cpu_moe
        or request.n_cpu_moe
        or request.kt_num_gpu_experts is not None
        or request.layout.enable_expert_parallel
    )


def unconfirmed(known: Support, model: Model, request: Resolved) -> tuple[str, ...]:
    """Return what is to be said where nobody is known to have run the question."""
    if known.runs == "runs":
        return ()
    engine_there = f"{request.engine} {request.engine_version}"
    source = f" ({known.source})" if known.source else ""
    return (f"whether {engine_there} runs {model.name} there is not known: {known.reason}{source}",)


def of_library(asked: Asked, request: Resolved, rules: Engine) -> tuple[str, ...]:
    """Return a note where nobody said a type, and that of the engine's own library is taken."""
    if asked.quantization is not None or not rules.tag_type or request.quantization != rules.tag_type:
        return ()
    return (f"{rules.tag_type}, as the tags of {rules.label} have it; --quantization says another",)


def left_to_host(model: Model, asked: Asked, request: Resolved) -> tuple[str, ...]:
    """Return a note where the engine leaves layers to the host by itself, or none though it was asked to."""
    if asked.cpu_offload_gb and not request.cpu_offload_gb:
        release = f"{request.engine} {request.engine_version}"
        return (f"--cpu-offload-gb does nothing: {release} keeps all of {model.name} on the card",)
    layers = request.n_gpu_layers
    if asked.n_gpu_layers is not None or layers is None:
        return ()
    from ...model.gguf_model import num_blocks  # most engines leave none

    if layers >= (everything := num_blocks(model) + 1):
        return ()
    return (f"{layers} of {everything} layers on the cards; the rest is on the host",)


def beyond_load(asked: Asked, request: Resolved, rules: Engine) -> tuple[str, ...]:
    """Return a note where the engine makes room for more sequences than are asked for."""
    if request.concurrency <= (asked.concurrency or 1):
        return ()
    each = f"{request.concurrency} sequences of {request.context:,} tokens each"
    return (f"room is made for {each}, as {rules.label} does; --max-num-seqs says another number",)


def beyond_context(rank: StageRank, request: Resolved, rules: Engine) -> tuple[str, ...]:
    """Return a note where the engine asks room for a longer sequence than any of the load."""
    if request.context >= request.max_model_len:
        return ()
    share = request._replace(
        max_model_len=request.context, concurrency=-(-request.concurrency // request.layout.dp)
    )
    load = rules.needed_bytes(rank.cache, share)
    if load >= rank.needed_bytes:
        return ()
    held, taken = format_bytes(rank.needed_bytes), format_bytes(load)
    if held == taken:
        return ()
    return (f"the cache is asked to hold {held}, for --max-model-len; the load takes {taken}",)


def left_idle(request: Resolved, hardware: Hardware, replicas: int) -> tuple[str, ...]:
    """Return a note where cards are left over beside the copies of the model."""
    each, whole = request.layout.num_ranks, hardware.num_gpus
    idle = whole - each * replicas
    return (f"{idle} of {whole} cards have nothing to do: a copy of the model takes {each}",) if idle else ()


def pool_as_said(rank: StageRank) -> tuple[str, ...]:
    """Return a note where the cache is as large as somebody said, so that what is to spare of it is not what
    the card has left."""
    left = rank.card_room.middle
    if not rank.has_said_pool or rank.pool_bytes <= 0 or left <= 0:
        return ()
    size, free = format_bytes(rank.pool_bytes), format_bytes(left)
    return (f"the cache is as large as it was asked, {size}: {free} of the card stay free beside it",)


def cut_off(model: Model, asked: Asked | Resolved) -> tuple[str, ...]:
    """Return a note where a sequence is longer than what the engine serves of the model, though it takes the
    length and starts.

    llama-server caps a slot at the file's context_length (tools/server/server-context.cpp), Ollama the
    context that it makes, TensorRT-LLM the longest sequence at the positions of the config
    (pyexecutor/model_engine.py); vLLM and SGLang refuse instead.
    """
    context = asked.context or asked.max_model_len or 0
    if not engine(asked.engine).cuts_at_model_positions or context <= model.max_positions:
        return ()
    return (
        f"{asked.engine} cuts a sequence off at the {model.max_positions:,} positions of {model.name}, "
        f"whatever room there is: {context:,} are not served",
    )


def peaks_while_loading(rank: StageRank) -> tuple[str, ...]:
    """Return why a checkpoint of 16 bit would be too much for the card while it is loaded, and what loads
    less; what else is too much only then, or before."""
    said: list[str] = []
    if rank.wanted and rank.free_room.least < 0:
        said.append(
            f"{format_bytes(rank.wanted)} of the card must be free before anything is loaded: the context of "
            "the process may take some of it"
        )
    if rank.passing and rank.loading_room.least < 0:
        held = format_bytes(sum(line.bytes for line in rank.passing))
        what = ", ".join(line.what for line in rank.passing)
        said.append(
            f"before the cache is made, {held} more lie beside the weights and may pass the card: {what}"
        )
    elif not rank.loads:
        loaded = format_bytes(sums(rank.load)[0])
        said.append(
            f"answered for a checkpoint published so: one of 16 bit takes {loaded} while it loads, which the "
            f"card does not have ({rank.load_rule})"
        )
    return tuple(said)


def multiplied_in_16_bit(model: Model, request: Resolved, card: Card) -> tuple[str, ...]:
    """Return a note where weights of FP8 lie on a card without products of FP8, or experts of AWQ meet
    kernels that have none for them."""
    form = request.quantization or model.quantization
    if form == "awq" and model.kinds.has_experts and card.vendor != "Huawei":
        from ...engines.sglang.release import OWN_AWQ  # few checkpoints are in AWQ

        plain = OWN_AWQ in (request.engine_version or "")
        return ("--quantization awq makes experts in 16 bit here; without it they stay in 4",) * plain
    if not form.startswith("fp8") or card.native_fp8 != "no":
        return ()
    return (f"{card.name} multiplies no FP8: weights are read in it, products run in 16 bit",)


def beyond_known(request: Resolved) -> tuple[str, ...]:
    """Return a note if the version asked for is earlier or later than all whose rules were read."""
    versions = engine(request.engine).versions
    version = request.engine_version or versions[-1]
    if version == versions[-1]:
        return ()
    release = read_release(version)
    if release > read_release(versions[-1]):
        return (f"{request.engine} {version} is later than {versions[-1]}, whose rules are used",)
    if release < read_release(versions[0]):
        return (
            f"{request.engine} {version} is earlier than {versions[0]}, the earliest whose rules were read: "
            "its neighbours' rules are used, and may be off",
        )
    return ()


def idle_flags(model: Model, asked: Asked) -> list[str]:
    """A note for each flag without effect, with the reason.

    >>> from ...model.load import load
    >>> idle_flags(load("qwen3-8b"), Asked(num_redundant_experts=32))
    ['--num-redundant-experts does nothing: qwen3-8b has no experts']
    """
    layout, name = asked.sizes, model.name
    experts = model.kinds.has_experts
    sparse = model.kinds.has(DSA, V4, V41)
    found: list[str] = []
    if (
        asked.num_redundant_experts
        and (not experts or not layout.enable_expert_parallel)
        and engine(asked.engine).redundant_experts_need_ep
    ):
        why = "experts are copied only with --enable-expert-parallel" if experts else f"{name} has no experts"
        found.append(f"--num-redundant-experts does nothing: {why}")
    if layout.enable_expert_parallel and not experts:
        found.append(f"--enable-expert-parallel does nothing: {name} has no experts")
    if asked.cpu_moe and not experts:
        found.append(f"--cpu-moe does nothing: {name} has no experts")
    if asked.n_cpu_moe and not experts:
        found.append(f"--n-cpu-moe does nothing: {name} has no experts")
    if asked.kt_num_gpu_experts is not None and not experts:
        found.append(f"--kt-num-gpu-experts does nothing: {name} has no experts")
    if asked.speculative and not model.draft:
        found.append(f"speculation is not counted: no MTP or draft layers of {name} are known here")
    if asked.indexer_kv_dtype != "auto" and not sparse:
        found.append(f"--indexer-kv-dtype does nothing: {name} has no indexer")
    if asked.images_per_prompt and model.vision is None:
        tower = any(tensor.part == "vision" for tensor in model.tensors)
        images = f"images of {name} are not estimated: its tower is counted, what it computes is not"
        found.append(images if tower else f"--limit-mm-per-prompt does nothing: {name} reads no images")
    return found
