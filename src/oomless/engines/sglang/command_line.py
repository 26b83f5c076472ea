"""SGLang's words of speculation and of graphs in ours."""

import json
import re
from typing import Any

from ...errors import UnsupportedError, UsageError
from ...run.serving import Asked
from ...run.speculation import Speculation
from ..command_words import CommandWords

PREFILLS = "--disaggregation-mode prefill"
"""The server of prompts alone captures no graphs: neither of steps nor, as the other of a pair, of prompts
(server_args.py, _handle_pd_disaggregation and _handle_piecewise_cuda_graph)."""
DECODES = "--disaggregation-mode decode"
"""The server of steps alone keeps no prefixes, nor states of them (_handle_pd_disaggregation). Where up to 32
requests run on a rank, its table has twice as many rows more for those that wait (DecodeReqToTokenPool of
0.5.10), which are not counted: 4 B for each token that they may have."""


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of SGLang in our words."""
    need_own_experts(said.unknown)
    flags = with_variables(as_sglang(said.flags), said.before)
    if PREFILLS in said.ignored:
        flags = {"enforce_eager": not flags.get("enable_piecewise_cuda_graph"), **flags}
    if DECODES in said.ignored:
        flags = {"disable_radix_cache": True, **flags}
    ignored = [flag for flag in said.ignored if flag not in (PREFILLS, DECODES)]
    return said._replace(flags=flags, ignored=ignored, remark=remark(flags))


def need_own_experts(unknown: list[str]) -> None:
    """Refuse words of KTransformers that no table has: a share of all experts, adapters."""
    flag = next((flag for flag in unknown if flag.startswith("--kt-")), "")
    if flag:
        raise UnsupportedError(
            f"{flag}: what it changes of KTransformers' experts is not computed",
            "say --kt-num-gpu-experts instead: so many experts of each layer are on the cards",
            "command",
        )


A2A_TOKENS = {
    "deepep": "DEEPEP_NUM_MAX_DISPATCH",
    "ascend_fuseep": "DEEPEP_NUM_MAX_DISPATCH",
    "deepep_v2": "DEEPEP_V2_NUM_MAX_DISPATCH",
    "mooncake": "MOONCAKE_EP_NUM_MAX_DISPATCH",
    "nixl": "NIXL_EP_NUM_MAX_DISPATCH",
    "pplx": "PPLX_NUM_MAX_DISPATCH",
    "megamoe": "OPT_DEEPGEMM_MEGA_MOE_NUM_MAX",
}
"""What carries tokens to experts -> the middle of SGLANG_..._TOKENS_PER_RANK (environ.py)."""

READ = re.compile(r"SGLANG_(?:\w+_TOKENS_PER_RANK|OPT_USE_DEEPGEMM_MEGA_MOE)")
"""Variables that are read."""


def with_variables(flags: dict[str, Any], before: list[str]) -> dict[str, Any]:
    """Return flags with what variables before the program say of the buffers that carry tokens to experts.

    >>> with_variables({"moe_a2a_backend": "deepep"}, ["SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK=512"])
    {'moe_a2a_backend': 'deepep', 'moe_a2a_tokens': 512}
    """
    said = dict(word.split("=", 1) for word in before if "=" in word)
    found = dict(flags)
    if said.get("SGLANG_OPT_USE_DEEPGEMM_MEGA_MOE") == "1":  # before --moe-a2a-backend megamoe
        found["moe_a2a_backend"] = "megamoe"
    name = A2A_TOKENS.get(found.get("moe_a2a_backend", ""))
    tokens = said.get(f"SGLANG_{name}_TOKENS_PER_RANK", "")
    return {**found, "moe_a2a_tokens": int(tokens)} if tokens.isdecimal() and int(tokens) else found


def remark(flags: dict[str, Any]) -> str:
    """Return what a command says of how its release runs.

    >>> [remark({"quantization": word}) for word in ("awq", "awq_marlin")]
    ['awq by its own kernels', '']
    """
    if flags.get("quantization") != "awq":
        return ""
    from .release import OWN_AWQ  # few commands say so

    return OWN_AWQ


def graphs_by_phase(flags: dict[str, Any]) -> dict[str, Any]:
    """Return flags with what is captured of steps and of prompts in our words (cuda_graph_config.py of
    0.5.23). Where prompts alone are captured, a step of one sequence stands for what they share.

    >>> graphs_by_phase(
    ...     {"cuda_graph_config": '{"decode": {"max_bs": 64}, "prefill": {"backend": "disabled"}}'}
    ... )
    {'cuda_graph_max_bs': 64, 'disable_prefill_cuda_graph': True}
    >>> graphs_by_phase({"cuda_graph_backend_decode": "disabled", "disable_prefill_cuda_graph": True})
    {'disable_prefill_cuda_graph': True, 'enforce_eager': True}
    """
    rest = dict(flags)
    phases = loaded(rest.pop("cuda_graph_config", "{}"))
    steps, prompts = (phases.get(name) or {} for name in ("decode", "prefill"))
    largest = steps.get("max_bs") or max(steps.get("bs") or rest.pop("cuda_graph_bs", ()), key=int, default=0)
    if largest:
        rest["cuda_graph_max_bs"] = int(largest)
    if "disabled" in (rest.pop("cuda_graph_backend_prefill", ""), prompts.get("backend")):
        rest["disable_prefill_cuda_graph"] = True
    if "disabled" in (rest.pop("cuda_graph_backend_decode", ""), steps.get("backend")):
        none = rest.get("disable_prefill_cuda_graph")
        rest |= {"enforce_eager": True} if none else {"cuda_graph_max_bs": 1}
    return rest


def loaded(text: str) -> dict[str, Any]:
    try:
        return {**json.loads(text)}
    except (ValueError, TypeError, RecursionError):
        raise UsageError(
            f"--command: --cuda-graph-config {text[:60]!r} is not valid JSON",
            "quote the command as the shell takes it",
            "command",
        ) from None


def as_sglang(flags: dict[str, Any]) -> dict[str, Any]:
    """Return flags with the algorithm and how far it drafts as one: by steps, or by the tokens that are
    verified, of which one was sampled (server_args.py).

    >>> as_sglang({"cuda_graph_bs": ("1", "2", "16")})
    {'cuda_graph_max_bs': 16}
    >>> as_sglang({"speculation": "EAGLE", "speculative_num_steps": 3, "speculative_num_draft_tokens": 4})
    {'speculation': '{"method": "EAGLE", "num_speculative_tokens": 3}'}
    >>> as_sglang({"speculation": "NGRAM"})
    {'speculation': '{"method": "NGRAM", "num_speculative_tokens": 11}'}
    """
    rest = graphs_by_phase({name: value for name, value in flags.items() if name not in DRAFTED})
    if of_steps := rest.pop("decode_attention_backend", ""):  # whose pages and graphs count
        rest["attention_backend"] = of_steps
    if groups := rest.pop("attn_dp_size", 0):
        rest |= {"dp": groups, "enable_dp_attention": groups > 1}
    verified, steps = flags.get(DRAFTED[0], 0), flags.get(DRAFTED[1], 0)
    tokens = max(verified - 1, steps)
    method = rest.get("speculation")
    tokens = tokens or UNSAID.get(method or "", 0)
    if method is not None and (tokens or flags.get("draft_model")):
        draft = {"model": flags["draft_model"]} if flags.get("draft_model") else {}
        rest["speculation"] = json.dumps({"method": method, "num_speculative_tokens": tokens or 1, **draft})
    return rest


UNSAID = {"EAGLE": 3, "EAGLE3": 3, "NEXTN": 3, "STANDALONE": 3, "NGRAM": 11, "DSPARK": 7, "DFLASH": 15}
"""Tokens that a method drafts where nothing is said (arg_groups/speculative_hook.py: three steps, of Llama
five, whose eight tokens are not told apart here; DEFAULT_DSPARK_GAMMA of dspark_config.py; the block of
RadixArk's heads; speculative/dflash_utils.py: 16 are verified)."""
DRAFTED = ("speculative_num_draft_tokens", "speculative_num_steps", "draft_model")


def as_started(wanted: dict[str, Any], asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """Return (words that come first, fields): what drafts, and how far, takes several words."""
    said = wanted.get("speculation")
    words = [] if said is None else drafting_words(said)
    return words, {name: value for name, value in wanted.items() if name != "speculation"}


def drafting_words(said: Speculation) -> list[str]:
    """Return the words that start drafts, one token after another.

    >>> drafting_words(Speculation("eagle3", 3, draft="org/head"))[:4]
    ['--speculative-algorithm', 'EAGLE3', '--speculative-draft-model-path', 'org/head']
    >>> drafting_words(Speculation("mtp", 1))[1:4]
    ['NEXTN', '--speculative-num-steps', '1']
    >>> drafting_words(Speculation("ngram", 4))[1:]
    ['NGRAM', '--speculative-num-draft-tokens', '5']
    """
    plain = said.method.upper()
    method = said.head.upper() if said.head else "STANDALONE" if said.drafter else plain
    if said.own_draft and not said.draft and plain != "DSPARK":
        method = "NEXTN"
    sizes = {"num-steps": said.tokens, "eagle-topk": 1} if method not in TREELESS else {}
    sizes["num-draft-tokens"] = said.tokens + 1
    words = ["--speculative-algorithm", method]
    words += ["--speculative-draft-model-path", said.draft] if said.draft else []
    return words + [word for name, size in sizes.items() for word in (f"--speculative-{name}", str(size))]


TREELESS = ("NGRAM",)
"""Methods that draft without a model's steps."""
