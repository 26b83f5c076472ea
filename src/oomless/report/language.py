"""Phrases and sentences of the page in English and Chinese: report/words holds them side by side.

Chinese is that of docs/zh/glossary.md. Flags, names and numbers are the same in both.
"""

import sys
from functools import cache
from itertools import groupby
from typing import Literal

from .messages import in_chinese
from .printed_tables import is_tabular, tables_said
from .word_tables import rows_of

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@cache
def _sentences() -> dict[str, dict[str, str]]:
    return {row["key"]: row for row in rows_of("page")}


@cache
def _lines() -> dict[str, str]:
    return {row["key"]: row["zh"] for row in rows_of("lines")}


@cache
def _options() -> dict[tuple[str, str], str]:
    return {
        (command, row["field"]): row["zh"]
        for row in rows_of("options")
        for command in row["commands"].split()
    }


@cache
def _exactly(table: str) -> dict[str, str]:
    return {row["en"]: row["zh"] for row in rows_of(table)}


PREFIXES = {"- ": "- ", "oomless: ": "oomless：", "note: ": "注意：", "warning: ": "警告："}
"""What stands before a sentence on a terminal."""


class Phrases:
    """What the page says, in one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return the sentence of a key with values put in.

        >>> Phrases("en")("verdict.fits", amount="3 GiB", group="every rank")
        'Fits: 3 GiB to spare on every rank'
        >>> Phrases("zh")("verdict.fits", amount="3 GiB", group="每个 rank")
        '放得下：每个 rank 还剩 3 GiB'
        """
        return _sentences()[key][self.language].format(**values)

    def known(self, key: str, otherwise: str) -> str:
        """Return the word of a key, or what stands for it where there is none.

        >>> Phrases("zh").known("category.weights", "weights"), Phrases("zh").known("category.x", "x")
        ('权重', 'x')
        """
        return _sentences()[key][self.language] if key in _sentences() else otherwise

    def line(self, key: str, what: str) -> str:
        """Return what a line of a ledger is: its own words, in Chinese those of its key.

        >>> (
        ...     Phrases("zh").line("weights.embedding", "embedding"),
        ...     Phrases("en").line("weights.embedding", "embedding"),
        ... )
        ('词嵌入表', 'embedding')
        """
        return _lines().get(key, what) if self.language == "zh" else what

    def option(self, command: str, field: str, help: str) -> str:
        """Return what an option means; `help` is the table's own English."""
        return _options().get((command, field), help) if self.language == "zh" else help

    def said(self, text: str) -> str:
        """Return a note, a reason, an error or a hint in the page's language.

        >>> Phrases("zh").said("use fewer ranks"), Phrases("en").said("use fewer ranks")
        ('减少 rank', 'use fewer ranks')
        """
        return in_chinese(text) if self.language == "zh" else text

    def cell(self, text: str) -> str:
        """Return what a cell of a printed table says: a head by the list of heads, which are no messages.

        >>> Phrases("zh").cell("cards"), Phrases("zh").cell("h200:8"), Phrases("en").cell("cards")
        ('卡', 'h200:8', 'cards')
        """
        if self.language == "en":
            return text
        said = _exactly("heads").get(text) or self.said(text)
        return text if said.replace("、", ", ") == text else said  # names and flags alone are no list of ours

    def help(self, text: str) -> str:
        """Return a paragraph of a command's help, whole also where it is cut off.

        >>> Phrases("zh").help("One JSON object on stdout.")
        '在标准输出打印一个 JSON 对象。'
        """
        if self.language == "en":
            return text
        known, cut = _exactly("help"), text.removesuffix("...")
        if cut == text:
            return known.get(text, text)
        return next((zh for en, zh in known.items() if en.startswith(cut)), text)

    def printed(self, text: str) -> str:
        """Return printed lines in the page's language: sentences as a whole, tables cell by cell, commands as
        they are.

        >>> Phrases("zh").printed("note: use fewer ranks\\n  $ oomless gpus\\n")
        '注意：减少 rank\\n  $ oomless gpus\\n'
        """
        if self.language == "en":
            return text
        found = list[str]()
        for tabular, group in groupby(text.split("\n"), is_tabular):
            lines = list(group)
            found += tables_said(lines, self.cell) if tabular else map(self._line, lines)
        return "\n".join(found)

    def _line(self, line: str) -> str:
        start, said, end = indent_of(line), line.strip(" "), tail_of(line)
        for prefix, shown in PREFIXES.items():
            if self.language == "zh" and said.startswith(prefix):
                start, said = f"{start}{shown}", said.removeprefix(prefix)
        return f"{start}{self.said(said)}{end}"

    def group(self, name: str) -> str:
        """Return what a group of equal ranks is called.

        >>> Phrases("zh").group("pipeline stage 3"), Phrases("zh").group("every rank")
        ('流水段 3', '每个 rank')
        """
        kind, _, number = name.rpartition(" ")
        return self(f"group.{kind}", number=number) if number.isdigit() else self.known(f"group.{name}", name)


def indent_of(line: str) -> str:
    """Return the blanks that a line begins with."""
    return line[: len(line) - len(line.lstrip(" "))] if line.strip(" ") else ""


def tail_of(line: str) -> str:
    """Return the blanks that a line ends with."""
    return line[len(line.rstrip(" ")) :]


def words_of(language: str) -> Phrases:
    """Return the words of a language that somebody named; of any other, English.

    >>> words_of("zh-CN").language, words_of("fr").language
    ('zh', 'en')
    """
    return Phrases("zh" if language.lower().startswith("zh") else "en")


def spoken() -> Phrases:
    """Return the words of the language that stdout puts what is printed into; English where it puts it into
    none.

    >>> spoken().language
    'en'
    """
    words: Phrases | None = getattr(sys.stdout, "words", None)
    return words or Phrases("en")
