"""vLLM's words that are parts of others, in ours."""

import json
import re
from collections.abc import Sequence
from typing import Any

from ...errors import UsageError
from ...run.option_values import images_of
from ...run.serving import Asked
from ..command_words import CommandWords
from .release import (
    ATTENTION,
    BEYOND,
    CHUNKS,
    DOUBLED,
    FIRST_RUNNER,
    FLASHINFER,
    FROM_HOST,
    HCCL,
    LATENTS_OFF,
    OFFLINE,
    RELEASES,
    SECOND_RUNNER,
    SHARED_WHOLE,
    SORTS,
    TRIED,
    UNTRIED,
    UNWARMED,
    WINDOWS_WHOLE,
    XPU_GRAPHS,
)

OFFLINE_WORD = "USAGE_CONTEXT=LLM_CLASS"
"""What stands before a command that was a call of LLM(); vLLM knows the two apart by this name."""
REMARKS = {
    OFFLINE_WORD: OFFLINE,
    "VLLM_USE_V1=0": "V0",
    "VLLM_USE_V1=1": "V1",
    "VLLM_USE_V2_MODEL_RUNNER=0": FIRST_RUNNER,
    "VLLM_USE_V2_MODEL_RUNNER=1": SECOND_RUNNER,
    "VLLM_MLA_DISABLE=1": LATENTS_OFF,
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1": BEYOND,
    "VLLM_USE_FLASHINFER_SAMPLER=0": SORTS,
    "VLLM_USE_FLASHINFER_SAMPLER=1": FLASHINFER,
    "VLLM_OFFLOAD_WEIGHTS_BEFORE_QUANT=1": FROM_HOST,
    "VLLM_XPU_ENABLE_XPU_GRAPH=1": XPU_GRAPHS,
    "VLLM_SKIP_WARMUP=true": UNWARMED,
    "VLLM_CONTIGUOUS_PA=true": UNWARMED,
    "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0": UNTRIED,
    "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=1": TRIED,
}
"""Variables that no flag says (vllm/envs.py) -> the remark behind a release."""
READ = re.compile("|".join(["VLLM_ATTENTION_BACKEND", *(word.partition("=")[0] for word in REMARKS)]))
"""Variables that are read."""
IMAGE = re.compile(r"(?:\S*/)?vllm/vllm-openai:v?0\.(?:8\.[3-5]|(?:9|10)\.\d|11\.0)\S*")
"""The project's own image where it has FlashInfer and a release from PyPI need not (docker/Dockerfile); the
sampler takes it where it is there (v1/sample/ops/topk_topp_sampler.py; 0.8 sorts with 0.2.3 and later, and
its image has 0.2.1)."""


WHOLE = ("--disable-hybrid-kv-cache-manager", "LMCacheConnectorV1")
"""A flag and a connector that switch groups of windows off."""


