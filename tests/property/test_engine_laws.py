"""Laws of every engine, not of vLLM alone (test_serving_laws.py has more of that one).

Sums: lines make totals, ranks hold the whole, stages hold each layer once. Order: low <= value <= high; more
sequences, a longer context, larger batches never need less. Neutrality: sizes of one change nothing, and
neither does the order of layers. Kinds: every family with mixed layers is answered by every engine, or
refused with a reason.
"""

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oomless.engines import engine
from oomless.errors import UnsupportedError, UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.facts.options import ENGINE_NAMES
from oomless.model.load import load
from oomless.model.model import Model
from oomless.run.cards import Card
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.units import MIB
from property.engine_questions import CARDS, LLAMA_CARDS, MIXED, engine_questions, knows
from property.questions import VERDICTS, Question, answer, charges_segments, sizes

FEW = settings(max_examples=30)
"""Eleven engines take turns, so that the whole file is done within two minutes."""
DIVIDED = [name for name in ENGINE_NAMES if knows(engine(name), "tp")]
"""Engines whose ranks divide tensors."""
DEALT = [name for name in ENGINE_NAMES if name not in DIVIDED]
"""Engines that deal layers out."""
every_engine = pytest.mark.parametrize("name", ENGINE_NAMES)
STAGED = [name for name in ENGINE_NAMES if knows(engine(name), "pp")]
"""Engines whose layers may lie on several stages."""


# sums and order


@every_engine
@FEW
@given(st.data())
def test_totals_are_sums_and_values_lie_in_their_intervals(name: str, data: st.DataObject) -> None:
    found = answer(data.draw(engine_questions(name)))
    for ledger in found.ledgers:
        assert ledger.total_bytes == sum(line.bytes for line in ledger.lines)
        assert ledger.total_bytes == sum(ledger.by_category().values())
        for line in ledger.lines:
            assert 0 <= line.low_bytes <= line.bytes <= line.high_bytes, line
            assert (line.kind == "exact") <= (line.low_bytes == line.bytes == line.high_bytes), line
        assert ledger.capacity_bytes <= found.hardware.card.memory_bytes
    cache = found.kv_cache
    assert cache.max_tokens_low <= cache.max_tokens <= cache.max_tokens_high
    for low, pool, high in zip(found.pools_low, found.pools, found.pools_high, strict=True):
        assert low <= pool <= high


@every_engine
@FEW
@given(st.data())
def test_groups_of_ranks_are_all_ranks(name: str, data: st.DataObject) -> None:
    found = answer(data.draw(engine_questions(name)))
    layout = found.request.layout or Layout()
    assert sum(ledger.num_ranks for ledger in found.ledgers) == layout.num_ranks * found.replicas
    assert len(found.ledgers) == layout.pp
    assert VERDICTS.index(found.verdict) == max(VERDICTS.index(each.verdict) for each in found.ledgers)


@every_engine
@FEW
@given(st.data())
def test_no_default_is_left_open(name: str, data: st.DataObject) -> None:
    request = answer(data.draw(engine_questions(name))).request
    for field in ("engine_version", "layout", "max_model_len", "context", "concurrency"):
        assert getattr(request, field) is not None, field


# weights over ranks


def placed(question: Question, layout: Layout) -> list[Counter[str]]:
    """Bytes of each parameter on a rank of each stage."""
    rules = engine(question.asked.engine)
    request = answer(question, layout=layout).request
    found = []
    for stage in rules.stages(question.model, request):
        sums: Counter[str] = Counter()
        for group in rules.placed_weights(question.model, request, question.hardware, stage):
            sums[f"{group.key}: {group.name}"] += group.total_bytes
        found.append(sums)
    return found


@pytest.mark.parametrize("name", DIVIDED)
@FEW
@given(st.data())
def test_shards_of_all_ranks_hold_the_whole_and_no_rank_more_than_it(name: str, data: st.DataObject) -> None:
    question = data.draw(engine_questions(name, most_pp=1))
    tp, expert_parallel = data.draw(st.sampled_from([2, 4, 8])), data.draw(st.booleans())
    question = question._replace(hardware=question.hardware._replace(num_gpus=8, per_node=8))
    assume(not (expert_parallel and (widens_experts(question) or fuses_shared_expert(question))))
    (whole,) = placed(question, Layout())
    (shard,) = placed(question, Layout(tp=tp, enable_expert_parallel=expert_parallel))
    if not clones_shared_experts(question):
        assert set(shard) == set(whole)
    for parameter, num_bytes in whole.items():
        assert num_bytes <= shard.get(parameter, num_bytes) * tp, parameter
        if not clones_shared_experts(question) or "experts" not in parameter:
            assert shard.get(parameter, 0) <= num_bytes, parameter


def clones_shared_experts(question: Question) -> bool:
    """SGLang 0.4.6 makes a clone of the shared expert for each rank: there a rank may hold more than its
    part of one copy."""
    return (question.asked.engine_version or "").startswith("0.4.6")  # the set of its tensors differs too


