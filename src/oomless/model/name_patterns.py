"""Patterns from outside that mean tensors or modules by their names: regular expressions without
backtracking.

A config, a flag or a file may hold any expression, and Python's `re` takes for ever over some of one line.
Here an expression becomes an automaton of its character positions (Glushkov), all expressions of a list
together one automaton, and a name is read once, a character a step; pieces of names that were read are
remembered. Work is counted, so that the same list is answered, or refused, on every machine.

What looks around or back is refused, but for (?=...) and (?!...) at the beginning. Names are ASCII.
"""

from collections.abc import Iterable, Iterator

from ..files import shown
from .name_expressions import (
    END,
    MOST_POSITIONS,
    OTHER,
    START,
    Expression,
    How,
    PatternError,
    Symbols,
    read_expression,
)

MOST_AUTOMATA = 10
"""Of one list."""
MOST_WORK = 3_000_000
"""Positions looked at for one list, beside the pieces that are remembered: 0.3 s."""
MOST_PIECES = 50_000
"""Pieces that are remembered."""


class Automaton:
    """Positions of several expressions: which follow which, and which symbols each takes. Position 0 stands
    before all of them."""

    def __init__(self, how: How, prefixes: tuple[str, ...] = ("",)) -> None:
        self.how, self.prefixes = how, prefixes
        self.follow: list[int] = [0]
        self.takes = [0] * (OTHER + 1)
        self.last = 0
        self.work = MOST_WORK
        self.begun: tuple[int, bool] | None = None
        """The positions that are held, and whether an expression ended, once any of the prefixes was read."""
        self.pieces: dict[tuple[int, str], tuple[int, bool]] = {}
        self.beginnings: dict[str, tuple[int, bool]] = {}
        self.ends: dict[int, bool] = {}

    def add(self, node: Symbols) -> None:
        """Take an expression in beside those that are there."""
        empty, first, last = self.place(node)
        self.follow[0] |= first
        self.last |= last | empty

    def place(self, node: Symbols) -> tuple[bool, int, int]:
        """Give positions to a piece: whether it may take nothing, its first and its last positions."""
        match node.kind:
            case "symbols":
                bit = 1 << len(self.follow)
                self.follow.append(0)
                rest = node.symbols
                while rest:
                    low = rest & -rest
                    self.takes[low.bit_length() - 1] |= bit
                    rest ^= low
                return False, bit, bit
            case "choice":
                found = [self.place(part) for part in node.parts]
                return (
                    any(empty for empty, _, _ in found),
                    either(first for _, first, _ in found),
                    either(last for _, _, last in found),
                )
            case "row":
                return self.in_a_row(self.place(part) for part in node.parts)
            case "repeat":
                return self.again(node)

    def in_a_row(self, parts: Iterable[tuple[bool, int, int]]) -> tuple[bool, int, int]:
        empty, first, last = True, 0, 0
        for part_empty, part_first, part_last in parts:
            self.join(last, part_first)
            first |= part_first if empty else 0
            last = part_last | (last if part_empty else 0)
            empty = empty and part_empty
        return empty, first, last

    def again(self, node: Symbols) -> tuple[bool, int, int]:
        part = node.parts[0]
        if node.most == 0:
            return True, 0, 0
        copies = [self.place(part) for _ in range(node.most or max(node.least, 1))]
        if node.most is None:
            _, first, last = copies[-1]
            self.join(last, first)
        optional = [
            (empty or number >= node.least, first, last) for number, (empty, first, last) in enumerate(copies)
        ]
        return self.in_a_row(optional)

    def join(self, before: int, after: int) -> None:
        """Let each of these positions be followed by each of those."""
        for number in bits(before):
            self.follow[number] |= after
            self.count()

    def count(self) -> None:
        self.work -= 1
        if self.work < 0:
            raise PatternError("matching takes too much work", valid=True)

    def after(self, held: int, symbol: int) -> int:
        """Return the positions that are held once a symbol was read."""
        found = 0
        for number in bits(held):
            found |= self.follow[number]
            self.count()
        return found & self.takes[symbol]

    def past(self, held: int, text: str) -> tuple[int, bool]:
        """Return the positions that are held once a piece of a name was read, and whether an expression ended
        in it. Names share their pieces, so this is remembered."""
        known = self.pieces.get((held, text))
        if known is None:
            anywhere, now, ended = self.how == "search", held, bool(held & self.last)
            for char in text:
                code = ord(char)
                now = self.after(now, code if code < START else OTHER) | anywhere
                ended = ended or bool(now & self.last)
            known = now, ended
            if len(self.pieces) >= MOST_PIECES:
                self.pieces.clear()
                self.ends.clear()
                self.work = MOST_WORK
            self.pieces[held, text] = known
        return known

    def begin(self) -> tuple[int, bool]:
        """Read the prefixes: what is held behind one of them is held for all names."""
        bare = self.after(1, START) | 1, False
        read = [self.past(bare[0], prefix) if prefix else bare for prefix in self.prefixes]
        self.begun = either(held for held, _ in read), self.how != "fullmatch" and any(now for _, now in read)
        return self.begun

    def beginning(self, name: str) -> tuple[int, bool]:
        """Return the same of all pieces but the last. The names of a layer begin alike, so each beginning is
        remembered."""
        known, missing, at = None, list[int](), name.rfind(".") + 1
        while at and (known := self.beginnings.get(name[:at])) is None:
            missing.append(at)
            at = name.rfind(".", 0, at - 1) + 1
        if len(self.beginnings) + len(missing) > MOST_PIECES:
            self.beginnings.clear()
        held, ended = known or self.begun or self.begin()
        for end in reversed(missing):
            if held and not ended:
                held, now = self.past(held, name[at:end])
                ended = now and self.how != "fullmatch"
            self.beginnings[name[:end]] = held, ended
            at = end
        return held, ended

    def finds(self, name: str) -> bool:
        """Return whether the name is matched, behind any of the prefixes."""
        whole = self.how == "fullmatch"
        held, ended = self.beginning(name)
        if ended or not held:
            return ended
        held, ended = self.past(held, name[name.rfind(".") + 1 :])
        if ended and not whole:
            return True
        if held not in self.ends:
            self.ends[held] = bool((self.after(held, END) | (held if whole else 0)) & self.last)
        return self.ends[held]


