"""Laws of the serving estimate. Each holds for every question that has an answer, whatever the numbers are.

Sums: lines make totals, categories make totals, ranks make layouts. Order: low <= value <= high. Monotony: a
larger load or batch never needs less, more of a card never gives less. Neutrality: a size of 1 changes
nothing. Honesty: the verdict is that of the interval on every rank, and what is promised fits.
"""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oomless.api.serving import ServingAnswer
from oomless.engines.vllm import VLLM
from oomless.errors import UnsupportedError, UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving, share_of_load
from oomless.ledger import Ledger
from oomless.model.load import load
from oomless.run.cards import Hardware, synthetic
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation
from property.questions import (
    ALL,
    GQA,
    MLA,
    MOE,
    SPARSE,
    V4,
    VERDICTS,
    Question,
    answer,
    at_the_edge,
    charges_segments,
    pinned,
    questions,
    sizes,
)

# sums and order


@given(questions())
def test_totals_are_sums_of_lines_and_of_categories(question: Question) -> None:
    found = answer(question)
    for ledger in found.ledgers:
        assert (
            ledger.total_bytes
            == sum(line.bytes for line in ledger.lines)
            == sum(ledger.by_category().values())
        )
        below, above = ledger.idle_spread
        lacks_both = ledger.capacity_bytes == found.hardware.card.memory_bytes < ledger.total_bytes
        assert min(below, above) >= 0 or lacks_both  # room in the pool and on the card
        assert ledger.low_bytes == sum(line.low_bytes for line in ledger.lines) + below
        assert ledger.high_bytes == sum(line.high_bytes for line in ledger.lines) - above
        assert ledger.headroom_bytes == ledger.capacity_bytes - ledger.total_bytes


@given(questions())
def test_every_value_lies_in_its_interval(question: Question) -> None:
    found = answer(question)
    for ledger in found.ledgers:
        assert ledger.low_bytes <= ledger.total_bytes <= ledger.high_bytes
        for line in ledger.lines:
            assert 0 <= line.low_bytes <= line.bytes <= line.high_bytes, line
            assert (line.kind == "exact") <= (line.low_bytes == line.bytes == line.high_bytes), line
            assert line.formula
            assert line.source
    for low, pool, high in zip(found.pools_low, found.pools, found.pools_high, strict=True):
        assert low <= pool <= high
    cache = found.kv_cache
    assert cache.max_tokens_low <= cache.max_tokens <= cache.max_tokens_high


@given(questions())
def test_groups_of_ranks_are_all_ranks(question: Question) -> None:
    found = answer(question)
    layout = found.request.layout
    assert layout is not None
    assert (
        sum(ledger.num_ranks for ledger in found.ledgers)
        == layout.num_ranks * found.replicas
        <= found.hardware.num_gpus
    )
    assert len(found.ledgers) == layout.pp


ANSWERED = (
    "engine_version layout dtype kv_cache_dtype max_model_len max_num_seqs "
    "max_num_batched_tokens context concurrency "
    "gpu_memory_utilization block_size"
).split()
"""What vLLM chooses where the question is silent."""


@given(questions())
def test_no_default_is_left_open(question: Question) -> None:
    found = answer(question)
    request = found.request
    open_fields = [name for name in ANSWERED if getattr(request, name) is None]
    assert not open_fields
    shared = share_of_load(question.asked, found.replicas)
    for name, value in shared._asdict().items():
        if value not in (None, "auto", "fp8"):  # fp8 names a layout of rows that depends on the attention
            resolved = getattr(request, name)
            if name == "engine_version":  # which of its engines a release falls back to stands behind it
                resolved = resolved.removesuffix(" (V0)")
            assert resolved == value