def fuses_shared_expert(question: Question) -> bool:
    """SGLang makes DeepSeek's shared expert one of the routed ones, and leaves it apart where experts are
    spread over ranks."""
    return question.asked.engine == "sglang" and question.model.family.startswith("deepseek_v3")


def widens_experts(question: Question) -> bool:
    """SGLang makes gpt-oss's MXFP4 experts 16 bit where ranks divide them and Triton runs them."""
    return question.asked.engine == "sglang" and question.model.quantization == "mxfp4"


ON_EVERY_STAGE = (
    "weights.rotary_tables",
    "weights.workspaces",
    "weights.scales",
    "weights.unexplained",
)
"""Made where they are used, however many stages do."""


@pytest.mark.parametrize("name", STAGED)
@FEW
@given(st.data())
def test_pipeline_stages_hold_each_layer_once(name: str, data: st.DataObject) -> None:
    question, pp = data.draw(engine_questions(name, most_pp=1)), data.draw(st.integers(2, 6))
    # unasked, Ollama chooses cards by itself
    everything = len(question.model.layers) + 1 if name == "ollama" else None
    question = question._replace(
        hardware=question.hardware._replace(num_gpus=8, per_node=8),
        asked=question.asked._replace(n_gpu_layers=everything, cpu_moe=False),
    )
    assume(pp <= len(question.model.layers))
    assume(question.hardware.card.vendor != "Apple")  # one machine maps the whole file, several their layers
    (whole,) = placed(question, Layout())
    stages = placed(question, Layout(pp=pp))
    for parameter, num_bytes in whole.items():
        total = sum(stage[parameter] for stage in stages)
        if parameter.startswith(ON_EVERY_STAGE):
            assert total >= num_bytes, parameter
        elif question.model.tied and "embed_tokens" in parameter:
            assert total in (num_bytes, 2 * num_bytes), parameter  # the last stage may need it as its head
        else:
            assert total == num_bytes, parameter


@pytest.mark.parametrize("name", DEALT)
@FEW
@given(st.data())
def test_cards_and_host_hold_every_tensor_of_the_file(name: str, data: st.DataObject) -> None:
    question = data.draw(engine_questions(name))
    rules, found = engine(name), answer(question)
    request, stages = found.request, engine(name).stages(question.model, found.request)
    file = rules.in_file(question.model, request) if rules.in_file else question.model
    on_cards = sum(
        group.total_bytes
        for stage in stages
        for group in rules.placed_weights(question.model, request, question.hardware, stage)
        if group.key != "weights.unexplained"
    )
    main = sum(t.num_bytes for t in file.tensors if t.part in ("main", "vision") and not t.copy_of)
    assert on_cards + rules.host_bytes(question.model, request, question.hardware) >= main * 0.4


# monotony


def never_less(before: Estimate, after: Estimate, rounding: int = 0) -> None:
    """Every rank has at most as much left; the ends of each line are rounded down. What a load leaves unused
    is room, so that the capacity may shrink as the load grows. Copies of the pool are as large as the pool,
    which shrinks as the rest grows; and where the engine itself lays fewer layers on the cards for a larger
    load, or lays them on more cards, each holds less. Where the pool is a share of what is free, the capacity
    follows what is probably taken, which is no doubt of what is taken at most. `rounding`: what a replayed
    allocator rounds away."""
    if before.request.n_gpu_layers != after.request.n_gpu_layers:
        return
    if before.request.layout != after.request.layout:
        return
    if any(line.key == "kv_cache.copies" for ledger in before.ledgers for line in ledger.lines):
        return
    for less, more in zip(before.ledgers, after.ledgers, strict=True):
        room = less.capacity_bytes - more.capacity_bytes + rounding
        assert less.total_bytes <= more.total_bytes + room
        assert less.low_bytes <= more.low_bytes + room + len(more.lines)
        assert less.high_bytes <= more.high_bytes + max(room, rounding)
    assert VERDICTS.index(before.verdict) <= VERDICTS.index(after.verdict)


def whole_layout(question: Question) -> Question:
    """The question with its batch and its length as they are resolved, so that no default follows another
    value."""
    request = answer(question).request
    kept = {
        field: getattr(request, field)
        for field in ("max_num_seqs", "max_num_batched_tokens", "ubatch_size", "max_model_len", "kv_unified")
        if knows(engine(request.engine), field)
    }
    return question._replace(asked=question.asked._replace(**kept))


