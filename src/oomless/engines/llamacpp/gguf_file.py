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
    word, whole = asked.quantization or published_as(model), expands(model, asked)
    build = drafting_build(model) if asked.draft_tokens else ""  # what drafts has the layer that does
    if word == "MXFP4" and asked.engine == "ollama" and model.family == "gpt_oss":
        word = "BF16"  # its library has all but the experts in 16 bit (ollama#11711: repeating 10.7 GiB)
    kv_b: KvB = "whole" if whole else "split"
    made = _FILES.of(model, (word, kv_b, build), lambda: as_gguf(model, word, kv_b, build=build))
    if asked.engine == "ollama" and (kept := [each for each in model.tensors if each.name == LAYER_TABLE]):
        # server/quantization.go leaves it as it was: 7.5 GB of gemma3n:e4b
        tensors = tuple(kept[0] if each.name == LAYER_TABLE else each for each in made.tensors)
        return _IN_LIBRARY.of(made, (), lambda: made._replace(tensors=tensors))
    return made


_IN_LIBRARY = Kept[Model](most=8)
_FILES = Kept[Model](most=64)
"""Files by model, type and how keys and values lie in them: every stage and card asks again."""


LEGACY_FAMILIES = ("deepseek_v2", "deepseek_v3")
"""Models whose files in Ollama's library were made before kv_b was split (2025-04): every head's keys and
values are cached."""


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
    if rules_of(asked).caches_every_head:
        return model.kinds.has(MLA)
    return asked.engine == "ollama" and model.family in LEGACY_FAMILIES


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
