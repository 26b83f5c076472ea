"""What vLLM's server chooses where the question is silent: lengths, batch, types, stages."""

from typing import Any, assert_never

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.option_values import MANY_IMAGES
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB
from ..defaults import default_length, resolve_dtype
from ..layers_dealt import deal
from ..rank import Stage
from ..releases import Releases, first_with
from .cache import SLOTS, TURBOQUANT
from .captures import captures, in_pieces
from .flashinfer import runs as runs_flashinfer
from .release import BEYOND, DOUBLED, LATENTS_OFF, OFFLINE, RELEASES, VllmRules
from .v0_states import keeps_slots

LARGE_CARD_BYTES, HUGE_CARD_BYTES = 70 * GIB, 160 * GIB
"""Device sizes from which the server's default batch grows (arg_utils.py)."""
V0_SEQUENCES = 256
CANVASES = 8
"""Sequences at once that denoise blocks, where nobody says how many (0.33, models/config.py)."""
UNCUT_TOKENS = 32768
"""The batch of models that give vectors and whose prompts are not cut (config/scheduler.py,
POOLING_MODEL_MAX_NUM_BATCHED_TOKENS)."""
APUS = ("gfx1103", "gfx1150", "gfx1151", "gfx1152")
"""Of AMD's processors, whose card takes memory of the host's beside what is carved out for it."""
SPARK_CAPABILITY = 12.1
"""DGX Spark: large, but shared with the host."""


def resolve(
    model: Model,
    hardware: Hardware,
    asked: Asked,
    layout: Layout,
    served_by: Releases[Any] = RELEASES,
) -> Resolved:
    """The question with every default that vLLM's server would choose (arg_utils.py; budget by version and
    card). An engine on top of it has releases of its own that serve what vLLM's do not."""
    version = RELEASES.latest if asked.engine_version is None else asked.engine_version
    version = engine_run(model, hardware, version, asked, layout)
    rules = RELEASES.at(version)
    length = _length(model, asked, rules)
    seqs, tokens = _batch(model, hardware, asked, length, rules)
    share = asked.gpu_memory_utilization
    if share is None:
        share = facts.constant("vllm", "gpu_memory_utilization", rules.release).value
    check_served(model, served_by, version)
    cache_dtype = resolve_cache_dtype(model, rules, hardware, asked.kv_cache_dtype)
    said = captures(asked.compilation_config)
    # FlashInfer captures whole steps of one token a sequence alone (flashinfer.py, get_cudagraph_support), of
    # a model that gives vectors none is captured whole (config/vllm.py of 0.11 to 0.33)
    pieces = not said.are_off and (
        model.pooled or (asked.speculative and runs_flashinfer(model, cache_dtype, hardware, rules))
    )
    return Resolved.of(
        asked._replace(
            dtype=resolve_dtype(model, asked.dtype, hardware),
            gpu_memory_utilization=share,
            kv_cache_dtype=cache_dtype,
            cpu_offload_gb=0.0 if model.family in rules.keeps_all_on_card else asked.cpu_offload_gb,
            block_size=block_size(asked) or default_block_size(model, rules, hardware),
            engram="host" if asked.engram == "auto" else asked.engram,
            images_per_prompt=_images(asked, rules),
            enforce_eager=asked.enforce_eager
            or said.are_off
            or not rules.captures_graphs
            or (rules.v0 and hardware.card.vendor == "Huawei"),
            compilation_config=in_pieces(asked.compilation_config) if pieces else asked.compilation_config,
        ),
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
    )


