"""The layouts to try where none is asked for, smallest first."""

from ..run.cards import Hardware
from ..run.serving import Layout


def tensor_parallel_layouts(hardware: Hardware, expert_parallel: bool) -> list[Layout]:
    """Tensor-parallel sizes 1, 2, 4, 8 within a node, then pipeline stages over the nodes.

    >>> from ..run.hardware import parse_gpu
    >>> [(each.tp, each.pp) for each in tensor_parallel_layouts(parse_gpu("h100:8x2"), False)]
    [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2)]
    """
    within = min(hardware.per_node, hardware.num_gpus)
    sizes = [tp for tp in (1, 2, 4, 8) if tp <= within]
    found = [Layout(tp=tp, enable_expert_parallel=expert_parallel) for tp in sizes]
    for nodes in range(2, hardware.num_nodes + 1):
        if hardware.num_nodes % nodes == 0:
            stages = nodes * (within // sizes[-1] or 1)
            found.append(Layout(tp=sizes[-1], pp=stages, enable_expert_parallel=expert_parallel))
    return found
