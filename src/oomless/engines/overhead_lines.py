"""Lines of what an engine takes beside weights and cache, made of rows of facts/engines.csv."""

from .. import facts
from ..ledger import Category, Key, Kind, Line, Owner, category_of, ranged
from ..run.cards import Card
from ..units import GIB, gib

WORDS: dict[Key, str] = {
    "logits.sampler": "logits and sampling of the largest batch",
    "activations.profile_run": "activations of the largest batch",
    "runtime.non_torch": "outside PyTorch: NCCL, kernels, handles",
    "runtime.cuda_graphs": "CUDA graphs",
    "runtime.context": "CUDA context",
    "fragmentation.loading": "what loading leaves beside the weights",
}
"""What engines call these lines alike. On ROCm vLLM takes for weights what the card has less of after loading
(platforms/rocm.py, get_current_memory_usage): that is `fragmentation.loading`."""


PROCESS: tuple[Key, ...] = ("runtime.context", "runtime.non_torch")
"""Lines of the process, not of the engine's tensors."""


def owner_of(key: Key) -> Owner:
    """Return whose bytes a line of a serving engine's overheads are."""
    return "process" if key in PROCESS else "engine"


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


def context_line(
    line: Line, engine: str, version: tuple[int, ...], tags: tuple[str, ...], card: Card
) -> Line:
    """Return the line of a context as the card has it, with what an engine adds; as it is, where nothing says
    what the driver sets aside.

    >>> from ..run.cards import card
    >>> line = measured("vllm", "runtime.context", "context", (0, 10))
    >>> [round(context_line(line, "vllm", (0, 10), (), card(each)).bytes / GIB, 2) for each in ("l4", "a40")]
    [0.21, 0.28]
    """
    fresh = card.fresh_context_bytes
    if not fresh:
        return line
    added = measured(engine, line.key, "context_beyond", version, tags)
    low, middle, high = (fresh + each for each in (added.low_bytes, added.bytes, added.high_bytes))
    formula = f"{gib(fresh):.2f} GiB for threads of {card.num_sms} multiprocessors + {added.formula}"
    return added._replace(bytes=middle, low_bytes=max(low, 0), high_bytes=high, formula=formula)


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
