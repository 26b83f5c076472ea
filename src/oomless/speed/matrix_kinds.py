"""The words by which rows of efficiencies.csv tell matrices and cards apart."""

from .machine import Machine


def matrix_kind(form: str, machine: Machine) -> str:
    """Return the type in which a matrix of a storage type is multiplied on a card: FP8 and FP4 natively where
    it can, else 16 bit."""
    rates = dict(machine.flops_per_s)
    if form.startswith("fp8") and "fp8" in rates:
        return "fp8"
    if form.startswith("int8, one f32 scale a row") and "bitsandbytes" not in form and "int8" in rates:
        return "int8"
    if form.startswith("fp4 1x16") and "fp4" in rates:
        return "fp4"
    return "bf16" if "bf16" in rates else "fp32"


def block_kind(form: str) -> str:
    """Return kquant for GGUF types with scales within scales, which take more work to unpack; else plain, fp8
    or quantised."""
    return "kquant" if form.endswith("_k") or form.startswith("iq") else storage_kind(form)


def storage_kind(form: str) -> str:
    """Return plain, fp8 or quantised: what reading a matrix costs beside its bytes."""
    if form.startswith(("bfloat16", "float16", "float32", "bf16", "f16", "f32")):
        return "plain"
    return "fp8" if form.startswith("fp8") else "quantised"


def generation(machine: Machine) -> frozenset[str]:
    """Return the words for cards of one class: the architecture, or Apple's generation and two dies.

    lean: a card cut in matrix units that keeps its memory, caches and power, so that its units are hardly
    ever waiting (H20).
    """
    if machine.device == "apple":
        words = machine.name.lower().split(" ")
        return frozenset(["metal", *words[:1], *(word for word in words[1:] if word == "ultra")])
    lean = machine.device == "hbm" and machine.peak("bf16") < LEAN_FLOPS_PER_BYTE * machine.bytes_per_s
    return frozenset((machine.architecture.lower().split(" ")[0], *(("lean",) if lean else ())))


LEAN_FLOPS_PER_BYTE = 60
"""16-bit operations a byte of memory: 37 on the H20, 139 on a V100, 153 on an A100, 295 on an H100."""
