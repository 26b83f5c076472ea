"""Speculation: who drafts tokens, and how many at a time. Read as vLLM's JSON, a method's name, or a
number."""

from typing import Any

from ..errors import UnsupportedError, UsageError
from ..records import Record

OWN_DRAFTS = ("mtp", "deepseek_mtp", "dspark", "nextn", "NEXTN", "EAGLE", "DSPARK")
"""Methods that load the MTP or draft layers of the checkpoint itself: as vLLM writes them, and in capitals as
SGLang does (its EAGLE with the model's own layers). vLLM has a name ending in _mtp for each family besides,
which it reads as mtp (config/speculative.py)."""
NO_DRAFT = ("ngram", "suffix", "NGRAM")
"""Guesses from what was written before: nothing is loaded."""
MODEL_DRAFTS = ("draft_model", "STANDALONE")
"""Methods whose draft is a language model like any other, in vLLM's word and SGLang's."""
HEADS = ("eagle", "eagle3", "dflash", "dspark", "assistant")
"""Methods whose draft is a head made for the model, as vLLM writes them; SGLang writes capitals, and calls
one of its EAGLE heads by the same word as the model's own layers: the head that is named tells them apart.
DSpark is either, too (estimate/serving/drafting.py).
Google's for Gemma 4 are named assistant; vLLM's method for them is mtp."""
OTHER_DRAFTS = ("medusa", "mlp_speculator", "ngram_gpu")
"""Methods that load a head of another kind."""
KNOWN_DRAFTS = (
    f"the model's own drafts: {', '.join(OWN_DRAFTS)}; a head: {', '.join(HEADS)}; a model beside it; and "
    "ngram, suffix"
)
MOST_TOKENS = 1024


class Speculation(Record):
    """How tokens are drafted."""

    method: str
    """As it was written: mtp, EAGLE, ngram ..."""
    tokens: int = 1
    """Drafted at a time."""
    accepted_length: float | None = None
    """Tokens of a step that hold, the verified one among them; None: not known."""
    draft: str | None = None
    """The draft model or head, where it is one of its own."""

    @property
    def own_draft(self) -> bool:
        """Return whether the checkpoint's own MTP or draft layers are loaded.

        >>> Speculation("qwen3_next_mtp", 2).own_draft, Speculation("ngram", 4).own_draft
        (True, False)
        """
        return self.head is None and (self.method in OWN_DRAFTS or self.method.endswith("_mtp"))

    @property
    def head(self) -> str | None:
        """Return the kind of head that drafts, of `HEADS`; None: none does. A name says more than the
        method.

        >>> said = Speculation("EAGLE"), Speculation("EAGLE", draft="Tengyunw/qwen3_8b_eagle3")
        >>> [each.head for each in (*said, Speculation("eagle3", 3), Speculation("eagle"))]
        [None, 'eagle3', 'eagle3', 'eagle']
        >>> Speculation("mtp", 4, draft="google/gemma-4-31B-it-assistant").head
        'assistant'
        >>> Speculation("dflash", 15, draft="meta-models/Muse-Glimmer-30B-assistant").head
        'dflash'
        """
        named, method = (self.draft or "").lower(), self.method.lower()
        if named.endswith("-assistant") and method != "dflash":  # Muse Glimmer's is one of that method
            return "assistant"
        if method not in HEADS or (self.method in OWN_DRAFTS and "eagle" not in named):
            return None
        return "eagle3" if "eagle3" in named else method

    @property
    def drafter(self) -> str | None:
        """Return the name of the language model that drafts; None: none does.

        >>> (
        ...     Speculation("draft_model", 5, draft="qwen2.5-7b-instruct").drafter,
        ...     Speculation("mtp").drafter,
        ... )
        ('qwen2.5-7b-instruct', None)
        """
        return self.draft if self.method in MODEL_DRAFTS else None

    @property
    def loads_draft(self) -> bool:
        """Return whether layers that draft lie beside the model's own."""
        return self.own_draft or self.head is not None or self.drafter is not None

    def check(self) -> None:
        """Refuse a method that nobody knows, and a draft whose memory is not known."""
        if self.method in MODEL_DRAFTS and not self.draft:
            raise UsageError(
                f"speculative method {self.method!r} names no model that drafts",
                'name it: {"model": "qwen2.5-7b-instruct", "num_speculative_tokens": 5}',
                field="speculation",
            )
        if self.method in OTHER_DRAFTS:
            raise UnsupportedError(
                f"speculative method {self.method!r} loads a draft of its own, which is not known",
                f"known are {KNOWN_DRAFTS}",
                field="speculation",
            )
        if not self.loads_draft and self.method not in NO_DRAFT:
            raise UsageError(
                f"speculative method {self.method!r} is not known",
                f"known are {KNOWN_DRAFTS}",
                field="speculation",
            )


