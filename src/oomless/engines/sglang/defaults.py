"""What SGLang's server chooses where the question is silent: share, chunk, batch, graphs, pages, types
(server_args.py; arg_groups/)."""

from typing import assert_never

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB, MIB
from ..compute_dtype import resolve_dtype
from ..default_length import default_length
from ..layers_dealt import deal
from ..rank import Stage
from ..releases import first_with
from .release import RELEASES, SglangRules

CARD_CLASSES = (
    (20, 2048, 8, 8),
    (35, 2048, 16, 80),
    (60, 4096, 32, 160),
    (90, 8192, 256, 512),
    (160, 8192, 256, 512),
)
"""(memory in GiB below which, chunked_prefill_size, cuda_graph_max_bs below TP4 and from TP4 on), 0.5.3."""
MORE_GRAPHS = (CARD_CLASSES[0], (35, 4096, 48, 160), *CARD_CLASSES[2:])
LARGEST_CLASS = (16384, 512)
SHARES_04 = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))
"""mem_fraction_static by the number of ranks, 0.4."""
DEFAULT_REQUESTS, V4_REQUESTS, SPECULATIVE_REQUESTS = 2048, 256, 48


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with every default that SGLang's server would choose."""
    version = RELEASES.latest if asked.engine_version is None else asked.engine_version
    rules = RELEASES.at(version)
    compressed = model.kinds.has(V4, V41)
    check_kind(model, rules)
    layout = resolve_layout(model, rules, layout, asked)
    length = asked.max_model_len or default_length(model)
    if length > max(default_length(model), model.max_positions):
        raise UsageError(
            f"--context-length {length} is more than the {default_length(model)} positions of {model.name}",
            "SGLang refuses it too; give at most the model's own length, or other "
            "positions by --hf-overrides",
        )
    found = Resolved.of(
        asked._replace(engram="gpu" if asked.engram == "auto" else asked.engram),
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or 0,
        max_num_batched_tokens=asked.max_num_batched_tokens or 0,
    )
    chunk, graphs = default_chunk(found, hardware, rules)
    found = found._replace(cuda_graph_max_bs=0 if asked.enforce_eager else asked.cuda_graph_max_bs or graphs)
    divided = layout.dp if layout.enable_dp_attention else 1
    share = asked.mem_fraction_static
    if share is None:
        share = default_share(model, found, hardware, rules, chunk)
    if any(t.part == "vision" for t in model.tensors) and rules.cuts_any_share_of_vision_models:
        share *= facts.constant(
            "sglang", "multimodal_share", rules.release
        ).value  # model_runner.py: whoever chose the share
    requests = asked.max_num_seqs or (V4_REQUESTS if compressed else DEFAULT_REQUESTS)
    if asked.speculative and not asked.max_num_seqs and not compressed:
        requests = SPECULATIVE_REQUESTS
    return found._replace(
        dtype=resolve_dtype(model, asked.dtype, hardware),
        kv_cache_dtype=resolve_cache_dtype(model, asked.kv_cache_dtype, hardware, rules),
        max_num_seqs=requests,
        max_num_batched_tokens=max(chunk // divided, 1),
        mem_fraction_static=share,
        block_size=asked.block_size or default_page(model, hardware, rules),
    )


def check_kind(model: Model, rules: SglangRules) -> None:
    """The first release that serves each kind of attention."""
    for attention in model.kinds.attentions:
        match attention:
            case DSA():
                needed = "serves_sparse_mla"
            case V4():
                needed = "serves_v4"
            case V41():
                needed = "serves_v41"
            case GQA() | Sliding() | MLA() | Linear():
                continue
        if not getattr(rules, needed):
            first = first_with("sglang", needed)
            raise UnsupportedError(f"sglang before {first} cannot serve {model.name}", "use a later version")


def resolve_layout(model: Model, rules: SglangRules, layout: Layout, asked: Asked) -> Layout:
    """0.5.3 serves V3.2 with data-parallel attention alone; sizes must divide each other."""
    forced = model.kinds.has(DSA) and rules.forces_dp_attention
    if forced and layout.tp > 1:
        layout = layout._replace(dp=layout.tp, enable_dp_attention=True)
    if layout.enable_dp_attention and layout.tp % layout.dp:
        raise UsageError(
            f"--dp {layout.dp} does not divide --tp {layout.tp}",
            "data-parallel attention lies inside of the tensor ranks",
        )
    if layout.ep_size and layout.tp % layout.ep_size:
        raise UsageError(
            f"--ep-size {layout.ep_size} does not divide --tp {layout.tp}", "choose a size that divides it"
        )
    return layout


def driver_mib(hardware: Hardware) -> int:
    """The card's size in MiB as nvidia-smi says it, by which SGLang chooses; a card not in the table has its
    own."""
    for row in facts.table("hardware"):
        if row["name"] == hardware.card.name and row["mem_mib_nvidia_smi"].split("-")[0].strip().isdigit():
            return int(row["mem_mib_nvidia_smi"].split("-")[0])
    return hardware.card.memory_bytes // MIB


def default_chunk(asked: Resolved, hardware: Hardware, rules: SglangRules) -> tuple[int, int]:
    """(chunked_prefill_size, cuda_graph_max_bs) by the card's size.

    >>> from ...run.hardware import parse_gpu
    >>> default_chunk(Resolved(layout=Layout(tp=8)), parse_gpu("h200:8"), RELEASES.at("0.5.3"))
    (8192, 512)
    """
    tp, memory = asked.layout.tp, driver_mib(hardware)
    if not rules.reserves_by_size:
        small = memory < SMALL_MIB_04
        chunk, graphs = (2048 if small else 8192), ((8 if tp < 4 else 80) if small else 160)
    else:
        chunk, graphs = LARGEST_CLASS
        for below, tokens, few, many in MORE_GRAPHS if rules.raises_graphs_of_35_gib else CARD_CLASSES:
            if memory < below * GIB // MIB:
                chunk, graphs = tokens, few if tp < 4 else many
                break
    if rules.caps_graphs_by_requests and asked.max_num_seqs:
        graphs = min(graphs, asked.max_num_seqs)
    return asked.max_num_batched_tokens or chunk, graphs


SMALL_MIB_04 = 25_000


def default_share(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules, chunk: int) -> float:
    """mem_fraction_static: by ranks in 0.4; from 0.5 on 1 - reserve / memory, in MiB, to three digits.

    reserve = 512 + 1.5 * chunk + 2 * graphs + ranks * 128 (+ padding of data-parallel attention),
    at least 10 GiB on large cards,
    + 2 GiB for a draft (0.5.3), + 1.5 GiB for MLA's prefill graphs (0.5.23).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(layout=Layout(tp=8), cuda_graph_max_bs=512)
    >>> default_share(load("deepseek-r1"), asked, parse_gpu("h200:8"), RELEASES.at("0.5.3"), 8192)
    0.897
    """
    layout, memory = asked.layout, driver_mib(hardware)
    ranks = layout.tp * layout.pp
    if not rules.reserves_by_size:
        share = next(value for least, value in SHARES_04 if ranks >= least)
        if rules.raises_share_of_large_cards and memory > 80 * GIB // MIB:
            share = SHARES_04[-1][1]
            if memory > 96 * GIB // MIB:
                share = min(
                    share + 48 * GIB // MIB * (1 - share) / memory, (memory - 18 * GIB // MIB) / memory
                )
        return share
    if model.kinds.has(DSA) and rules.sparse_mla_share:
        return rules.sparse_mla_share
    graphs = asked.cuda_graph_max_bs or 0
    reserve = 512 + 1.5 * max(chunk, 2048) + 2 * graphs + ranks * 128
    if layout.enable_dp_attention:
        reserve += graphs * layout.dp * (3 if graphs <= 300 else 4.5)
    mla = model.kinds.has(MLA, DSA, V4, V41)
    if rules.captures_prefills and not asked.enforce_eager:
        reserve += 1536 if mla else 8 * len(prefill_sizes(chunk))
    if memory > 60 * GIB // MIB:
        reserve = max(reserve, 10 * GIB // MIB)
    if asked.speculative and rules.reserves_for_drafts:
        reserve += 2 * GIB // MIB
    if asked.moe_a2a_backend == "deepep" and rules.reserves_for_deepep:
        reserve += 2 * GIB // MIB
    share = round((memory - reserve) / memory, 3)
    if share <= 0:
        raise UsageError(
            f"{hardware.card.name} has less memory than SGLang keeps for one chunk of {chunk} tokens",
            "lower --chunked-prefill-size",
        )
    vision = any(t.part == "vision" for t in model.tensors)
    return share * facts.constant("sglang", "multimodal_share", rules.release).value if vision else share


def prefill_sizes(chunk: int) -> list[int]:
    """Token counts of 0.5.23's prefill graphs (cuda_graph_hook.py).

    >>> len(prefill_sizes(8192))
    58
    """
    ranges = (
        range(4, 33, 4),
        range(48, 257, 16),
        range(288, 513, 32),
        range(576, 1025, 64),
        range(1280, 4097, 256),
    )
    return [size for each in (*ranges, range(4608, chunk + 1, 512)) for size in each if size <= chunk]


CACHE_TYPES = ("auto", "bfloat16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla")


def resolve_cache_dtype(model: Model, asked: str, hardware: Hardware, rules: SglangRules) -> str:
    """The type of the cache. Sparse MLA takes FP8 on Blackwell by itself, V4 always."""
    if asked not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked!r} is not known to SGLang", f"known are {', '.join(CACHE_TYPES)}"
        )
    word = {"bf16": "bfloat16", "fp8": "fp8_e4m3"}.get(asked, asked)
    for attention in model.kinds.attentions:
        stored = stored_cache_dtype(attention, word, hardware, rules)
        if stored != word:
            return stored
    return word


