"""DeepSpeed's hybrid engine, by which DeepSpeed-Chat's actor generates: a workspace that its kernels take
from the card themselves, and under ZeRO-3 the weights, gathered for the time of an answer.

Sources: csrc/transformer/inference/includes/inference_context.h, GenWorkSpace; deepspeed/runtime/
hybrid_engine.py, generate (releases 0.9 to 0.19).
"""

from ...ledger import Line, exact
from ...model.attention import GQA, Sliding
from ...model.model import Model
from .rank_portions import portions, stages
from .rollout import whole_policy
from .state_bytes import weight_bytes_of
from .training_estimate import Companions, TrainingEstimate

HYBRID = "hybrid"
"""Its word as a rollout engine."""
HEADS = (32, 64, 128)
"""Head sizes of its kernels: a head is filled up to the next one, larger ones stay as they are."""


def workspace_bytes(model: Model, batch: int, tokens: int, ranks: int) -> int:
    """Return the bytes of the workspace: a token of each of the `batch` sequences has ten activations as wide
    as all heads, scores over all `tokens`, and the keys and values of every layer; heads and cache are
    divided over the `ranks` of a copy. 2 bytes a value.

    >>> from ...model.load import load
    >>> workspace_bytes(load("opt-13b"), 32, 512, 2) / 2**30
    8.125
    """
    kinds = [
        each.attention.inner if isinstance(each.attention, Sliding) else each.attention
        for each in model.layers
    ]
    kind = kinds[0]
    if not isinstance(kind, GQA):
        return 0
    width = kind.num_heads * next((size for size in HEADS if kind.head_dim <= size), kind.head_dim)
    scores = kind.num_heads // ranks * tokens
    cache = len(kinds) * (width // ranks) * 2
    return (10 * width + scores + cache) * batch * tokens * 2


def hybrid_engine(estimate: TrainingEstimate, companions: Companions) -> tuple[list[Line], list[Line]]:
    """Return its lines while it answers and between answers. The ranks of one copy answer the questions of
    all of them at once; layers are cut over them, what is no layer is whole on each. The workspace stays
    unless --release_inference_cache says otherwise."""
    request = estimate.request
    ranks = companions.engine_ranks or 1
    batch = (companions.scored_at_once // request.seq_len or request.micro_batch) * ranks
    num_bytes = workspace_bytes(estimate.model, batch, request.seq_len, ranks)
    workspace = exact(
        "kv_cache.pool",
        "engine",
        "hybrid engine: workspace",
        num_bytes,
        f"{batch} x {request.seq_len:,} tokens over {ranks} ranks",
        "estimate/training/hybrid_engine.py",
    )
    asleep = [] if companions.sleeps else [workspace]
    if request.sharding != "zero3":
        return [workspace], asleep
    whole = whole_policy(estimate, companions.sync_batches)
    ends = min(whole.bytes, _ends(estimate)) if companions.sync_batches == 1 else 0
    cut = ends + (whole.bytes - ends) // ranks
    return [workspace, whole._replace(bytes=cut, low_bytes=cut, high_bytes=cut)], asleep


def _ends(estimate: TrainingEstimate) -> int:
    """Bytes of what is no layer."""
    request, mesh = estimate.request, estimate.mesh
    return sum(
        weight_bytes_of(each, each.total, request, estimate.job.recipe)
        for stage in stages(len(estimate.model.layers), mesh)
        for each in portions(estimate.model, mesh, stage, request)
        if not each.layers
    )
