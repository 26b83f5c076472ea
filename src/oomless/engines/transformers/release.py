"""The releases of transformers that were read, and what each of them does (facts/engine_rules.csv)."""

from ..releases import NO_FAMILY, Families, ReleaseRules, Releases


class TransformersRules(ReleaseRules):
    """What a release of transformers does (facts/engine_rules.csv)."""

    caches_latents: bool = False
    has_sparse_models: bool = False
    stacks_experts: bool = False
    scores_eagerly: Families = NO_FAMILY
    may_fuse: Families = NO_FAMILY
    """A kernel may spare their scores."""
    masks_windows: bool = False
    keeps_last_logits: bool = False
    """generate asks for the logits of the last token alone."""


RELEASES = Releases("transformers", TransformersRules, ("4.44", "4.57", "5.24"), first="4.0")
