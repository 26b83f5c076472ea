"""What llama.cpp takes of a card beside weights and cache, line by line: the buffer of its graph, that of a
draft, what operations take while they run, and the context of the driver."""

from ... import facts
from ...ledger import Kind, Line, exact, ranged
from ...model.attention import V4
from ...model.model import Layer, Model
from ...run.cards import Card, Hardware, gpu_part
from ...run.serving import Resolved
from ...units import GIB, format_bytes
from ..overhead_lines import context_line, measured
from ..rank import Budget, Stage
from .batch import Left
from .buffers import batch_of, copied_for_layers_left, graph_bytes, host_copies, kinds_of_graph, layers_left
from .cache import drafting_layers, row_bytes, sliced
from .defaults import HOSTS, num_cells
from .graphs import buffer_bytes
from .operation_pool import pool_lines
from .release import is_ik, rules_of
from .tensor_slices import one_device, reduce_line
from .tower import tower_lines


def budget_bytes(asked: Resolved, hardware: Hardware) -> int:
    """The whole card; of a Mac at most what Metal had before macOS 26, where the build is older."""
    card = hardware.card
    if card.vendor == "Apple" and card.range_bytes and rules_of(asked).precedes_macos_26:
        default = gpu_part("Apple", card.shared_bytes / GIB)
        return min(card.memory_bytes, default[0]) if default else card.memory_bytes
    return card.memory_bytes


def budget_lines(
    model: Model,
    asked: Resolved,
    hardware: Hardware,
    stage: Stage,
    pipelined: bool = True,
    pipelined_draft: bool = True,
) -> Budget:
    """Compute buffer and context. The output buffer of logits is on the host.

    A context whose buffer finds no room is tried again without pipelined micro-batches (llama-context.cpp,
    "retrying without pipeline parallelism"): that of a draft comes last, and may so be the only one.
    """
    card, stage = stage, one_device(stage)
    batch = batch_of(model, asked, hardware, stage, pipelined)
    layers = tuple(model.layers[stage.start : stage.stop])
    left = layers_left(model, asked, hardware, stage)
    value = graph_bytes(model, asked, batch, stage, left)
    formula = (
        f"{batch.num_tokens} tokens against {batch.num_cells:,} cells, flash attention "
        f"{'on' if batch.flash else 'off'}"
    )
    formula += f" = {format_bytes(value)}, the end of the graph's last tensor"
    kinds = kinds_of_graph(model, asked, batch, hardware.card.vendor)
    compute = buffer_line(model, asked, hardware, stage, value, formula, kinds, left)
    if hardware.card.vendor == "AMD" and (batch.cast_keys or batch.cast_values):
        uncast = graph_bytes(model, asked, batch._replace(cast_keys=0, cast_values=0), stage, left)
        compute = uncast_on_vulkan(compute, value - uncast)
    drafts = draft_lines(model, asked, hardware, card, value, pipelined_draft)
    drafts += tower_lines(model, asked, stage, value)
    if asked.split_mode == "tensor" and asked.layout.pp > 1:
        drafts += (reduce_line(model, asked, hardware.card.vendor),)
    if hardware.card.vendor in HOSTS:
        return Budget((compute, *drafts), ())
    running = pool_lines(model, asked, hardware.card, stage, batch, layers)
    retried = None
    if batch.num_copies > 1 and rules_of(asked).retries_unpipelined:

        def retried(draft_alone: bool) -> tuple[Line, ...]:
            keeps = draft_alone and any(line.owner == "draft" for line in drafts)
            return budget_lines(model, asked, hardware, stage, keeps, False).charged

    return Budget((compute, context_of(hardware.card), *drafts, *running), (), retried=retried)


def buffer_line(
    model: Model,
    asked: Resolved,
    hardware: Hardware,
    stage: Stage,
    value: int,
    formula: str,
    kinds: set[str],
    left: tuple[tuple[Layer, Left], ...],
) -> Line:
    """The line of a buffer of `value` bytes, with its spread and what is copied beside it of the host's."""
    copied = 0 if left else copied_for_layers_left(model, asked, hardware, stage)
    kept = host_copies(model, asked, hardware, stage)
    spread = facts.constant("llamacpp", "compute_buffer_spread", (0,), *sorted(kinds))
    low = max(int(value * spread.low), copied)
    high = int(value * spread.high) + max((sent.keys for _, sent in left), default=0)
    if copied:
        formula += f" + {format_bytes(copied)}, a matrix of the host's layers"
    if kept:
        formula += f"; up to {format_bytes(kept)} more unless built with GGML_SCHED_MAX_COPIES=1"
    line = exact(
        "activations.compute_buffer",
        "engine",
        "compute buffer",
        value + copied,
        formula,
        "engines/llamacpp/graphs.py",
    )
    # where copies lie moves by a layer's keys
    kind: Kind = "fitted" if spread.num_runs and not (copied or left or kept) else "assumed"
    return line._replace(low_bytes=low, high_bytes=high + copied + kept, kind=kind, source=spread.source)


def uncast_on_vulkan(line: Line, cast: int) -> Line:
    """The line of a card that Vulkan may drive: it copies no cache to F16, which CUDA and HIP keep a place
    for (ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alloc_size)."""
    formula = f"{line.formula}; {format_bytes(cast)} less over Vulkan"
    return line._replace(low_bytes=max(line.low_bytes - cast, 0), formula=formula)


def context_of(card: Card) -> Line:
    """What the driver takes of a card for the process."""
    return context_line(measured("llamacpp", "runtime.context", "context", (0,)), "llamacpp", (0,), (), card)


def draft_lines(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, buffer: int, pipelined: bool
) -> tuple[Line, ...]:
    """What the second context takes that drafts with the model's own MTP layer: its cache, as long as the
    other, in 16 bit whatever the target's type (--spec-draft-type-k), and the buffer of its graph, which is
    that layer behind embedding and state; of V4 at most the target's `buffer`. ik_llama.cpp gives it the
    target's types (common/speculative.cpp, params_dft.cache_type_k).

    Logs of Qwen3.8-27B have 613.03 MiB on two cards and 488 on one, against 613.01 and 488.04.
    """
    card, stage = stage, one_device(stage)
    drafting = drafting_layers(model, asked, stage) if asked.draft_tokens else ()
    if not drafting:
        return ()
    plain = asked if is_ik(asked) else asked._replace(cache_type_k="f16", cache_type_v="f16")
    first = len(model.layers) + len(model.draft) - len(drafting)
    rows = (
        sliced(row_bytes(layer.attention, model, plain), model, asked, card, number)
        for number, layer in enumerate(drafting, first)
    )
    cache = 0 if asked.no_kv_offload else num_cells(asked) * sum(rows)
    low, high = buffer // 2, buffer
    if not stage.last:
        low = buffer = high = 0
    elif not model.kinds.has(V4):
        batch = batch_of(model, plain, hardware, stage, pipelined)
        buffer = buffer_bytes(tuple(model.draft), model.hidden_size, model.vocab_size, batch, drafts=True)
        spread = facts.constant("llamacpp", "compute_buffer_spread", (0,))
        low, high = int(buffer * spread.low), int(buffer * spread.high)
    formula = f"cache of {len(drafting)} layers, {format_bytes(cache)}, + a graph of {format_bytes(buffer)}"
    source = "common/speculative.cpp: a context over the same weights"
    whole = (cache + buffer, cache + low, cache + high)
    return (ranged("activations.draft_context", "draft", "draft context", whole, "assumed", formula, source),)
