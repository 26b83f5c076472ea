"""The Python interface: what the command line does, under the flags' names as keywords."""

from typing import Any

from ..engines import engine
from ..errors import UnsupportedError, UsageError, did_you_mean
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..estimate.serving.stage_rank import Adjust
from ..model.load import load
from ..model.model import Model
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.serving import Layout, Serving
from ..run.typed import need_types, own_names

LAYOUT_FLAGS = {
    "tp": "tp",
    "pp": "pp",
    "dp": "dp",
    "decode_context_parallel_size": "dcp",
    "enable_expert_parallel": "enable_expert_parallel",
    "enable_dp_attention": "enable_dp_attention",
    "ep_size": "ep_size",
}
LAYOUT_KINDS = {name: Layout.__annotations__[field] for name, field in LAYOUT_FLAGS.items()}
SPELLINGS = {
    **dict.fromkeys(("tensor_parallel_size", "tp_size"), "tp"),
    **dict.fromkeys(("pipeline_parallel_size", "pp_size"), "pp"),
    **dict.fromkeys(("data_parallel_size", "dp_size"), "dp"),
    "ep_num_redundant_experts": "num_redundant_experts",
    **dict.fromkeys(("context_length", "max_seq_len"), "max_model_len"),
    **dict.fromkeys(("max_running_requests", "max_batch_size", "parallel"), "max_num_seqs"),
    **dict.fromkeys(("chunked_prefill_size", "max_num_tokens"), "max_num_batched_tokens"),
    **dict.fromkeys(("page_size", "tokens_per_block"), "block_size"),
    "json_model_override_args": "hf_overrides",
    "disable_cuda_graph": "enforce_eager",
    "speculative_algorithm": "speculative_config",
    "spec_draft_n_max": "draft_tokens",
    "mla_use": "mla_attn",
    "attention_max_batch": "attn_max_batch",
    "kv_cache_free_gpu_memory_fraction": "free_gpu_memory_fraction",
}
"""Other names of a flag, as `oomless infer --help` lists them."""


def serving_request(**flags: Any) -> Serving:
    """A Serving from flags; None means not given.

    >>> serving_request(tp=8, max_model_len=32768).layout
    Layout(tp=8, pp=1, dp=1, dcp=1, enable_expert_parallel=False, enable_dp_attention=False, ep_size=0)
    """
    given = own_names(flags, SPELLINGS)
    layout = {LAYOUT_FLAGS[name]: value for name, value in given.items() if name in LAYOUT_FLAGS}
    need_types({name: value for name, value in given.items() if name in LAYOUT_FLAGS}, LAYOUT_KINDS)
    rest = {name: value for name, value in given.items() if name not in LAYOUT_FLAGS}
    need_types(
        rest,
        {
            **Serving.__annotations__,
            "speculative_config": str,
            "limit_mm_per_prompt": str,
            "flash_attn": bool | str,
        },
    )
    if "speculative_config" in rest:
        rest["speculative"] = speculates(rest.pop("speculative_config"))
    if "limit_mm_per_prompt" in rest:
        rest["images_per_prompt"] = images_of(rest.pop("limit_mm_per_prompt"))
    if isinstance(rest.get("flash_attn"), str):
        rest["flash_attn"] = rest["flash_attn"] == "on"
    if unknown := set(rest) - set(Serving._fields):
        name = min(unknown)
        known = [*Serving._fields, *LAYOUT_FLAGS]
        raise UsageError(f"unknown option {name!r}", did_you_mean(name, known, "oomless infer --help"))
    if layout == {"enable_expert_parallel": False}:
        layout = {}
    return Serving(**rest, layout=Layout(**layout) if layout else None)


def speculates(text: str) -> bool:
    """Whether a speculative config asks for the model's own MTP or draft layers: a method's name, or vLLM's
    JSON.

    >>> (
    ...     speculates("mtp"),
    ...     speculates('{"method": "qwen3_next_mtp", "num_speculative_tokens": 2}'),
    ...     speculates('{"method": "ngram"}'),
    ... )
    (True, True, False)
    """
    if text.strip().startswith("{"):
        import json

        try:
            method = json.loads(text).get("method", "")
        except ValueError:
            raise UsageError(
                f"--speculative-config {text!r} is not valid JSON", 'write mtp, or {"method": "mtp"}'
            ) from None
    else:
        method = text.strip()
    if str(method) in NO_DRAFT:
        return False
    if str(method) in OTHER_DRAFTS:
        raise UnsupportedError(
            f"speculative method {method!r} loads a draft of its own, which is not known",
            f"known are {KNOWN_DRAFTS}",
        )
    if str(method) not in OWN_DRAFTS and not str(method).endswith("_mtp"):
        raise UsageError(f"speculative method {method!r} is not known", f"known are {KNOWN_DRAFTS}")
    return True


def images_of(text: str) -> int:
    """Images a prompt of vLLM's --limit-mm-per-prompt: image=4,video=0 as in early releases, or JSON.

    >>> (
    ...     images_of("image=4,video=0"),
    ...     images_of('{"image": 2}'),
    ...     images_of('{"image": {"count": 3, "width": 512}}'),
    ... )
    (4, 2, 3)
    """
    import json

    try:
        found = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else dict(part.split("=") for part in text.split(","))
        )
        image = found["image"]
        return int(image["count"] if isinstance(image, dict) else image)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f"--limit-mm-per-prompt {text!r} names no number of images", 'write image=4, or {"image": 4}'
        ) from None


OWN_DRAFTS = ("mtp", "deepseek_mtp", "dspark", "nextn", "NEXTN", "EAGLE", "DSPARK")
"""As vLLM writes them, and in capitals as SGLang does; SGLang's EAGLE with the model's own layers. vLLM has a
name ending in _mtp for each family besides, which it reads as mtp (config/speculative.py)."""
NO_DRAFT = ("ngram", "suffix", "NGRAM")
"""Guesses from what was written before: nothing is loaded."""
OTHER_DRAFTS = (
    "eagle",
    "eagle3",
    "medusa",
    "mlp_speculator",
    "draft_model",
    "dflash",
    "ngram_gpu",
    "EAGLE3",
    "STANDALONE",
    "DFLASH",
)
KNOWN_DRAFTS = f"the model's own drafts: {', '.join(OWN_DRAFTS)}; and what needs none: ngram, suffix"


def infer(
    model: str | Model,
    gpu: str | Hardware,
    *,
    offline: bool = False,
    revision: str | None = None,
    adjust: Adjust | None = None,
    **flags: Any,
) -> Estimate:
    """Will `model` serve on `gpu`? The flags are those of `oomless infer`.

    >>> answer = infer("deepseek-r1", "h200:8", tp=8, engine_version="0.19.0")
    >>> answer.verdict, answer.kv_cache.bytes_per_token
    ('fits', 70272)
    """
    asked = serving_request(**flags)
    if asked.hf_overrides is None:
        found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    elif isinstance(model, Model):
        raise UsageError(
            "hf_overrides changes the config of a model that is named, not one that is there", "give its name"
        )
    else:
        from ..model.overrides import load_with

        found = load_with(model, asked.hf_overrides, offline=offline, revision=revision)
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    estimate = estimate_serving(found, asked, hardware, adjust)
    if engine(estimate.request.engine).buffers_follow_context:
        from ..estimate.serving.contexts import longest_context  # a search, which the others need not make

        estimate = estimate._replace(
            kv_cache=estimate.kv_cache._replace(longest_sequence=longest_context(estimate))
        )
    return estimate._replace(
        model_word=model if isinstance(model, str) else "", gpu_word=gpu if isinstance(gpu, str) else ""
    )
