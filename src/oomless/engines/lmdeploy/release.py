"""The releases of LMDeploy that were read, what each of them does (facts/engine_rules.csv), and which of its
two backends a model runs on."""

from ...facts.release import read_release
from ...model.model import Model
from ...run.serving import Asked
from ..releases import ReleaseRules, Releases


class LmdeployRules(ReleaseRules):
    """What a release of LMDeploy does."""

    shares_what_is_free: bool = False
    """The share is of what is free after loading; before, of the whole card."""
    serves_all_positions: bool = False
    """The longest session is the model's positions; before, what its chat template says."""
    cuts_prompts: bool = False
    """A step of TurboMind has at most max_prefill_token_num of a prompt; before, all of it."""
    steps_by_prefill_tokens: bool = False
    """TurboMind's buffers hold max_prefill_token_num and one more a sequence; before, a session."""
    tunes_at_start: bool = False
    """TurboMind runs a whole step before it serves."""
    batch_follows_card: bool = False
    keeps_one_copy: bool = False
    """Of the hidden states and the logits of a step, in memory that ranks share."""
    keeps_last_logits: bool = False
    """PyTorch's backend makes the logits of the last token alone."""
    reserves_last_logits: bool = False
    """PyTorch's backend sets 2 B a logit of a prefill aside; before, 7."""
    masks_pictures: bool = False
    """A tower has a mask of all its patches with each other."""
    balances_tower: bool = False
    """The tower is dealt over the ranks; before, it lay on the first."""


RELEASES = Releases(
    "lmdeploy",
    LmdeployRules,
    ("0.1.0", "0.2.5", "0.4.2", "0.5.3", "0.6.2", "0.7.0", "0.9.0", "0.10.2", "0.12.0", "0.16.0"),
    first="0",
)

ALWAYS, NEVER = "0", "1000"
CLASSES = {
    **dict.fromkeys(("llama", "internlm2", "qwen2", "internvl_chat"), (ALWAYS, NEVER)),
    **dict.fromkeys(("qwen", "baichuan", "mistral", "llava"), (ALWAYS, "0.14")),
    **dict.fromkeys(("mixtral", "qwen2_moe"), ("0.6.3", NEVER)),
    "internlm3": ("0.7", NEVER),
    "deepseek_v2": ("0.7", "0.14"),
    **dict.fromkeys(("qwen3", "qwen3_moe"), ("0.7.3", NEVER)),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), ("0.9.2", NEVER)),
    "gpt_oss": ("0.10", NEVER),
}
"""Families that TurboMind has a class for -> the release that brought it and the one that dropped it
(turbomind/supported_models.py of 0.4.2 to 0.16)."""


def on_turbomind(model: Model, asked: Asked) -> bool:
    """Whether a model runs on TurboMind: as --backend says, or where the release has its class
    (archs.py, autoget_backend).

    >>> from ...model.load import load
    >>> [on_turbomind(load(name), Asked()) for name in ("qwen2.5-7b", "deepseek-v3", "qwen3-32b")]
    [True, False, True]
    """
    if asked.backend != "auto":
        return asked.backend == "turbomind"
    since, until = CLASSES.get(model.family, (NEVER, NEVER))
    return read_release(since) <= RELEASES.at(asked.engine_version).release < read_release(until)
