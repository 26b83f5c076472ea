"""What engines share: how a weight is divided over ranks that hold a part of it each, and how a measured
constant becomes a line."""

from .. import facts
from ..errors import UsageError
from ..ledger import Category, Key, Kind, Line, Owner, category_of, ranged
from ..model.model import Tensor
from ..model.storage import Shape
from ..units import GIB, gib

REPEATED = ("k_proj", "v_proj", "index_q_proj")
"""Heads that ranks repeat where they are fewer; MiniMax-M3's indexer has one head for each of keys."""

WORDS: dict[Key, str] = {
    "logits.sampler": "sampler over the profile batch",
    "activations.profile_run": "activations of the profile run",
    "runtime.non_torch": "non-torch: NCCL, kernels, handles",
    "runtime.cuda_graphs": "CUDA graphs",
    "runtime.context": "CUDA context",
    "fragmentation.loading": "loaded beside the weights",
}
"""What engines call these lines alike. On ROCm vLLM takes for weights what the card has less of after loading
(platforms/rocm.py, get_current_memory_usage): that is `fragmentation.loading`."""
PROCESS: tuple[Key, ...] = ("runtime.context", "runtime.non_torch")
"""Lines of the process, not of the engine's tensors."""


def owner_of(key: Key) -> Owner:
    """Return whose bytes a line of a serving engine's overheads are."""
    return "process" if key in PROCESS else "engine"


def divide(tensor: Tensor, ranks: int, blame: str, pad: int = 1) -> Shape:
    """The part of one rank: rows, columns or entries of the vocabulary (padded to `pad`) over `ranks`; key
    and value heads fewer than

    ranks are repeated. `blame` says what asked for that many, should they not divide.

    >>> from ..model.model import Cut
    >>> heads = Cut("column", 8)
    >>> divide(
    ...     Tensor("k_proj.weight", (1024, 4096), None, heads), 16, "--tp 16"
    ... )  # Llama-3.1-8B: 8 key heads of 128
    (128, 4096)
    >>> divide(Tensor("lm_head.weight", (151_665, 896), None, Cut("vocabulary")), 2, "--tp 2", pad=64)
    (75840, 896)
    """
    shape, units = tensor.shape, tensor.cut.units
    match tensor.cut.how:
        case "vocabulary":
            return (-(-(-(-shape[0] // pad) * pad) // ranks), *shape[1:])
        case "whole":
            return shape
        case "column":
            if units % ranks == 0:
                return (shape[0] // ranks, *shape[1:])
            if ranks % units == 0 and any(part in tensor.name for part in REPEATED):
                return (shape[0] // units, *shape[1:])
        case "row":
            if units % ranks == 0:
                return (*shape[:-1], shape[-1] // ranks)
    what = "heads" if "attn" in tensor.name else "columns"
    name = tensor.name.replace("model.layers.{}.", "").replace(".{}", "").removesuffix(".weight")
    raise UsageError(
        f"{blame} does not divide the {units} {what} of {name}", "choose a size that divides them"
    )


def measured(
    engine: str,
    key: Key,
    quantity: str,
    version: tuple[int, ...],
    tags: tuple[str, ...] = (),
    category: Category | None = None,
) -> Line:
    """Return a line that is a row of engines.csv, in GiB: fitted where runs are behind it, assumed where
    not."""
    row = facts.constant(engine, quantity, version, *tags)
    value, low, high = (int(number * GIB) for number in (row.value, row.low, row.high))
    formula = f"{row.value:g} {row.unit} in {row.num_runs} runs, {row.low:g} to {row.high:g}"
    kind: Kind = "fitted" if row.num_runs else "assumed"
    return Line(
        key,
        owner_of(key),
        category or category_of(key),
        WORDS[key],
        value,
        low,
        high,
        kind,
        formula,
        row.source,
    )


def fitted_line(key: Key, value: int, spread: facts.Constant, formula: str, source: str) -> Line:
    """Return a value with a spread that was measured in runs, or assumed where there are none."""
    kind: Kind = "fitted" if spread.num_runs else "assumed"
    shown = f"{formula} = {gib(value):.3f} GiB, {spread.low:g} to {spread.high:g} of it"
    return ranged(
        key,
        owner_of(key),
        WORDS[key],
        (value, int(value * spread.low), int(value * spread.high)),
        kind,
        shown,
        source,
    )


def assumed_line(key: Key, value: int, spread: facts.Constant, formula: str) -> Line:
    """Return a value whose spread was read in a source or taken from a neighbour, however many runs are
    behind that."""
    return fitted_line(key, value, spread, formula, spread.source)._replace(kind="assumed")


def up_to(found: Line, least: int) -> Line:
    """Return the line with an upper end of at least so much."""
    return found._replace(high_bytes=max(found.high_bytes, least))


VOCABULARY_PAD = 64


def experts_per_rank(num_experts: int, num_ranks: int, redundant: int) -> int:
    """Routed experts of the fullest rank. Redundant copies must make the number divide (EPLB)."""
    if redundant and (num_experts + redundant) % num_ranks:
        raise UsageError(
            f"{num_experts} experts and --num-redundant-experts {redundant} do not "
            f"divide over {num_ranks} ranks",
            "choose a number of copies that makes them divide",
        )
    if num_ranks > num_experts + redundant:
        raise UsageError(f"{num_ranks} expert-parallel ranks for {num_experts} experts", "use fewer ranks")
    return -(-(num_experts + redundant) // num_ranks)