def bits(mask: int) -> Iterator[int]:
    """Give the numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def either(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


class NamePatterns:
    """Expressions of one list, asked together: whether one of them means a name.

    >>> NamePatterns([r".*\\.(gate|up)_proj$"], "match").finds(["layers.3.mlp.up_proj"])
    True
    >>> NamePatterns([r"blk\\.(?:[3-9]|1\\d)\\.ffn_.*_exps\\."], "search").finds(["blk.2.ffn_up_exps.weight"])
    False
    >>> NamePatterns(["(?:[a-z]|l|.)+Z"], "match").finds(["layers." * 20])
    False
    """

    def __init__(
        self,
        expressions: Iterable[str],
        how: How,
        where: str = "pattern",
        skip_broken: bool = False,
        prefixes: tuple[str, ...] = ("",),
    ) -> None:
        """`skip_broken`: what nobody could match with is left out, as who published it never saw it match.
        `prefixes`: what may stand before a name."""
        self.where, self.prefixes = where, prefixes
        self.answers: dict[tuple[str, ...], bool] = {}
        self.together: list[Automaton] = []
        self.ahead: list[tuple[list[tuple[bool, Automaton]], Automaton]] = []
        for text in expressions:
            try:
                for each in read_expression(text, how):
                    self.add(each, how)
            except PatternError as error:
                if error.valid or not skip_broken:
                    raise PatternError(f"{where} {shown(text)}: {error.message}", error.valid) from None

    def add(self, read: Expression, how: How) -> None:
        """Take one branch of an expression in."""
        if len(self.together) + len(self.ahead) > MOST_AUTOMATA:
            raise PatternError("the list of patterns is too long", valid=True)
        if read.ahead:
            asked = [(wanted, alone(node, "match")) for wanted, node in read.ahead]
            self.ahead.append((asked, alone(read.node, how if how == "fullmatch" else "match")))
        else:
            if not self.together or len(self.together[-1].follow) + read.node.size > MOST_POSITIONS:
                self.together.append(Automaton(how, self.prefixes))
            self.together[-1].add(read.node)

    def finds(self, names: Iterable[str]) -> bool:
        """Return whether an expression means one of the spellings. Answers are remembered: a search asks
        about the same tensors for each setting."""
        spelled = tuple(names)
        known = self.answers.get(spelled)
        if known is None:
            if len(self.answers) >= MOST_PIECES:
                self.answers.clear()
            try:
                known = self.answers[spelled] = self._finds(spelled)
            except PatternError as error:
                raise PatternError(f"{self.where}: {error.message}", error.valid) from None
        return known

    def _finds(self, spelled: tuple[str, ...]) -> bool:
        for automaton in self.together:
            for name in spelled:
                if automaton.finds(name):
                    return True
        return any(
            automaton.finds(name) and all(part.finds(name) == wanted for wanted, part in asked)
            for asked, automaton in self.ahead
            for name in (prefix + each for prefix in self.prefixes for each in spelled)
        )


def alone(node: Symbols, how: How) -> Automaton:
    """Return the automaton of one expression."""
    automaton = Automaton(how)
    automaton.add(node)
    return automaton
