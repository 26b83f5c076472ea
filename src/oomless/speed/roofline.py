"""What no software can beat: every byte at the full bandwidth or every operation at the full rate."""

from .attention_work import attention_work
from .banded import TimePart
from .load import ForwardPass, Load, Split
from .machine import Machine
from .matrices import Matrices
from .matrix_kinds import matrix_kind
from .network import Network
from .steady import added


def roofline(machine: Machine, net: Network, split: Split, load: Load, matrices: Matrices) -> ForwardPass:
    """Return the least time of a pass: reading everything or computing everything, whichever takes longer."""
    attention = attention_work(net, split, load)
    flops = attention.decode_flops + attention.prompt_flops
    num_bytes = added(read.num_bytes for read in matrices.reads) + attention.cache_bytes
    bytes_s = num_bytes / machine.bytes_per_s
    rates = [
        *((each.flops, machine.peak(matrix_kind(each.form, machine))) for each in matrices.products),
        (flops, machine.peak("bf16")),
    ]
    matrix_s = added(operations / rate for operations, rate in rates if rate)
    parts = [TimePart("memory", bytes_s, f"{num_bytes:,.0f} B at the full bandwidth", "hardware.csv")]
    if matrix_s > bytes_s:
        formula = "operations at the full rate, beyond reading"
        parts.append(TimePart("matrix units", matrix_s - bytes_s, formula, "hardware.csv"))
    seconds = max(bytes_s, matrix_s)
    return ForwardPass(tuple(parts), seconds, seconds / split.pp)
