"""Claims about compression done for real: what formats, packing, sparsity and fewer gradient bytes cost.

Figures of quality are rows of facts/compressed.csv, each with the run that gave it; bytes are worked out.
"""

from typing import Any

from .. import facts
from ..compress.backward.block_floats import packed_bytes
from ..compress.codecs.pruned import packed_bytes as sparse_bytes
from ..compress.gradients.wire import int8_bytes, plain_bytes, power_sgd_bytes, top_k_bytes
from ..model.load import load
from ..units import gb, gib, mb
from . import compressed, money
from .evidence import Evidence, Finding
from .training import train

CODER, LARGE = "deepseek-coder-1.3b", "profile-deepseek-pro-13b"
QUALITY = "python -m bench.quality gemma-3-270m out"
"""Makes the model from its package where it is not there, compresses it and judges it."""
SPARSITY, GRADIENTS = "python -m bench.losses sparsity", "python -m bench.losses gradients"
ACTIVATIONS, COMPARE = "python -m bench.losses activations", "oomless compress --compare"
WORLD = 4


def measured(subject: str) -> list[Finding]:
    """Return the measured figures of one subject."""
    return [
        Finding(f"{subject}: {row['what']}", float(row["value"]), row["unit"])
        for row in facts.table("compressed")
        if row["subject"] == subject
    ]


def with_quality(base: Evidence, because: str, subject: str, command: str) -> Evidence:
    """Return evidence of bytes with measured quality beside it, and the command that measured it."""
    return base._replace(
        because=f"{base.because.partition(' (the accuracy')[0]}; {because}",
        figures=(*base.figures, *measured(subject)),
        commands=(*base.commands, command),
    )


def c05() -> Evidence:
    """16 bits: the bytes of compressed.py, and what rounding to them costs."""
    return with_quality(
        compressed.c05(),
        "rounding to 16 bits changes no perplexity that was measured: 98 % is safe",
        "bf16",
        f"{QUALITY} f16 f32",
    )


def c11() -> Evidence:
    """INT8: the bytes of compressed.py, and a loss measured on a trained model."""
    return with_quality(
        compressed.c11(),
        "a loss below 0.5 % holds: measured on a trained model of 270M parameters",
        "int8",
        f"{QUALITY} int8",
    )


def c23() -> Evidence:
    """35 % by 8-bit block floating point: the share of activations that this needs."""
    numel = 1 << 18
    figures = []
    for name, item in (("BF16", 2), ("F32", 4)):
        ratio = packed_bytes(numel, 8) / (numel * item)
        figures.append(Finding(f"{name} in 8-bit blocks: share that is left", round(ratio, 4), ""))
        figures.append(
            Finding(f"share of activations in all memory for 35 % less, from {name}", 35 / (1 - ratio), "%")
        )
    asked: dict[str, Any] = {
        "precision": "bf16",
        "optimizer": "adamw-fused",
        "seq_len": 2048,
        "micro_batch": 4,
    }
    peaks = [train(CODER, "80GiB", activation_bits=bits, **asked).peaks.allocated_bytes for bits in (16, 8)]
    figures += [
        Finding(f"peak of training, activations in {bits} bits", gib(peak), "GiB")
        for bits, peak in zip((16, 8), peaks, strict=True)
    ]
    figures.append(Finding("less at the peak, 4 x 2,048 tokens", 100 - 100 * peaks[1] / peaks[0], "%"))
    return Evidence(
        "depends",
        "memory falls by the share of activations times what packing saves of them: 35 % needs 72 % of "
        "activations in BF16, which few trainings have; checkpointing layers keeps less and is exact",
        tuple(figures),
        (
            f"oomless train {CODER} --gpu 80GiB --precision bf16 --optimizer adamw-fused --micro-batch 4 "
            "--seq-len 2048 --compare activation-bits=16,8",
            COMPARE,
            ACTIVATIONS,
        ),
    )


def c24() -> Evidence:
    """The printed snippet: five faults, each found by running it."""
    return Evidence(
        "does not hold",
        "a parametrization changes parameters, never activations: it raises an error as printed; put right "
        "it stores float32, keeps the first batch's scale and stops the gradient",
        (Finding("faults, each shown by a line", 5, ""),),
        (COMPARE,),
    )


def c30() -> Evidence:
    """INT8 on an L40: bytes of compressed.py, and the loss."""
    return with_quality(money.c30(), "a loss below 3 % holds, measured", "int8", f"{QUALITY} int8")


def c31() -> Evidence:
    """13B with half of its weights: bytes in 2:4, and what one shot costs."""
    model = load(LARGE)
    linear = sum(
        tensor.num_parameters
        for tensor in model.tensors
        if len(tensor.shape) == 2 and "embed" not in tensor.name and "head" not in tensor.name
    )
    rest = model.num_parameters - linear
    return Evidence(
        "does not hold",
        "2:4 in BF16 leaves 0.5625 of the linear weights, less than 18 GB; in one shot it costs far more "
        "than 3 % of a well-trained model, and no engine of today serves it: only tuning gets quality back",
        (
            Finding("13B dense in BF16", gb(model.num_parameters * 2), "GB"),
            Finding("in 2:4, the rest in BF16", gb(sparse_bytes((linear, 1), "BF16") + rest * 2), "GB"),
            *measured("2:4"),
        ),
        (SPARSITY,),
    )


def c32() -> Evidence:
    """Dynamic sparse training: what a mask holds."""
    weights = load(CODER).num_parameters
    dense = weights * 2
    return Evidence(
        "depends",
        "a mask alone saves nothing: dense weights, gradients and states stay; only a truly sparse layout "
        "holds values and indices instead, and RigL needs a dense gradient at each update",
        (
            Finding("dense weights in BF16", gb(dense), "GB"),
            Finding("the same under a mask of 90 %, mask in bytes", gb(dense + weights), "GB"),
            Finding("values and 4-byte indices of 10 %", gb(weights * (2 + 4) // 10), "GB"),
        ),
        (SPARSITY,),
    )


def c34() -> Evidence:
    """Federated: from GB to MB."""
    model = load(CODER)
    numel = model.num_parameters
    shapes = [tensor.shape for tensor in model.tensors for _ in range(tensor.num_tensors)]
    return Evidence(
        "depends",
        "the arithmetic holds with top-k and with low rank, not with int8; the loss follows with error "
        "feedback, which tests show on real processes",
        (
            Finding("1.3B, what each of 4 ranks sends a step, F32", gb(plain_bytes(numel, WORLD)), "GB"),
            Finding("int8 blocks", gb(int8_bytes(numel, WORLD)), "GB"),
            Finding("PowerSGD, rank 2", mb(power_sgd_bytes(shapes, WORLD, 2)), "MB"),
            Finding("top 0.1 %", mb(top_k_bytes(numel, WORLD, 0.001)), "MB"),
        ),
        (GRADIENTS,),
    )


SETTLERS = {
    "C05": c05,
    "C11": c11,
    "C23": c23,
    "C24": c24,
    "C30": c30,
    "C31": c31,
    "C32": c32,
    "C34": c34,
}
