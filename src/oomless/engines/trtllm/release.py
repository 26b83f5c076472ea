"""The releases of TensorRT-LLM that were read, and what each of them does (facts/engine_rules.csv)."""

from ..releases import ReleaseRules, Releases


class TrtllmRules(ReleaseRules):
    """What a release of TensorRT-LLM does (facts/engine_rules.csv)."""

    runs_pytorch: bool = False
    """The PyTorch backend is the default; before, engines are built from maximal shapes."""
    builds_for_whole_batches: bool = False
    """max_num_tokens has no value of its own."""
    serves_sparse_mla: bool = False
    serves_v4: bool = False
    pads_mxfp4: bool = False
    prints_tokens_in_blocks: bool = False
    shares_draft_layer: bool = False
    tries_cache_of_longest: bool = False
    """The dry run has a cache of the longest sequence."""


RELEASES = Releases("trtllm", TrtllmRules, ("0.5", "0.9", "0.17", "1.0", "1.3"), first="0")


def draft_heads(version: str | None) -> tuple[str, ...]:
    """Return the kinds of heads that a release loads: those of EAGLE 3 in one model with the target
    (llmapi's EagleDecodingConfig, Eagle3DecodingConfig), with the PyTorch backend."""
    return ("eagle3",) if RELEASES.at(version).runs_pytorch else ()
