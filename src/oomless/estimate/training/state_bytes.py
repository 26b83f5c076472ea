"""Bytes of one portion's stored weights and moments: packed matrices, adapters, quantised and projected
moments."""

from ...model.storage import NF4, NF4_PLAIN
from ...run.training import Optimizer, Recipe, TrainingResolved
from .rank_portions import Portion

QLORA = "qlora"


def weight_bytes_of(portion: Portion, values: int, request: TrainingResolved, form: Recipe) -> int:
    """Bytes of stored weights: frozen matrices of QLoRA are packed in NF4 by blocks of 64, adapters have
    their own type.

    NF4 with double quantisation: 4 bits, 8 bits of scale for 64 values, 32 for 256 of those (arXiv
    2305.14314): 0.5161 B a value.

    >>> from ...run.training import recipe
    >>> p = Portion("q_proj", 4096, 4096 * 4096, 1, (0,), "dense", False, True, True)
    >>> weight_bytes_of(p, p.total, TrainingResolved(method="qlora"), recipe("bf16"))  # 0.5159 B a value
    8654848
    """
    if portion.adapter:
        return values * adapter_bytes(request)
    if packed(portion, request):
        return packed_bytes(values, request.quantization or "nf4-dq")
    if request.trained_layers and not portion.trained:
        return values * form.compute  # what is not trained stays as it was loaded
    return values * form.weight


def packed(portion: Portion, request: TrainingResolved) -> bool:
    """Whether a weight is stored in fewer bits: matrices of products inside of the layers; stacked experts
    only where asked.

    What FSDP holds of packed experts is not known ("not all layers being properly sharded", Axolotl
    docs/expert_quantization.qmd: 29 GiB on each of two cards against 24 on one): there they are counted in 16
    bit and cut, which is more.
    """
    frozen = request.method == QLORA and not portion.adapter
    stacks = request.packed_experts and request.sharding not in ("fsdp1", "fsdp2", "hsdp")
    return (
        frozen
        and portion.product
        and portion.matrix
        and bool(portion.layers)
        and (stacks or not portion.stacked)
    )


def packed_stack(portion: Portion, request: TrainingResolved) -> bool:
    """Experts in one tensor that are packed: a layer's are unpacked while they run (Axolotl's moe_quant.py:
    torch's parametrization cache)."""
    return portion.stacked and packed(portion, request)


def packed_bytes(values: int, how: str) -> int:
    """Bytes of a frozen matrix by its storage.

    nf4: 4 bits and an F32 scale for 64 values (bitsandbytes); nf4-dq: those scales in 8 bits, with an F32 for
    256 of them (bitsandbytes, torchao). gptq: 4 or 8 bits, for 128 values a half-precision scale and a zero
    point as wide as a value (AutoGPTQ). int8: a byte and an F32 a row, which is left out (bitsandbytes
    LLM.int8, arXiv 2208.07339). compressed-int4: 4 bits and a half-precision scale for 128 values, and from
    the first forward on the matrix in 16 bits beside them (compressed_tensors/linear/compressed_linear.py,
    forward: decompressed once, and kept).

    >>> names = ("nf4", "nf4-dq", "gptq-int4", "gptq-int8", "int8", "compressed-int4")
    >>> [packed_bytes(4096 * 4096, how) for how in names]
    [9437184, 8654848, 8716288, 17170432, 16777216, 42205184]
    """
    match how:
        case "int8":
            return values
        case "compressed-int4":
            return values // 2 + -(-values // 128) * 2 + 2 * values
        case "gptq-int4" | "gptq-int8":
            bits = int(how.removeprefix("gptq-int"))
            return values * bits // 8 + -(-values // 128) * (16 + bits) // 8
        case _:
            scales = -(-values // 64)
            double = how != "nf4"
            form4 = NF4 if double else NF4_PLAIN
            return values // 2 + scales * form4.scale_bits // 8 + (-(-scales // 256) * 4 if double else 0)


def adapter_bytes(request: TrainingResolved) -> int:
    """Bytes of a value of an adapter, and of its gradient."""
    return 2 if request.adapter_dtype == "bfloat16" else 4


def adapter_form(request: TrainingResolved, form: Recipe) -> Recipe:
    """Return the types of an adapter's states: all alike, unless its optimizer keeps F32 masters of what it
    trains (DeepSpeed's engine, Megatron-Core).

    >>> from ...run.training import recipe
    >>> asked = TrainingResolved(method="lora", adapter_dtype="bfloat16")
    >>> [adapter_form(asked, recipe(name)).num_bytes for name in ("bf16", "megatron-bf16")]
    [8, 18]
    """
    if form.master:
        return form
    size = adapter_bytes(request)
    return form._replace(weight=size, gradient=size, master=0, moment=size)


def moment_bytes(portion: Portion, values: int, rule: Optimizer, size: int) -> int:
    """Bytes of an optimizer's moments for `values` of a portion, unquantised ones of `size` bytes.

    Quantised moments have one F32 scale for 256 values (bitsandbytes, 8 bits) or 128 (torchao, 4 bits);
    vectors and tensors of fewer than 4,096 values stay in F32. Adafactor keeps a row and a column. Muon keeps
    one moment of a matrix inside of the layers and Adam's two of the rest. GaLore keeps moments of a
    projection to rank 128, and the projection.

    >>> from ...run.training import optimizer
    >>> p = Portion("w", 4096, 4096 * 4096, 1, (0,), "dense", True, True, True)
    >>> [
    ...     moment_bytes(p, p.total, optimizer(name), 2)
    ...     for name in ("adamw", "adamw-8bit", "adafactor", "muon")
    ... ]
    [67108864, 34078720, 32768, 33554432]
    """
    if rule.factored:
        if not portion.matrix:
            return values * 4
        columns = max(1, portion.values // portion.rows)
        return -(-values * (portion.rows + columns) // portion.values) * 4
    if rule.orthogonal:
        return values * size * (1 if portion.matrix and portion.layers else 2)
    if rule.projected and portion.matrix and portion.layers:
        columns = max(1, portion.values // portion.rows)
        short, long = sorted((portion.rows, columns))
        kept = GALORE_RANK * long * rule.moments + GALORE_RANK * short
        if short > GALORE_RANK:
            return -(-values * kept // portion.values) * (1 if rule.moment_bits == 8 else size)
    if 0 < rule.moment_bits < 32 and portion.matrix and portion.values >= SMALLEST_QUANTISED:
        block = 128 if rule.moment_bits == 4 else 256
        return rule.moments * (-(-values * rule.moment_bits // 8) + -(-values // block) * 4)
    return values * rule.moments * (4 if rule.moment_bits else size)


GALORE_RANK = 128
"""transformers' default rank of GaLore."""
SMALLEST_QUANTISED = 4096