def _batch(model: Model, hardware: Hardware, asked: Asked, length: int, rules: VllmRules) -> tuple[int, int]:
    """Return (sequences at once, tokens of a step)."""
    if rules.v0:
        from .v0_batch import v0_batch  # rules of releases before 0.11

        seqs, tokens = V0_SEQUENCES, v0_batch(model, asked, hardware, length, rules)
    else:
        whole = hardware.card.memory_bytes * asked.instances + asked.reserve_bytes
        card = hardware.card._replace(memory_bytes=whole)
        seqs, tokens = default_batch(rules, hardware._replace(card=card), length * model.encodes)
    if DOUBLED in rules.text:  # arg_utils.py of 0.17 to 0.33
        seqs, tokens = 2 * seqs, 2 * tokens
    if rules.raises_batch_to_items and model.vision and model.vision.sees_both_ways:
        tokens = max(tokens, GEMMA_VIDEO)
    if asked.max_num_batched_tokens is None and asked.max_num_seqs:
        tokens = min(tokens, asked.max_num_seqs * length) if not rules.v0 else tokens
    if asked.no_enable_chunked_prefill:
        tokens = max(tokens, length)
        if (asked.max_num_batched_tokens or tokens) < length:
            raise UsageError(
                f"--max-num-batched-tokens {asked.max_num_batched_tokens} is less than the {length:,} of "
                "--max-model-len",
                "without chunks vLLM reads a prompt whole, and refuses: raise it, or leave chunks on",
                "max_num_batched_tokens",
            )
    tokens = asked.max_num_batched_tokens or tokens
    said = asked.max_num_seqs or (seqs if rules.v0 else 0)
    if said > tokens:  # config/scheduler.py, verify_max_model_len; before it _verify_args, from 0.1 on
        raise UsageError(
            f"--max-num-batched-tokens {tokens} is less than the {said:,} of --max-num-seqs",
            "each sequence has a token of a step, and vLLM refuses: raise it, or give fewer sequences",
            "max_num_batched_tokens",
        )
    return asked.max_num_seqs or min(seqs, tokens, CANVASES if model.canvas else seqs), tokens


def _images(asked: Asked, rules: VllmRules) -> int | None:
    """Return the images of a prompt; V0 takes one where only videos are limited."""
    if asked.language_model_only:
        return 0
    return 1 if rules.v0 and asked.images_per_prompt == MANY_IMAGES else asked.images_per_prompt


def _length(model: Model, asked: Asked, rules: VllmRules) -> int:
    """Return the length that is served; one beyond the model's positions is refused unless a variable lets it
    through (config/model.py), in releases that see no further than a window that alternates with full
    attention one beyond that (Gemma-2).

    >>> from ...model.load import load
    >>> [_length(load("gemma-2-9b"), Asked(), RELEASES.at(each)) for each in ("0.5.4", "0.6.6")]
    [4096, 8192]
    """
    length, most = default_length(model), model.max_positions
    windows = [each.window for each in model.kinds.of(Sliding)]
    if rules.caps_interleaved_windows and windows and model.kinds.has(GQA):
        length = most = min(*windows, length)
    if asked.max_model_len and asked.max_model_len > max(length, most) and BEYOND not in rules.text:
        raise UsageError(
            f"--max-model-len {asked.max_model_len} is more than the {length} positions of {model.name}",
            "vLLM refuses it too; give at most the model's own length, or other positions by --hf-overrides",
            "max_model_len",
        )
    return asked.max_model_len or length


def check_served(model: Model, releases: Releases[Any], version: str) -> None:
    """Refuse attention that came with a later release of the engine."""
    rules = releases.at(version)
    for kind, rule in ((DSA, "serves_sparse_mla"), (V4, "serves_v4"), (V41, "serves_v41")):
        if model.kinds.has(kind) and not getattr(rules, rule):
            engine = releases.engine
            first = first_with(engine, rule)
            raise UnsupportedError(
                f"{engine} before {first} cannot serve {model.name}", f"use {first} or later"
            )


def engine_run(model: Model, hardware: Hardware, version: str, asked: Asked, layout: Layout) -> str:
    """Return the release with its engine, where the question decides which runs: while the first was still
    there, what the second could not serve fell back to it unasked. MLA had no second engine on ROCm: whoever
    asks for that one has switched MLA off. So does what is quantised by more than FP8, in the first releases.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> v3, asked, layout = load("deepseek-v3"), Asked(kv_cache_dtype="fp8"), Layout(tp=8)
    >>> [engine_run(v3, parse_gpu("mi300x:8"), text, asked, layout) for text in ("0.8.5", "0.8.5 (V1)")]
    ['0.8.5 (V0)', '0.8.5 (V1, MLA off)']
    >>> [engine_run(v3, parse_gpu(card), "0.9.2", asked, layout) for card in ("a100-80gb:8", "h200:8")]
    ['0.9.2 (V0)', '0.9.2']
    >>> llama, cards = load("llama-3.2-11b-vision"), parse_gpu("a10:4")
    >>> [engine_run(llama, cards, text, Asked(), Layout(tp=4)) for text in ("0.8.3", "0.11.0")]
    ['0.8.3 (V0)', '0.11.0']
    >>> awq = asked._replace(quantization="awq")
    >>> [engine_run(v3, parse_gpu("a800:8"), text, awq, layout) for text in ("0.7.2", "0.7.3")]
    ['0.7.2 (MLA off)', '0.7.3']
    """
    rules = RELEASES.at(version)
    form = asked.quantization or model.quantization or "fp8"
    if rules.latents_of_fp8_alone and model.kinds.has(MLA) and not form.startswith(("fp8", "compressed")):
        return f"{version} ({LATENTS_OFF})"
    if "V1" not in version:
        left = not rules.v0 and falls_back(model, hardware, rules, asked, layout)
        return f"{version} (V0)" if left else version
    latents_off = hardware.card.vendor == "AMD" and rules.has_v1_on_cuda_alone and model.kinds.has(MLA)
    return version.replace("V1", f"V1, {LATENTS_OFF}") if latents_off and not rules.v0 else version