@every_engine
@FEW
@given(st.data(), sizes(1, 512), sizes(1, 512))
def test_more_sequences_never_need_less(name: str, data: st.DataObject, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = whole_layout(data.draw(engine_questions(name)))
    never_less(answer(question, concurrency=less), answer(question, concurrency=more))


@every_engine
@FEW
@given(st.data(), sizes(1, 8192), sizes(1, 8192))
def test_longer_sequences_never_need_less(name: str, data: st.DataObject, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = whole_layout(data.draw(engine_questions(name)))
    never_less(answer(question, context=less), answer(question, context=more))


ROUNDED = 2 * 2 * MIB
"""torch's small segments: a larger step may fill those of its peak better, and those that its load leaves."""


@pytest.mark.parametrize(
    "name", [name for name in ENGINE_NAMES if knows(engine(name), "max_num_batched_tokens")]
)
@FEW
@given(st.data(), sizes(16, 65536), sizes(16, 65536))
def test_a_larger_step_never_needs_less(name: str, data: st.DataObject, one: int, other: int) -> None:
    less, more = sorted((one, other))
    question = whole_layout(data.draw(engine_questions(name)))
    before, after = (answer(question, max_num_batched_tokens=tokens) for tokens in (less, more))
    if before.request.mem_fraction_static != after.request.mem_fraction_static:
        return  # SGLang's own share keeps more free for a larger chunk: its budget shrinks
    if any(ledger.overrun_bytes for ledger in before.ledgers):
        return  # what comes beside the pool decides, and a smaller pool leaves it room
    never_less(before, after, ROUNDED)


@every_engine
@FEW
@given(st.data(), sizes(1 << 34, 1 << 40), sizes(1 << 34, 1 << 40))
def test_a_larger_card_never_turns_fits_into_does_not_fit(
    name: str, data: st.DataObject, one: int, other: int
) -> None:
    less, more = sorted((one, other))
    question = whole_layout(data.draw(engine_questions(name)))
    small, large = (
        question._replace(hardware=question.hardware._replace(card=card_of(question, size)))
        for size in (less, more)
    )
    before, after = answer(small), answer(large)
    assume(before.request._replace(tensor_split=None) == after.request._replace(tensor_split=None))
    assert VERDICTS.index(after.verdict) <= VERDICTS.index(before.verdict)
    assert before.kv_cache.max_tokens <= after.kv_cache.max_tokens


def card_of(question: Question, memory_bytes: int) -> Card:
    return question.hardware.card._replace(memory_bytes=memory_bytes, shared_bytes=0)


# neutrality


@every_engine
@FEW
@given(st.data())
def test_sizes_of_one_change_nothing(name: str, data: st.DataObject) -> None:
    question = data.draw(engine_questions(name, most_pp=1))
    one_card = question._replace(hardware=question.hardware._replace(num_gpus=1, per_node=1))
    explicit, default = answer(one_card, layout=Layout()), answer(one_card, layout=None)
    assert explicit.ledgers == default.ledgers
    assert explicit.kv_cache == default.kv_cache
    assert explicit.request == default.request


def reversed_layers(model: Model) -> Model:
    """The same network with its layers in the other order."""
    last = len(model.layers) - 1
    tensors = tuple(
        tensor._replace(layers=tuple(sorted(last - layer for layer in tensor.layers)))
        if tensor.part == "main"
        else tensor
        for tensor in model.tensors
    )
    return model._replace(layers=model.layers[::-1], tensors=tensors)


FOLLOW_ORDER = ("fragmentation.weights", "fragmentation.loading", "kv_cache.copies")
"""What the allocator adds follows the order of creation, and with it what is left for the pool."""


@pytest.mark.parametrize("name", [each for each in ENGINE_NAMES if not engine(each).file_types])
@FEW
@given(st.data())
def test_the_order_of_layers_changes_nothing(name: str, data: st.DataObject) -> None:
    """No layer stands for the model. llama.cpp builds its graph in the order of layers, so there it may."""
    question = data.draw(engine_questions(name, names=MIXED, most_pp=1))
    assume(not (name.startswith("vllm") and charges_segments(question)))
    there, back = answer(question), answer(question._replace(model=reversed_layers(question.model)))

    def sizes_of(found: Estimate) -> Counter[str]:
        lines = Counter[str]()
        for line in found.ledger.lines:
            if line.key not in FOLLOW_ORDER:
                lines[line.key] += line.bytes
        return lines

    assert sizes_of(there) == sizes_of(back)
    assert there.kv_cache.bytes_per_token == pytest.approx(back.kv_cache.bytes_per_token)
    assert there.kv_cache.needed_bytes == back.kv_cache.needed_bytes


# kinds of layers


@every_engine
@pytest.mark.parametrize("model_name", MIXED)
def test_mixed_layers_are_answered_or_refused_with_a_reason(name: str, model_name: str) -> None:
    model, card = load(model_name), CARDS.get(name, LLAMA_CARDS)[0]
    asked = Asked(engine=name, max_model_len=2048, context=2048)
    try:
        found = estimate_serving(model, asked, parse_gpu(f"{card}:8"))
    except (UnsupportedError, UsageError) as error:
        assert error.message
        return
    cached = found.kv_cache.bytes_per_token > 0 or found.kv_cache.fixed_bytes_per_sequence > 0
    assert cached is not model.encodes  # an encoder caches nothing
    assert found.ledger.by_category()["weights"] > 0
