"""What routed experts cost beside their products where the host sorts a prompt's tokens by expert, or each
expert is multiplied on its own."""

from ..facts import select
from .load import Load, Split
from .machine import Machine
from .matrices import experts_of_rank
from .network import Network
from .steady import added

MATRICES = 3
"""Gate, up and down, each sorted for anew."""


def routing(
    net: Network, machine: Machine, split: Split, engine: str, conditions: frozenset[str], load: Load
) -> float:
    """Return the seconds that a pass spends on sorting and on kernels around each expert's products.

    layers x 3 x (wait for the host + experts x tokens x active x time of a comparison + experts met x kernels
    x time of one).
    """
    wait_s = machine.reached("choice_wait", engine, conditions)
    comparison_s = machine.reached("sorting", engine, conditions)
    around = select("kernels", (engine, "expert"), conditions).constant.value
    kernel_s = around * machine.reached("kernel", engine, conditions)
    if not wait_s:
        return 0.0
    tokens = load.tokens
    return added(
        each.num_layers
        * MATRICES
        * (
            wait_s
            + each.num_experts * tokens * each.num_active * comparison_s
            + experts_of_rank(each, split, tokens) * kernel_s
        )
        for each in net.experts
    )