SHARED_BY_DATA = re.compile(r"--additional[-_]config .*\benable_shared_expert_dp\W+true\b", re.IGNORECASE)
COPIES = re.compile(
    r"--additional[-_]config .*\b(?:init_redundancy_expert|num_redundant_experts)\W+(\d{1,3})\b"
)
"""Copies of experts in vLLM-Ascend: ascend_config.py to 0.12, its eplb_config from 0.13 on."""
BUFFERS = re.compile(r"(?:--env=|-e)?HCCL_BUFFSIZE=(\d{2,5})")
CHUNKED = re.compile(r"--enable[-_]chunked[-_]prefill(?:[= ]true)?", re.IGNORECASE)
PERFORMANCE = re.compile(r"--performance[-_]mode[ =](balanced|throughput)")
NAMED_ATTENTION = re.compile(
    rf"(?:--attention-backend[ =]|VLLM_ATTENTION_BACKEND=)({'|'.join(ATTENTION)})", re.IGNORECASE
)


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of vLLM in our words."""
    flags, unread = as_vllm(said.flags, said.unknown)
    unknown = [*said.unknown, *unread]
    if "rope_scaling" in flags:
        flags["hf_overrides"] = with_rope(flags.pop("rope_scaling"), flags.get("hf_overrides"))
    return said._replace(
        flags=flags,
        unknown=[flag for flag in unknown if not is_read(flag)],
        remark=remark(said.before, unknown),
    )


def is_read(flag: str) -> bool:
    """Return whether a flag that no option reads says something of how a release runs.

    >>> [is_read(flag) for flag in ("--attention-backend flashinfer", "--attention-backend FLASHMLA")]
    [True, False]
    """
    return flag in WHOLE or any(each.fullmatch(flag) for each in (CHUNKED, NAMED_ATTENTION, PERFORMANCE))


def remark(before: list[str], unread: list[str]) -> str:
    """Return what variables and an image before the program, and flags that no option reads, say of how a
    release runs.

    >>> remark(["VLLM_USE_V1=0", "A=0"], []), remark(["vllm/vllm-openai:v0.10.2"], []), remark([], [])
    ('V0', 'FlashInfer', '')
    >>> remark([], ["--disable-hybrid-kv-cache-manager"])
    'windows whole'
    >>> remark([], ["--attention-backend flashinfer"])
    'FLASHINFER'
    >>> remark([], ['--additional-config {"enable_shared_expert_dp": true}'])
    'shared experts whole'
    >>> remark(["HCCL_BUFFSIZE=1024"], []), remark([], ["--performance-mode throughput"])
    ('HCCL of 1024', 'batch doubled')
    """
    said = [REMARKS[word] for word in before if word in REMARKS]
    said += [HCCL + size[1] for word in before if (size := BUFFERS.fullmatch(word))]
    if not {SORTS, FLASHINFER} & {*said} and any(IMAGE.fullmatch(word) for word in before):
        said.append(FLASHINFER)
    if any(word in flag for flag in unread for word in WHOLE if not flag.startswith("--no-")):
        said.append(WINDOWS_WHOLE)
    if any(map(SHARED_BY_DATA.match, unread)):
        said.append(SHARED_WHOLE)
    if any(map(CHUNKED.fullmatch, unread)):
        said.append(CHUNKS)
    if any(read[1] == "throughput" for read in map(PERFORMANCE.fullmatch, unread) if read):
        said.append(DOUBLED)
    if named := [found for word in (*before, *unread) if (found := NAMED_ATTENTION.fullmatch(word))]:
        said.append(named[-1][1].upper())
    return ", ".join(said)


def as_vllm(flags: dict[str, Any], other: Sequence[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return (flags, what of them is not known), of flags and of `other` that no option reads: sizes of
    graphs belong to --compilation-config, the indexer's type to --attention-config, Engram's place to
    --engram-config, copies of experts to --eplb-config or to what vLLM-Ascend has in its place, the largest
    image to --mm-processor-kwargs; --limit-mm-per-prompt may leave images out, --runner or --task the head.

    >>> as_vllm({"draft_model": "m", "num_speculative_tokens": 5})
    ({'speculation': '{"model": "m", "num_speculative_tokens": 5}'}, [])
    >>> as_vllm({"draft_method": "mtp", "num_speculative_tokens": 2})  # --spec-method, since 0.22.1
    ({'speculation': '{"method": "mtp", "num_speculative_tokens": 2}'}, [])
    >>> as_vllm({"eplb_config": '{"num_redundant_experts": 32, "window_size": 1000}'})
    ({'num_redundant_experts': 32}, [])
    >>> as_vllm({}, ['--additional-config {"dynamic_eplb": true, "init_redundancy_expert": 16}'])
    ({'num_redundant_experts': 16}, [])
    >>> as_vllm({"task": "embed"}), as_vllm({"runner_type": "generate"})
    (({'pooling': True}, []), ({}, []))
    >>> as_vllm({"images_per_prompt": '{"image": 0, "video": 0}'})
    ({'language_model_only': True}, [])
    >>> as_vllm({"capture_sizes": ("1", "2"), "attention_config": '{"use_fp4_indexer_cache": true, "x": 1}'})
    ({'indexer_kv_dtype': 'mxfp4', 'compilation_config': '{"cudagraph_capture_sizes": [1, 2]}'},
     ['--attention-config {"x": 1}'])
    """
    found = {name: value for name, value in flags.items() if name not in PARTS}
    unread = _attention(flags, found)
    keys = _object(flags.get("eplb_config", "{}"), "--eplb-config")
    on_ascend = [read[1] for read in map(COPIES.match, other) if read]
    copies = str(flags.get("redundant_experts") or keys.get("num_redundant_experts", *on_ascend[-1:]))
    if re.fullmatch(r"\d{1,3}", copies):
        found["num_redundant_experts"] = int(copies)
    if "mm_processor_kwargs" in flags:
        keys = _object(flags["mm_processor_kwargs"], "--mm-processor-kwargs")
        most = keys.pop("max_pixels", None)
        keys.pop("min_pixels", None)
        if type(most) is int and most > 0:
            found["max_pixels"] = most
        unread += [f"--mm-processor-kwargs {json.dumps(keys)}"] if keys else []
    if POOLS & {flags.get(name) for name in ("convert_type", "runner_type", "task")}:
        found["pooling"] = True
    name, method = flags.get("draft_model"), flags.get("draft_method")
    if name or method:  # before --speculative-config, or instead of it
        said = {"method": method} if method else {}
        said |= {"method": "ngram"} if name == "[ngram]" else {"model": name} if name else {}
        tokens = flags.get("num_speculative_tokens", 1)
        found["speculation"] = json.dumps({**said, "num_speculative_tokens": tokens})
    if (graphs := _graphs(flags)) or _level(flags):
        whole = _object(flags.get("compilation_config", "{}"), "--compilation-config")
        found["compilation_config"] = json.dumps({**_level(flags), **whole, **graphs})
    unread += _images(flags, found)
    return found, unread


