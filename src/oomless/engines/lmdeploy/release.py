"""The releases of LMDeploy that were read, what each of them does (facts/engine_rules.csv), and which of its
two backends a model runs on."""

from ...model.model import Model
from ...run.serving import Asked
from ..releases import NO_FAMILY, NO_NUMBERS, ByFamily, Families, ReleaseRules, Releases


class LmdeployRules(ReleaseRules):
    """What a release of LMDeploy does."""

    shares_what_is_free: bool = False
    """The share is of what is free after loading; before, of the whole card."""
    session_of_template: ByFamily = NO_NUMBERS
    """The longest session is what a chat template says; later the model's positions."""
    cuts_sessions: bool = False
    """TurboMind cuts a session to what its pool holds."""
    cuts_pytorch_sessions: bool = False
    """The other backend does."""
    cuts_prompts: bool = False
    """A step of TurboMind has at most max_prefill_token_num of a prompt; before, all of it."""
    steps_by_prefill_tokens: bool = False
    """TurboMind's buffers hold max_prefill_token_num and one more a sequence; before, a session."""
    tunes_at_start: bool = False
    """TurboMind runs a whole step before it serves."""
    batch_follows_card: bool = False
    copies_of_step: int = 1
    """Of the hidden states and the logits of a step, in memory that ranks share."""
    copies_of_ids: int = 5
    """Of the tokens of each sequence, 4 B each."""
    keeps_last_logits: bool = False
    """PyTorch's backend makes the logits of the last token alone."""
    reserves_last_logits: bool = False
    """PyTorch's backend sets 2 B a logit of a prefill aside; before, 7."""
    has_turbomind_class: Families = NO_FAMILY
    """Families that TurboMind runs."""
    masks_pictures: Families = NO_FAMILY
    """A tower has a mask of all its patches with each other."""
    balances_tower: bool = False
    """The tower is dealt over the ranks; before, it lay on the first."""


RELEASES = Releases(
    "lmdeploy",
    LmdeployRules,
    ("0.1.0", "0.2.5", "0.4.2", "0.5.3", "0.6.2", "0.7.0", "0.9.0", "0.10.2", "0.12.0", "0.16.0"),
    first="0",
)


def on_turbomind(model: Model, asked: Asked) -> bool:
    """Whether a model runs on TurboMind: as --backend says, or where the release has its class
    (archs.py, autoget_backend).

    >>> from ...model.load import load
    >>> [on_turbomind(load(name), Asked()) for name in ("qwen2.5-7b", "deepseek-v3", "qwen3-32b")]
    [True, False, True]
    """
    if asked.backend != "auto":
        return asked.backend == "turbomind"
    return model.family in RELEASES.at(asked.engine_version).has_turbomind_class
