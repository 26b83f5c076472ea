"""SGLang 0.4 to 0.5: what each rank creates, how the card is divided, how the cache is sized. Every rule is
keyed by version.

Read in the sources of 0.4.4, 0.4.5, 0.4.6, 0.5.3 and 0.5.23; a version between two of them takes the rules of
the earlier one. The pool is what is left of mem_fraction_static after loading; activations and graphs live in
the rest and are not subtracted.
"""

import re
from collections.abc import Mapping

from ...errors import UnsupportedError
from ...run.serving import Asked
from ...run.speculation import Speculation
from ..layouts import attention_and_experts, attention_apart, tensor_parallel_layouts
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
from ..releases import first_with
from .beside import beside_pool
from .budget import budget_bytes, budget_lines, host_bytes, made_pool
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import CACHE_TYPES, resolve, stages
from .release import LONG_FOR_AITER, RELEASES, draft_heads
from .weights import loading, placed_weights


def as_asked(asked: Asked, flags: str) -> Asked:
    """gpu_mem_util is --mem-fraction-static; dp beside tp is data-parallel attention where the flags say
    so. A build whose log counts sparse MLA's index has the rules of the first release that does."""
    layout = asked.sizes
    if "with index in size" in flags and not RELEASES.at(asked.engine_version).divides_pool_by_index_rows:
        asked = asked._replace(engine_version=first_with("sglang", "divides_pool_by_index_rows"))
    prompts = re.search(r"(?:attention-context-parallel|attn-cp)-size (\d+)", flags)
    if "prefill-context-parallel" in flags and not prompts:
        raise UnsupportedError("context parallelism without a size in SGLang is not known yet")
    if layout.dp > 1:
        layout = layout._replace(enable_dp_attention="dp attention" in flags)
    if divided := re.search(r"dcp-size (\d+)", flags):
        layout = layout._replace(dcp=int(divided[1]))
    requests = re.search(r"max-running-requests (\d+)", flags)
    clones = re.search(r"shared-expert fusion: (\d+)", flags)
    if clones and int(clones[1]) != layout.tp:
        raise UnsupportedError(f"{clones[1]} clones of the shared expert on {layout.tp} ranks are not known")
    share, rules = asked.gpu_memory_utilization, RELEASES.at(asked.engine_version)
    if CUT_BY_AITER in flags and share and (asked.max_model_len or LONG_FOR_AITER + 1) > LONG_FOR_AITER:
        share /= rules.share_beside_aiter if rules.shows_share_beside_aiter else 1.0
    backend = re.search(r"(?<!-)attention-backend (\w+)", flags)
    asked = _sizes_said(asked, flags)
    return asked._replace(
        layout=layout,
        gpu_memory_utilization=None,
        mem_fraction_static=share,
        attention_backend=backend[1] if backend else asked.attention_backend,
        max_num_seqs=int(requests[1]) if requests else asked.max_num_seqs,
        attn_cp_size=int(prompts[1]) if prompts else asked.attn_cp_size,
        moe_a2a_backend="deepep" if "deepep" in flags else "none",
        speculation=Speculation("EAGLE", _number(r"num_speculative_tokens", flags) or 1)
        if any(word in flags for word in ("eagle", "nextn", "mtp")) and "drafts by" not in flags
        else asked.speculation,
    )


def _sizes_said(asked: Asked, flags: str) -> Asked:
    """Return what flags say of steps, pages and states."""
    strategy = re.search(r"mamba-scheduler-strategy (\w+)", flags)
    return asked._replace(
        max_num_batched_tokens=_number("chunked-prefill-size", flags) or asked.max_num_batched_tokens,
        block_size=_number("page[- ]size", flags) or asked.block_size,
        enforce_eager=asked.enforce_eager or "disable-cuda-graph" in flags,
        disable_radix_cache="disable-radix-cache" in flags,
        language_model_only="language-only" in flags,
        mamba_scheduler_strategy=strategy[1] if strategy else asked.mamba_scheduler_strategy,
        max_mamba_cache_size=_number("max-mamba-cache-size", flags) or asked.max_mamba_cache_size,
        max_total_tokens=_number("max-total-tokens", flags) or asked.max_total_tokens,
    )