def falls_back(model: Model, hardware: Hardware, rules: VllmRules, asked: Asked, layout: Layout) -> bool:
    """Return whether the second engine leaves a question to the first (arg_utils.py, _is_v1_supported_oracle,
    and the models that are SupportsV0Only)."""
    card, reads_fp8 = hardware.card, [] if rules.v1_caches_no_fp8 else [9]
    if card.vendor != "NVIDIA":
        return {"AMD": rules.has_v1_on_cuda_alone, "Huawei": rules.v1_asked_for_on_ascend}.get(
            card.vendor, False
        )
    if rules.v1_caches_fp8_on_blackwell:
        reads_fp8.append(10)
    in_fp8 = rules.v1_caches_fp8_by_fa3 and (asked.kv_cache_dtype or "").startswith("fp8")
    drafts = rules.offers_v0 and asked.speculative and not rules.v1_drafts_unasked
    staged = rules.v1_stages_by_ray_alone and layout.pp > 1 and hardware.num_nodes == 1
    old = rules.v1_needs_ampere and card.capability < 8
    slots = rules.offers_v0 and keeps_slots(model) and not rules.v1_serves_slots
    if slots or model.family in rules.leaves_to_v0:
        return True
    return old or (in_fp8 and card.major not in reads_fp8) or drafts or staged


GEMMA_VIDEO = 32 * (70 + 2 + 6)
"""Tokens of Gemma 4's longest video, whose frames see both ways (models/gemma4_mm.py,
get_mm_max_tokens_per_item); 2,496 a step for 31B at TP2 (0.26, vllm#50159)."""


def default_batch(rules: VllmRules, hardware: Hardware, uncut_length: int = 0) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens) of the second engine's API server, or of LLM() where the text
    says so (arg_utils.py, UsageContext); `uncut_length`: of prompts that are not cut.

    From 0.9 on an A100 is no large card, whatever its memory (vllm#17885; pools of 0.10.1 on A100-80GB are 5
    to 7 GiB larger so). Gaudi's plugin says that its cards have no memory (platform.py,
    get_device_total_memory): vllm-gaudi#1700 tries 256 sequences.

    >>> from ...run.hardware import parse_gpu
    >>> [default_batch(RELEASES.at("0.25.0"), parse_gpu(card)) for card in ("h100", "gaudi-3")]
    [(1024, 8192), (256, 2048)]
    """
    card = hardware.card
    memory = 0 if card.name.startswith("Gaudi") else card.memory_bytes
    uncut = max(uncut_length, UNCUT_TOKENS) if uncut_length else 0
    large = memory >= LARGE_CARD_BYTES and not ("A100" in card.name and rules.takes_a100_for_small)
    if rules.knows_huge_cards and memory >= HUGE_CARD_BYTES:
        return 1024, uncut or 16384
    if rules.takes_spark_for_small and card.capability == SPARK_CAPABILITY:
        large = False
    if rules.takes_apu_for_small and card.compute_capability in APUS:
        large = False
    server = 8192 if large else 2048
    step = 2 * LLM_CLASS_STEP if large else LLM_CLASS_STEP
    tokens = uncut or (step if OFFLINE in rules.text else server)
    return (1024 if large or rules.takes_1024_sequences else 256), tokens


LLM_CLASS_STEP = 8192
"""Tokens of a step of LLM() on a small card; a large one takes twice as many."""


CACHE_TYPES = (
    "auto",
    "bfloat16",
    "float16",
    "float32",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_inc",
    "fp8_ds_mla",
    "nvfp4",
    "nvfp4_ds_mla",
    *SLOTS,
)


def resolve_cache_dtype(model: Model, rules: VllmRules, hardware: Hardware, asked: str) -> str:
    """The layout that vLLM stores the cache in: for sparse MLA and V4, fp8 means a packed row (0.11 took it
    for auto too); where nothing is asked, what ModelOpt's checkpoint says."""
    if asked not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked!r} is not known",
            f"known are {', '.join(CACHE_TYPES)}",
            "kv_cache_dtype",
        )
    if asked in SLOTS:
        check_slots(model, rules, asked)
    if asked == "auto" and model.fp8_cache and rules.follows_cache_of_checkpoint:
        asked = "fp8"
    for attention in model.kinds.attentions:
        stored = stored_cache_dtype(attention, model.name, rules, hardware, asked)
        if stored != asked:
            return stored
    return asked