@given(questions())
def test_json_says_the_same_in_whole_bytes(question: Question) -> None:
    found = answer(question)
    document = json.loads(json.dumps(ServingAnswer(found).to_json(), allow_nan=False))
    assert document["verdict"] == found.verdict
    assert document["headroom_bytes"] == found.headroom_bytes
    assert document["ranks"][document["worst_rank"]]["total_bytes"] == found.ledger.total_bytes
    whole = [document["headroom_bytes"], document["model"]["checkpoint_bytes"], *document["host"].values()]
    whole += [
        document["kv_cache"][key]
        for key in ("pool_bytes", "needed_bytes", "fixed_bytes_per_sequence", "max_tokens")
    ]
    for rank in document["ranks"]:
        whole += [
            rank["capacity_bytes"],
            rank["total_bytes"],
            rank["low_bytes"],
            rank["high_bytes"],
            *rank["by_category"].values(),
        ]
        whole += [line[key] for line in rank["lines"] for key in ("bytes", "low_bytes", "high_bytes")]
    assert all(type(number) is int for number in whole)


# honesty


shares = st.one_of(st.floats(-1.0, 2.0), st.floats(0.9, 1.1))


@given(questions(), st.floats(0.01, 1.0))
def test_the_verdict_is_that_of_the_interval_on_every_rank(question: Question, share: float) -> None:
    found = answer(at_the_edge(question, share))
    for ledger in found.ledgers:
        least, most = ledger.low_bytes <= ledger.capacity_bytes, ledger.high_bytes <= ledger.capacity_bytes
        assert ledger.verdict == ("fits" if most else "tight" if least else "does_not_fit")
    assert VERDICTS.index(found.verdict) == max(VERDICTS.index(ledger.verdict) for ledger in found.ledgers)


def test_a_stage_with_more_room_but_a_worse_verdict_decides() -> None:
    """The first stage lacks more, but only the second lacks it at the lower end of its interval too."""
    card = synthetic(114_441_267_988, "edge")
    asked = Asked(
        engine_version="0.5.5", layout=Layout(tp=8, pp=2), max_num_seqs=256, max_num_batched_tokens=131_072
    )
    found = estimate_serving(load("kimi-k2-instruct"), asked, Hardware(card, 16, 8))
    assert VERDICTS.index(found.verdict) == max(VERDICTS.index(ledger.verdict) for ledger in found.ledgers)


@given(questions(), st.floats(0.01, 1.0))
def test_the_worst_rank_has_the_least_room(question: Question, share: float) -> None:
    found = answer(at_the_edge(question, share))
    assert found.headroom_bytes == min(ledger.headroom_bytes for ledger in found.ledgers)


