"""DeepSpeed's engine: what ZeRO holds beside weights and states, by its settings. It runs under every
framework whose --zero is DeepSpeed's.

P: all trained values; n: those whose states lie on this rank; a value of weights and gradients has 2 B.
Source: deepspeed/runtime/zero/stage_1_and_2.py, stage3.py, partitioned_param_coordinator.py of 0.9 to 0.19,
of which steps with two ranks on a CPU were counted.
"""

from functools import lru_cache
from typing import NamedTuple

from ...run.training import TrainingResolved, recipe
from .. import framework

HALF = 2
"""Bytes of a value in bucket and partition."""


class ZeroEngine(NamedTuple):
    """Settings of a DeepSpeed engine, in values (docs/config-json of DeepSpeed, zero/config.py)."""

    stage: int
    """0 to 3; 0 is data parallelism through the same engine."""
    reduce_bucket: int = 500_000_000
    prefetch_bucket: int = 50_000_000
    max_live: int = 1_000_000_000
    """Gathered values beyond which nothing is gathered ahead."""
    max_reuse: int = 1_000_000_000
    """Values of the trace within which a gathered tensor that is used again is kept."""
    sub_group: int = 1_000_000_000
    """Values of a partition that the step updates at once."""
    overlaps: bool = False
    """Stages 1 and 2 fill a second bucket while the first is reduced (overlap_comm)."""
    second_copy_over: int = 0
    """ZeRO++: ranks that share a second copy of the weights (zero_hpz_partition_size); 0: there is none."""
    offload_steps_on_card: bool = False
    """Releases in which an offloaded step of stage 1 and 2 casts its partition on the card."""
    copies_sub_groups: bool = False
    """Releases in which stage 3 makes F32 masters of a 16-bit copy of each sub-group."""
    wide_gradients: bool = False
    """bfloat16 without ZeRO in releases in which BF16_Optimizer runs it: states are shared as in stage 1, and
    F32 gradients of all values lie there from start to end, beside 16-bit ones that go in the next backward
    (runtime/bf16_optimizer.py)."""
    host_keeps_half: bool = True
    """Releases in which stage 1 and 2 keep a 16-bit copy of the offloaded partition on the host."""

    @property
    def permanent(self) -> int:
        """Bytes that lie on the card from start to end: the bucket of stage 3, whatever is offloaded."""
        return HALF * self.reduce_bucket if self.stage == 3 else 0

    @property
    def buckets(self) -> int:
        """Bytes of the buckets that stages 1 and 2 fill: one, or two in turn."""
        return (2 if self.overlaps else 1) * HALF * self.reduce_bucket

    @property
    def in_loss(self) -> int:
        """Bytes of buckets while the loss runs backward: stage 2 makes them before (stage_1_and_2.py,
        backward_prologue).

        >>> ZeroEngine(2).in_loss, ZeroEngine(3).in_loss
        (1000000000, 0)
        """
        return self.buckets if self.stage == 2 else 0

    def in_backward(self, trained: int) -> int:
        """Return the bytes of buckets while the layers run backward.

        Stage 2 makes a bucket for each backward, and flattens what is in it; stage 3 flattens the permanent
        one. Stage 0 and 1 reduce when the backward is over. `overlap_comm` takes a second bucket.

        >>> ZeroEngine(2).in_backward(6_738_415_616), ZeroEngine(3).in_backward(6_738_415_616)
        (2000000000, 1000000000)
        >>> ZeroEngine(2, overlaps=True).in_backward(6_738_415_616)
        3000000000
        """
        copy = HALF * min(self.reduce_bucket, trained)
        match self.stage:
            case 2:
                return self.buckets + copy
            case 3:
                return copy
        return 0

    def at_boundary(self, trained: int, mine: int, ranks: int) -> int:
        """Return the bytes of buckets when the last backward is over and gradients are reduced: stage 1 makes
        its partition's copy beside all gradients, stage 0 copies what it reduces at once, but for F32
        gradients, which are one tensor.

        >>> ZeroEngine(1).at_boundary(6_738_415_616, 842_301_952, 8)
        3684603904
        """
        match self.stage:
            case 0:
                return HALF * min(trained, self.reduce_bucket) if ranks > 1 and not self.wide_gradients else 0
            case 1:
                bucket = self.buckets + HALF * min(self.reduce_bucket, trained)
                return HALF * mine + bucket if ranks > 1 else 0
        return self.in_backward(trained)

    def updated_at_once(self, mine: int, largest: int) -> int:
        """Return the values that a step updates at once: stage 3 closes a sub-group with the tensor that
        passes the limit."""
        return min(mine, self.sub_group + largest) if self.stage == 3 else mine

    def step_bytes(self, values: int, gradient: int, made: int = 0, groups: int = 1) -> int:
        """Return the most bytes that a step of `values` adds to the averaged gradients.

        They are flattened in their type (2 B), then cast (4 B); the flat copy goes, and the optimizer makes
        `made` bytes a value. What was averaged stays: in stage 3 for ever, in stage 1 and 2 because one
        tensor holds it of all groups, and trainers make two, with and without decay, the latter empty of
        adapters (stage_1_and_2.py, grads_in_partition); a group alone gives it up. Stage 0 copies once, into
        F32. F32 gradients need no second copy. Counted with 0.16.9 and 0.19.8: 6.00 of stage 1 to 3 with SGD,
        8.00 of all stages with torch's AdamW (4 made).

        >>> ZeroEngine(3).step_bytes(ZeroEngine(3).updated_at_once(4_167_873_920, 17_203_200), 2)
        6103219200
        >>> [ZeroEngine(2).step_bytes(1_000, 2, 4, groups) for groups in (1, 2)]
        [6000, 8000]
        """
        if gradient == 4 or self.wide_gradients:
            return (4 * (self.stage == 3) + made) * values
        given_up = 2 if self.stage in (1, 2) and groups == 1 else 0
        return max(6 if self.stage else 0, 4 + made - given_up) * values

    def pinned(self, mine: int, at_once: int, made: int = 0) -> tuple[int, int, int]:
        """Return the value, the most and the least of the bytes that no allocator gives back to a step: rests
        of segments in which something stays that is smaller than what was there first. `mine`: values of the
        partition, `at_once`: of a sub-group, `made`: bytes a value that the optimizer makes.

        Stage 3 makes bucket and gradients where the zeros were that made the moments (4 B a value); to 0.18.2
        the bucket where the 16-bit copy of a sub-group was (2 B): stage3.py, _create_fp32_partitions,
        initialize_optimizer_states, _setup_for_real_optimizer. Stages 1 and 2 make the gradients of a later
        step (2 B) where F32 ones were (4 B). Steps of 0.16.9 and 0.19.8 recorded on one of 2 to 8 ranks,
        sizes x 256, through the simulated allocator: of Llama-7B on 8 ranks 3.12 GiB in stage 3, 1.54 with
        0.19.8, 1.56 in stage 2 with torch's AdamW. An optimizer that makes nothing, and stage 1, were not
        recorded.

        >>> ZeroEngine(3, reduce_bucket=4096**2).pinned(842_301_952, 842_301_952)
        (1651049472, 3335653376, 1651049472)
        >>> [ZeroEngine(2).pinned(842_301_952, 842_301_952, made) for made in (0, 4)]
        [(0, 1684603904, 0), (1684603904, 1684603904, 1684603904)]
        """
        if self.stage == 3:
            rest = 4 * at_once - HALF * mine
            late = max(0, rest - self.permanent)
            early = max(0, HALF * at_once - self.permanent) + max(0, rest)
            known = early if self.copies_sub_groups else late
            return known, early, known
        most = HALF * mine if self.stage else 0
        known = most if self.stage == 2 and made else 0
        return known, most, known

    def gathered_at_most(self) -> int:
        """Return the values that stage 3 has whole beside the running module.

        Every call of a module gathers ahead until `max_live` is used up, unless there is no prefetch. What
        will be used again within the reuse distance stays: half of that distance at the turn from forward to
        backward. A model that is smaller is gathered whole.

        >>> ZeroEngine(3).gathered_at_most(), ZeroEngine(3, max_live=0, max_reuse=0).gathered_at_most()
        (1050000000, 0)
        """
        ahead = self.max_live + self.prefetch_bucket if self.max_live and self.prefetch_bucket else 0
        return max(ahead, self.max_reuse // 2)

    def moved(self, offload: tuple[str, ...]) -> tuple[str, ...]:
        """Return what of `offload` the engine moves: parameters in stage 3 alone, an optimizer from stage 1
        on, gradients with it and never by themselves (runtime/engine.py, _configure_zero_optimizer: stages 1
        and 2 are handed no offload_param).

        >>> ZeroEngine(2).moved(("optimizer", "params")), ZeroEngine(3).moved(("params", "gradients"))
        (('optimizer',), ('params',))
        """
        least = {"optimizer": 1, "params": 3, "gradients": 1 if "optimizer" in offload else 4}
        return tuple(word for word in offload if self.stage >= least.get(word, 0))

    def host_bytes(self, mine: int, accumulates: bool, params: bool) -> int:
        """Return the bytes of an offloaded optimizer's host memory: F32 masters, gradients and moments, and a
        16-bit buffer; weights, where they are offloaded too.

        >>> ZeroEngine(3).host_bytes(33_342_991_360, False, False)  # DeepSeek-Coder-33B, all ranks
        600173844480
        """
        half = HALF if self.stage == 3 or self.host_keeps_half else 0
        half += HALF if self.stage < 3 and accumulates else 0
        half += HALF if params else 0
        return (4 + 4 + 8 + half) * mine


@lru_cache(maxsize=256)
def engine_of(request: TrainingResolved, hidden: int) -> ZeroEngine | None:
    """Return the engine that runs a resolved question; None: none does.

    Files of the Trainer say "auto", so that buckets of stage 3 follow the hidden size (transformers,
    integrations/deepspeed.py; accelerate).

    >>> from ...run.training import TrainingAsked
    >>> from ..defaults import resolved
    >>> engine_of(resolved(TrainingAsked(framework="trl", sharding="zero3")), 4096)[:3]
    (3, 16777216, 15099494)
    """
    of, sharding = framework(request.framework), request.sharding
    stages = {"zero1": 1, "zero2": 2, "zero3": 3}
    if sharding in stages:
        if not of.zero_is_deepspeed:
            return None
        stage = stages[sharding]
    elif sharding in ("none", "ddp") and recipe(request.precision).step == "flat":
        stage = 0
    else:
        return None
    engine = with_settings(ZeroEngine(stage), request)
    habits = of.habits(request.framework_version)
    engine = engine._replace(
        offload_steps_on_card=habits.offload_step == "card",
        host_keeps_half=not habits.offload_step,
        copies_sub_groups=habits.copies_sub_groups,
        wide_gradients=stage == 0
        and habits.wide_gradients
        and recipe(request.precision).arithmetic == "bf16",
    )
    if stage == 3 and of.zero_by_hidden_size:
        if request.reduce_bucket_size is None:
            engine = engine._replace(reduce_bucket=hidden**2)
        if request.prefetch_bucket_size is None:
            engine = engine._replace(prefetch_bucket=hidden**2 * 9 // 10)
    return engine


SETTINGS = {
    "reduce_bucket_size": "reduce_bucket",
    "prefetch_bucket_size": "prefetch_bucket",
    "max_live_parameters": "max_live",
    "max_reuse_distance": "max_reuse",
    "sub_group_size": "sub_group",
    "overlap_comm": "overlaps",
    "hpz_partition_size": "second_copy_over",
}
"""Fields of a question -> settings of the engine."""


def with_settings(engine: ZeroEngine, request: TrainingResolved) -> ZeroEngine:
    """Return the engine with what a question says of its settings. Stage 3 has one bucket for ever,
    overlapping or not; a second copy over one rank is none."""
    said = {name: getattr(request, field) for field, name in SETTINGS.items()}
    if (said["second_copy_over"] or 0) <= 1:
        said["second_copy_over"] = 0
    return engine._replace(**{name: value for name, value in said.items() if value is not None})
