"""What ggml's operations take of a card while they run: copies in 16 bit of what their kernels do not read.

No buffer of the graph holds them and no log prints them. They come out of a pool of the backend
(ggml-cuda.cu): on CUDA a stack that grows (VMM), on ROCm, and before that stack, buffers that are kept for
ever, each 5 % larger than what was asked for when none of the others was large enough.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from ...ledger import Line, ranged
from ...model.attention import DSA, GQA, MLA, Attention, Linear, Sliding
from ...model.gguf_model import num_blocks
from ...model.gguf_types import TYPES
from ...model.model import EMBEDDING, HEAD, Layer, Model
from ...run.cards import Card
from ...run.serving import Resolved
from ...units import format_bytes
from ..rank import Stage
from .batch import F16, Batch
from .defaults import num_cells, output_first
from .gguf_file import stored
from .placement import offload
from .release import is_ik, rules_of

MMQ_BATCH = 64
"""MMQ_DP4A_MAX_BATCH_SIZE: tokens from which cards that have matrix units for F16 and none for INT8 multiply
in F16 (mmq.cu, ggml_cuda_should_use_mmq)."""
CUBLAS_BATCH = 32
"""MMQ_MAX_BATCH_SIZE of 2023 and 2024: tokens beyond which NVIDIA's matrix units were used through cuBLAS."""
POOLS = ("NVIDIA", "AMD", "")
"""Makers whose backend is ggml-cuda; "" is a card that is only a size. Metal's kernels read every type."""
SLACK = 1.05
"""What a buffer of the old pool is larger than was asked for."""


def pool_lines(
    model: Model, asked: Resolved, card: Card, stage: Stage, batch: Batch, layers: tuple[Layer, ...]
) -> tuple[Line, ...]:
    """Return the line of the backend's pool where an operation of this card's layers needs one."""
    if card.vendor not in POOLS or not layers or (is_ik(asked) and not copies_for_heads(model, card, batch)):
        return ()
    shapes = () if is_ik(asked) else dequantised(model, asked, card, stage)
    matrix = max((matrix_copies(each, batch) for each in shapes), default=0)
    cells = attended_cells(asked, batch)
    attended = max((sum(attention_copies(each.attention, asked, batch, cells)) for each in layers), default=0)
    least = max(matrix, attended)
    drafts = model.draft if asked.draft_tokens and stage.last else ()
    drafted = max((sum(attention_copies(each.attention, asked, batch, cells)) for each in drafts), default=0)
    if not least + drafted:
        return ()
    most = least
    if card.vendor == "AMD" or rules_of(asked).keeps_pool_buffers:
        kinds = tuple(dict.fromkeys(each.attention for each in layers))
        most = kept_of_prompt(matrix, kinds, (asked.cache_type_k, asked.cache_type_v), batch, cells)
    formula = (
        f"{format_bytes(matrix)} of a matrix, {format_bytes(attended)} of attention against {cells:,} cells"
    )
    if drafted:  # the context that drafts has a backend of its own
        least, most = least + drafted, most + drafted
        formula += f" + {format_bytes(drafted)} of the draft"
    return (
        ranged(
            "temporaries.running",
            "engine",
            "copies in 16 bit for the running operation",
            (most, least, most),
            "assumed",
            formula + (f"; buffers kept while a prompt grows: {format_bytes(most)}" if most > least else ""),
            "ggml/src/ggml-cuda: ggml-cuda.cu, mmq.cu, fattn-common.cuh",
        ),
    )


def copies_for_heads(model: Model, card: Card, batch: Batch) -> bool:
    """Return whether ik_llama.cpp's flash attention copies a cache that is not F16: for heads with keys of
    their own it does on cards with matrix units (fattn-mma-f16.cuh, launch_fattn_mma). Its kernels for MLA
    and for other cards were not read."""
    units = card.vendor == "" or (card.vendor == "NVIDIA" and card.capability >= 7)
    return units and batch.flash and not model.kinds.has(MLA, DSA)


def attended_cells(asked: Resolved, batch: Batch) -> int:
    """Return the cells that a micro-batch looks at when the asked load is in the cache."""
    load = asked.context if batch.num_cells < num_cells(asked) else asked.context * asked.concurrency
    return min(batch.num_cells, load)


@lru_cache(maxsize=256)
def kept_of_prompt(
    first: int, kinds: tuple[Attention, ...], cache_types: tuple[str, str], batch: Batch, cells: int
) -> int:
    """Return what the old pool holds after a prompt of so many cells, a micro-batch at a time, beside the
    copies of a matrix. Cached: a search asks the same of every card."""
    asked = Resolved(cache_type_k=cache_types[0], cache_type_v=cache_types[1])
    needs = (
        max((attention_copies(each, asked, batch, upto) for each in kinds), key=sum)
        for upto in range(batch.num_tokens, cells + batch.num_tokens, batch.num_tokens)
    )
    return kept_bytes(first, needs)


