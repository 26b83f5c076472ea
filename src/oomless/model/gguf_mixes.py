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


def words(model_name: str) -> list[str]:
    """The mixes that are known for a model.

    >>> words("qwen3-30b-a3b")
    ['IQ4_K']
    """
    return [word for name, word in _mixes() if name == model_name]
