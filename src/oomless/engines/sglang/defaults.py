"""What SGLang's server chooses where the question is silent: share, chunk, batch, graphs, pages, types
(server_args.py; arg_groups/); the share and the chunk stand in share.py."""

from typing import assert_never

from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ..defaults import default_length, resolve_dtype
from ..layers_dealt import deal
from ..layouts import need_even_experts
from ..rank import Stage
from ..releases import first_with
from .cache import BLOCK_SCALED
from .cache_v4 import ALL_16_BIT
from .release import LONG_FOR_AITER, RELEASES, SglangRules, attention_ranks, by_aiter
from .share import default_chunk, default_share, reads_images, share_beside_tower
from .states import fixed_slots, slots_of_request

V4_WINDOWS = 0.1
"""--swa-full-tokens-ratio of V4 (arg_groups/deepseek_v4_hook.py) where the requests do not decide."""
DEFAULT_REQUESTS, V4_REQUESTS, SPECULATIVE_REQUESTS = 2048, 256, 48
EARLY_DRAFTED = 32
MOST_REQUESTS = 4096
"""Of a pool that is large for the model's length, where no number is asked."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with every default that SGLang's server would choose."""
    version = RELEASES.latest if asked.engine_version is None else asked.engine_version
    rules = RELEASES.at(version)
    compressed, asked = model.kinds.has(V4, V41), with_own_backend(asked, hardware)
    check_kind(model, rules)
    layout = resolve_layout(model, rules, layout, asked)
    own = own_length(model, rules)
    length = asked.max_model_len or own
    if length > max(own, model.max_positions):
        raise UsageError(
            f"--context-length {length} is more than the {own} positions of {model.name}",
            "SGLang refuses it too; give at most the model's own length, or other "
            "positions by --hf-overrides",
        )
    page = asked.block_size or default_page(model, asked, hardware, rules)
    found = Resolved.of(
        asked._replace(
            engram=place_of_tables(model, asked, hardware),
            context=asked.context or min(length, default_length(model), longest_request(asked, page)),
        ),
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or 0,
        max_num_batched_tokens=asked.max_num_batched_tokens or 0,
    )
    if captures_no_step(model, asked):
        found = found._replace(enforce_eager=True)
    chunk, graphs = default_chunk(found, hardware, rules)
    cut = cuts_prompts(model, asked, rules)
    found = found._replace(cuda_graph_max_bs=0 if found.enforce_eager else asked.cuda_graph_max_bs or graphs)
    divided = layout.dp if layout.enable_dp_attention else 1
    share = asked.mem_fraction_static
    if share is None:
        share = default_share(model, found, hardware, rules, chunk * cut)
    shows = reads_images(model, rules)
    if not cut or (shows and rules.cuts_no_prompt_of_vision_models):
        chunk = max(chunk, length)
    if rules.cuts_any_share_of_vision_models:
        share *= share_beside_tower(model, rules)  # model_runner.py: whoever chose the share
    if length > LONG_FOR_AITER and by_aiter(model, found, hardware, rules):
        share *= rules.share_beside_aiter
    if compressed and not asked.swa_full_tokens_ratio and not rules.sizes_v4_windows_by_requests:
        found = found._replace(swa_full_tokens_ratio=V4_WINDOWS)
    said = asked.max_num_seqs or usual_requests(model, asked, rules)  # tp_worker.py: divided by the groups
    requests = max(said // divided, 1) if said else DEFAULT_REQUESTS
    states = fixed_slots(asked, rules) if model.kinds.has(Linear) else None
    if states is not None:
        slots = slots_of_request(model.kinds.attentions, asked, rules)
        requests = min(requests, max(states // divided // slots, 1))
    return found._replace(
        dtype=resolve_dtype(model, asked.dtype, hardware),
        kv_cache_dtype=resolve_cache_dtype(model, found, hardware, rules),
        max_num_seqs=requests,
        max_mamba_cache_size=states,
        max_num_batched_tokens=max(chunk // divided, 1),
        mem_fraction_static=share,
        block_size=page,
    )


def captures_no_step(model: Model, asked: Asked) -> bool:
    """Return whether no step is captured, asked or not: with DeepEP's kernels of prompts alone
    (server_args.py), and of a model that gives vectors (model_runner.py, init_device_graphs)."""
    return (asked.moe_a2a_backend == "deepep" and asked.deepep_mode == "normal") or model.pooled


def place_of_tables(model: Model, asked: Asked, hardware: Hardware) -> str:
    """Where tables of n-grams are: of some families in pinned memory of the host where CUDA serves BF16,
    which is the card's own on a machine that has one memory.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> model = load("qwen3.8-flash-next-nvfp4")
    >>> [place_of_tables(model, Asked(), parse_gpu(gpu)) for gpu in ("b200", "dgx-spark", "mi355x")]
    ['host', 'gpu', 'gpu']
    """
    if asked.engram != "auto":
        return asked.engram
    apart = hardware.card.vendor == "NVIDIA" and not hardware.card.shared_bytes
    away = model.family in RELEASES.at(asked.engine_version).keeps_tables_on_host
    away = away and resolve_dtype(model, asked.dtype, hardware) == "bfloat16"
    return "host" if away and apart else "gpu"


def with_own_backend(asked: Asked, hardware: Hardware) -> Asked:
    """Return the question with the one backend that there is for attention on Ascend, where none is said."""
    alone = hardware.card.vendor == "Huawei" and asked.attention_backend == "auto"
    return asked._replace(attention_backend="ascend") if alone else asked


def cuts_prompts(model: Model, asked: Asked, rules: SglangRules) -> bool:
    """Return whether prompts are read in chunks; no model that denoises blocks has any (gemma4_renoise.py,
    configure_server_args)."""
    unpadded = asked.speculative and rules.drafts_unpadded
    return not (asked.no_enable_chunked_prefill or model.canvas or unpadded)


def usual_requests(model: Model, asked: Asked, rules: SglangRules) -> int | None:
    """Return the requests that may run on all ranks where nobody says more, of which each has its share: one
    that denoises blocks (dllm/config.py). None: as many as a rank's own tables hold."""
    if model.canvas:
        return 1
    if model.kinds.has(V4, V41):
        return V4_REQUESTS
    if not asked.speculative or rules.drafts_unpadded:
        return None
    return EARLY_DRAFTED if rules.drafts_for_32 else SPECULATIVE_REQUESTS


def longest_request(asked: Asked, page: int) -> int:
    """Return the tokens of the longest request that a pool of --max-total-tokens takes, in whole pages: no
    longer one is accepted (managers/tp_worker.py, max_req_len).

    >>> longest_request(Asked(max_total_tokens=40000), 64), longest_request(Asked(max_total_tokens=100), 64)
    (40000, 64)
    """
    return max(asked.max_total_tokens // page, 1) * page if asked.max_total_tokens else MAX_LENGTH


MAX_LENGTH = 1 << 62
"""No pool bounds it."""


def own_length(model: Model, rules: SglangRules) -> int:
    """The model's own length as SGLang derives it: to 0.5.9 times any linear factor.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> [own_length(load("gemma-3-4b"), RELEASES.at(text)) for text in ("0.4.4", "0.5.12")]
    [1048576, 131072]
    """
    rope = model.ropes[0]
    if rules.multiplies_scaled_positions and rope.scaling == "linear":
        return int(model.max_positions * rope.factor)
    return default_length(model)


def check_kind(model: Model, rules: SglangRules) -> None:
    """The first release that serves each kind of attention, and blocks that are denoised."""
    if model.canvas and not rules.serves_canvases:
        first = first_with("sglang", "serves_canvases")
        raise UnsupportedError(f"sglang before {first} cannot serve {model.name}", "use a later version")
    for attention in model.kinds.attentions:
        match attention:
            case DSA():
                needed = "serves_sparse_mla"
            case V4():
                needed = "serves_v4"
            case V41():
                needed = "serves_v41"
            case Linear():
                needed = "serves_states"
            case GQA() | Sliding() | MLA():
                continue
        if not getattr(rules, needed):
            first = first_with("sglang", needed)
            raise UnsupportedError(f"sglang before {first} cannot serve {model.name}", "use a later version")


def resolve_layout(model: Model, rules: SglangRules, layout: Layout, asked: Asked) -> Layout:
    """0.5.3 serves V3.2 with data-parallel attention alone, which up to 0.4.4 has as many replicas as ranks
    whatever is asked; sizes must divide each other.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> asked = Layout(tp=8, enable_dp_attention=True)
    >>> resolve_layout(load("deepseek-v2.5"), RELEASES.at("0.4.1"), asked, Asked()).dp
    8
    """
    forced = model.kinds.has(DSA) and rules.forces_dp_attention
    forced = forced or (layout.enable_dp_attention and rules.replicates_attention_by_rank)
    if forced and layout.tp > 1:
        layout = layout._replace(dp=layout.tp, enable_dp_attention=True)
    if layout.enable_dp_attention and layout.tp % layout.dp:
        raise UsageError(
            f"--dp {layout.dp} does not divide --tp {layout.tp}",
            "data-parallel attention lies inside of the tensor ranks",
        )
    ranks = layout.tp // (layout.dp if layout.enable_dp_attention else 1)
    for name, size in (("--attn-cp-size", asked.attn_cp_size), ("--dcp-size", layout.dcp)):
        if ranks % size:
            raise UsageError(
                f"{name} {size} does not divide the {ranks} ranks of the attention",
                "choose a size that divides them",
            )
    if layout.dcp > 1 and model.kinds.has(V4, V41):
        raise UnsupportedError("--dcp-size is not for V4 in sglang", "leave it out", "dcp")
    need_even_experts(layout)
    return layout


CACHE_TYPES = ("auto", "bfloat16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", *BLOCK_SCALED)


def resolve_cache_dtype(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> str:
    """The type of the cache: as a checkpoint of ModelOpt says it, unless asked. Sparse MLA takes FP8 on
    Blackwell by itself, V4 always."""
    word = asked.kv_cache_dtype
    if word not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {word!r} is not known to SGLang",
            f"known are {', '.join(CACHE_TYPES)}",
            "kv_cache_dtype",
        )
    word = {"bf16": "bfloat16", "fp8": "fp8_e4m3"}.get(word, word)
    if word == "auto" and model.fp8_cache and rules.follows_cache_of_checkpoint:
        word = "fp8_e4m3"
    ranks = attention_ranks(asked)
    for attention in model.kinds.attentions:
        stored = stored_cache_dtype(attention, word, hardware, rules, ranks)
        if stored != word:
            return stored
    return word


def stored_cache_dtype(
    attention: Attention, word: str, hardware: Hardware, rules: SglangRules, ranks: int
) -> str:
    """The layout of the cache of one kind of attention: sparse MLA takes FP8 on Blackwell by itself, V4
    always. Rows of V4.1's own are those of flashmla_mega: on compute capability 10, where no ranks divide
    the attention (arg_groups/deepseek_v4_hook.py of 0.5.23, _default_dsv4_attention_backend)."""
    capability = hardware.card.capability
    match attention:
        case V4() | V41():
            if word == "fp8_e5m2":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_e5m2 is not for V4", "use fp8_e4m3 or bfloat16", "kv_cache_dtype"
                )
            if hardware.card.vendor == "Huawei":  # no FP8: 7,705 B a token where 3,850 are packed
                return ALL_16_BIT
            own = isinstance(attention, V41) and 10 <= capability < 11 and ranks == 1
            return word if word == "bfloat16" else "mxfp8_ds_mla" if own else "fp8_ds_mla"
        case DSA():
            if word == "fp8_e5m2":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_e5m2 is not for sparse MLA",
                    "use fp8_e4m3 or bfloat16",
                    "kv_cache_dtype",
                )
            if word == "auto":
                word = "fp8_e4m3" if capability >= 10 else "bfloat16"
            kernels = capability >= 10 or hardware.card.vendor == "AMD"
            plain = kernels and rules.takes_plain_fp8_rows
            return word if word == "bfloat16" or plain else "fp8_ds_mla"
        case GQA() | Sliding() | MLA() | Linear():
            return word
        case _:
            assert_never(attention)


PAGES = {"flashmla": 64, "trtllm_mla": 64, "trtllm_mha": 64, "cutlass_mla": 128, "fa4": 128, "ascend": 128}
"""Tokens a page of the attention backends that have no pages of one (server_args.py)."""


def default_page(model: Model, asked: Asked, hardware: Hardware, rules: SglangRules) -> int:
    """Tokens a page: 1, or what the attention backends of all layers need."""
    own = max(page_of(each, hardware, rules) for each in model.kinds.attentions)
    if asked.attention_backend == "auto" or model.kinds.has(DSA, V4, V41):
        return own
    return PAGES.get(asked.attention_backend, 1)


def page_of(attention: Attention, hardware: Hardware, rules: SglangRules) -> int:
    """Tokens a page of one kind of attention."""
    match attention:
        case V4() | V41():
            return 256
        case DSA():
            return 64
        case MLA():
            return 64 if rules.pages_mla_on_blackwell and hardware.card.major in (10, 11) else 1
        case GQA() | Sliding():
            return 64 if rules.pages_heads_on_blackwell and hardware.card.major == 10 else 1
        case Linear():
            return 1
        case _:
            assert_never(attention)


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a pipeline stage: the remainder goes to the last stage, from 0.5.6 on to as many last stages
    (distributed/utils.py).

    >>> from ...model.load import load
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), Resolved(layout=Layout(pp=2)))]
    [30, 31]
    """
    spreads = RELEASES.at(asked.engine_version).spreads_remainder
    return deal(model, asked.layout.pp, "last stages" if spreads else "last stage")