@given(questions(), st.floats(0.01, 1.0))
def test_room_to_spare_means_that_the_pool_holds_the_load(question: Question, share: float) -> None:
    found = answer(at_the_edge(question, share))
    for ledger, pool, low in zip(found.ledgers, found.pools, found.pools_low, strict=True):
        needed = ledger.by_category()["kv_cache"]
        if ledger.headroom_bytes >= 0:
            assert pool >= needed
        if ledger.verdict == "fits":
            assert low >= needed
    if found.headroom_bytes >= 0:
        on_a_rank = -(-found.request.concurrency // found.request.layout.dp)
        assert found.kv_cache.max_concurrency >= on_a_rank


@given(questions())
def test_no_rank_is_given_more_than_its_card_has(question: Question) -> None:
    found = answer(question)
    assert all(ledger.capacity_bytes <= found.hardware.card.memory_bytes for ledger in found.ledgers)


@given(questions(most_pp=1), st.floats(0.1, 1.1))
def test_the_longest_sequence_would_start_and_no_longer_one(question: Question, share: float) -> None:
    """ "It would start with --max-model-len N": so it must, with everything else as it is."""
    alone = question._replace(asked=question.asked._replace(concurrency=None))
    starts_at_its_longest(at_the_edge(alone, share))


@pytest.mark.parametrize("version", VLLM.versions)
@pytest.mark.parametrize(
    "name", ["deepseek-coder-1.3b", "deepseek-v2-lite", "deepseek-v3.2", "deepseek-v4-flash", "gpt-oss-20b"]
)
def test_the_longest_sequence_would_start_in_every_release(name: str, version: str) -> None:
    asked = Asked(engine_version=version, layout=Layout(), max_num_seqs=64, max_num_batched_tokens=2048)
    hardware = parse_gpu("h200")
    try:
        estimate_serving(load(name), asked, hardware)
    except UnsupportedError:
        pytest.skip(f"{version} cannot serve {name}")
    starts_at_its_longest(at_the_edge(Question(load(name), asked, hardware), 0.5))


def starts_at_its_longest(question: Question) -> None:
    """ "It would start with --max-model-len N": so it must, with everything else as it is, and with N + 1 it
    must not."""
    first = answer(question)
    longest, length = first.kv_cache.longest_sequence, first.request.max_model_len or 0
    if longest:
        again = answer(question, max_model_len=longest)
        assert again.kv_cache.needed_bytes <= again.kv_cache.pool_bytes
    if longest < length:
        more = answer(question, max_model_len=longest + 1)
        # workspaces of sparse attention shrink with the length: there N is what the engine says of the pool
        # that it has, and safe
        grown = more.kv_cache.pool_bytes - first.kv_cache.pool_bytes
        assert grown >= 0
        assert more.kv_cache.needed_bytes > first.kv_cache.pool_bytes


# weights over ranks


def placed(question: Question, layout: Layout) -> list[dict[str, int]]:
    """Bytes of each parameter on a rank of each stage."""
    request = answer(question, layout=layout).request
    found = []
    for stage in VLLM.stages(question.model, request):
        sums: dict[str, int] = {}
        for group in VLLM.placed_weights(question.model, request, question.hardware, stage):
            sums[f"{group.key}: {group.name}"] = sums.get(f"{group.key}: {group.name}", 0) + group.total_bytes
        found.append(sums)
    return found


@given(questions(most_pp=1), st.sampled_from([2, 4, 8]), st.booleans())
def test_shards_of_all_ranks_hold_the_whole_and_no_rank_more_than_it(
    question: Question, tp: int, expert_parallel: bool
) -> None:
    question = question._replace(hardware=question.hardware._replace(num_gpus=8))
    (whole,) = placed(question, Layout())
    (shard,) = placed(question, Layout(tp=tp, enable_expert_parallel=expert_parallel))
    assert set(shard) == set(whole)
    for name, num_bytes in whole.items():
        assert num_bytes <= shard[name] * tp, name
        assert shard[name] <= num_bytes, name


ON_EVERY_STAGE = ("weights.rotary_tables", "weights.workspaces", "weights.scales", "weights.unexplained")


@given(questions(), st.integers(2, 8))
def test_pipeline_stages_hold_each_layer_once(question: Question, pp: int) -> None:
    """But a draft's embedding, which is the target's on one stage alone (v1/spec_decode/eagle.py: "loaded
    separately" beside a group of stages)."""
    question = question._replace(hardware=question.hardware._replace(num_gpus=64))
    (whole,) = placed(question, Layout())
    stages = placed(question, Layout(pp=pp))
    for name, num_bytes in whole.items():
        total = sum(stage.get(name, 0) for stage in stages)
        if name.startswith(ON_EVERY_STAGE):
            assert total >= num_bytes, name
        elif question.model.tied and name.startswith("weights.embedding"):
            assert total == 2 * num_bytes, name  # the last stage needs it as its head
        else:
            assert total == num_bytes, name
    *others, last = (set(stage) for stage in stages)
    assert set().union(*others) <= set(whole) <= last.union(*others)
    assert all(name.endswith("layers.{}.embed_tokens.weight") for name in last - set(whole))


@given(questions(most_pp=1))
def test_the_weights_of_one_rank_are_at_least_the_main_model(question: Question) -> None:
    (whole,) = placed(question._replace(asked=question.asked._replace(quantization=None)), Layout())
    main = sum(t.num_bytes for t in question.model.tensors if t.part == "main" and not t.copy_of)
    same_type = answer(question, layout=Layout()).request.dtype == question.model.dtype.name
    assume(same_type)
    assert sum(whole.values()) >= main


# monotony


def movable(ledger: Ledger) -> int:
    """Return what a larger workspace takes away from other lines: it fills what blocks of weights left free,
    and its bytes are known where the profile run's are in doubt."""
    rest = sum(line.bytes for line in ledger.lines if line.key == "fragmentation.weights")
    return rest + sum(line.high_bytes - line.bytes for line in ledger.lines if line.category == "activations")


def bytes_never_less(before: Estimate, after: Estimate, unseen: int = 0) -> None:
    """`unseen`: bytes that the larger one may take later than what is counted."""
    for less, more in zip(before.ledgers, after.ledgers, strict=True):
        filled = max(movable(less) - movable(more), 0)
        assert less.total_bytes <= more.total_bytes + filled
        fewer, further = (
            [sum(end) for end in zip(*((x.low_bytes, x.high_bytes) for x in each.lines), strict=True)]
            for each in (less, more)
        )
        assert fewer[0] <= further[0] + unseen + len(more.lines)  # the ends of each line are rounded down
        assert fewer[1] <= further[1] + filled
        slack = len(less.lines) + len(more.lines) + filled
        assert less.capacity_bytes - less.low_bytes >= more.capacity_bytes - more.low_bytes - slack
        assert less.capacity_bytes - less.high_bytes >= more.capacity_bytes - more.high_bytes - slack


def never_less(before: Estimate, after: Estimate) -> None:
    bytes_never_less(before, after)
    assert VERDICTS.index(before.verdict) <= VERDICTS.index(after.verdict)


def larger_batch_never_less(question: Question, before: Estimate, after: Estimate) -> None:
    """Of releases that charge tensors; what comes after a pool that leaves it no room has more of it after a
    larger profile run."""
    assume(not charges_segments(question))
    assume(not any(ledger.overrun_bytes for ledger in before.ledgers))
    never_less(before, after)


@given(questions(), sizes(1, 10_000), sizes(1, 10_000))
def test_more_sequences_never_need_less(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    never_less(answer(question, concurrency=less), answer(question, concurrency=more))


@given(questions(), sizes(1, 4096), sizes(1, 4096))
def test_longer_sequences_never_need_less(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    never_less(answer(question, context=less), answer(question, context=more))


@given(questions(), sizes(1, 8192), sizes(1, 8192))
def test_a_longer_limit_never_needs_less(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = pinned(question)
    never_less(answer(question, max_model_len=less), answer(question, max_model_len=more))


@given(questions(), sizes(1, 4096), sizes(1, 4096))
def test_a_larger_max_num_seqs_never_needs_less(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = pinned(question)
    larger_batch_never_less(
        question, answer(question, max_num_seqs=less), answer(question, max_num_seqs=more)
    )


@given(questions(), sizes(1, 131_072), sizes(1, 131_072))
def test_a_larger_step_never_needs_less(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = pinned(question)
    before, after = (answer(question, max_num_batched_tokens=each) for each in (less, more))
    larger_batch_never_less(question, before, after)


@given(questions(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_larger_share_never_gives_a_smaller_pool(question: Question, one: float, other: float) -> None:
    less, more = sorted((one, other))
    before, after = (
        answer(question, gpu_memory_utilization=less),
        answer(question, gpu_memory_utilization=more),
    )
    assert all(small <= large for small, large in zip(before.pools, after.pools, strict=True))
    assert before.kv_cache.max_tokens <= after.kv_cache.max_tokens
    if not any(ledger.overrun_bytes for ledger in after.ledgers):  # what comes after the pool has room too
        assert VERDICTS.index(after.verdict) <= VERDICTS.index(before.verdict)


@given(questions(), st.floats(0.01, 1.0))
def test_what_fits_leaves_room_for_what_comes_after_the_pool(question: Question, share: float) -> None:
    found = answer(question, gpu_memory_utilization=share)
    for ledger in found.ledgers:
        assert (ledger.overrun_bytes > 0) <= (ledger.verdict != "fits")
        assert ledger.capacity_bytes <= found.hardware.card.memory_bytes


def test_a_share_that_leaves_no_room_for_graphs_does_not_fit() -> None:
    """The pool of 0.99 would be there, and then capturing the graphs would run out of memory."""
    model, card = load("deepseek-r1-distill-qwen-7b"), parse_gpu("rtx-4090")
    asked = Asked(engine_version="0.19.0", max_model_len=8192, gpu_memory_utilization=0.99)
    full = estimate_serving(model, asked, card)
    assert full.verdict == "does_not_fit"
    assert full.headroom_bytes < 0
    assert any("lower --gpu-memory-utilization" in note for note in full.warnings)
    assert estimate_serving(model, asked._replace(gpu_memory_utilization=0.9), card).verdict == "fits"


@given(questions(), sizes(1 << 30, 1 << 40), sizes(1 << 30, 1 << 40))
def test_a_larger_card_never_turns_fits_into_does_not_fit(question: Question, one: int, other: int) -> None:
    less, more = sorted((one, other))
    hardware = question.hardware
    small = question._replace(hardware=hardware._replace(card=synthetic(less, "small")))
    batch = pinned(small).asked
    large = question._replace(asked=batch, hardware=hardware._replace(card=synthetic(more, "large")))
    before, after = answer(small._replace(asked=batch)), answer(large)
    assert VERDICTS.index(after.verdict) <= VERDICTS.index(before.verdict)
    assert before.kv_cache.max_tokens <= after.kv_cache.max_tokens


@given(questions(names=[*GQA, *MOE, *MLA, *SPARSE, *V4]))
def test_an_fp8_cache_never_needs_more(question: Question) -> None:
    plain, small = answer(question, kv_cache_dtype="bfloat16"), answer(question, kv_cache_dtype="fp8")
    assert small.kv_cache.needed_bytes <= plain.kv_cache.needed_bytes
    assert small.kv_cache.bytes_per_token <= plain.kv_cache.bytes_per_token
    assert small.kv_cache.max_tokens >= plain.kv_cache.max_tokens


@given(questions())
def test_eager_never_needs_more(question: Question) -> None:
    """Graphs beside the budget widen the interval, so verdicts may go from either end to tight. Before 0.26
    not every capture shows FlashInfer's workspace, which the first request makes where none does."""
    eager, graphs = answer(question, enforce_eager=True), answer(question, enforce_eager=False)
    lines = (line for ledger in eager.ledgers for line in ledger.lines if line.key == "runtime.workspaces")
    bytes_never_less(eager, graphs, max((line.low_bytes for line in lines), default=0))
    assert eager.headroom_bytes >= graphs.headroom_bytes


@given(questions())
def test_a_draft_never_needs_less(question: Question) -> None:
    """Graphs aside: with an FP8 cache FlashInfer captures no whole step that checks drafts, so that there are
    fewer of them. In some releases a draft brings back the first engine, which counts other things."""
    before, after = (
        answer(question, speculation=said, enforce_eager=True) for said in (None, Speculation("mtp"))
    )
    assume(before.request.engine_version == after.request.engine_version)
    never_less(before, after)


def test_what_comes_beside_the_pool_does_not_decide_whether_it_holds_the_load() -> None:
    """Graphs that may take 1 to 9 GiB beside a pool are no doubt about a pool that lacks 1 GiB (vllm#27508);
    that they may pass the card too only adds to it."""
    asked = Asked(
        engine_version="0.11.0",
        layout=Layout(),
        gpu_memory_utilization=0.95,
        max_num_batched_tokens=1024,
    )
    found = estimate_serving(load("gpt-oss-120b"), asked, parse_gpu("h100"))
    graphs = next(line for line in found.ledger.lines if line.key == "runtime.cuda_graphs")
    assert graphs.high_bytes - graphs.low_bytes > 3 << 30
    assert found.ledger.total_bytes - found.ledger.low_bytes < 2 << 30
    assert found.verdict == "does_not_fit"


# neutrality


@given(questions(most_pp=1))
def test_sizes_of_one_change_nothing(question: Question) -> None:
    one_card = question._replace(hardware=question.hardware._replace(num_gpus=1, per_node=1))
    explicit, default = answer(one_card, layout=Layout(1, 1, 1, 1)), answer(one_card, layout=None)
    assert explicit.ledgers == default.ledgers
    assert explicit.kv_cache == default.kv_cache
    assert explicit.request == default.request


@given(questions(names=[*MLA, *SPARSE, *V4], most_pp=1), st.sampled_from([2, 4, 8]))
def test_a_latent_token_takes_the_same_on_every_tensor_parallel_rank(question: Question, tp: int) -> None:
    old = ("0.3", "0.5", "0.6")  # before 0.7 heads were stored, and divided
    assume(not (question.asked.engine_version or "").startswith(old))
    one, many = (
        answer(question._replace(hardware=question.hardware._replace(num_gpus=size)), layout=Layout(tp=size))
        for size in (1, tp)
    )
    assert one.kv_cache.bytes_per_token == many.kv_cache.bytes_per_token
    assert one.kv_cache.needed_bytes == many.kv_cache.needed_bytes


@given(questions(names=[*GQA, *MOE, *MLA, *SPARSE], most_pp=1))
def test_the_capacity_in_tokens_is_what_the_pool_holds(question: Question) -> None:
    found = answer(question, layout=(question.asked.layout or Layout())._replace(dcp=1))
    cache = found.kv_cache
    assert cache.max_tokens * cache.bytes_per_token <= cache.pool_bytes
    length, block = found.request.max_model_len or 1, found.request.block_size or 1
    padded = (
        -(-length // block) * block / length
    )  # from 0.21 on whole sequences are counted, whose last block is not always full
    assert ((cache.max_tokens + 1) * padded + block) * cache.bytes_per_token >= cache.pool_bytes


@given(st.sampled_from(ALL), st.sampled_from(["h200:8", "h100:16", "b200:8", "a100-80gb:8", "80GiB:4"]))
def test_the_layout_chosen_is_the_smallest_that_fits(name: str, gpu: str) -> None:
    question = Question(load(name), Asked(), parse_gpu(gpu))
    chosen = answer(question)
    layout = chosen.request.layout
    assert layout is not None
    if chosen.verdict == "fits" and layout.pp == 1:
        for tp in (size for size in (1, 2, 4, 8) if size < layout.tp):
            assert _verdict(question, Layout(tp=tp)) != "fits"


def _verdict(question: Question, layout: Layout) -> str:
    try:
        return estimate_serving(
            question.model, question.asked._replace(layout=layout), question.hardware
        ).verdict
    except UsageError:
        return "no answer"


@given(questions(most_pp=1), st.integers(1, 4))
def test_cards_that_are_left_become_replicas_that_divide_the_load(question: Question, times: int) -> None:
    layout = question.asked.layout or Layout()
    hardware = Hardware(question.hardware.card, layout.num_ranks, max(layout.num_ranks, 1))
    one = answer(question._replace(hardware=hardware))
    load = (question.asked.concurrency or 1) * times
    many = answer(
        question._replace(hardware=hardware._replace(num_gpus=layout.num_ranks * times)), concurrency=load
    )
    assert (many.replicas, many.concurrency) == (times, load)
    assert [ledger.lines for ledger in one.ledgers] == [ledger.lines for ledger in many.ledgers]
    assert one.kv_cache == many.kv_cache
