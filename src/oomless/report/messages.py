"""Notes, refusals, errors and hints in Chinese.

Code says them in English, with their values put in. `words/messages.csv` is the list of what it can say: a
template with `{}` for each value, and its Chinese, in which the values stand in the same order or by number.
A text is looked up by its template; what stood in the fields is looked up in turn, since a hint may quote a
reason. Nothing is decided by it: only a view asks, and what is on no list stays as it is.
"""

import re
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from .word_tables import rows_of

TABLES = ("messages", "claims", "printed")
"""Under report/words: what code says, what the guide's claims say, what a terminal alone shows."""
MOST_NESTED = 4
"""Messages within messages."""
MOST_CHARACTERS = 2_000
"""Of a text that is looked up."""
CLOSING = ("", ")", ".")
"""What a message ends with behind its last value, which may be a list."""
LISTS = ((", ", "、"), ("; ", "；"), (" + ", " + "))
"""What parts of a list stand between, and what they stand between in Chinese."""


class Template(NamedTuple):
    """A message: what stands between its values, and how it is said in Chinese."""

    parts: tuple[str, ...]
    zh: str

    @property
    def anchor(self) -> str:
        """Return the longest of its parts, without which no text is this message."""
        return max(self.parts, key=len)

    @property
    def weight(self) -> int:
        """Return how many letters must be there for a text to be this message."""
        return sum(map(len, self.parts))


@cache
def templates() -> tuple[Template, ...]:
    """Return every message, the most particular first."""
    rows = [row for table in TABLES for row in rows_of(table)]
    found = [Template(tuple(row["en"].split("{}")), row["zh"]) for row in rows]
    return tuple(sorted(found, key=lambda each: (-each.weight, each.parts)))


@cache
def _anchored() -> tuple[tuple[str, Template], ...]:
    return tuple((each.anchor, each) for each in templates())


@lru_cache(maxsize=512)
def _possible(text: str) -> list[tuple[Template, tuple[str, ...]]]:
    """Return the templates that a text has the parts of, with its values, the most particular first."""
    found = ((each, values_of(each, text)) for anchor, each in _anchored() if anchor in text)
    return [(each, values) for each, values in found if values is not None]


@cache
def _pattern(parts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, parts)), re.DOTALL)


def values_of(template: Template, text: str) -> tuple[str, ...] | None:
    """Return what stands in the fields of a text; None if it is another message.

    >>> divides = Template(("--tp ", " does not divide the ", " experts"), "")
    >>> values_of(divides, "--tp 7 does not divide the 256 experts"), values_of(divides, "--tp 7 is odd")
    (('7', '256'), None)
    """
    first, *rest = template.parts
    if not rest:
        return () if text == first else None
    if not (text.startswith(first) and text.endswith(rest[-1])) or not all(part in text for part in rest):
        return None
    found = _pattern(template.parts).fullmatch(text)
    return None if found is None else found.groups()


@lru_cache(maxsize=4096)
def in_chinese(text: str, nested: int = MOST_NESTED) -> str:
    """Return a message in Chinese; a text that is no message of ours as it is.

    >>> in_chinese("what a log of somebody else says")
    'what a log of somebody else says'
    >>> in_chinese("--ep 7 does not divide the 256 experts")
    '256 个专家不能被 --ep 7 整除'
    >>> in_chinese("did you mean deepseek-v3? `oomless models` lists all")
    '是不是要写 deepseek-v3？`oomless models` 列出全部'
    >>> (
    ...     in_chinese("CUDA context, outside PyTorch: NCCL, kernels, handles"),
    ...     in_chinese("optimizer = adamw; tp = 8"),
    ... )
    ('CUDA 上下文、PyTorch 之外：NCCL、内核、句柄', 'optimizer = adamw; tp = 8')
    >>> in_chinese("outside PyTorch: NCCL, kernels, handles, CUDA context")
    'PyTorch 之外：NCCL、内核、句柄、CUDA 上下文'
    """
    if nested < 0 or not text or len(text) > MOST_CHARACTERS:
        return text
    return (
        _by_template(text, nested, strict=True, mark=", ")
        or _listed(text, nested)
        or _by_template(text, nested, strict=True)
        or _sourced(text, nested)
        or _by_template(text, nested, strict=False)
        or _by_template(text, nested, strict=False, quotes=True)
        or text
    )


