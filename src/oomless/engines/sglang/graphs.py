"""CUDA graphs of SGLang: of decode steps, by what their runner and the kernels keep, and of prefills from
0.5.10 on."""

from math import ceil

from ... import facts
from ...facts.release import Release
from ...ledger import Line, ranged
from ...model.attention import GQA, MLA, V4, V41, Linear
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB
from ..overhead_lines import WORDS, measured
from ..rank import Stage
from .backends import step_backend, wrapper_bytes
from .release import RELEASES, SglangRules, attention_ranks, by_fa3
from .share import captures_prefills, prefill_sizes

PIECES = "server_args.py of 0.5.10 to 0.5.14, _handle_piecewise_cuda_graph: not by --disable-cuda-graph"


def graphs_are_captured(model: Model, asked: Resolved, hardware: Hardware) -> bool:
    """Return whether any graphs are captured: those of prefills in pieces are so beside
    --disable-cuda-graph, until --disable-piecewise-cuda-graph.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked, card = Resolved(layout=Layout(), enforce_eager=True), parse_gpu("h100")
    >>> said = [asked._replace(engine_version=text) for text in ("0.5.9", "0.5.13", "0.5.15")]
    >>> [graphs_are_captured(load("qwen3-30b-a3b"), each, card) for each in said]
    [False, True, False]
    """
    rules = RELEASES.at(asked.engine_version)
    apart = rules.compiles_prefills and asked.layout.pp == 1 and not model.kinds.has(MLA)
    return not asked.enforce_eager or (apart and captures_prefills(model, asked, hardware, rules))


