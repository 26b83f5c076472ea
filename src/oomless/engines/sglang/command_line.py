"""SGLang's words of speculation and of graphs in ours."""

import json
from typing import Any

from ...errors import UnsupportedError
from ...run.speculation import Speculation


def need_own_experts(unknown: list[str]) -> None:
    """Refuse experts that KTransformers keeps on the host (kt-kernel), whose memory is not computed."""
    if any(flag.startswith("--kt-") for flag in unknown):
        raise UnsupportedError(
            "--kt-...: experts that KTransformers keeps on the host are not computed",
            "llama.cpp's answer to the same is near: --engine llamacpp --quantization q4_k_m --cpu-moe",
            "command",
        )


def as_sglang(flags: dict[str, Any]) -> dict[str, Any]:
    """Return flags with the algorithm and how far it drafts as one: by steps, or by the tokens that are
    verified, of which one was sampled (server_args.py); graphs of prompts may be off.

    >>> as_sglang({"cuda_graph_backend_prefill": "disabled"})
    {'disable_prefill_cuda_graph': True}
    >>> as_sglang({"cuda_graph_bs": ("1", "2", "16")})
    {'cuda_graph_max_bs': 16}
    >>> as_sglang({"speculation": "EAGLE", "speculative_num_steps": 3, "speculative_num_draft_tokens": 4})
    {'speculation': '{"method": "EAGLE", "num_speculative_tokens": 3}'}
    """
    rest = {name: value for name, value in flags.items() if name not in DRAFTED}
    if rest.pop("cuda_graph_backend_prefill", "") == "disabled":
        rest["disable_prefill_cuda_graph"] = True
    if sizes := rest.pop("cuda_graph_bs", ()):
        rest["cuda_graph_max_bs"] = max(map(int, sizes))
    verified, steps = flags.get(DRAFTED[0], 0), flags.get(DRAFTED[1], 0)
    tokens = max(verified - 1, steps)
    method = rest.get("speculation")
    if method is not None and (tokens > 0 or flags.get("draft_model")):
        draft = {"model": flags["draft_model"]} if flags.get("draft_model") else {}
        rest["speculation"] = json.dumps(
            {"method": method, "num_speculative_tokens": max(tokens, 1), **draft}
        )
    return rest


DRAFTED = ("speculative_num_draft_tokens", "speculative_num_steps", "draft_model")


def drafting_words(said: Speculation) -> list[str]:
    """Return the words that start a head or another model that drafts, one token after another; [] where the
    model's own layers do.

    >>> drafting_words(Speculation("eagle3", 3, draft="org/head"))[:4]
    ['--speculative-algorithm', 'EAGLE3', '--speculative-draft-model-path', 'org/head']
    """
    if not (said.head or said.drafter):
        return []
    method = said.head.upper() if said.head else "STANDALONE"
    sizes = {"num-steps": said.tokens, "eagle-topk": 1, "num-draft-tokens": said.tokens + 1}
    words = ["--speculative-algorithm", method]
    words += ["--speculative-draft-model-path", said.draft] if said.draft else []
    return words + [word for name, size in sizes.items() for word in (f"--speculative-{name}", str(size))]
