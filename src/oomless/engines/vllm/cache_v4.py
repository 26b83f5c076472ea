"""The cache of DeepSeek-V4 and V4.1 in vLLM: windows, compressed rows, index keys and compressor states in
one block pool.

Read in 0.21 (model_executor/layers/deepseek_v4_attention.py), 0.25 and 0.33 (models/deepseek_v4,
deepseek_v41, v1/core/kv_cache_planning.py); it reproduces vllm#51041 (1,009,661 and 150,992 tokens) and the
6.66 GiB of a 0.22 log.
"""

from typing import NamedTuple

from ...errors import UnsupportedError
from ...model.attention import CSA_RATIO, V4, V41, Attention
from ...run.serving import Resolved
from ..rank import CacheGroup, CacheLayout
from .release import VllmRules

PACKED_ROW_BYTES = 584
"""448 fp8 + 64 BF16 of rope + 8 B of scales."""
PACKED_ALIGN, PLAIN_ALIGN = 576, 512
ALIGNED_STRIDES = {"mxfp8_ds_mla": 528, "nvfp4_ds_mla": 3168}
"""V4.1 on Blackwell: blocks are multiples of both of its row sizes."""
RING = -1
"""The window of V4.1's compressor state: one block a sequence, whatever its length."""
WINDOW_BLOCK = {"v4": 64, "v41": 32}
CSA_WINDOW, HCA_WINDOW = 8, 128
"""Tokens that the compressor's states go back."""
STATE_BYTES, RING_ROWS = 4, 8


class Page(NamedTuple):
    """One cache of one kind: how many layers have it, its block in tokens, the bytes of a block, its window,
    its growth."""

    what: str
    num_layers: int
    block_size: int
    page_bytes: int
    window: int
    token_bytes: float
    fixed_bytes: int


class V4Blocks(NamedTuple):
    """Tokens a block of each of V4's caches."""

    csa: int
    hca: int
    window: int = WINDOW_BLOCK["v4"]
    csa_state: int = 4
    hca_state: int = 8
    align: int = PLAIN_ALIGN
    """Bytes that a page of plain rows is a multiple of."""


def row_bytes(dtype: str, head_dim: int) -> int:
    """Bytes of a row of the window and of a compressed entry."""
    match dtype:
        case "fp8_ds_mla":
            return PACKED_ROW_BYTES
        case "mxfp8_ds_mla":
            return head_dim + head_dim // 32
        case "nvfp4_ds_mla":
            return head_dim // 2 + head_dim // 16
        case "bfloat16" | "float16":
            return 2 * head_dim
        case _:
            raise UnsupportedError(
                f"--kv-cache-dtype {dtype} is not known for V4", "use auto, fp8 or bfloat16", "kv_cache_dtype"
            )


def v4_layout(attentions: list[Attention], index_row: int, asked: Resolved, rules: VllmRules) -> CacheLayout:
    """Groups and block bytes of a V4 or V4.1 stage."""
    v4 = [a for a in attentions if isinstance(a, V4)]
    v41 = [a for a in attentions if isinstance(a, V41)]
    block = asked.block_size or 256
    pages = (
        v4_pages(v4, V4Blocks(block, block), asked.kv_cache_dtype, index_row)
        if v4
        else v41_pages(v41, block, asked.kv_cache_dtype, index_row)
    )
    if rules.packs_v4_by_pattern:
        return layout_of(pages, *packed_by_pattern(bucketed(pages)), asked.kv_cache_dtype)
    groups, by_slots, need = packed_by_page(bucketed(pages))
    return layout_of(
        pages, groups, by_slots if rules.sizes_v4_blocks_by_slots else need, need, asked.kv_cache_dtype
    )


def bucketed(pages: list[Page]) -> list[list[Page]]:
    """Layers that may share a block table: the same block and the same window."""
    buckets: dict[tuple[int, int], list[Page]] = {}
    for page in pages:
        buckets.setdefault((page.block_size, page.window), []).append(page)
    return list(buckets.values())


