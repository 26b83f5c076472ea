"""A regular expression from outside -> its parts: what `name_patterns` makes automata of."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal, NamedTuple

from ..errors import UnsupportedError

How = Literal["match", "search", "fullmatch"]
"""As in Python's re: from the beginning, anywhere, all of it."""

MOST_CHARACTERS = 1_000
"""Of one expression; the longest in published configs has 120."""
MOST_POSITIONS = 2_000
"""Of one automaton: characters that expressions name, with copies for what is repeated some times."""
MOST_NESTED = 40
START, END, OTHER = 128, 129, 130
"""Symbols beside ASCII: before a name, behind it, and any other character."""


class PatternError(UnsupportedError):
    """Why an expression is not used. `valid`: others could read it, so that to leave it out would be a
    guess."""

    def __init__(self, message: str, valid: bool = False) -> None:
        super().__init__(message, "write it in simpler words: names, groups and repeats")
        self.valid = valid


class Symbols(NamedTuple):
    """A piece of an expression: symbols that it takes at one position, or parts in a row, beside each other,
    or again."""

    kind: Literal["symbols", "row", "choice", "repeat"]
    symbols: int = 0
    parts: tuple["Symbols", ...] = ()
    least: int = 1
    most: int | None = 1
    """None: as often as it likes."""
    size: int = 1
    """Positions, with copies for repeats."""


class Expression(NamedTuple):
    """An expression as read: what must and must not begin where it begins, and what it takes."""

    node: Symbols
    ahead: tuple[tuple[bool, Symbols], ...] = ()


def row(parts: Iterable[Symbols]) -> Symbols:
    found = tuple(parts)
    return found[0] if len(found) == 1 else Symbols("row", parts=found, size=sum(part.size for part in found))


@cache
def symbols_of(atom: str, ignore_case: bool) -> int:
    """Return the characters that one literal, escape or class takes, as bits.

    >>> symbols_of("[ab]", False) == 1 << ord("a") | 1 << ord("b")
    True
    """
    import warnings

    if atom == ".":
        return (1 << START) - 1 | 1 << OTHER
    literal = atom[-1]
    if not ignore_case and (len(atom) == 1 or (len(atom) == 2 and atom[0] == "\\" and not literal.isalnum())):
        return 1 << (ord(literal) if literal.isascii() else OTHER)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of brackets in brackets
            one = re.compile(atom, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(str(error)) from None
    found = sum(1 << code for code in range(128) if one.fullmatch(chr(code)))
    return found | (1 << OTHER if one.fullmatch("\uffff") else 0)


class ExpressionReader:
    """Reads an expression from left to right."""

    def __init__(self, text: str, ignore_case: bool) -> None:
        self.text, self.ignore_case, self.position, self.depth = text, ignore_case, 0, 0

    def peek(self, length: int = 1) -> str:
        return self.text[self.position : self.position + length]

    def take(self, length: int = 1) -> str:
        found = self.peek(length)
        self.position += length
        return found

    def choice(self) -> Symbols:
        """Everything up to the end or a closing parenthesis."""
        branches = [row(self.branch())]
        while self.peek() == "|":
            self.take()
            branches.append(row(self.branch()))
        if len(branches) == 1:
            return branches[0]
        return Symbols("choice", parts=tuple(branches), size=sum(branch.size for branch in branches))

    def branch(self) -> Iterator[Symbols]:
        while (char := self.peek()) and char not in "|)":
            yield self.repeated(self.atom())

    def atom(self) -> Symbols:
        char = self.take()
        match char:
            case "(":
                return self.group()
            case "[":
                start = self.position - 1
                first = self.take(2 if self.peek(2) in ("^]", "^\\") else 1)
                if first.endswith("\\"):
                    self.take()
                while self.position < len(self.text) and self.peek() != "]":
                    self.take(2 if self.peek() == "\\" else 1)
                self.take()
                return Symbols("symbols", symbols_of(self.text[start : self.position], self.ignore_case))
            case "\\":
                return self.escape()
            case "^":
                return Symbols("symbols", 1 << START)
            case "$":
                return Symbols("symbols", 1 << END)
            case "*" | "+" | "?":
                raise PatternError(f"nothing to repeat before {char}")
        return Symbols("symbols", symbols_of(char if char == "." else re.escape(char), self.ignore_case))

    def escape(self) -> Symbols:
        letter = self.take()
        if not letter:
            raise PatternError("nothing stands behind \\")
        if letter in "AZ":
            return Symbols("symbols", 1 << (START if letter == "A" else END))
        if letter in "123456789bBgkG":
            raise PatternError(f"\\{letter} looks at what stands elsewhere", valid=True)
        more = {"x": 2, "u": 4, "U": 8}.get(letter, 0)
        return Symbols("symbols", symbols_of(f"\\{letter}{self.take(more)}", self.ignore_case))

    def group(self) -> Symbols:
        if self.peek() == "?":
            self.take()
            named = re.compile(r"P<\w+>|<[A-Za-z]\w*>|:").match(self.text, self.position)
            if not named:
                raise PatternError(f"(?{self.peek(2)} is not matched here", valid=True)
            self.take(named.end() - self.position)
        return self.enclosed()

    def enclosed(self) -> Symbols:
        """What stands up to the closing parenthesis, which is taken too."""
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise PatternError(f"more than {MOST_NESTED} groups within each other", valid=True)
        found = self.choice()
        self.depth -= 1
        if self.take() != ")":
            raise PatternError("a parenthesis is missing")
        return found

    def repeated(self, node: Symbols) -> Symbols:
        """The piece with what stands behind it: ?, *, +, {2,5}; whether it is lazy changes no answer."""
        while True:
            found = re.compile(r"[?*+]|\{(\d{0,5})(,?)(\d{0,5})\}").match(self.text, self.position)
            if not found or found[0] in ("{}", "{,}"):
                return node
            self.take(len(found[0]))
            if self.peek() == "+":
                raise PatternError("possessive repeats are not matched here", valid=True)
            if self.peek() == "?":
                self.take()
            simple: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
            if found[0] in simple:
                least, most = simple[found[0]]
            else:
                least = int(found[1] or 0)
                most = (int(found[3]) if found[3] else None) if found[2] else least
            if most is not None and most < least:
                raise PatternError(f"{found[0]} is no number of times")
            size = node.size * max(1, least + 1 if most is None else most)
            node = Symbols("repeat", parts=(node,), least=least, most=most, size=size)
            if size > MOST_POSITIONS:
                raise PatternError(f"it takes more than {MOST_POSITIONS:,} positions", valid=True)


def read_expression(text: str, how: How) -> Iterator[Expression]:
    """Give the branches of an expression, each with what it asks for ahead; PatternError: it is none, or not
    matched here."""
    if len(text) > MOST_CHARACTERS:
        raise PatternError(f"it has more than {MOST_CHARACTERS:,} characters", valid=True)
    bare = text.removeprefix("(?i)")
    reader = ExpressionReader(bare, bare != text)
    while True:
        ahead: list[tuple[bool, Symbols]] = []
        anchored = how != "search"
        if reader.peek(4) in ("^(?=", "^(?!"):
            reader.take()
            anchored = True
        while anchored and reader.peek(3) in ("(?=", "(?!"):
            wanted = reader.take(3) == "(?="
            ahead.append((wanted, reader.enclosed()))
        node = row(reader.branch())
        if node.size > MOST_POSITIONS:
            raise PatternError(f"it takes more than {MOST_POSITIONS:,} positions", valid=True)
        yield Expression(node, tuple(ahead))
        if not (more := reader.take()):
            return
        if more == ")":
            raise PatternError("a parenthesis too many")
