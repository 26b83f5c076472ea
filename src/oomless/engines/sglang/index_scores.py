"""What V4.1's indexer holds while graphs of steps are captured: scores of every captured row over the model's
whole length, not over what a sequence has (layers/attention/dsv4/dsv41_sparse.py, candidate_torch.py;
sglang#38861 caps the batches for it)."""

from ...ledger import Line, ranged
from ...model.attention import V41
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import MIB
from ..rank import Stage
from .graphs import captured_sizes
from .release import RELEASES

COPIES, COPIES_OF_HEADS = (6, 3, 9), (4, 3, 7)
"""How often the scores are there at the peak, in the middle and at both ends: as they come, masked and padded
at least, and more where runs before the capture do not let go of theirs. B200 and B300 that run out by 256
requests of six rows need five and nine; H200 with 64 requests starts with less than seven (sglang#38861)."""


def score_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Line]:
    """The line of these scores: in F32 by DeepGEMM's kernel for tensor memory (SM100), on Hopper a product of
    each head in 16 bit. Elsewhere nobody tells: forks with kernels of their own run V4.1 there.

    Batches to 256 on H200 hold 48 GiB at least, which no share leaves; capped at 64 they start:

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> model, asked = load("deepseek-v4.1-flash"), Resolved(engine_version="0.5.23", layout=Layout(tp=8))
    >>> asked = asked._replace(max_model_len=1048576, max_num_seqs=256)
    >>> for batch in (256, 64):
    ...     said = asked._replace(cuda_graph_max_bs=batch)
    ...     [line] = score_lines(model, said, parse_gpu("h200:8"), Stage(0, 1, 0, 40))
    ...     print(line.low_bytes >> 30, line.bytes >> 30, line.high_bytes >> 30)
    48 64 112
    12 16 28
    """
    owners = [each for each in stage.kinds(model).attentions if isinstance(each, V41) and each.owns_index]
    by_kernel, by_heads = (low <= hardware.card.capability < low + 1 for low in (10, 9))
    if not owners or not (by_kernel or by_heads) or hardware.card.vendor != "NVIDIA":
        return []
    batch = captured_sizes(asked, RELEASES.at(asked.engine_version))[-1]
    rows = batch * (1 + (asked.speculation.tokens if asked.speculation else 0))
    length = max(
        -(-asked.max_model_len // each.ratio) * (4 if by_kernel else 2 * each.index_heads) for each in owners
    )
    middle, low, high = (int(rows * length * times) for times in (COPIES if by_kernel else COPIES_OF_HEADS))
    return [
        ranged(
            "runtime.cuda_graphs",
            "engine",
            "scores of the indexer while graphs are captured",
            (middle, low, high),
            "assumed",
            f"{rows:,} rows x {length / MIB:g} MiB of the longest length, 3 times and more",
            "layers/attention/dsv4/dsv41_sparse.py, candidate_torch.py; sgl-project/sglang#38861",
        )
    ]
