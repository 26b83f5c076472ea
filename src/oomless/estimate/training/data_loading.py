"""Beside the cards: host memory of the processes that read data, and what a saved checkpoint takes on
disk."""

from ... import facts
from ...model.model import Model
from ...run.training import Mesh, TrainingResolved, optimizer, recipe
from ...units import GIB
from .rank_portions import adapters, stages

PREFETCH = 2
"""Batches that torch's DataLoader asks of each worker ahead (prefetch_factor)."""
BATCH_TENSORS = 3
"""Token ids, labels and mask, of 8 bytes each."""


def data_workers_bytes(request: TrainingResolved, num_ranks: int) -> int:
    """Host memory of all ranks' data workers: private memory of each process, and the batches that it holds
    ahead in shared memory.

    workers x ranks x (private memory + 2 batches x micro-batch x tokens x 3 x 8 B). Source:
    facts/engines.csv, torch DataLoader. Ignored: a data set that lies in Python objects, which every worker
    copies as it touches them.

    >>> data_workers_bytes(TrainingResolved(data_workers=4, micro_batch=2, seq_len=4096), 8) // 1_000_000
    424
    """
    if not request.data_workers:
        return 0
    batch = request.micro_batch * request.seq_len * BATCH_TENSORS * 8
    private = round(facts.constant("training", "data_worker", (0,)).value * GIB)
    return num_ranks * request.data_workers * (private + PREFETCH * batch)


def checkpoint_disk(model: Model, request: TrainingResolved) -> int:
    """Bytes of one saved checkpoint: weights, master copies and moments; adapters alone under LoRA."""
    form, rule = recipe(request.precision), optimizer(request.optimizer)
    if request.method == "full":
        return model.num_parameters * (
            form.weight + form.master + rule.moments * (rule.moment_bits // 8 or form.moment)
        )
    whole = Mesh(dp=1)
    found = sum(p.total for p in adapters(model, whole, stages(len(model.layers), whole)[0], request))
    return found * (4 + 4 * rule.moments)