def stored_cache_dtype(attention: Attention, word: str, hardware: Hardware, rules: SglangRules) -> str:
    """The layout of the cache of one kind of attention: sparse MLA takes FP8 on Blackwell by itself, V4
    always."""
    capability = hardware.card.capability
    match attention:
        case V4() | V41():
            if word == "fp8_e5m2":
                raise UnsupportedError("--kv-cache-dtype fp8_e5m2 is not for V4", "use fp8_e4m3 or bfloat16")
            packed = "mxfp8_ds_mla" if 10 <= capability < 11 else "fp8_ds_mla"
            return word if word == "bfloat16" else packed
        case DSA():
            if word == "fp8_e5m2":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_e5m2 is not for sparse MLA", "use fp8_e4m3 or bfloat16"
                )
            if word == "auto":
                word = "fp8_e4m3" if capability >= 10 else "bfloat16"
            plain = capability >= 10 and rules.takes_plain_fp8_rows_on_blackwell and word != "fp8_ds_mla"
            return word if word == "bfloat16" or plain else "fp8_ds_mla"
        case GQA() | Sliding() | MLA() | Linear():
            if word == "fp8_ds_mla":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_ds_mla is for sparse MLA alone", "use fp8_e4m3 or auto"
                )
            return word
        case _:
            assert_never(attention)


def default_page(model: Model, hardware: Hardware, rules: SglangRules) -> int:
    """Tokens a page: 1, or what the attention backends of all layers need."""
    return max(page_of(each, hardware, rules) for each in model.kinds.attentions)


def page_of(attention: Attention, hardware: Hardware, rules: SglangRules) -> int:
    """Tokens a page of one kind of attention."""
    match attention:
        case V4() | V41():
            return 256
        case DSA():
            return 64
        case MLA():
            return 64 if rules.pages_mla_on_blackwell and 10 <= hardware.card.capability < 12 else 1
        case GQA() | Sliding() | Linear():
            return 1
        case _:
            assert_never(attention)


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a pipeline stage: the remainder goes to the last stage, from 0.5.4 on to as many last stages
    (distributed/utils.py).

    >>> from ...model.load import load
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), Resolved(layout=Layout(pp=2)))]
    [30, 31]
    """
    spreads = RELEASES.at(asked.engine_version).spreads_remainder
    return deal(model, asked.layout.pp, "last stages" if spreads else "last stage")
