"""The model as its GGUF file stores it."""

from typing import assert_never

from ...kept import Kept
from ...model.attention import GQA, MLA, V4, V41, Attention, Linear
from ...model.gguf_dynamic import experts_of
from ...model.gguf_mixes import KvB
from ...model.gguf_model import as_gguf, drafting_build
from ...model.model import LAYER_TABLE, Model
from ...run.serving import Resolved
from .release import is_ik, rules_of


def stored(model: Model, asked: Resolved) -> Model:
    """The model as its GGUF file stores it: the file type of --quantization, or the checkpoint's own 16
    bits."""
    if model.quantization.startswith("gguf"):
        return model
    word, whole, rules = asked.quantization or published_as(model), expands(model, asked), rules_of(asked)
    build = drafting_build(model) if asked.draft_tokens else ""  # what drafts has the layer that does
    if rules.reads_first_mixes:
        build = FIRST_MIXES
    if word == "MXFP4" and model.family in rules.keeps_16_bit_beside_mxfp4:
        word = "BF16"
    kv_b: KvB = "whole" if whole else "split"
    made = _FILES.of(model, (word, kv_b, build), lambda: as_gguf(model, word, kv_b, build=build))
    if rules.keeps_layer_table and (kept := [each for each in model.tensors if each.name == LAYER_TABLE]):
        tensors = tuple(kept[0] if each.name == LAYER_TABLE else each for each in made.tensors)
        return _IN_LIBRARY.of(made, (), lambda: made._replace(tensors=tensors))
    return made


FIRST_MIXES = "2023-12"
"""A file is no newer than the build that reads it."""
_IN_LIBRARY = Kept[Model](most=8)
_FILES = Kept[Model](most=64)
"""Files by model, type and how keys and values lie in them: every stage and card asks again."""


def published_as(model: Model) -> str:
    """The file type that a checkpoint is converted to where none is asked for: its own 16 bits, but MXFP4
    stays as it is.

    >>> from ...model.load import load
    >>> [published_as(load(name)) for name in ("gpt-oss-20b", "deepseek-v4-flash", "deepseek-v3")]
    ['MXFP4', 'MXFP4', 'BF16']
    """
    if experts_of(model.tensors) == "4 bit":
        return "MXFP4"  # experts in FP4 with a scale for 32 are repacked as they are
    return "F16" if model.dtype.name == "float16" else "BF16"


def expands(model: Model, asked: Resolved) -> bool:
    """Whether the cache of MLA holds the keys and values of every head: -mla 0, a file whose kv_b is whole,
    or a build before #12801."""
    if is_ik(asked):
        return asked.mla_attn == 0
    rules = rules_of(asked)
    return model.family in rules.keeps_kv_b_whole or (rules.caches_every_head and model.kinds.has(MLA))


def heads_of(attention: Attention, expanded: bool) -> tuple[int, int]:
    """(query heads, key-value heads) of a layer as its GGUF file says them: a latent counts as one head
    unless it is `expanded`, a state as none."""
    match attention.core:
        case GQA(num_heads=query, num_kv_heads=kv):
            return query, kv
        case MLA(num_heads=query):
            return query, query if expanded else 1
        case V4(num_heads=query) | V41(num_heads=query):
            return query, 1
        case Linear():
            return 0, 0
        case never:
            assert_never(never)