def _attention(flags: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Take the indexer's type and Engram's place out of their configs; return what else these say."""
    unread: list[str] = []
    if "attention_config" in flags:
        keys = _object(flags["attention_config"], "--attention-config")
        dtype = keys.pop("indexer_kv_dtype", None)
        if keys.pop("use_fp4_indexer_cache", None) in (True, "True", "true"):
            dtype = dtype or "mxfp4"
        if dtype is not None:
            found["indexer_kv_dtype"] = str(dtype)
        unread += [f"--attention-config {json.dumps(keys)}"] if keys else []
    if "engram_config" in flags:
        keys = _object(flags["engram_config"], "--engram-config")
        away = keys.pop("cpu_offload", None)
        if away is not None:
            found["engram"] = "host" if away in (True, "True", "true") else "gpu"
        unread += [f"--engram-config {json.dumps(keys)}"] if keys else []
    return unread


def _images(flags: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Turn a limit of no images and no videos into a model without its tower; return a limit that is not
    known."""
    images = str(flags.get("images_per_prompt", "")).lstrip()
    if not images.startswith("{"):
        return []
    limits = _object(images, "--limit-mm-per-prompt")
    if limits.get("image") == limits.get("video") == 0:
        found["language_model_only"] = True
        found.pop("images_per_prompt")
    elif images_of(images) is None:
        return [f"--limit-mm-per-prompt {found.pop('images_per_prompt')}"]
    return []


def _graphs(flags: dict[str, Any]) -> dict[str, Any]:
    """Return what flags of their own say of --compilation-config."""
    graphs: dict[str, Any] = {}
    if sizes := flags.get("capture_sizes"):
        if not all(size.isdecimal() and len(size) < 10 for size in sizes):
            raise UsageError(
                f"--command: capture sizes are {' '.join(sizes)[:60]!r}",
                "write whole numbers: --cudagraph-capture-sizes 1 2 4",
                "command",
            )
        graphs["cudagraph_capture_sizes"] = [int(size) for size in sizes]
    if flags.get("max_capture_size") is not None:
        graphs["max_cudagraph_capture_size"] = flags["max_capture_size"]
    return graphs


def _level(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the mode of graphs that --optimization-level means where nothing else says one
    (vllm/config/vllm.py, OPTIMIZATION_LEVEL_00 to 03 of 0.13 to 0.33): none at 0, pieces at 1, from 2 on the
    release's own.

    >>> _level({"optimization_level": 0}), _level({"optimization_level": 3})
    ({'cudagraph_mode': 'NONE'}, {})
    """
    mode = {0: "NONE", 1: "PIECEWISE"}.get(flags.get("optimization_level", 2))
    return {} if mode is None else {"cudagraph_mode": mode}


PARTS = (
    "attention_config",
    "capture_sizes",
    "convert_type",
    "draft_method",
    "draft_model",
    "engram_config",
    "eplb_config",
    "max_capture_size",
    "mm_processor_kwargs",
    "num_speculative_tokens",
    "optimization_level",
    "redundant_experts",
    "runner_type",
    "task",
)
POOLS = frozenset("pooling embed embedding encode classify score reward token_embed token_classify".split())
"""What --runner, --task and --convert say of a model that gives vectors or scores (config/model.py of 0.8.3
to 0.33, RunnerOption, TaskOption, ConvertOption)."""


def as_started(wanted: dict[str, Any], asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """Return (words that come first, fields): what a model gives is a runner from 0.10 on, before it a task.

    >>> as_started({"pooling": True}, Asked(engine_version="0.9.2"))
    (['--task', 'embed'], {})
    """
    if not wanted.get("pooling"):
        return [], wanted
    rules = RELEASES.at(asked.engine_version or RELEASES.latest)
    words = ["--runner", "pooling"] if rules.has_runners else ["--task", "embed"]
    return words, {name: value for name, value in wanted.items() if name != "pooling"}


def with_rope(scaling: str, overrides: str | None) -> str:
    """Return vLLM's --rope-scaling as the --hf-overrides that it was made into (config.py of 0.8 to 0.11).

    >>> with_rope('{"rope_type": "yarn", "factor": 4.0}', None)
    '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}'
    """
    try:
        return json.dumps({**json.loads(overrides or "{}"), "rope_scaling": json.loads(scaling)})
    except (ValueError, TypeError, RecursionError):
        raise UsageError(
            f"--command: --rope-scaling {scaling[:60]!r} is not valid JSON",
            "quote the command as the shell takes it",
            "command",
        ) from None


def _object(text: str, flag: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, int):
        found = {"mode": found}
    if not isinstance(found, dict):
        raise UsageError(
            f"--command: {flag} is {text[:60]!r}", "quote its JSON as the shell takes it", "command"
        )
    return found
