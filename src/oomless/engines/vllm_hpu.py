"""vLLM on Intel's Gaudi: vLLM's rules, on blocks of 128 tokens and without copies of W_UK and W_UV.

Known from logs (serving_memory.md): R1 fp8 TP8 takes 79.41 GiB, 79.35 by formula without the copies.
Overheads are assumed. --gpu-memory-utilization is of what weights and the profile run leave free, and graphs
keep a part of that (VLLM_GRAPH_RESERVED_MEM).
"""

from ..errors import UnsupportedError
from ..ledger import Line, ranged
from ..model.attention import GQA, V4, V41, Linear
from ..model.model import Model
from ..model.storage import DTYPES, F32
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from .rank import Placed, Stage
from .record import derived
from .releases import ReleaseRules, Releases
from .vllm import VLLM
from .vllm.release import UNWARMED

BLOCK_SIZE = 128
ABSORBED = ("W_UK and W_UV", "W_QR", "W_Q_UK", "W_UV_O", "W_UK and W_UV in F32", "FlashInfer MLA workspace")
"""What vLLM's CUDA backends keep beside the checkpoint's projections."""


class HpuRules(ReleaseRules):
    """What a release of vLLM on Gaudi does beside vLLM's own rules (facts/engine_rules.csv)."""

    graph_share: float = 0.1
    """The part of what the engine may use that is kept for graphs, unless it runs eagerly."""
    warms_longest_batch: bool = False
    """Steps are tried for every sequence at the longest length, however small the pool."""


RELEASES = Releases("vllm-hpu", HpuRules, VLLM.versions, first="0")


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """vLLM's defaults, in blocks of 128 tokens. V4's attention has no kernels for these cards."""
    if model.kinds.has(V4, V41):
        raise UnsupportedError(
            f"{model.name} on Gaudi is not known: V4's attention has no kernels there", "take other cards"
        )
    return VLLM.resolve(model, hardware, asked._replace(block_size=asked.block_size or BLOCK_SIZE), layout)


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """vLLM's tensors without the absorbed matrices of its CUDA backends.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> r1, card = load("deepseek-r1"), parse_gpu("gaudi-2:8")
    >>> asked = resolve(r1, card, Resolved(engine="vllm-hpu", engine_version="0.9.0"), Layout(tp=8))
    >>> round(
    ...     sum(t.total_bytes for t in placed_weights(r1, asked, card, VLLM.stages(r1, asked)[0])) / 2**30, 2
    ... )
    79.31
    """
    return [
        group for group in VLLM.placed_weights(model, asked, hardware, stage) if group.name not in ABSORBED
    ]


def pool_bytes(asked: Resolved, allowed: int, charged: int) -> int:
    """A share of what is free after the profile run, less what is kept for graphs.

    >>> asked = Resolved(engine_version="0.5.3", gpu_memory_utilization=0.5)
    >>> [pool_bytes(each, 7917, 0) / 100 for each in (asked, asked._replace(enforce_eager=True))]
    [23.75, 39.58]
    """
    kept = 0 if asked.enforce_eager else RELEASES.at(asked.engine_version).graph_share
    free = allowed - charged
    return int(free * (asked.gpu_memory_utilization or 0) * (1 - kept)) if free > 0 else free


def beside_pool(model: Model, asked: Resolved, stage: Stage, pool_bytes: int) -> list[Line]:
    """The line of the blocks that a layer copies for the largest step that is tried: those of all sequences
    at the longest length, which prefixes may share. Without prefix caching, which models with states do
    without, a step has no more than the pool and copies none.

    >>> from ..model.load import load
    >>> asked = Resolved(engine_version="0.25.0", max_model_len=40960, max_num_seqs=256, dtype="bfloat16")
    >>> asked = asked._replace(layout=Layout())
    >>> [line] = beside_pool(load("qwen3-0.6b"), asked, Stage(0, 1, 0, 28), 0)
    >>> line.bytes / 2**30, line.formula  # 7,593 blocks in the pool, and an OOM (vllm-gaudi#1700)
    (40.0, '256 sequences x 320 blocks x 524,288 B')
    """
    rules, plain = RELEASES.at(asked.engine_version), model.kinds.of(GQA)
    shares = not model.kinds.has(Linear) or asked.enable_prefix_caching
    tried = (
        rules.warms_longest_batch
        and not (asked.enforce_eager or model.encodes)
        and UNWARMED not in rules.text
    )
    if not (plain and shares and tried):
        return []
    size = asked.block_size or BLOCK_SIZE
    sequences, blocks = asked.max_num_seqs, -(-asked.max_model_len // size)
    width, tp = DTYPES[asked.dtype].bits // 8, asked.layout.tp
    each = max(max(core.num_kv_heads // tp, 1) * core.cache_dim for core in plain) * size * width
    scores = max(core.num_heads // tp for core in plain) * size * F32.bits // 8
    copies = sequences * blocks * each
    return [
        ranged(
            "temporaries.running",
            "engine",
            "blocks copied for the largest step that is tried, where prefixes are cached",
            (copies, 0, copies + sequences * blocks * scores),
            "assumed",
            f"{sequences:,} sequences x {blocks:,} blocks x {each:,} B",
            "vllm_gaudi/extension: bucketing/exponential.py, ops.py flat_pa; vllm-gaudi#1700",
        )
    ]


VLLM_HPU = derived(VLLM, "vllm-hpu")._replace(
    candidates=VLLM.candidates._replace(forms=("fp8",)),
    start=VLLM.start._replace(image="", package=""),
    resolve=resolve,
    placed_weights=placed_weights,
    budget_bytes=lambda asked, hardware: hardware.card.memory_bytes,
    pool_bytes=pool_bytes,
    beside_pool=beside_pool,
)