def graph_line(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Line:
    """Return the line of captured graphs; latent attention on Hopper adds its partial results.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from ...units import GIB
    >>> asked = Resolved(engine_version="0.5.6", layout=Layout(tp=8), cuda_graph_max_bs=512)
    >>> line = graph_line(load("deepseek-v3"), asked, parse_gpu("h200:8"), Stage(0, 1, 0, 61))
    >>> round(line.bytes / GIB, 2)
    5.53
    """
    rules, tags = RELEASES.at(asked.engine_version), graph_tags(model, asked, hardware)
    release = rules.release
    if asked.enforce_eager:  # its prefills alone are captured
        none = ranged("runtime.cuda_graphs", "engine", "CUDA graphs", (0, 0, 0), "fitted", "no steps", PIECES)
        return with_prefills(none, len(prefill_sizes(asked.max_num_batched_tokens or 0)), release, tags)
    if hardware.card.is_nvidia or hardware.card.vendor == "Huawei":
        line = captured_line(model, asked, hardware, stage, tags)
    else:
        few = captures_few(asked) and "mla" not in tags
        line = measured("sglang", "runtime.cuda_graphs", "graphs", release, ("few",) if few else tags)
    one_kind = model.kinds.has(Linear) or all(isinstance(each, GQA) for each in model.kinds.attentions)
    if one_kind and asked.layout.pp == 1 and captures_prefills(model, asked, hardware, rules):
        num_sizes = len(prefill_sizes(asked.max_num_batched_tokens or 0))
        return with_prefills(line, num_sizes, release, (*tags, "few") if captures_few(asked) else tags)
    return with_partials(line, model, asked, hardware, stage, tags)


def with_partials(
    line: Line, model: Model, asked: Resolved, hardware: Hardware, stage: Stage, tags: tuple[str, ...]
) -> Line:
    """Return the line with the partial results that FlashAttention 3 reserves for the largest batch, as often
    as they are kept: splits x heads x tokens x latent in F32 (hopper/flash_api.cpp: out_accum)."""
    rules = RELEASES.at(asked.engine_version)
    copies = facts.constant("sglang", "split_copies", rules.release, *tags)
    widest = max(((mla.num_heads, mla.kv_lora_rank) for mla in stage.kinds(model).latents), default=(0, 0))
    heads, tokens = widest[0] // attention_ranks(asked), 1 + asked.draft_tokens
    if not heads or not copies.high:
        return line
    length = asked.max_model_len or model.max_positions
    num = num_splits(heads * tokens, hardware.card.num_sms or 132, length)
    largest = captured_sizes(asked, rules)[-1] * tokens
    split = heads * largest * widest[1] * 4 / GIB
    each = copies._replace(value=copies.value * split, low=copies.low * split, high=copies.high * split)
    return added(line, num, each, f"splits of {heads} heads and {largest} tokens")


SPLIT_TILE, MOST_SPLITS = 64, 128
"""Rows and tokens of a tile, and splits (hopper/tile_size.h, heuristics.h)."""


def num_splits(rows: int, sms: int, length: int) -> int:
    """Return the splits of one long sequence, whatever the batch: the fewest that fill the multiprocessors to
    0.85 of what the best number does (num_splits_heuristic).

    >>> [num_splits(heads, sms, 163_840) for sms in (132, 78) for heads in (16, 64, 128)]
    [109, 109, 57, 67, 67, 34]
    """
    tiles, blocks = -(-rows // SPLIT_TILE), -(-length // SPLIT_TILE)
    if tiles >= 0.8 * sms or blocks <= 4:
        return 1
    waves = [tiles * num / sms for num in range(1, min(MOST_SPLITS, sms, blocks) + 1)]
    filled = [each / ceil(each) for each in waves]
    return next(index for index, each in enumerate(filled, 1) if each >= 0.85 * max(filled))


def captured_line(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, tags: tuple[str, ...]
) -> Line:
    """Return what the graphs of steps take beside the tables: logits of the largest batch in F32, of every
    batch before 0.4.10.post2, with the product and the gathered ones of the largest; FlashInfer's wrappers;
    what the driver keeps of each layer and batch; and what is left of logs.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked = Resolved(layout=Layout(tp=8), cuda_graph_max_bs=512)
    >>> model, cards, stage = load("qwen3-30b-a3b"), parse_gpu("b200:8"), Stage(0, 1, 0, 48)
    >>> for text in ("0.4.9", "0.5.12"):  # a log of the first says 7.36 GiB, with tables of 0.1
    ...     line = captured_line(model, asked._replace(engine_version=text), cards, stage, ("tp",))
    ...     print(round(line.bytes / 2**30, 2))
    7.25
    1.2
    """
    rules, ranks = RELEASES.at(asked.engine_version), asked.layout.tp
    sizes = captured_sizes(asked, rules)
    most, gathered = sizes[-1], asked.layout.dp if asked.layout.enable_dp_attention else 1
    verified = 1 + asked.draft_tokens  # the rows of a request (num_tokens_per_bs)
    batches = sum(sizes) if rules.keeps_logits_of_graphs else most
    kept = batches * verified * model.num_logits * 4 * stage.last
    product = int(most * verified * model.num_logits * 2 * (1 / ranks + 2 * (ranks > 1))) * stage.last
    backend = step_backend(model, asked, hardware)
    splits = 0
    if backend == "triton":
        widest = max(
            (mla.num_heads * (mla.kv_lora_rank + 1) for mla in stage.kinds(model).latents), default=0
        )
        splits = most * widest // attention_ranks(asked) * TRITON_SPLITS * 4
    exactly = kept + product + splits + wrapper_bytes(model, backend, len(sizes))
    base = facts.constant("sglang", "graph_base", rules.release, *tags)
    each = facts.constant("sglang", "graph_layer", rules.release, *tags)
    line = ranged(
        "runtime.cuda_graphs",
        "engine",
        WORDS["runtime.cuda_graphs"],
        (exactly + int(base.value * GIB), exactly + int(base.low * GIB), exactly + int(base.high * GIB)),
        "fitted",
        f"{len(sizes)} batches to {most}: {kept / GIB:.2f} GiB of logits"
        f" + {(exactly - kept) / GIB:.2f} + {base.value:g}",
        f"model_executor/cuda_graph_runner.py, layers/logits_processor.py; {base.source}",
    )
    line = line._replace(high_bytes=line.high_bytes + (gathered - 1) * product)
    return added(line, len(sizes) * (stage.stop - stage.start), each, "layers and batches")


TRITON_SPLITS = 8
"""--triton-attention-num-kv-splits (triton_backend.py, cuda_graph_attn_logits)."""


def captured_sizes(asked: Resolved, rules: SglangRules) -> list[int]:
    """Return the batches that are captured: up to the largest, and no more than may run.

    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(layout=Layout(), cuda_graph_max_bs=512)
    >>> [len(captured_sizes(asked, RELEASES.at(text))) for text in ("0.4.9", "0.5.3")]
    [51, 52]
    >>> captured_sizes(asked._replace(max_num_seqs=10), RELEASES.at("0.5.3"))
    [1, 2, 4, 8, 10]
    """
    graphs = asked.cuda_graph_max_bs or 1
    most = max(min(graphs, asked.max_num_seqs or graphs), 1)
    few = (1, 2, 4, 8, 12) if rules.captures_twelve else (1, 2, 4, 8)
    last = (*range(512, most + 1, 32),) if rules.captures_twelve else ()
    listed = (
        *few,
        *range(16, 257, 8),
        *range(272, 512 if rules.captures_twelve else most + 1, 16),
        *last,
    )
    if asked.speculative:
        listed = batches_of_drafts(rules, most)
        if rules.drafts_unpadded and most > listed[-1]:
            return [*listed]
    return sorted({*(size for size in listed if size <= most), most})


def batches_of_drafts(rules: SglangRules, most: int) -> tuple[int, ...]:
    """Return the batches that are captured where tokens are drafted, which are closer to each other.

    >>> from .release import RELEASES
    >>> [
    ...     len([e for e in batches_of_drafts(RELEASES.at(v), 48) if e <= 48])
    ...     for v in ("0.4.3.post4", "0.4.9", "0.5.6")
    ... ]
    [32, 21, 23]
    """
    if rules.drafts_unpadded or rules.drafts_for_32:
        return (*range(1, 33), *((64, 128) if rules.drafts_unpadded else ()))
    few = (*range(1, 9), *range(10, 33, 2))
    if rules.captures_twelve:
        return (*few, *range(40, 65, 4), *range(72, 257, 8), *range(272, most + 1, 16))
    return (*few, *range(48, most + 1, 16))


FEW_BATCH = 8


def captures_few(asked: Resolved) -> bool:
    """Return whether batches of at most eight are captured, which are four sizes: no more than may run
    (cuda_graph_runner.py, get_batch_sizes_to_capture).

    >>> from ...run.serving import Layout
    >>> asked = Resolved(cuda_graph_max_bs=256, layout=Layout())
    >>> [captures_few(asked._replace(max_num_seqs=num)) for num in (4, 64)]
    [True, False]
    """
    graphs = asked.cuda_graph_max_bs or FEW_BATCH + 1
    return min(graphs, asked.max_num_seqs or graphs) <= FEW_BATCH


def with_prefills(line: Line, num_sizes: int, release: Release, tags: tuple[str, ...]) -> Line:
    """Return the line of decode graphs with those of prefills, which 0.5.10 captures besides: one for each
    size up to the chunk, unless there are pipeline stages (server_args.py)."""
    each = facts.constant("sglang", "prefill_graph", release, *tags)
    return added(line, num_sizes, each, "graphs of prefills")


def added(line: Line, number: int, each: facts.Constant, what: str) -> Line:
    """Return the line with so many times a constant more."""
    more = [int(number * size * GIB) for size in (each.value, each.low, each.high)]
    return line._replace(
        bytes=line.bytes + more[0],
        low_bytes=line.low_bytes + more[1],
        high_bytes=line.high_bytes + more[2],
        formula=f"{line.formula} + {number:,} {what} x {each.value:g} GiB",
        source=f"{line.source}; {each.source}",
    )


def graph_tags(model: Model, asked: Resolved, hardware: Hardware) -> tuple[str, ...]:
    """What the memory of graphs goes by."""
    found = {
        "tp": asked.layout.tp > 1,
        "unified": hardware.card.shared_bytes > 0,
        "ascend": hardware.card.vendor == "Huawei",
        "v4": model.kinds.has(V4, V41),
        "mla": model.kinds.has(MLA),
        "hopper": by_fa3(asked, hardware),
        "dp_attention": asked.layout.enable_dp_attention,
        "states": model.kinds.has(Linear),
    }
    return tuple(name for name, holds in found.items() if holds)
