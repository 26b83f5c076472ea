"""The releases of KTransformers that were read, and what each of them does (facts/engine_rules.csv). From 0.4
on it runs inside of SGLang."""

from ...errors import UnsupportedError
from ..releases import NO_FAMILY, Families, ReleaseRules, Releases


class KtransformersRules(ReleaseRules):
    """What a release of KTransformers does."""

    has_class: Families = NO_FAMILY
    """Families that its rules files are for."""
    scores_prompts: bool = False
    """Latent attention makes the scores of a prompt, so many tokens at a time."""
    keeps_scores: Families = NO_FAMILY
    """Families whose scores of all parts are put together."""
    copies_absorbed: bool = False
    """Matrices that are absorbed lie beside those that they are made of."""
    widens_on_loading: bool = False
    """A tensor of the file is made F32 on the card first; scales and routers stay so."""
    quantises_head: bool = False
    """The output head is in 4 bits too."""
    cuts_prompts: bool = False
    """A step has a part of a prompt, and makes the logits of its last token alone."""
    widens_one_row: Families = NO_FAMILY
    """Families that make the logits of the last token alone F32."""
    serves_batches: bool = False
    """balance_serve, which runs several sequences."""
    cache_lens: int = 8192
    """Tokens of a server's cache, where nobody says them (configs/config.yaml)."""
    pool_gib: int = 0
    """GiB of the cache of balance_serve, whatever is asked; 0: as many tokens as asked."""


RELEASES = Releases(
    "ktransformers",
    KtransformersRules,
    ("0.1.4", "0.2.0", "0.2.1", "0.2.3", "0.2.4", "0.3", "0.3.2"),
    first="0.1",
)
INSIDE_SGLANG = (0, 4)


def rules_of(version: str | None) -> KtransformersRules:
    """Return the rules of a release that has a program of its own.

    >>> rules_of("0.2.3").quantises_head, rules_of("0.2.1").quantises_head
    (True, False)
    """
    found = RELEASES.at(version)
    if found.release >= INSIDE_SGLANG:
        raise UnsupportedError(
            f"KTransformers {found.text} runs inside of SGLang", "use --engine sglang --kt-num-gpu-experts 0"
        )
    return found
