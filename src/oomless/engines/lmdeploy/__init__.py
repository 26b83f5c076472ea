"""LMDeploy: a share of what is free beside the weights goes to the cache, and what a step needs is found
beside it.

Two backends: TurboMind, in C++, for the families that it has a class for, and PyTorch for all others. Read in
lmdeploy of 0.1.0 to 0.16.0.
"""

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ..defaults import default_length, resolve_dtype
from ..layouts import need_even_experts, tensor_parallel, tensor_parallel_layouts
from ..record import Candidates, CardMakers, Engine, EngineRows, Start, Tunable
from ..trtllm.cache import longest_sequence, needed_bytes, sequences
from ..trtllm.defaults import stages
from .budget import budget_lines, pool_bytes
from .cache import cache_layout, max_tokens, row_bytes
from .release import RELEASES, on_turbomind
from .weights import placed_weights

CACHE_TYPES = ("auto", "int8", "int4")
BLOCK = 64
BATCH, BATCHES = 128, {"A100": 256, "A800": 256, "H100": 512, "H800": 512}
"""max_batch_size, and of cards by a part of their name (lmdeploy/utils.py, get_max_batch_size)."""
TOKENS, PYTORCH_TOKENS = 8192, 4096
"""max_prefill_token_num of the backends."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with the defaults of `lmdeploy serve api_server`."""
    need_even_experts(layout)
    if layout.pp > 1 or layout.dp > 1:
        raise UnsupportedError("LMDeploy over pipeline stages or --dp is not known yet", "use --tp")
    if asked.kv_cache_dtype not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not LMDeploy's",
            f"known are {', '.join(CACHE_TYPES)}",
            "kv_cache_dtype",
        )
    release = RELEASES.latest if asked.engine_version is None else asked.engine_version
    rules = RELEASES.at(release)
    share = asked.free_gpu_memory_fraction
    if share is None:
        share = facts.constant("lmdeploy", "cache_max_entry_count", rules.release).value
    length = default_length(model)
    length = min(length, rules.session_of_template.of(model.family) or length)
    name = hardware.card.name
    wide = next((size for part, size in BATCHES.items() if part in name), BATCH)
    tokens = TOKENS if on_turbomind(model, asked) else PYTORCH_TOKENS
    dtype = resolve_dtype(model, asked.dtype, hardware)
    for attention in model.kinds.attentions:
        row_bytes(attention, Resolved(dtype=dtype, layout=layout), False)  # refuses kinds that are not known
    return Resolved.of(
        asked._replace(
            dtype=dtype,
            free_gpu_memory_fraction=share,
            block_size=asked.block_size or BLOCK,
        ),
        engine_version=release,
        layout=layout,
        max_model_len=asked.max_model_len or length,
        max_num_seqs=asked.max_num_seqs or (wide if rules.batch_follows_card else BATCH),
        max_num_batched_tokens=asked.max_num_batched_tokens or tokens,
    )


def cuts_sessions(model: Model, asked: Resolved) -> bool:
    """Whether a session becomes as long as the pool (LlamaBatch.cc, later engine.cc: session_len_trunc_;
    pytorch/engine/engine.py, _get_max_session_len)."""
    rules = RELEASES.at(asked.engine_version)
    return rules.cuts_sessions if on_turbomind(model, asked) else rules.cuts_pytorch_sessions


LMDEPLOY = Engine(
    name="lmdeploy",
    label="LMDeploy",
    versions=RELEASES.versions,
    cards=CardMakers(only=("NVIDIA",)),
    candidates=Candidates(
        tensor_parallel,
        tuned=(
            Tunable("free_gpu_memory_fraction", (0.9, 0.8, 0.6, 0.4, 0.2), "share"),
            Tunable("max_num_batched_tokens", (2048, 4096, 8192), "pace"),
        ),
        narrow_cache=(("kv_cache_dtype", "8"),),
    ),
    start=Start(
        image="openmmlab/lmdeploy:v{version}",
        package="lmdeploy=={version}",
        port=23333,
        told=("--server-name", "--server-port"),
    ),
    rows=EngineRows(words=("LMDeploy",)),
    speed_class="vllm",
    layouts=tensor_parallel_layouts,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_lines=budget_lines,
    pool_bytes=pool_bytes,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    cuts_sessions=cuts_sessions,
    cache_types=CACHE_TYPES,
    share_flag="--free-gpu-memory-fraction",
)
