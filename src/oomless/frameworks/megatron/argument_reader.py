"""Values of an argument list as typed ones, and which defaults were taken."""

import re
from math import isfinite, nan
from typing import Any

from ...errors import UsageError
from ...files import listed, shown
from ...model.config import MAX_LAYERS

Value = str | int | float | bool | list[Any]


def scalar(text: str) -> Value:
    """Return what a word of an argument list means: a number, true or false, a list in brackets, or a text.

    >>> scalar("4"), scalar("1e-5"), scalar("true"), scalar("[mlp, moe_act]"), scalar("([0]*3+[1]*12)")
    (4, 1e-05, True, ['mlp', 'moe_act'], '([0]*3+[1]*12)')
    """
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    if bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if bare.startswith("[") and bare.endswith("]") and "*" not in bare:
        return [scalar(part) for part in re.split(r"[,\s]+", bare[1:-1]) if part]
    if re.fullmatch(r"[+-]?\d{1,30}", bare):
        return int(bare)
    if re.fullmatch(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,4})?", bare) and isfinite(
        float(bare)
    ):
        return float(bare)
    return bare


class ArgumentReader:
    """Reads typed values and remembers which defaults were taken."""

    def __init__(self, given: dict[str, Value]) -> None:
        self.given = given
        self.taken: dict[str, Any] = {}
        self.asked: set[str] = set()

    def warnings(self) -> tuple[str, ...]:
        """Arguments that nothing read and that are not known to leave memory alone."""
        left = [name for name in self.given if name not in self.asked and not without_memory(name)]
        said = [f"--{shown(name)} was not read: it may change memory" for name in left[:MOST_NAMED]]
        if more := left[MOST_NAMED:]:
            said.append(f"{listed(more, 3)} were not read either")
        return tuple(said)

    def flag(self, name: str) -> bool:
        self.asked.add(name)
        return self.given.get(name, False) not in (False, "false", 0)

    def text(self, name: str, default: str) -> str:
        """Return an argument as text; its default is noted as taken."""
        self.asked.add(name)
        if name not in self.given:
            self.taken[name] = default
            return default
        return str(self.given[name])

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of an argument, a list or a text of several."""
        self.asked.add(name)
        value = self.given.get(name, ())
        if isinstance(value, str):
            return tuple(re.findall(r"[\w.]+", value))
        return tuple(str(each) for each in value) if isinstance(value, list | tuple) else ()

    def number(self, name: str, default: float) -> float:
        """Return an argument as a number within its range."""
        self.asked.add(name)
        value = self.given.get(name)
        if value is None:
            self.taken[name] = default
            return default
        low, high = RANGES.get(name, (0.0, float(MAX_COUNT)))
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = nan
        if not low <= number <= high:
            raise UsageError(f"--{name} is {shown(value)}", f"it is a number from {low:g} to {high:,g}")
        return number

    def optional(self, name: str) -> int | None:
        """Return an argument as a whole number from 0 to its limit; None: it is not given."""
        self.asked.add(name)
        value = self.given.get(name)
        if value is None:
            return None
        most = LIMITS.get(name, MAX_COUNT)
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", str(value)) or int(str(value)) > most:
            said = "has no value" if value is True else f"is {shown(value)}"
            raise UsageError(f"--{name} {said}", f"it is a whole number from 0 to {most}")
        return int(str(value))

    def whole(self, name: str, default: int) -> int:
        """Return an argument as a whole number, 1 or more unless its default is 0."""
        value = self.optional(name)
        if value is None:
            self.taken[name] = default
            return default
        if value < 1 and default >= 1:
            raise UsageError(f"--{name} is {value}", "it must be 1 or more")
        return value

    def needed(self, name: str) -> int:
        """Return an argument without which there is no answer."""
        value = self.optional(name)
        if not value:
            raise UsageError(
                f"--{name} is not given" if value is None else f"--{name} is 0", "add it to the arguments"
            )
        return value


MOST_NAMED = 20
MAX_COUNT = 10**9
RANGES = {"hidden-dropout": (0.0, 1.0), "attention-dropout": (0.0, 1.0)}
"""Of arguments that are no count; all others are 0 or more."""
LIMITS = {
    "num-layers": MAX_LAYERS,
    "encoder-num-layers": MAX_LAYERS,
    "decoder-num-layers": MAX_LAYERS,
    "mtp-num-layers": 100,
    "num-experts": 100_000,
    "pipeline-model-parallel-size": 1024,
    "num-virtual-stages-per-pipeline-rank": 1024,
    "hidden-size": 1_000_000,
    "num-attention-heads": 100_000,
}
"""Far beyond any run, and small enough that a wrong figure is answered at once."""
BUCKET_LEAST, BUCKET_A_RANK = 40_000_000, 1_000_000
"""Elements of a bucket under --overlap-grad-reduce (core/distributed/distributed_data_parallel.py)."""


def divides(whole: int, part: int, whole_name: str, part_name: str) -> None:
    if part < 1 or whole % part:
        raise UsageError(
            f"{whole_name} {whole} is not divisible by {part_name} {part}", "change one of the two"
        )


PREFIXES = tuple(
    """
    decoupled- use-persistent-ckpt no-ckpt apply-wd use-mup mup- moe-shared-expert-gate
    moe-shared-expert-overlap te-rng adam- apply-layernorm-1p apply-query-key async- attention-backend
    attention-softmax-in-fp32 auto-detect bert- bf16 blend calculate-per-token check-weight ckpt- clip-
    cp-comm cross-entropy-fusion cuda-graph data- dataloader- ddp-average ddp-num-buckets delay-wgrad
    deterministic disable-gloo dist-ckpt distributed- enable-experimental end-weight eod- error- eval- exit-
    export- ffn fim- finetune first-last-layers fp16 global-batch hierarchical-context high-priority hybrid
    hysteresis init- initial-loss is-hybrid kitchen load log- loss-scale lr manual-gc master- max-position
    max-restarts megatron-fsdp merge- min-lr mock-data model-family model-type moe-aux- moe-flex moe-hybridep
    moe-permute-fusion moe-router- moe-z-loss mscale mtp-loss muon- nccl- nnodes no-bias-dropout
    no-check-for-nan no-create-attention no-load no-masked no-mmap no-persist no-save no-use-layer-wise
    node-rank norm norm-epsilon nproc-per num-dataset num-layers-at num-workers outer-dp overlap-p2p override-
    padded-vocab position-embedding rampup rdzv redirects rerun- reset- reuse-grad rope-scaling rope-type
    rotary- save seed sequence-parallel sgd- split start-weight step-batch te- tee tensorboard test- tiktoken
    timing- tokenizer tp-comm- train- untie use-checkpoint use-flash use-fused-weighted use-mcore
    use-rope-scaling use-tp-pp-dp valid- verify vocab-extra vocab-file wandb weight-decay worker- world-size
    yarn-
    """.split()
)
"""Arguments that change no memory of a training step; any other one that is not read is a named warning."""


def without_memory(name: str) -> bool:
    """Whether an argument is known to leave the memory of a step alone (or is read elsewhere).

    >>> without_memory("lr-decay-iters"), without_memory("heterogeneous-layers-config-path")
    (True, False)
    """
    return name.startswith(PREFIXES)
