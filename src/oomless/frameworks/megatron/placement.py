"""Which layers each pipeline rank builds, in how many chunks: even and uneven splits, interleaving, layout
strings.

Rules of get_num_layers_to_build and pipeline_parallel_layer_layout.py.
"""

import re
from typing import NamedTuple

from ...errors import UsageError
from ...model.config import MAX_LAYERS
from .run import Megatron


class Chunk(NamedTuple):
    """What one model chunk of a pipeline rank holds."""

    layers: tuple[int, ...]
    embedding: bool
    loss: bool
    mtp: int = 0
    words: bool = True
    """Prediction layers without the embedding beside them have one of their own."""


def chunks(run: Megatron) -> tuple[tuple[Chunk, ...], ...]:
    """For each pipeline rank its chunks, in the order in which a micro-batch passes them; where micro-batches
    enter at both ends, its own and that of the rank as far from the other end. Both ends of the network are
    then on one rank, and prediction layers share its embedding (arXiv 2412.19437, 3.2.1)."""
    if run.dualpipe:
        found = chunks(run._replace(dualpipe=False))
        return tuple(
            tuple(chunk._replace(words=False) for chunk in (*mine, *far))
            for mine, far in zip(found, reversed(found), strict=True)
        )
    if run.layout:
        return _laid_out(run)
    if run.family == "hybrid" and "|" in run.kinds:
        return _piped(run)
    pp, virtual = run.pp, run.virtual
    counts = [[0] * virtual for _ in range(pp)]
    for rank in range(pp):
        each, rest = divmod(_layers_of(run, rank), virtual)
        if rest:
            raise UsageError(
                f"layers of a stage {_layers_of(run, rank)} are not divisible by {virtual} virtual stages",
                "change one of the two",
            )
        counts[rank] = [each] * virtual
    counts[0][0] -= run.count_embedding
    counts[-1][-1] -= run.count_loss
    starts, index = {}, 0
    for turn in range(virtual):
        for rank in range(pp):
            starts[rank, turn] = index
            index += counts[rank][turn]
    return tuple(
        tuple(
            Chunk(
                tuple(range(starts[rank, turn], starts[rank, turn] + counts[rank][turn])),
                rank == 0 and turn == 0,
                rank == pp - 1 and turn == virtual - 1,
                run.mtp if rank == pp - 1 and turn == virtual - 1 else 0,
            )
            for turn in range(virtual)
        )
        for rank in range(pp)
    )


def last_stage(num_layers: int, stages: int) -> int | None:
    """--decoder-last-pipeline-num-layers that lets layers run on stages that do not divide them: the last
    stage, which has the head too, takes what full stages leave. None where they divide.

    Source: Megatron-Bridge's layouts of DeepSeek-V3, `Et*4|(tttt|)*14tmL` over 16 stages.

    >>> last_stage(61, 16), last_stage(64, 16)
    (1, None)
    """
    if num_layers % stages == 0:
        return None
    each = -(-num_layers // stages)
    left = num_layers - (stages - 1) * each
    if left < 1:
        raise UsageError(
            f"{num_layers} layers do not run on {stages} pipeline stages: {each} on "
            "each leave none for the last",
            f"choose a --pp of at most {num_layers // 2} that leaves it some, such as one "
            f"that divides {num_layers + 1}",
        )
    return left


def _layers_of(run: Megatron, rank: int) -> int:
    """Layers of a pipeline rank, an embedding or loss that counts as a layer included."""
    total, stages = len(run.kinds), run.pp
    if run.first_layers is not None or run.last_layers is not None:
        if rank == 0 and run.first_layers is not None:
            return run.first_layers
        if rank == stages - 1 and run.last_layers is not None:
            return run.last_layers
        for named in (run.first_layers, run.last_layers):
            if named is not None:
                total, stages = total - named, stages - 1
    total += run.count_embedding + run.count_loss
    if total < 0 or total % stages:
        raise UsageError(
            f"{total} layers are not divisible by {stages} pipeline stages",
            "change --num-layers or --pipeline-model-parallel-size",
        )
    return total // stages


def expand(layout: str) -> list[str]:
    """A layout string as its stages: `Et*3|(tt|)*6L` has an embedding with three layers, six stages of two,
    and a loss.

    >>> expand("Et*3|(tt|)*2mL")
    ['Ettt', 'tt', 'tt', 'mL']
    """
    text = layout.replace(",", "").replace(" ", "")
    grouped = re.compile(r"\(([EtmL|]*)\)\*(\d{1,4})|([EtmL|])\*(\d{1,4})")
    while (match := grouped.search(text)) is not None:
        if len(match[1] or match[3]) * int(match[2] or match[4]) > MAX_LAYERS:
            raise UsageError(
                f"--pipeline-model-parallel-layout {layout[:80]!r} is too long",
                f"it has at most {MAX_LAYERS} letters",
            )
        text = (
            text[: match.start()] + (match[1] or match[3]) * int(match[2] or match[4]) + text[match.end() :]
        )
    if set(text) - set("EtmL|"):
        raise UsageError(
            f"--pipeline-model-parallel-layout {layout!r} is not understood", "letters are E, t, m, L and |"
        )
    return text.split("|")


def _laid_out(run: Megatron) -> tuple[tuple[Chunk, ...], ...]:
    stages = expand(run.layout)
    if len(stages) % run.pp:
        raise UsageError(
            f"--pipeline-model-parallel-layout has {len(stages)} stages, "
            f"--pipeline-model-parallel-size is {run.pp}",
            "change one of the two",
        )
    if sum(stage.count("t") for stage in stages) != len(run.kinds):
        raise UsageError(
            f"--pipeline-model-parallel-layout has {sum(s.count('t') for s in stages)} layers, "
            f"--num-layers is {len(run.kinds)}",
            "change one of the two",
        )
    built: list[list[Chunk]] = [[] for _ in range(run.pp)]
    index = 0
    for number, stage in enumerate(stages):
        count = stage.count("t")
        built[number % run.pp].append(
            Chunk(tuple(range(index, index + count)), "E" in stage, "L" in stage, stage.count("m"))
        )
        index += count
    return tuple(tuple(each) for each in built)


def _piped(run: Megatron) -> tuple[tuple[Chunk, ...], ...]:
    parts = run.kinds.split("|")
    if len(parts) % run.pp:
        raise UsageError(
            f"the hybrid pattern has {len(parts)} stages, --pipeline-model-parallel-size is {run.pp}",
            "change one of the two",
        )
    built: list[list[Chunk]] = [[] for _ in range(run.pp)]
    index = 0
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        built[number % run.pp].append(
            Chunk(tuple(range(index, index + len(part))), number == 0, last, run.mtp if last else 0)
        )
        index += len(part)
    return tuple(tuple(each) for each in built)
