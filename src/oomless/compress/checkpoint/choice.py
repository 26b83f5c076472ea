"""Choice: which weights are compressed, and how: by rule for what every model has, by pattern for what a user
wants."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

from ...errors import UsageError
from ..codecs.codec import Codec
from ..codecs.plain import Plain
from .source import Checkpoint
from .stored_weight import StoredWeight

LEAST_SIDE = 64
"""A matrix with fewer rows or columns stays: a gate of one row, the steps of a linear attention's heads."""
STAYS = (
    (re.compile(r"(^|\.)(lm_head|embed_out|output_head|score|classifier|pooler)(\.|$)"), "output head"),
    (re.compile(r"embed|(^|\.)(wte|wpe)$"), "embedding"),
    (re.compile(r"(^|\.)(gate|router|shared_expert_gate|weights_proj|classifier)$"), "router"),
    (re.compile(r"norm"), "norm"),
    (
        re.compile(r"(^|\.)(visual|vision\w*|audio\w*|multi_modal_projector|mm_projector|aligner)(\.|$)"),
        "encoder",
    ),
    (re.compile(r"(^|\.)(eh_proj|enorm|hnorm)(\.|$)"), "draft layer"),
    (re.compile(r"(^|\.)(compressor|engram|hc_\w+)(\.|$)"), "V4's own"),
)
"""Modules that stay as they are, by name, and what they are."""
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
EXPERTS = re.compile(r"\.experts\.")
FEED_FORWARD = re.compile(r"\.(mlp|feed_forward|ffn)\.(?!experts\.|shared_expert)")
FUSED = (
    re.compile(r"^(.*\.)(q_proj|k_proj|v_proj)$"),
    re.compile(r"^(.*\.)(gate_proj|up_proj|w1|w3)$"),
    re.compile(r"^(.*\.)(q_a_proj|kv_a_proj_with_mqa)$"),
    re.compile(r"^(.*\.)(query|key|value)$"),
    re.compile(r"^(.*\.linear_attn\.)(in_proj_qkv|in_proj_z|in_proj_q|in_proj_k|in_proj_v)$"),
)
"""Modules that engines fuse into one: they must be stored the same way."""


class Choice(NamedTuple):
    """What becomes of one weight: the codec, and why, if it stays as it is."""

    codec: Codec | None
    """None: the tensor is copied byte by byte."""
    why: str = ""


class FormatsAsked(NamedTuple):
    """Patterns are globs over module names: model.layers.0.*, *.down_proj."""

    codec: Codec
    keep: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    """Weights that are left out of the result: draft layers, an encoder."""
    formats: tuple[tuple[str, Codec], ...] = ()


def fused_group(module: str) -> str:
    """Return the name under which engines fuse a module with its neighbours; its own name where they do not.

    >>> fused_group("model.layers.0.self_attn.k_proj"), fused_group("model.layers.0.mlp.down_proj")
    ('model.layers.0.self_attn.#0', 'model.layers.0.mlp.down_proj')
    """
    for number, pattern in enumerate(FUSED):
        if found := pattern.match(module):
            return f"{found[1]}#{number}"
    return module


def chooser(
    source: Checkpoint, weights: tuple[StoredWeight, ...], asked: FormatsAsked
) -> Callable[[str, StoredWeight], Choice]:
    """Return the function that says what becomes of a weight under a name of the target."""
    dense = dense_before_experts([weight.name for weight in weights])
    names = {weight.name for weight in weights}
    exact = {name: codec for name, codec in asked.formats if name in names}
    globs = tuple((pattern, codec) for pattern, codec in asked.formats if pattern not in exact)
    unused = [
        pattern
        for pattern in (*asked.keep, *asked.skip, *(name for name, _ in globs))
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if unused:
        raise UsageError(
            f"{unused[0][:80]!r} names no weight of {source.folder}", "patterns are globs over module names"
        )
    own = Plain(source.dtype)

    def choose(name: str, weight: StoredWeight) -> Choice:
        named = exact.get(name) or next(
            (codec for pattern, codec in reversed(globs) if fnmatchcase(name, pattern)), None
        )
        why = "" if named else reason(name, weight, asked.keep, dense)
        codec = named or asked.codec
        if weight.codec is None:
            return Choice(None, "no floating type")
        if not why and codec.refusal(weight.shape[-2:] if len(weight.shape) > 1 else weight.shape):
            why = codec.refusal(weight.shape[-2:])
        if not why:
            return Choice(None, "") if codec == weight.codec else Choice(codec)
        return Choice(None if isinstance(weight.codec, Plain) else own, why)

    return choose


def reason(name: str, weight: StoredWeight, keep: tuple[str, ...], dense: frozenset[int]) -> str:
    """Return why a weight stays as it is; "" if it does not."""
    if any(fnmatchcase(name, pattern) for pattern in keep):
        return "asked for"
    if len(weight.shape) < 2 or (len(weight.shape) > 2 and not EXPERTS.search(name)):
        return "no matrix"
    for pattern, what in STAYS:
        if pattern.search(name):
            return what
    if min(weight.shape[-2:]) < LEAST_SIDE:
        return f"a side below {LEAST_SIDE}"
    layer = LAYER.search(name)
    if layer and int(layer[1]) in dense and FEED_FORWARD.search(name):
        return "dense layer before the experts"
    return ""


def dense_before_experts(names: list[str]) -> frozenset[int]:
    """Return the layers before the first one with experts; none where no layer has any."""
    with_experts = {int(found[1]) for name in names if EXPERTS.search(name) and (found := LAYER.search(name))}
    return frozenset(range(min(with_experts))) if with_experts else frozenset()
