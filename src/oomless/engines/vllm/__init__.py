"""vLLM 0.5 to 0.33: what each rank creates, how the budget is cut, how the cache is paged. Every rule is
keyed by version.

Read in the sources of 0.7.2, 0.8.5, 0.11, 0.16, 0.19, 0.21, 0.25 and 0.33; a version between two of them
takes the rules of the earlier one. Constants that were measured are in facts/engines.csv.
"""

import re
from collections.abc import Mapping

from ...run.serving import Asked
from ..layouts import experts_apart, tensor_and_data, tensor_parallel_layouts
from ..record import (
    Candidates,
    CardMakers,
    Engine,
    EngineRows,
    Joining,
    PrintedText,
    SaidText,
    Start,
    Tunable,
)
from .budget import budget_bytes, budget_lines, host_bytes, made_pool, unsaid
from .cache import cache_layout
from .capacity import longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import CACHE_TYPES, resolve, stages
from .gguf_file import stored
from .offload import left_to_host
from .release import RELEASES, draft_heads
from .weights import leaves_blocks, loading, placed_weights

DCP = "decode-context-parallel-size"


def as_asked(asked: Asked, flags: str) -> Asked:
    """The size by which ranks divide the cache is in the flags, and so are images: how many a prompt may
    have, and the pixels of the largest.

    >>> as_asked(Asked(), "eager, decode-context-parallel-size 8").sizes.dcp
    8
    >>> said = as_asked(Asked(), "limit-mm-per-prompt image 1, max_pixels 1003520")
    >>> said.images_per_prompt, said.max_pixels
    (1, 1003520)
    >>> as_asked(Asked(), "v1, language-model-only").language_model_only
    True
    """
    if divided := re.search(rf"{DCP} (\d+)", flags):
        asked = asked._replace(layout=asked.sizes._replace(dcp=int(divided[1])))
    if most := re.search(r"max[-_]pixels\W{0,3}(\d+)", flags):
        asked = asked._replace(max_pixels=int(most[1]))
    images = re.search(r"limit-mm-per-prompt\W{0,3}images?\W{0,3}(\d+)", flags)
    if images:
        asked = asked._replace(images_per_prompt=int(images[1]))
    return asked._replace(
        language_model_only="language-model-only" in flags, skip_mm_profiling="skip-mm-profiling" in flags
    )


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return what vLLM's arguments say in the words of the tables."""
    words = [f"block-size {size}"] if (size := printed("block_size")) else []
    if (size := printed("decode_context_parallel_size")) not in (None, "1"):
        words.append(f"{DCP} {size}")
    return words


ROWS = EngineRows(
    words=("vLLM",),
    as_asked=as_asked,
    flags_of_log=flags_of_log,
    default_batch_counts=True,
    batch_follows_length=lambda version: RELEASES.at(version).v0,
    generation=lambda version: "V0" if RELEASES.at(version).v0 else "V1",
)


TUNED = (
    Tunable("gpu_memory_utilization", (0.95, 0.85), "share"),
    Tunable("max_num_seqs", tuple(1 << bits for bits in range(12)), "batch"),
    Tunable("max_num_batched_tokens", (2048, 4096, 8192, 16384), "pace"),
    Tunable("fully_sharded_loras", (True,), "room"),
    Tunable("enforce_eager", (True,), "graphs"),
)
"""The levers of docs/configuration/conserving_memory.md and optimization.md: the share of the card, sequences
and tokens of a step, graphs. 0.95 is the largest share of the recipes; 0.85 is for what comes beside the
pool. Capture sizes follow the sequences of a step."""

VLLM = Engine(
    name="vllm",
    label="vLLM",
    versions=RELEASES.versions,
    cards=CardMakers(
        instead=(
            ("generic", "llamacpp"),
            ("Apple", "llamacpp"),
            ("Raspberry Pi", "llamacpp"),
            ("Huawei", "vllm-ascend"),
            ("Intel", "vllm-hpu"),
        ),
        tried=("NVIDIA", "AMD", "Google", "", "*"),
    ),
    candidates=Candidates(
        experts_apart,
        forms=("fp8", "w4a16"),
        cache_types=("auto", "fp8"),
        shares_card=True,
        least_step=2048,
        more_layouts=tensor_and_data,
        tuned=TUNED,
        offloads=(Tunable("cpu_offload_gb", (4.0, 8.0, 16.0, 32.0, 64.0, 128.0), "room"),),
        narrow_cache=(("kv_cache_dtype", "fp8"),),
    ),
    start=Start(
        image="vllm/vllm-openai:v{version}",
        package="vllm=={version}",
        joining=Joining("--master-addr", worker=("--headless",)),
        over_ray=True,
        made_on_loading=("fp8", "bitsandbytes"),
    ),
    rows=ROWS,
    speed_class="vllm",
    layouts=tensor_parallel_layouts,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    in_file=stored,
    loading=loading,
    budget_bytes=budget_bytes,
    budget_lines=budget_lines,
    made_pool=made_pool,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    host_bytes=host_bytes,
    leaves_blocks=leaves_blocks,
    cache_types=CACHE_TYPES,
    draft_models=True,
    draft_heads=draft_heads,
    encodes=True,
    share_flag="--gpu-memory-utilization",
    redundant_experts_need_ep=True,
    adapters=True,
    left_to_host=left_to_host,
    unsaid=unsaid,
    log="vllm.log",
)