def layout_of(
    pages: list[Page], groups: list[CacheGroup], block_bytes: int, need: int, dtype: str
) -> CacheLayout:
    """The layout of groups of pages."""
    if dtype in ALIGNED_STRIDES:
        block_bytes = need = rounded(block_bytes, ALIGNED_STRIDES[dtype])
    formula = " + ".join(f"{page.what} {page.token_bytes:,.10g} B" for page in pages if page.token_bytes)
    token_bytes, fixed = sum(page.token_bytes for page in pages), sum(page.fixed_bytes for page in pages)
    return CacheLayout(tuple(groups), block_bytes, token_bytes, fixed, need, formula, dtype)


Packed = tuple[list[CacheGroup], int, int]
"""Groups, bytes of a block in the pool, bytes of a block in the admission check."""


def packed_by_page(buckets: list[list[Page]]) -> Packed:
    """0.21 to 0.32: windows and states are padded to a page of the compressed caches, and cut into groups of
    one size.

    A block of the pool has a slot for each page size: as many as the group that uses most of them. Pages of
    windows have their own block, so with a smaller --block-size no compressed page is as large as theirs.
    """
    shared = sorted({page.page_bytes for page in buckets[0]})
    if max(page.page_bytes for bucket in buckets for page in bucket) > shared[-1]:
        raise UnsupportedError(
            f"--block-size {buckets[0][0].block_size} is too small for V4 in this release: a page of its "
            "windows is larger than all pages of compressed rows, into which it must fit",
            "leave --block-size out: it is 256 then",
        )
    padded = [
        [
            page._replace(page_bytes=next(size for size in shared if size >= page.page_bytes))
            for page in bucket
        ]
        for bucket in buckets[1:]
    ]
    size = group_size([most(bucket) for bucket in buckets], most(buckets[0]))
    parts = [buckets[0], *(part for bucket in padded for part in split(bucket, -(-most(bucket) // size)))]
    slots: dict[int, int] = {}
    for part in parts:
        used: dict[int, int] = {}
        for page in part:
            used[page.page_bytes] = used.get(page.page_bytes, 0) + page.num_layers
        slots = {key: max(slots.get(key, 0), used.get(key, 0)) for key in {**slots, **used}}
    need = max(most(part) for part in parts) * sum(shared)
    by_slots = sum(page_bytes * num for page_bytes, num in slots.items())
    return [group_of(part) for part in parts], by_slots, need


def packed_by_pattern(buckets: list[list[Page]]) -> Packed:
    """0.33: buckets of a repeating pattern are cut to one number of repeats; without one, windows and states
    fill the block."""
    balanced = [len({page.num_layers for page in bucket}) == 1 for bucket in buckets]
    mixed = [most(b) for b, even in zip(buckets, balanced, strict=True) if even and len(b) > 1]
    repeats = 0
    if mixed:
        repeats = group_size([most(b) for b, even in zip(buckets, balanced, strict=True) if even], max(mixed))
    cuts = [
        -(-most(b) // repeats) if repeats and even else 1 for b, even in zip(buckets, balanced, strict=True)
    ]
    loose = [b[0].window == RING or (not repeats and b[0].window > 0) for b in buckets]
    anchor = max(
        total(split(b, most(b) if free else cut)[0])
        for b, cut, free in zip(buckets, cuts, loose, strict=True)
    )
    for index, bucket in enumerate(buckets):
        if loose[index]:
            cuts[index] = max(cuts[index], -(-most(bucket) // max(anchor // bucket[0].page_bytes, 1)))
    groups = [
        group_of(part) for bucket, cut in zip(buckets, cuts, strict=True) for part in split(bucket, cut)
    ]
    block_bytes = max(group.page_bytes for group in groups)
    return groups, block_bytes, block_bytes


def most(bucket: list[Page]) -> int:
    return max(page.num_layers for page in bucket)


def split(bucket: list[Page], num: int) -> list[list[Page]]:
    """A bucket dealt out to `num` groups, layer by layer."""
    return [
        [page._replace(num_layers=len(range(page.num_layers)[part::num])) for page in bucket]
        for part in range(num)
    ]


def group_of(bucket: list[Page]) -> CacheGroup:
    first = bucket[0]
    ring = first.window == RING
    return CacheGroup(
        first.what, most(bucket), first.block_size, total(bucket), 0 if ring else first.window, int(ring)
    )


def total(pages: list[Page]) -> int:
    return sum(page.num_layers * page.page_bytes for page in pages)


def group_size(counts: list[int], least: int) -> int:
    """Layers a group: the divisor that wastes the fewest slots over all kinds; of equals the larger."""
    return min(
        range(least, max(counts) + 1), key=lambda size: (sum(-count % size for count in counts), -size)
    )


def rounded(num_bytes: int, align: int) -> int:
    return -(-num_bytes // align) * align


def v4_pages(layers: list[V4], blocks: V4Blocks, dtype: str, index_row: int) -> list[Page]:
    """Caches of V4: a window in every layer; ratio 4: compressed rows, index keys and two states; ratio 128:
    rows and a state.

    Flash, fp8 rows: 21 x (584 + 132) / 4 + 20 x 584 / 128 = 3,850.25 B a token (models.md 4.2).
    """
    first = layers[0]
    align = PACKED_ALIGN if dtype == "fp8_ds_mla" else blocks.align
    row, dim, index_dim = row_bytes(dtype, first.head_dim), first.head_dim, first.index_head_dim
    csa = sum(1 for layer in layers if layer.ratio == CSA_RATIO)
    hca = [layer for layer in layers if layer.ratio > CSA_RATIO]
    pages = []
    if csa:
        pages.append(_growing("CSA rows", csa, blocks.csa, CSA_RATIO, row, align))
        pages.append(_growing("index keys", csa, blocks.csa, CSA_RATIO, index_row, align))
    if hca:
        pages.append(_growing("HCA rows", len(hca), blocks.hca, hca[0].ratio, row, align))
    pages.append(_window("window", len(layers), blocks.window, first.window, row, align))
    if csa:
        pages.append(_window("CSA states", csa, blocks.csa_state, CSA_WINDOW, 4 * dim * STATE_BYTES, align))
        pages.append(
            _window("index states", csa, blocks.csa_state, CSA_WINDOW, 4 * index_dim * STATE_BYTES, align)
        )
    if hca:
        pages.append(
            _window("HCA states", len(hca), blocks.hca_state, HCA_WINDOW, 2 * dim * STATE_BYTES, align)
        )
    return pages


def v41_pages(layers: list[V41], block: int, dtype: str, index_row: int) -> list[Page]:
    """Caches of V4.1: a window in every layer; rows, index keys and a state ring only in the layers that own
    a cache."""
    first = layers[0]
    align = PACKED_ALIGN if dtype == "fp8_ds_mla" else PLAIN_ALIGN
    row = row_bytes(dtype, first.head_dim)
    pages, rings = [], 0
    for ratio in sorted({layer.ratio for layer in layers if layer.owns_cache}, reverse=True):
        owners = sum(1 for layer in layers if layer.owns_cache and layer.ratio == ratio)
        pages.append(_growing(f"rows, ratio {ratio}", owners, block, ratio, row, align))
        pages.append(_growing(f"index keys, ratio {ratio}", owners, block, ratio, index_row, align))
        rings += owners if ratio > 1 else 0
    # on Blackwell the window keeps the fp8 row even where compressed rows are nvfp4
    window_row = row_bytes("mxfp8_ds_mla", first.head_dim) if dtype == "nvfp4_ds_mla" else row
    pages.append(_window("window", len(layers), WINDOW_BLOCK["v41"], first.window, window_row, align))
    if rings:
        size = RING_ROWS * 2 * first.head_dim * STATE_BYTES
        pages.append(Page("compressor rings", rings, RING_ROWS, size, RING, 0, rings * size))
    return pages


def _growing(what: str, num: int, block: int, ratio: int, row: int, align: int) -> Page:
    return Page(what, num, block, rounded(block // ratio * row, align), 0, num * row / ratio, 0)


def _window(what: str, num: int, block: int, window: int, row: int, align: int) -> Page:
    return Page(what, num, block, rounded(block * row, align), window, 0, num * window * row)
