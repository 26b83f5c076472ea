"""Mixes of types that were chosen by hand for one model and published: which type each tensor has, as recipe
and loader's log say.

A row of facts/gguf_mixes.csv has rules in order: a pattern of the tensor's name, with `:3-5` only in these
layers, and the type. Its `published_gib` is what the loader of the real file printed; a test holds the sum
against it.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple, cast

from .. import facts
from .gguf_types import TYPES, SizeSpread
from .storage import Shape

KvB = Literal["split", "whole", "both"]
"""How a file keeps MLA's kv_b: in k_b and v_b (llama.cpp#12801, April 2025), whole (before), or both
(ik_llama.cpp then)."""
REPACKED = {
    "Q8_0_R8": "Q8_0",
    "Q4_0_R8": "Q4_0",
    "Q5_0_R4": "Q5_0",
    "Q6_K_R4": "Q6_K",
    "Q4_K_R4": "Q4_K_M",
    "Q5_K_R4": "Q5_K_M",
}
REPACKED |= {"Q3_K_R4": "Q3_K_M", "IQ4_XS_R8": "IQ4_XS", "IQ4_NL_R4": "IQ4_NL", "BF16_R16": "BF16"}
"""Files of ik_llama.cpp whose rows were only laid out anew (llama-quantize --repack): as many bytes as
before. Which of its mixes a Q4_K file was before, its word does not say: _M is by far the most published."""


class MixRule(NamedTuple):
    pattern: str
    layers: range | None
    type_name: str


class GgufMix(NamedTuple):
    kv_b: KvB
    rules: tuple[MixRule, ...]

    def type_of(self, name: str, layer: int) -> str:
        """The type of a tensor that is quantised at all.

        >>> published("deepseek-r1-0528", "IQ3_K_R4").type_of("blk.7.ffn_down_exps.weight", 7)
        'IQ4_KS_R4'
        """
        for rule in self.rules:
            if (rule.layers is None or layer in rule.layers) and re.search(rule.pattern, name):
                return rule.type_name
        raise AssertionError(
            f"no rule for {name}"
        )  # the last rule of every row matches any name; a test loads them all

    def fitting(self, name: str, shape: Shape, layer: int) -> str:
        """The same, or what is taken where a row is no whole number of its blocks."""
        kind = self.type_of(name, layer)
        if shape[-1] % TYPES[kind].block == 0:
            return kind
        return "Q6_0" if int(re.sub(r"\D", "", kind)[:1] or 8) > 4 else "IQ4_NL"


@lru_cache
def _mixes() -> dict[tuple[str, str], GgufMix]:
    return {
        (row["model"], row["word"]): GgufMix(cast(KvB, row["kv_b"]), tuple(map(_rule, row["rules"].split())))
        for row in facts.table("gguf_mixes")
    }


def _rule(text: str) -> MixRule:
    pattern, _, name = text.rpartition("=")
    pattern, _, span = pattern.partition(":")
    first, _, last = span.partition("-")
    return MixRule(pattern, range(int(first), int(last) + 1) if span else None, name)


def published(model_name: str, word: str) -> GgufMix | None:
    """The mix of that name that somebody published for this model."""
    return _mixes().get((model_name, word.upper()))


OF_IK = re.compile(r"(?:SMOL-|MIX-)?(IQ[1-6]_K(?:SS|[STL])?)(?:_R[48])?")
"""Types of ik_llama.cpp that nobody gives to all tensors of a file: files are called by that of gates and ups
of the experts."""
MORE_BITS = {"IQ4_KSS": "IQ4_KS", "IQ2_KL": "IQ3_KS", "IQ6_K": "Q8_0", "IQ5_KS": "IQ6_K"}
"""What leads back has a bit more in published recipes; where it is not the same kind."""
OF_EXPERTS, OF_OTHERS, OF_DENSE = (0.92, 1.03), (0.7, 1.3), (0.93, 1.12)
"""From one type for all experts to the next one for more of them; attention, shared experts and ends are Q4_0
to Q8_0, of dense models a bit more than the rest (recipes of ubergarm, AesSedai and Thireus)."""


def usual(word: str, experts: bool) -> GgufMix | None:
    """A mix as they are published for a type of ik_llama.cpp: gates and ups of that type, what leads back of
    the next one, the rest in 6 bit.

    >>> usual("IQ4_KSS", True).type_of("blk.7.ffn_down_exps.weight", 7), usual("Q4_K_M", True)
    ('IQ4_KS', None)
    """
    found = OF_IK.fullmatch(word.upper())
    if found is None or found[1] not in TYPES:
        return None
    kind = found[1]
    up = f"IQ{int(kind[2]) + 1}_{kind[4:]}"
    more = MORE_BITS.get(kind) or (up if up in TYPES else "IQ6_K")
    rules = f"ffn_down_exps={more} _exps={kind}" if experts else f"ffn_down={more} ffn_={kind}"
    return GgufMix("split", tuple(map(_rule, (*rules.split(), ".=Q6_K"))))


def hand_made(model_name: str, word: str, experts: bool) -> GgufMix | None:
    """The mix of that name that somebody published for this model, or as it is usual."""
    return published(model_name, word) or usual(word, experts)


def hand_spread(model_name: str, word: str, experts: bool) -> SizeSpread | None:
    """How far a file may lie from `usual`; None: its recipe is known, or it is of another type."""
    if published(model_name, word) or not usual(word, experts):
        return None
    return SizeSpread(OF_EXPERTS, OF_OTHERS) if experts else SizeSpread(OF_DENSE, OF_DENSE)


OTHER_RECIPES = "as in published recipes of other models"


def size_note(word: str, because: str) -> str:
    """Return the note on a file whose types are not known one by one."""
    return (
        f"{word}: only the file says which layer has which type; its size is {because}. "
        "Give the file for an exact answer"
    )


def words(model_name: str) -> list[str]:
    """The mixes that are known for a model.

    >>> words("qwen3-30b-a3b")
    ['IQ4_K']
    """
    return [word for name, word in _mixes() if name == model_name]