def check_slots(model: Model, rules: VllmRules, asked: str) -> None:
    """Refuse a packed cache that the release, or the model's attention, does not have."""
    rule = "codes_beside_states" if model.kinds.has(Linear) else "codes_caches"
    if not getattr(rules, rule):
        first = first_with("vllm", rule)
        raise UnsupportedError(
            f"vllm before {first} has no {asked} cache for {model.name}", "use fp8, or a later version"
        )
    known = (GQA, Linear) if asked.startswith(TURBOQUANT) else (GQA, Linear, Sliding)
    if not all(isinstance(each, known) for each in model.kinds.attentions):
        raise UnsupportedError(
            f"--kv-cache-dtype {asked} is not for {model.name}", "use fp8 or auto", "kv_cache_dtype"
        )


def stored_cache_dtype(
    attention: Attention, name: str, rules: VllmRules, hardware: Hardware, asked: str
) -> str:
    """The layout of the cache of one kind of attention of the model `name`."""
    match attention:
        case DSA():
            packed = asked in ("fp8", "fp8_e4m3") or (asked == "auto" and rules.packs_sparse_cache_unasked)
            if packed and rules.takes_flashinfer_sparse and hardware.card.major == 10:
                return "fp8"
            return "fp8_ds_mla" if packed else asked
        case V4() | V41():
            if asked == "nvfp4_ds_mla" and not rules.caches_v4_in_nvfp4:
                raise UnsupportedError(
                    f"vllm before {first_with('vllm', 'caches_v4_in_nvfp4')} has no {asked} cache for {name}",
                    "use fp8, or a later version",
                )
            if asked not in ("auto", "fp8", "fp8_e4m3", "fp8_ds_mla"):
                return asked
            record = isinstance(attention, V41) and hardware.card.major == 10
            return "mxfp8_ds_mla" if record else "fp8_ds_mla"
        case MLA() | GQA() | Sliding() | Linear():
            if asked.endswith("_ds_mla") and asked != "fp8_ds_mla":
                raise UnsupportedError(
                    f"--kv-cache-dtype {asked} is for sparse MLA alone", "use fp8 or auto", "kv_cache_dtype"
                )
            return asked
        case _:
            assert_never(attention)


def block_size(asked: Asked) -> int | None:
    """Return the tokens of a block as asked: 1, or a multiple of 8 (config/cache.py, BlockSize)."""
    size = asked.block_size
    if size and size > 1 and size % 8:
        raise UsageError(
            f"--block-size {size} is none that vLLM's attention takes",
            "choose a multiple of 16",
            "block_size",
        )
    return size


def default_block_size(model: Model, rules: VllmRules, hardware: Hardware) -> int:
    """Tokens a block: what the attention backends of all layers take."""
    return max(block_of(each, rules, hardware) for each in model.kinds.attentions)


def block_of(attention: Attention, rules: VllmRules, hardware: Hardware) -> int:
    """Tokens a block of one kind of attention, by its backend."""
    match attention:
        case V4() | V41():
            return 256
        case DSA():
            return 64
        case MLA():
            blackwell = hardware.card.major in (10, 11)
            return rules.blackwell_mla_block if blackwell else 16
        case GQA() | Sliding() | Linear():
            return 16
        case _:
            assert_never(attention)


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a pipeline stage: the remainder goes to the stages before the last (before 0.8: to the last).

    >>> from ...model.load import load
    >>> asked = Resolved(engine_version="0.19.0", layout=Layout(pp=4))
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), asked)]
    [15, 15, 16, 15]
    """
    earlier = RELEASES.at(asked.engine_version).deals_remainder_to_earlier_stages
    return deal(model, asked.layout.pp, "stages before the last" if earlier else "last stage")