def kept_bytes(first: int, needs: Iterable[tuple[int, ...]]) -> int:
    """Return what the old pool holds after a prompt: the smallest buffer that is large enough is taken, a
    new one of 1.05 times the size where none is, and none is given back (ggml_cuda_pool_leg).

    >>> kept_bytes(0, [(100,), (104,), (200,)])
    315
    """
    buffers = [int(first * SLACK)] if first else []
    for sizes in needs:
        free, used = sorted(buffers), []
        for size in sizes:
            found = next((each for each in free if each >= size), 0)
            if found:
                free.remove(found)
            used.append(found or int(size * SLACK))
        buffers = free + used
    return sum(buffers)


def attention_copies(attention: Attention, asked: Resolved, batch: Batch, cells: int) -> tuple[int, ...]:
    """Return the bytes of each copy that one layer's attention makes at once, in order.

    Without flash attention the scores of all heads, which multiply values in F16
    (ggml_cuda_mul_mat_batched_cublas); with it, before they had a place in the graph, the keys and values of
    all cells, where they are stored in another type than F16: kernels for more than a few tokens read F16
    alone (launch_fattn).

    >>> from ...model.load import load
    >>> heads = load("qwen2-72b-instruct").layers[0].attention
    >>> attention_copies(heads, Resolved(), Batch(32000, 512, flash=False), 32000)
    (2097152000, 8388608)
    >>> q8 = Resolved(cache_type_k="q8_0", cache_type_v="q8_0")
    >>> attention_copies(heads, q8, Batch(32000, 512), 32000)
    (65536000, 65536000)
    """
    match attention:
        case Sliding():
            inner, window = attention.inner, batch.window_cells or cells
            return attention_copies(inner, asked, batch, min(cells, window))
        case DSA():
            return attention_copies(attention.mla, asked, batch, cells)
        case GQA():
            heads, value = attention.num_heads, attention.value_dim or attention.head_dim
            key_width, value_width = (attention.num_kv_heads * each for each in (attention.head_dim, value))
        case MLA():
            heads, value = attention.num_heads, attention.kv_lora_rank
            key_width, value_width = attention.latent_dim, 0  # values are a part of the keys
        case Linear():
            return ()
        case _:  # V4's graph is not replayed
            return ()
    if not batch.flash:
        if asked.cache_type_v.upper() != "F16":
            return ()
        return cells * batch.num_tokens * heads * F16, value * heads * batch.num_tokens * F16
    if batch.cast_keys or batch.cast_values:
        return ()  # they have their place in the graph
    kinds = ((asked.cache_type_k, key_width), (asked.cache_type_v, value_width))
    return tuple(cells * width * F16 for kind, width in kinds if kind.upper() != "F16" and width)


def matrix_copies(shape: tuple[int, ...], batch: Batch) -> int:
    """Return the bytes of a matrix in F16, of what it multiplies and of the product
    (ggml_cuda_op_mul_mat_cublas)."""
    rows, columns = shape
    return F16 * (rows * columns + batch.num_tokens * (rows + columns))


def dequantised(model: Model, asked: Resolved, card: Card, stage: Stage) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of this card's quantised matrices that are multiplied in F16; the experts' slices are
    not among them, nor the output where it is multiplied for few rows."""
    tokens = asked.ubatch_size or 512
    on_cards = offload(num_blocks(model), asked, output_first(asked)).output
    whole = stage.last and on_cards and rules_of(asked).multiplies_output_of_all
    output = (EMBEDDING if model.tied else HEAD) if whole else ""
    for group in stored(model, asked).tensors:
        if (
            len(group.shape) == 2
            and group.role != "expert"
            and (group.name == output or any(stage.start <= layer < stage.stop for layer in group.layers))
            and group.format.name in TYPES
            and group.format.bits < 8 * F16
            and multiplies_in_16_bit(card, asked, tokens, group.format.name)
        ):
            yield group.shape


def multiplies_in_16_bit(card: Card, asked: Resolved, tokens: int, kind: str) -> bool:
    """Return whether a card multiplies a quantised matrix by cuBLAS or hipBLAS (ggml_cuda_should_use_mmq):
    Volta, whose units are for F16 alone; GPUs without DP4A; of AMD those that have matrix units, RDNA3 and
    CDNA, until kernels of their own came, and so every later card of NVIDIA until June 2024."""
    rules, family = rules_of(asked), card.compute_capability
    if card.vendor == "NVIDIA":
        if rules.multiplies_by_cublas and card.capability >= 7 and tokens > CUBLAS_BATCH:
            return True
        return (7 <= card.capability < 7.5 and tokens >= MMQ_BATCH) or 0 < card.capability < 6.1
    if card.vendor != "AMD" or tokens < MMQ_BATCH:
        return False
    if family in RDNA3:
        if not rules.has_wmma_kernels:
            return True
        most = {"Q2_K": 128, "Q6_K": 128, "IQ2_XS": 128, "IQ2_S": 128}.get(kind)
        return most is not None and tokens > most
    if family in CDNA3 and rules.has_mfma_kernels:
        return False
    if family in CDNA3 + CDNA:
        if not rules.has_mfma_kernels:
            return True
        legacy = kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1")
        return not legacy and tokens > (256 if kind in ("Q4_K", "Q5_K") else 128)
    return family in RDNA4 and not rules.has_wmma_kernels


RDNA3, RDNA4 = ("gfx1100", "gfx1101", "gfx1102", "gfx1151"), ("gfx1200", "gfx1201")
CDNA3, CDNA = ("gfx942",), ("gfx908", "gfx90a")