def read_speculation(value: object, where: str) -> Speculation | None:
    """Return what a method's name, vLLM's JSON, a number of drafted tokens or a saved answer says; None for
    0.

    >>> read_speculation("mtp", ""), read_speculation("3", "")
    (Speculation(method='mtp', tokens=1, accepted_length=None, draft=None),
     Speculation(method='mtp', tokens=3, accepted_length=None, draft=None))
    >>> read_speculation('{"method": "eagle3", "num_speculative_tokens": 2, "model": "org/draft"}', "").draft
    'org/draft'
    """
    if isinstance(value, Speculation):
        return value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        import json

        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise fault(value, where, 'write mtp, or {"method": "mtp"}') from None
    if isinstance(value, dict):
        return _of_keys(value, where)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text.isdecimal() and len(text) < 10:
        return Speculation("mtp", _tokens(int(text), where)) if int(text) else None
    if not text or text.startswith("-") or text[0].isdigit():
        raise fault(value, where, "write mtp, vLLM's JSON, or how many tokens are drafted")
    return Speculation(text)


def _of_keys(keys: dict[str, Any], where: str) -> Speculation:
    """The value of vLLM's keys, or of our own in a saved answer."""
    draft, length = keys.get("model", keys.get("draft")), keys.get("accepted_length")
    tokens = keys.get("num_speculative_tokens", keys.get("tokens", 1))
    method = keys.get("method", method_of(draft))
    if not isinstance(method, str) or not isinstance(draft, str | None):
        raise fault(keys, where, 'write {"method": "mtp", "num_speculative_tokens": 1}')
    num = _tokens(tokens, where)
    if isinstance(length, bool) or not isinstance(length, int | float | None):
        raise fault(keys, where, "accepted_length is a number of tokens")
    if length is not None and not 1 <= length <= num + 1:
        raise fault(keys, where, f"of a step that drafts {num}, 1 to {num + 1} tokens hold (accepted_length)")
    return Speculation(method, num, length, draft)


def method_of(draft: object) -> str:
    """Return the method of a draft that is named alone, as vLLM's config/speculative.py tells it.

    >>> [method_of(name) for name in ("yuhuili/EAGLE-LLaMA3-Instruct-8B", "org/x-Eagle3", "qwen3-0.6b", None)]
    ['eagle', 'eagle3', 'draft_model', '']
    """
    named = str(draft or "").lower()
    if "eagle" in named and ("eagle-" in named or "eagle3" in named):
        return "eagle3" if "eagle3" in named else "eagle"
    if named.endswith("-assistant"):
        return "assistant"
    return "draft_model" if named else ""


def _tokens(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_TOKENS:
        raise fault(value, where, f"1 to {MOST_TOKENS:,} tokens are drafted at a time")
    return value


def fault(value: object, where: str, hint: str) -> UsageError:
    """Return the error of a value that says nothing about drafts."""
    return UsageError(f"{where} is {str(value)[:60]!r}", hint, field="speculation")
