"""What llama.cpp takes beside weights and cache: the compute buffer of its graph, and the context of the driver."""

from ... import facts
from ...ledger import Line, exact
from ...model.attention import Linear
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.serving import Layout, Serving
from ...units import GIB, format_bytes
from .. import Budget, Stage
from .defaults import expands, flash, is_ik, num_cells, since
from .graphs import Batch, buffer_bytes
from .weights import stored

WHAT_COMPUTE = "compute buffer"
PIPELINE_COPIES = 4
"""GGML_SCHED_MAX_COPIES: micro-batches that several cards work on at once; off where tensors are placed by hand."""
FEW_OUTPUTS_SINCE = "2026-06"
"""llama-server reserves logits for its slots alone (#23861), not for every token of a micro-batch."""


def budget_bytes(asked: Serving, hardware: Hardware) -> int:
    """The whole card."""
    return hardware.card.memory_bytes


def pool_bytes(asked: Serving, allowed: int, charged: int) -> int:
    """What is left is room for a longer context."""
    return allowed - charged


def batch_of(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Batch:
    """What the graph of a card depends on."""
    cells, ik = num_cells(asked), is_ik(asked)
    tokens = min(asked.ubatch_size or 512, cells)
    all_offloaded = (asked.n_gpu_layers or 0) > len(model.layers)
    copies = PIPELINE_COPIES if (asked.layout or Layout()).pp > 1 and all_offloaded and not asked.cpu_moe else 1
    host = hardware.card.vendor in HOSTS
    return Batch(
        num_cells=cells,
        num_tokens=tokens,
        num_outputs=asked.concurrency or 1 if not ik and since(asked, FEW_OUTPUTS_SINCE) else tokens,
        flash=flash(model, asked),
        mla_mode=(asked.mla_attn or 0) if ik else None,
        most_scores=asked.attn_max_batch if ik else 0,
        key_type=asked.cache_type_k.upper(),
        host=host,
        host_experts=asked.cpu_moe,
        copied_matrix=0 if host or not asked.cpu_moe else copied_matrix(model, asked),
        split_kv_b=not expands(model, asked),
        early=ik and not since(asked, "2025-03-18"),
        transposed_values=not asked.flash_attn,
        num_copies=copies,
        has_output=stage.last and all_offloaded,
    )


HOSTS = ("CPU", "Raspberry Pi")
"""Makers of "cards" that are the host itself."""


MIN_OFFLOADED_BATCH = 32
"""GGML_OP_OFFLOAD_MIN_BATCH: tokens from which a card multiplies weights of the host."""


def copied_matrix(model: Model, asked: Serving) -> int:
    """Bytes of the largest matrix of a layer's experts, if a card multiplies host experts: then it copies one at a time.

    ik_llama.cpp counts the tokens of an expert since 2025-06-12 (#520), and had no kernels for interleaved types on cards before
    2025-05-26 (#461).

    >>> from ...model.load import load
    >>> asked = Serving(quantization="Q4_K_M", ubatch_size=512, cpu_moe=True)
    >>> copied_matrix(load("deepseek-r1"), asked)   # 256 x 7,168 x 2,048 values of Q6_K
    3082813440
    """
    ffn = next((layer.ffn for layer in reversed(model.layers) if isinstance(layer.ffn, MoE)), None)
    tokens = asked.ubatch_size or 512
    if ffn is None or tokens < MIN_OFFLOADED_BATCH:
        return 0
    by_expert = is_ik(asked) and since(asked, "2025-06-12")
    if by_expert and tokens * ffn.num_active_experts < MIN_OFFLOADED_BATCH * ffn.num_experts:
        return 0
    experts = [each for each in stored(model, asked).tensors if each.role == "expert" and "bias" not in each.name]
    largest = max(experts, key=lambda each: each.format.num_bytes(each.shape))
    if is_ik(asked) and largest.format.name.endswith(("_R4", "_R8")) and not since(asked, "2025-05-26"):
        return 0
    return largest.format.num_bytes(largest.shape) * (ffn.num_experts if len(largest.shape) == 2 else 1)


def budget_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
    """Compute buffer and context. The output buffer of logits is on the host."""
    batch = batch_of(model, asked, hardware, stage)
    layers = tuple(layer for layer in model.layers[stage.start : stage.stop] if not isinstance(layer.attention, Linear))
    value = buffer_bytes(layers, model.hidden_size, model.vocab_size, batch) if layers else 0
    formula = f"{batch.num_tokens} tokens against {batch.num_cells:,} cells, flash attention {'on' if batch.flash else 'off'}"
    formula += f" = {format_bytes(value)}, the end of the graph's last tensor"
    kinds = {layer.attention.kind for layer in model.layers} & {"mla", "linear", "dsa"}
    spread = facts.constant("llamacpp", "compute_buffer_spread", (0,), *sorted(kinds))
    compute = exact("activations", WHAT_COMPUTE, value, formula, "engines/llamacpp/graphs.py")
    low, high = int(value * spread.low), int(value * spread.high)
    compute = compute._replace(low_bytes=low, high_bytes=high, kind="fitted" if spread.num_runs else "assumed", source=spread.source)
    row = facts.constant("llamacpp", "context", (0,))
    low, middle, high = (int(number * GIB) for number in (row.low, row.value, row.high))
    context = Line("runtime", "CUDA context", middle, low, high, "assumed", f"{row.value:g} GiB", row.source)
    return Budget((compute, context), ())
