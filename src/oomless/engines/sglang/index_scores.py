"""What indexers hold: V4.1's while graphs of steps are captured, scores of every captured row over the
model's whole length, not over what a sequence has (layers/attention/dsv4/dsv41_sparse.py, candidate_torch.py;
sglang#38861 caps the batches for it); others' those of a step's prompts over what was read."""

from ...ledger import Line, ranged
from ...model.attention import DSA, V4, V41
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
    owners = [each for each in stage.kinds(model).of(V41) if each.owns_index]
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


def prompt_lines(model: Model, asked: Resolved, stage: Stage, tokens: int, busy: Line) -> list[Line]:
    """The line of an indexer's scores of `tokens` of a step's prompts: one in F32 for each row that it may
    choose, all at once until they were bounded by what is free. `busy`: what other layers take at other
    times, whose memory goes back before this fails, if not in the pieces that this needs.

    DeepSeek-V4-Flash at its longest, of which sglang#34155 lacked 4.94 GiB with two thirds read:

    >>> from ...ledger import exact
    >>> from ...model.load import load
    >>> model, asked = load("deepseek-v4-flash"), Resolved(engine_version="0.5.17", context=1048576)
    >>> idle = exact("activations.profile_run", "engine", "", 0, "", "")
    >>> stage = Stage(0, 1, 0, 43)
    >>> [line] = prompt_lines(model, asked, stage, 8192, idle)
    >>> line.bytes >> 20, prompt_lines(model, asked._replace(engine_version="0.5.20"), stage, 8192, idle)
    (8192, [])
    """
    rules = RELEASES.at(asked.engine_version)
    strides = {each.ratio for each in stage.kinds(model).of(V4) if each.has_indexer}
    strides = set() if rules.bounds_scores_of_v4 else strides
    if stage.kinds(model).has(DSA) and not rules.bounds_scores:
        strides.add(1)
    if not strides:
        return []
    columns = -(-(asked.context or 1) // min(strides))
    size = tokens * columns * SCORE_BYTES
    return [
        ranged(
            "temporaries.running",
            "engine",
            "scores of the indexer of a step's prompts",
            (max(size - busy.bytes, 0), max(size - busy.high_bytes, 0), size),
            "assumed",
            f"{tokens:,} tokens x {columns:,} rows that were read x 4 B, less what the layers leave",
            "layers/attention/dsv4/indexer.py, nsa/nsa_indexer.py",
        )
    ]


SCORE_BYTES = 4