def _by_template(
    text: str, nested: int, strict: bool, mark: str = "", part: bool = False, quotes: bool = False
) -> str:
    """Return a message by the most particular template whose values are known or names, follow no key, and
    hold no list's mark but at the end, or nowhere where it is part of a list; "" without one. Strictly, a
    name is one word or has no word in small letters. `quotes`: a value in parentheses at the end may be
    another's words, which stay."""
    for template, values in _possible(text):
        inside = values if part or template.parts[-1] not in CLOSING else values[:-1]
        if any(each.startswith("= ") for each in values) or (
            mark and (template.weight <= len(": ") or any(mark in f"{each} " for each in inside))
        ):
            continue
        shown = [in_chinese(value, nested - 1) for value in values]
        unclear = _has_words if strict else is_english
        quoted = quotes and template.parts[-1] == ")" and template.parts[-2].endswith("(")
        if not any(map(unclear, shown[:-1] if quoted else shown)):
            return filled(template.zh, shown)
    return ""


def _has_words(text: str) -> bool:
    """Return whether a text is more than a name.

    >>> _has_words("num_layers"), _has_words("M3 Ultra with 512 GB"), _has_words("H100 80GB SXM5")
    (False, True, False)
    >>> _has_words("qwen3-8b --quantization awq")
    False
    """
    plain = FLAG.sub(" ", NOT_PROSE.sub(" ", text))
    return " " in text and any(WORD.fullmatch(each.strip(EDGES)) for each in plain.split())


def _sourced(text: str, nested: int) -> str:
    """Return a message whose end in parentheses is its source or a formula, which stay as they are where they
    are no message; "" of any other."""
    if not text.endswith(")"):
        return ""
    open_ones, at = 0, len(text)
    for at in range(len(text) - 1, -1, -1):
        open_ones += {")": 1, "(": -1}.get(text[at], 0)
        if not open_ones:
            break
    head, source = text[:at].rstrip(), text[at + 1 : -1]
    if not head or not QUOTED.search(source):
        return ""
    said = in_chinese(head, nested - 1)
    return "" if is_english(said) else f"{said}（{in_chinese(source, nested - 1)}）"


def _listed(text: str, nested: int) -> str:
    """Return a list of messages, each in Chinese, where every one of them is known; "" elsewhere. What a
    list is made of may hold its mark: the longest message counts."""
    for mark, chinese in LISTS:
        parts, shown = text.split(mark), list[str]()
        changed = all(" " not in part for part in parts)
        at = 0
        while at < len(parts) > 1:
            for end in range(len(parts) if at else len(parts) - 1, at, -1):
                part = mark.join(parts[at:end])
                alone = end == at + 1
                said = _by_template(part, nested - 1, True, "" if alone else mark, part=True) or part * alone
                if said:
                    break
            changed = changed or said != part
            shown.append(said)
            at = end
        if len(shown) > 1 and changed and not any(map(is_english, shown)):
            return chinese.join(shown)
    return ""


def filled(zh: str, values: list[str]) -> str:
    """Return a Chinese template with its values, in order or by number; other braces stay.

    >>> filled("{1} 个专家不能被 --ep {0} 整除", ["7", "256"]), filled("写 {} 或 {}", ["a", '{"b": 1}'])
    ('256 个专家不能被 --ep 7 整除', '写 a 或 {"b": 1}')
    """
    order = iter(range(len(values)))
    text = re.sub(r"\{(\d?)\}", lambda at: values[int(at[1]) if at[1] else next(order)], zh)
    return re.sub(BETWEEN, "", re.sub(BESIDE, " ", text))


HAN = r"\u4e00-\u9fff"
BESIDE = rf"(?<=[{HAN}])(?=[A-Za-z0-9`(-])|(?<=[A-Za-z0-9`)%])(?=[{HAN}])"
"""Between Chinese and what is not: a blank."""
BETWEEN = rf"(?<=[{HAN}]) (?=[{HAN}])"
"""Within Chinese: none."""


def is_english(text: str) -> bool:
    """Return whether a text has words of English one after the other: a name, a flag, a value, a command or
    what stands between quotes is none.

    >>> (
    ...     is_english("--tp 8 on h200:8"),
    ...     is_english("deepseek-r1, `use fewer ranks`"),
    ...     is_english("use fewer ranks"),
    ... )
    (False, False, True)
    """
    plain = NOT_PROSE.sub(" 0 ", text)
    words = [word.strip(EDGES) for word in plain.split()]
    return any(WORD.fullmatch(one) and WORD.fullmatch(two) for one, two in pairwise(words))


EDGES = "(,;:.?!)"
WORD = re.compile(r"[a-z]{2,}")
QUOTED = re.compile(r"[/#]|\d (B|x)\b")
"""What a source has, or a formula."""
NOT_PROSE = re.compile(
    r"`[^`]*`|'[^']*'|\"[^\"]*\"|[(（][^()（）]*([/#]|\d (B|x)\b)[^()（）]*(\([^()]*\)[^()]*)*[)）]"
    r"|\boomless [a-z]+( --[\w-]+)*|[\w.]+ = [\w.+-]+"
)
"""What stands between quotes, a source or a formula in parentheses, a command, a key with its value."""
FLAG = re.compile(r"--[\w-]+ [\w.-]+")
"""A flag with its value."""