def _number(word: str, flags: str) -> int | None:
    found = re.search(rf"{word} (\d{{1,9}})\b", flags)
    return int(found[1]) if found else None


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return what ServerArgs say in the words that `as_asked` reads."""
    words = []
    if printed("attention_backend") == "aiter":
        words.append(CUT_BY_AITER)
    if printed("enable_dp_attention") == "True":
        words.append("dp attention")
    if printed("moe_a2a_backend") == "deepep" or printed("enable_deepep_moe") == "True":
        words.append("deepep")
    drafts = Speculation(
        printed("speculative_algorithm") or "", draft=printed("speculative_draft_model_path") or None
    )
    if drafts.head:
        words.append(f"drafts by {drafts.head} {drafts.draft or '.'}")
        words.append(f"num_speculative_tokens {printed('speculative_num_steps') or 1}")
    elif drafts.own_draft:
        words.append("eagle")
    if size := printed("max_running_requests"):
        words.append(f"max-running-requests {size}")
    for name in ("attention_context_parallel_size", "attn_cp_size", "dcp_size"):
        if (size := printed(name)) not in (None, "1"):
            words.append(f"{name.replace('_', '-')} {size}")
    return words


CUT_BY_AITER = "attention-backend aiter with its share"
"""Of ServerArgs, whose share is what AITER left of the one that was asked."""
ROWS = EngineRows(
    words=("SGLang",),
    as_asked=as_asked,
    flags_of_log=flags_of_log,
    prints_gib_as_gb=True,
    tells_draft_apart=True,
)
"""Its log calls GiB GB, checked by division in rows of it (serving_memory.md)."""


TUNED = (
    Tunable("mem_fraction_static", (0.94, 0.9, 0.85), "share"),
    Tunable("cuda_graph_max_bs", tuple(1 << bits for bits in range(10)), "captures"),
    Tunable("max_num_batched_tokens", (2048, 4096, 8192, 16384), "pace", counts_groups=True),
    Tunable("max_num_seqs", tuple(1 << bits for bits in range(12)), "batch", counts_groups=True),
    Tunable("enforce_eager", (True,), "graphs"),
)
"""The levers of docs/advanced_features/hyperparameter_tuning.md: the static share, chunks, requests, the
largest captured batch."""

SGLANG = Engine(
    name="sglang",
    label="SGLang",
    versions=RELEASES.versions,
    cards=CardMakers(
        instead=(("generic", "llamacpp"), ("Apple", "llamacpp"), ("Raspberry Pi", "llamacpp")),
        tried=("NVIDIA", "AMD", ""),
    ),
    candidates=Candidates(
        attention_apart,
        forms=("fp8",),
        cache_types=("auto", "fp8_e4m3"),
        more_layouts=attention_and_experts,
        tuned=TUNED,
        narrow_cache=(("kv_cache_dtype", "fp8_e4m3"),),
    ),
    start=Start(
        image="lmsysorg/sglang:v{version}",
        package="sglang[all]=={version}",
        joining=Joining("--dist-init-addr", port=20000),
        made_on_loading=("fp8", "bitsandbytes"),
        port=30000,
    ),
    rows=ROWS,
    speed_class="sglang",
    layouts=tensor_parallel_layouts,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
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
    counts="reserved",
    keeps_unused_head=True,
    cache_types=CACHE_TYPES,
    draft_models=True,
    beside_pool=beside_pool,
    draft_heads=draft_heads,
    share_flag="--mem-fraction-static",
    log="sglang.log",
    log_names_release=False,
)
"""Its log takes differences of the card's free memory, which shrinks by whole segments."""
