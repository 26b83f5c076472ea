"""Placed tensors -> lines: the shapes of each part, and what the allocator adds to them."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from ...engines.rank import Count, Placed
from ...ledger import Key, Line, exact, ranged
from ...run.allocator import SMALL, rounded
from ...units import MIB
from ..allocator import place

if TYPE_CHECKING:
    from ...model.gguf_types import SizeSpread
    from ...model.model import Model

Sizes = tuple[tuple[int, int, tuple[int, ...]], ...]
"""(bytes, count, layers) of each group of equal tensors."""


def weight_lines(
    placed: Sequence[Placed],
    counts: Count,
    what: str,
    spread: "SizeSpread | None" = None,
    leaves_blocks: bool = True,
) -> list[Line]:
    """One line a part of the model, and one for rounding where torch allocates: their sum is what the engine
    calls its weights. `spread` is the model's `size_spread`, `leaves_blocks` the engine's."""
    groups: dict[Key, list[tuple[str, int, int]]] = {}
    totals: dict[Key, int] = {}
    notes: dict[Key, dict[str, None]] = {}
    for key, name, num_bytes, per_layer, layers, note in placed:
        times = per_layer * (len(layers) or 1)
        totals[key] = totals.get(key, 0) + num_bytes * times
        groups.setdefault(key, []).append((name, num_bytes, times))
        notes.setdefault(key, {what: None})
        if note:
            notes[key][note] = None
    lines = []
    if spread is not None:
        of_experts = totals.get("weights.routed_experts", 0)
        spread = spread.on_card(of_experts, sum(totals.values()) - of_experts)
    for key, total in totals.items():
        formula = " + ".join([_formula(*group) for group in groups[key][:MOST_SHOWN]])
        if len(groups[key]) > MOST_SHOWN:
            formula += f" + {len(groups[key]) - MOST_SHOWN} smaller groups"
        line = exact(key, "engine", WORDS[key], total, formula, "; ".join(notes[key]))
        if key in ("weights.scales", "weights.unexplained"):  # may be there or not
            line = line._replace(kind="assumed", low_bytes=0)
        elif spread is not None:
            shares = spread.experts if key == "weights.routed_experts" else spread.others
            low, high = (round(total * share) for share in shares)
            line = line._replace(kind="fitted", low_bytes=low, high_bytes=high)
        lines.append(line)
    if counts == "plain":
        return lines
    sizes: Sizes = tuple([(size, count, layers) for _, _, size, count, layers, _ in placed])
    large = SMALL_THINGS if counts == "allocated" else 0
    if large and leaves_blocks:
        large = sum(count * (len(layers) or 1) for size, count, layers in sizes if size > SMALL)
    lines.append(rounding_line(_counted(sizes, counts) - sum(totals.values()), counts, large))
    return lines


SMALL_THINGS = 30
"""MiB that loading of tensors which stay as they were made leaves beside them, at most: of 70 logs of models
in 16 bit under vLLM 0.5 to 0.24 three had more than 8 MiB above the value, at most 28."""


def uncertain_draft(model: "Model", placed: Sequence[Placed]) -> list[Line]:
    """What a head may have beyond the shape that is assumed of it."""
    if model.drafter is None:
        return []
    from ...model.drafting import uncertain_bytes  # few questions have a draft beside the model

    held = sum(group.total_bytes for group in placed if group.name.startswith("draft."))
    more = uncertain_bytes(model, held)
    what, formula = "draft, whose shape is assumed", f"up to half of {held:,} B more"
    line = ranged(
        "weights.draft", "draft", what, (0, 0, more), "assumed", formula, "estimate/serving/drafting.py"
    )
    return [line] if more else []


def rounding_line(slack: int, counts: Count, large: int = 0) -> Line:
    """What the allocator adds to tensors in their order of creation. Loading makes and drops others between
    them: none of it to twice of it was seen, so the interval is that (GQA models 4 MiB less of 168,
    V4-Flash 32 more of 35, Qwen3.8 NVFP4 66 less of 66), and up to 1 MiB of small things that loading
    makes (0.13 MiB in Qwen3-8B and Llama-3.1-8B on 0.8.5 and 0.9.2).

    A block that something else left is not split where up to 1 MiB would remain (torch's should_split), so
    each of `large` tensors may take that much more: releases whose loaders pass weights through the card came
    to 97 MiB with 113 such tensors (Qwen2.5-1.5B, 0.28). Of a hundred logs none had
    300 MiB more than the value.

    >>> rounding_line(176160768, "allocated").high_bytes  # R1-Distill-Qwen-14B over two ranks: 168 MiB
    353370112
    >>> rounding_line(0, "allocated", 113).high_bytes >> 20
    114
    """
    formula = (
        f"torch's {counts} bytes for these tensors in order of creation, less their own; loading "
        "may leave none, twice, or 1 MiB a tensor"
    )
    return ranged(
        "fragmentation.weights",
        "engine",
        "allocator rounding of weights",
        (slack, 0, min(max(2 * slack, large * MIB) + MIB, slack + 320 * MIB)),
        "fitted",
        formula,
        "estimate/allocator.py",
    )


MOST_SHOWN = 12
WORDS: dict[Key, str] = {
    "weights.attention": "attention",
    "weights.feed_forward": "feed-forward",
    "weights.routed_experts": "routed experts",
    "weights.shared_experts": "shared experts",
    "weights.routers": "routers",
    "weights.embedding": "embedding",
    "weights.output_head": "output head",
    "weights.norms": "norms and small tensors",
    "weights.rotary_tables": "rotary tables",
    "weights.indexer": "indexer",
    "weights.compressors": "compressors",
    "weights.hyper_connections": "hyper-connections",
    "weights.engram": "Engram",
    "weights.vision": "vision",
    "weights.layers": "weights of the layers",
    "weights.adapters": "LoRA slots",
    "weights.scales": "scales on Blackwell",
    "weights.workspaces": "workspaces",
    "weights.unexplained": "unexplained tensors",
}
"""What people read for each part of a model."""


@lru_cache(maxsize=4096)
def _formula(name: str, num_bytes: int, times: int) -> str:
    """Return how many tensors of a group there are, and of what size: sizes of a layout share them."""
    short = name.removeprefix("model.layers.{}.").removeprefix("model.")
    return f"{short} {times} x {num_bytes:,} B" if times > 1 else f"{short} {num_bytes:,} B"


@lru_cache(maxsize=4096)
def _counted(sizes: Sizes, counts: Count) -> int:
    """Allocated or reserved bytes of the tensors in order: what is outside of the layers first, then layer
    after layer.

    Small tensors have segments of their own, so their order does not matter: they go in as multiples.
    """
    small = 0
    outside: list[int] = []
    inside: list[tuple[int, list[int]]] = []
    bits: dict[tuple[int, ...], int] = {}
    """A bit for each set of layers."""
    for num_bytes, count, layers in sizes:
        if num_bytes <= SMALL:
            small += rounded(num_bytes) * count * (len(layers) or 1)
        elif layers:
            inside.append((bits.setdefault(layers, 1 << len(bits)), [num_bytes] * count))
        else:
            outside += [num_bytes] * count
    held: dict[int, int] = {}
    for layers, bit in bits.items():
        for layer in layers:
            held[layer] = held.get(layer, 0) | bit
    runs = [(outside, 1)]
    for of_layer, alike in groupby(held[layer] for layer in sorted(held)):
        runs.append(([size for bit, group in inside if bit & of_layer for size in group], len(list(alike))))
    taken = place(runs)
    taken = taken._replace(small_bytes=taken.small_bytes + small)
    return taken.reserved_bytes if counts == "reserved" else taken.allocated_bytes
