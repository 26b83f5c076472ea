"""The share of the card that SGLang takes, its chunk and its graphs, by release and by the card's size
(server_args.py; arg_groups/ from 0.5.23)."""

from ... import facts
from ...errors import UsageError
from ...model.attention import DSA, MLA, V4, V41
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Layout, Resolved
from ...units import GIB, MIB
from .release import SglangRules

CLASSES_048 = ((35, 2048, 8, 80), (90, 8192, 160, 160), (160, 8192, 256, 256))
"""(memory in GiB below which, chunked_prefill_size, cuda_graph_max_bs below TP4 and from TP4 on),
0.4.7.post1 to 0.5.2."""
LARGEST_CLASS = (16384, 512)
RESERVES_048 = ((35, 2.8, 0.1), (90, 9.5, 0.5), (160, 12, 0.5))
"""(memory in GiB below which, GiB that are kept free, and for each rank), 0.4.7.post1 to 0.5.2."""
LARGEST_RESERVE_048 = 32
SHARES_04 = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))
"""mem_fraction_static by the number of ranks, 0.4."""


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
    >>> from .release import RELEASES
    >>> default_chunk(Resolved(layout=Layout(tp=8)), parse_gpu("h200:8"), RELEASES.at("0.5.3"))
    (8192, 512)
    >>> one, card = Resolved(layout=Layout()), parse_gpu("l4")
    >>> [default_chunk(one, card, RELEASES.at(text)) for text in ("0.3.3", "0.4.4")]
    [(8192, 160), (2048, 8)]
    >>> [default_chunk(one, parse_gpu("b200"), RELEASES.at(text)) for text in ("0.4.6", "0.4.7")]
    [(8192, 256), (16384, 512)]
    """
    layout, memory = asked.layout, driver_mib(hardware)
    chunk, graphs = LARGEST_CLASS
    if not rules.chunks_by_class and not (rules.share_of_largest_cards and memory > LARGEST_MIB_047):
        few = rules.graphs_of_small_cards if memory < SMALL_MIB_04 else 0
        chunk, graphs = (2048 if few else 8192), ((few if layout.tp < 4 else 80) if few else 160)
        least = rules.captures_more_above_gib * GIB // MIB
        if least and memory > least and (layout.dp == 1 or not rules.captures_more_of_one_group):
            graphs = 256
    for below, tokens, few, many in card_classes(rules) if rules.chunks_by_class else ():
        if memory < below * GIB // MIB:
            chunk, graphs = tokens, few if layout.tp < 4 else many
            break
    if rules.caps_graphs_by_requests and asked.max_num_seqs:
        graphs = min(graphs, asked.max_num_seqs)
    return asked.max_num_batched_tokens or chunk, graphs


def card_classes(rules: SglangRules) -> tuple[tuple[int, int, int, int], ...]:
    """(memory in GiB below which, chunked_prefill_size, cuda_graph_max_bs below TP4 and from TP4 on)."""
    if not rules.reserves_by_size:
        return CLASSES_048
    more = rules.graphs_of_35_gib >= 48
    return (
        (20, 2048, 8, 8),
        (35, 4096 if more else 2048, rules.graphs_of_35_gib, 160 if more else 80),
        (60, 4096, 32, 160),
        (160, 8192, 256, 512),
    )


SMALL_MIB_04 = 25_000


def default_share(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules, chunk: int) -> float:
    """mem_fraction_static: by ranks to 0.4.7; then 1 - reserve / memory, in MiB, to three digits.

    reserve = by class and ranks to 0.5.2; from 0.5.3 on
    512 + 1.5 * chunk + 2 * graphs + ranks * 128 (+ padding of data-parallel attention, graphs of prefill),
    at least 10 GiB on large cards; both + what is kept for a draft that is loaded later.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> asked = Resolved(layout=Layout(tp=8), cuda_graph_max_bs=512)
    >>> default_share(load("deepseek-r1"), asked, parse_gpu("h200:8"), RELEASES.at("0.5.3"), 8192)
    0.897
    """
    layout, memory = asked.layout, driver_mib(hardware)
    ranks = layout.tp * layout.pp
    if not (rules.reserves_by_class or rules.reserves_by_size):
        drafts = rules.gib_reserved_for_drafts if asked.speculative else 0
        return share_of_ranks(ranks, memory, rules, drafts, hardware.card.is_nvidia)
    if model.kinds.has(DSA) and rules.sparse_mla_share:
        return rules.sparse_mla_share
    by_class = rules.reserves_by_class
    reserve = (
        reserve_of_class(layout, memory)
        if by_class
        else reserve_of_sizes(model, asked, hardware, rules, chunk)
    )
    if memory > 60 * GIB // MIB and not by_class:
        reserve = max(reserve, 10 * GIB // MIB)
    if asked.speculative:
        reserve += rules.gib_reserved_for_drafts * GIB // MIB
    if asked.moe_a2a_backend == "deepep" and rules.reserves_for_deepep:
        reserve += 2 * GIB // MIB
    share = round((memory - reserve) / memory, 3)
    if share <= 0:
        raise UsageError(
            f"{hardware.card.name} has less memory than SGLang keeps for one chunk of {chunk} tokens",
            "lower --chunked-prefill-size, or say --mem-fraction-static",
        )
    texts_alone = rules.cuts_any_share_of_vision_models or asked.language_model_only
    return share if texts_alone else share * share_beside_tower(model, rules)


def share_beside_tower(model: Model, rules: SglangRules) -> float:
    """What of the share is left to a server of images: by the release, and from 0.4.9.post3 by the tower
    (adjust_mem_fraction_for_vlm of 0.5.6, where the log of sglang#11830 says 0.7629746875 for 0.851).

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> [share_beside_tower(load("qwen2.5-vl-7b"), RELEASES.at(text)) for text in ("0.4.4", "0.5.6")]
    [0.95, 0.8965625]
    """
    if not reads_images(model, rules):
        return 1.0
    if rules.share_of_vision_models or not model.tower:
        return rules.share_of_vision_models or 1.0
    return 0.95 * max(0.8, min(1.05, 1.1 - 0.1 * model.tower))


def reads_images(model: Model, rules: SglangRules) -> bool:
    """Return whether the server takes the model for one of images (configs/model_config.py).

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> [reads_images(load("gemma-3-27b"), RELEASES.at(text)) for text in ("0.4.5", "0.4.6")]
    [True, False]
    >>> scout, posts = load("llama-4-scout"), ("", ".post1", ".post3")
    >>> [reads_images(scout, RELEASES.at("0.4.5" + post)) for post in posts]
    [False, True, False]
    """
    asked_for = model.family in rules.reads_images_if_asked
    return not asked_for and any(t.part == "vision" for t in model.tensors)


def share_of_ranks(
    ranks: int, memory: int, rules: SglangRules, drafts: int = 0, nvidia: bool = True
) -> float:
    """mem_fraction_static to 0.4.7: by the number of ranks, and by MiB on large cards; `drafts` is what is
    kept for them in GiB, or a twentieth on smaller cards.

    >>> from .release import RELEASES
    >>> releases = ("0.4.5.post1", "0.4.5.post3", "0.4.6.post2")
    >>> [round(share_of_ranks(8, 143_771, RELEASES.at(each)), 3) for each in releases]
    [0.81, 0.907, 0.872]
    >>> last = RELEASES.at("0.4.7")
    >>> [round(share_of_ranks(8, size, last), 3) for size in (81_559, 143_771, 183_359)]
    [0.81, 0.872, 0.79]
    >>> [round(share_of_ranks(8, size, last, 2), 3) for size in (81_559, 143_771)]
    [0.769, 0.858]
    >>> round(share_of_ranks(8, 196_592, last, nvidia=False), 3)
    0.906
    """
    share = next(value for least, value in SHARES_04 if ranks >= least)
    if rules.share_of_largest_cards and memory > LARGEST_MIB_047 and nvidia:
        return rules.share_of_largest_cards
    if rules.gib_beside_share_of_large_cards and memory > 80 * GIB // MIB:
        return (memory - rules.gib_beside_share_of_large_cards * GIB // MIB) / memory
    if rules.raises_share_of_large_cards and memory > 80 * GIB // MIB:
        share = SHARES_04[-1][1]
        if memory > 96 * GIB // MIB:
            kept = (18 + drafts) * GIB // MIB
            return min(share + 48 * GIB // MIB * (1 - share) / memory, (memory - kept) / memory)
    return share * 0.95 if drafts else share


LARGEST_MIB_047 = 180_000


def reserve_of_class(layout: Layout, memory: int) -> float:
    """MiB that 0.4.7.post1 to 0.5.2 keep free: 13.5 GiB of an H100 at TP8."""
    ranks = layout.tp * layout.pp
    found: float = LARGEST_RESERVE_048
    for below, each, a_rank in RESERVES_048:
        if memory < below * GIB // MIB:
            found = each + ranks * a_rank
            break
    return (found + (4 if layout.enable_dp_attention else 0)) * GIB / MIB


def reserve_of_sizes(
    model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules, chunk: int
) -> float:
    """MiB that 0.5.3 and later keep free for a chunk, graphs and ranks."""
    layout, graphs = asked.layout, asked.cuda_graph_max_bs or 0
    reserve = 512 + 1.5 * max(chunk, 2048) + 2 * graphs + layout.tp * layout.pp * 128
    if layout.enable_dp_attention:
        reserve += graphs * layout.dp * (3 if graphs <= 300 else 4.5)
    captured = not asked.enforce_eager or rules.compiles_prefills  # in pieces beside --disable-cuda-graph
    if captured and captures_prefills(model, asked, hardware, rules):
        reserve += reserve_of_prefills(model.kinds.has(MLA, DSA), rules, chunk)
    return reserve


def reserve_of_prefills(latents: bool, rules: SglangRules, chunk: int) -> float:
    """MiB kept free for graphs of prefills: 8 for each size, which stop at 2,048 tokens of latents before
    0.5.10 (server_args.py).

    >>> from .release import RELEASES
    >>> [
    ...     reserve_of_prefills(False, RELEASES.at(text), 8192)
    ...     for text in ("0.5.5", "0.5.5.post1", "0.5.8", "0.5.10")
    ... ]
    [0.0, 1024, 464.0, 464.0]
    """
    if not rules.reserves_for_prefills or rules.mib_of_prefills:
        return rules.mib_of_prefills
    if latents and rules.captures_prefills:
        return 1536.0
    return 8.0 * len(prefill_sizes(min(chunk, 2048) if latents else chunk))


def captures_prefills(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> bool:
    """Return whether graphs of prefills are captured besides: what a release compiles or captures in parts
    (server_args.py, _handle_piecewise_cuda_graph; arg_groups/cuda_graph_hook.py, disable_breakable...).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> for name in ("qwen3-32b", "deepseek-r1", "qwen3.5-35b-a3b", "qwen3-vl-8b"):
    ...     texts = ("0.5.9", "0.5.10", "0.5.15", "0.5.16", "0.5.18")
    ...     model, rules, card = load(name), map(RELEASES.at, texts), parse_gpu("h100")
    ...     print([int(captures_prefills(model, Resolved(layout=Layout()), card, each)) for each in rules])
    [0, 1, 1, 1, 1]
    [0, 1, 0, 0, 1]
    [0, 0, 0, 1, 1]
    [0, 0, 0, 0, 0]
    """
    if asked.enable_piecewise_cuda_graph and rules.captures_prefills_if_asked:
        return asked.layout.pp == 1
    kinds = model.kinds
    images = model.family in rules.captures_prefills_of_images
    groups = asked.moe_a2a_backend != "none" or asked.layout.enable_dp_attention or asked.enable_lora
    refused = (
        asked.disable_prefill_cuda_graph
        or hardware.card.vendor == "AMD"
        or kinds.has(V4, V41)
        or (kinds.has(MLA) and not rules.captures_prefills_of_latents)
        or (kinds.has(DSA) and not rules.captures_prefills_of_sparse)
        or (asked.speculative and not rules.captures_prefills_of_drafts)
        or (groups and not rules.captures_prefills_of_groups)
        or (asked.enable_hierarchical_cache and rules.compiles_prefills)
        or (reads_images(model, rules) and not images)
    )
    return rules.captures_prefills and not refused


def prefill_sizes(chunk: int) -> list[int]:
    """Token counts of prefill graphs (cuda_graph_hook.py of 0.5.23).

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
