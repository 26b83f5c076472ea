"""Blocks of vLLM's cache pool that sequences take, and how many sequences and tokens a pool holds."""

from ...run.serving import Resolved
from ..rank import CacheLayout
from .captures import captures
from .release import RELEASES, VllmRules


def in_flight(tokens: int, asked: Resolved, rules: VllmRules) -> int:
    """Tokens that are under way where a step has so many; 0.26 counts a batch for every stage, and the next
    that it prepares."""
    batches = asked.layout.pp + (0 if asked.no_async_scheduling else 1)
    return tokens * batches if rules.counts_batches_in_flight else tokens


def virtual_engines(asked: Resolved, rules: VllmRules) -> int:
    """V0 schedules a batch for each pipeline stage, each over its own part of the pool: no sequence takes
    another's (worker/cache_engine.py and core/scheduler.py, num_gpu_blocks // pipeline_parallel_size)."""
    return asked.layout.pp if rules.v0 else 1


def blocks_of_one(layout: CacheLayout, length: int, asked: Resolved) -> list[int]:
    """Blocks of each group that one sequence of this length needs."""
    rules = RELEASES.at(asked.engine_version)
    dcp, tokens = asked.layout.dcp, in_flight(asked.max_num_batched_tokens, asked, rules)
    return [
        group.blocks(-(-length // dcp) if not group.window else length, tokens) for group in layout.groups
    ]


def blocks_to_admit(layout: CacheLayout, length: int, asked: Resolved) -> int:
    """Blocks by which vLLM counts how many sequences of a length the pool takes at once.

    Up to 0.26 groups count by their bytes, relative to the first one (they differ for V4 alone); later each
    block counts as one, as it does on a stage whose layers keep nothing of their own.
    """
    blocks = blocks_of_one(layout, length, asked)
    unit = layout.groups[0].page_bytes
    if RELEASES.at(asked.engine_version).counts_blocks_alike or not unit:
        return sum(blocks)
    weighted = sum(num * group.page_bytes for num, group in zip(blocks, layout.groups, strict=True))
    return -(-weighted // unit)


def blocks_together(layout: CacheLayout, num: int, length: int, asked: Resolved) -> int:
    """Blocks that `num` sequences of a length hold at most while they run together: they share the tokens of
    one step.

    A window gives back what lies behind it at every step (single_type_kv_cache_manager.py,
    remove_skipped_blocks), and the count by which a sequence is let in holds only against what is free at
    that moment. So each sequence holds its window and the token that it makes next (two with a draft), and
    what a step's prompts take on top is spread over them.

    >>> from ...run.serving import Layout
    >>> from ...model.load import load
    >>> from ..rank import Stage
    >>> from .cache import cache_layout
    >>> asked = Resolved(
    ...     max_model_len=32768, max_num_batched_tokens=8192, layout=Layout(), kv_cache_dtype="fp8_ds_mla"
    ... )
    >>> layout = cache_layout(load("deepseek-v4-flash"), asked, Stage(0, 1, 0, 43))
    >>> [blocks_together(layout, num, 32768, asked) for num in (1, 2, 16)]
    [6810, 6972, 9184]
    """
    rules = RELEASES.at(asked.engine_version)
    dcp = asked.layout.dcp
    step = in_flight(asked.max_num_batched_tokens, asked, rules)
    least = min(in_flight(1 + int(asked.speculative), asked, rules), step)
    total = 0
    for group in layout.groups:
        if not group.window:
            total += num * group.blocks(-(-length // dcp), step)
            continue
        held, most = group.blocks(length, least), group.blocks(length, step)
        spare = -(group.window - 1 + least) % group.block_size  # tokens until a sequence begins another block
        begun = min(num, step // (spare + 1)) + max(step - num * (spare + 1), 0) // group.block_size
        total += num * held + min(num * (most - held), begun)
    return total


def blocks_to_run(layout: CacheLayout, num: int, length: int, asked: Resolved) -> int:
    """Blocks by which a load is held against the pool: the first sequence as vLLM lets it in, the others as
    they run beside it."""
    first = blocks_to_admit(layout, length, asked)
    if not any(group.window for group in layout.groups):
        return num * first
    return first + blocks_together(layout, num, length, asked) - blocks_together(layout, 1, length, asked)


def needed_bytes(layout: CacheLayout, asked: Resolved) -> int:
    """Pool that the asked load needs: `concurrency` sequences of `context` tokens, and at least one of
    max_model_len.

    The second is vLLM's own condition to start (it raises otherwise). 0.33 keeps one block back. So is that
    the graphs of a model with states find a block for each of max_num_seqs. V0's virtual engines have equal
    parts of the pool, which 0.8 looks at too before it starts.
    """
    rules = RELEASES.at(asked.engine_version)
    engines = virtual_engines(asked, rules)
    sequences = -(-asked.concurrency // engines) * engines
    load = blocks_to_run(layout, sequences, asked.context, asked) * layout.block_bytes
    longest = sum(blocks_of_one(layout, asked.max_model_len, asked)) * layout.need_block_bytes
    longest *= engines if rules.checks_length_by_engine else 1
    if rules.keeps_null_block:
        longest += layout.need_block_bytes
    return max(load, longest, blocks_of_graphs(layout, asked) * layout.block_bytes)


def blocks_of_graphs(layout: CacheLayout, asked: Resolved) -> int:
    """Blocks without which graphs of models with states cannot be captured: one for each sequence
    (v1/worker/gpu_model_runner.py; it names the largest --max-num-seqs that would do).

    Qwen3.6-27B-FP8 on one H100 at 0.95 has 856 blocks, and refuses the default of 1,024 (vLLM recipes#551).
    """
    states = any(group.fixed_blocks for group in layout.groups)
    if not states or asked.enforce_eager or not RELEASES.at(asked.engine_version).needs_block_a_sequence:
        return 0
    if captures(asked.compilation_config).mode == "PIECEWISE":
        return 0  # the check is for graphs of whole decode steps (config/compilation.py)
    return asked.max_num_seqs


def sequences(layout: CacheLayout, pool_bytes: int, length: int, asked: Resolved) -> float:
    """Sequences of a length that run at once. Where there are windows vLLM prints fewer: it counts each as if
    it had a step of its own."""
    blocks, first = layout.blocks_in(pool_bytes), blocks_to_admit(layout, length, asked)
    if blocks <= first or not any(group.window for group in layout.groups):
        return blocks / first
    low, high = 1, blocks  # a sequence has a block at least
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if blocks_to_run(layout, middle, length, asked) <= blocks else (low, middle - 1)
        )
    taken, one_more = (blocks_to_run(layout, num, length, asked) for num in (low, low + 1))
    return low + (blocks - taken) / (one_more - taken)


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """The capacity in tokens that vLLM prints: the smallest number of blocks of all ranks decides.

    Up to 0.20.0: blocks of each group x block size (x context-parallel ranks); from 0.20.1: concurrency x
    max_model_len.
    """
    rules = RELEASES.at(asked.engine_version)
    num_blocks = min(layout.blocks_in(pool) for layout, pool in zip(layouts, pools, strict=True))
    layout = max(layouts, key=lambda each: each.block_bytes)
    dcp = asked.layout.dcp
    if rules.prints_tokens_by_concurrency:
        length = asked.max_model_len
        return int(num_blocks / blocks_to_admit(layout, length, asked) * length)
    if rules.prints_tokens_by_groups:
        return num_blocks // len(layout.groups) * min(group.block_size for group in layout.groups) * dcp
    return num_blocks * layout.groups[0].block_size


def longest_sequence(layout: CacheLayout, pool_bytes: int, asked: Resolved) -> int:
    """The longest single sequence that the pool holds, found by search as vLLM does; 0 if not even one token
    fits."""
    low, high = 0, asked.max_model_len
    rules = RELEASES.at(asked.engine_version)
    pool_bytes //= virtual_engines(asked, rules)
    if rules.keeps_null_block:
        pool_bytes -= layout.need_block_bytes  # the null block
    middle = high  # mostly all of it fits
    while low < high:
        fits = sum(blocks_of_one(layout, middle, asked)) * layout.need_block_bytes <= pool_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
        middle = (low + high + 1) // 2
    return low
