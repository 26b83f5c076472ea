"""Which lines of a script run: if, elif, else and case, and what && and || join.

A test is decided where all of its words are known; a variable that nothing sets is empty, as a shell has it.
Of any other condition (a program's end, a file that is there) nobody knows, and both ways are read.
"""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

MOST_PATTERN = 200
MOST_WORDS = 6
"""Words of a test that is decided."""
MOST_OPEN = 100
"""Branches within branches."""
OPEN = re.compile(r"\$\{?[A-Za-z_]\w*\}?(?:\[[@*]\])?\}?")
"""A variable that nothing set."""
COMPARED = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
}


@dataclass
class Branch:
    """One if or case that is open."""

    subject: str | None = None
    """What a case asks for; None: an if."""
    reads: bool = True
    """Its condition or its pattern is being read."""
    runs: bool | None = None
    """Whether the part that stands here runs; None: nobody knows. While it is read, the condition so far."""
    done: bool | None = False
    """Whether a part before it ran."""
    patterns: list[str] = field(default_factory=list)

    def settle(self, holds: bool | None) -> None:
        """Begin the part whose condition was read."""
        self.runs = False if self.done is True else None if self.done is None and holds else holds
        self.done, self.reads, self.patterns = either(self.done, holds), False, []


@dataclass
class Branches:
    """Where the reading of a script stands."""

    ends: frozenset[str] = frozenset(("fi", "esac"))
    """Words that end one somewhere: Python and plain prose have an if too."""
    open: list[Branch] = field(default_factory=list)
    last: bool | None = None
    """How the command before ended."""

    def reached(self, ended: str, words: list[str]) -> tuple[bool | None, list[str]]:
        """Return (whether a line runs, what it runs); `ended`: what stands between it and the line before.

        >>> script = Branches()
        >>> for ended, line in (
        ...     ("", "if [ 8 -gt 4 ]"),
        ...     (";", "then TP=8"),
        ...     (";", "else TP=4"),
        ...     (";", "fi"),
        ...     (";", "[ a = b ]"),
        ...     ("||", "DP=2"),
        ... ):
        ...     print(*script.reached(ended, line.split()))
        None []
        True ['TP=8']
        False ['TP=4']
        None []
        None []
        True ['DP=2']
        """
        joint = ended.strip("\n")
        if self.open and ";;" in joint and self.open[-1].subject is not None:
            self.open[-1].reads = True
        words = self._keyword(words)
        here = self.open[-1] if self.open else None
        if here is not None and here.reads:
            return self._condition(here, joint, words)
        if not words:
            return None, []
        if joint in ("&&", "||") and self.last is (joint == "||"):
            return False, words
        tested, before = is_test(words), joint in ("&&", "||") and self.last is None
        self.last = holds(words)
        states = [each.runs for each in self.open]
        runs = False if False in states else None if before or None in states else True
        return (None, []) if tested else (runs, words)

    def _keyword(self, words: list[str]) -> list[str]:
        """Take the word that opens, turns or ends a branch."""
        first, may_open = words[0], len(self.open) < MOST_OPEN
        if first == "if" and "fi" in self.ends and may_open:
            self.open.append(Branch())
        elif first == "case" and "in" in words[2:3] and "esac" in self.ends and may_open:
            self.open.append(Branch(subject=words[1]))
            return words[3:]
        elif not self.open:
            return words
        elif first in ("fi", "esac"):
            self.open.pop()
        elif first == "elif":
            self.open[-1].reads, self.open[-1].runs = True, None
        elif first == "then":
            self.open[-1].settle(self.open[-1].runs)
        elif first == "else":
            self.open[-1].settle(True)
        else:
            return words
        self.last = None
        opens = first in ("then", "else") and words[1:2] in (["if"], ["case"])
        return self._keyword(words[1:]) if opens else words[1:]

    def _condition(self, here: Branch, joint: str, words: list[str]) -> tuple[bool | None, list[str]]:
        if here.subject is None:
            found = holds(words)
            joined = {"&&": both, "||": either}.get(joint)
            here.runs = joined(here.runs, found) if joined else found
            return None, []
        for at, word in enumerate(words):
            if word == "esac":
                self.open.pop()
                return None, []
            here.patterns.append(word.lstrip("(").removesuffix(")"))
            if word.endswith(")"):
                subject = word_of(here.subject)
                found = None if subject is None else any(fits(subject, each) for each in here.patterns)
                here.settle(found)
                return self.reached("", words[at + 1 :]) if words[at + 1 :] else (None, [])
        return None, []


def is_test(words: list[str]) -> bool:
    """Return whether a command only asks."""
    return words[0] in ("[", "[[", "test", "true", "false", ":", "!") or words[-1] in ("]", "]]")


def holds(words: list[str]) -> bool | None:
    """Return whether a test holds; None: it is no test, or nobody knows.

    >>> holds("[ -z $X ]".split()), holds("[[ org/m != /* ]]".split()), holds("[ 2 -le 1 ]".split())
    (True, True, False)
    >>> print(holds("[ -f serve.yaml ]".split()), holds("command -v nvidia-smi".split()))
    None None
    """
    if words[:1] == ["!"]:
        found = None if words[1:2] == ["!"] else holds(words[1:])
        return None if found is None else not found
    if words in (["true"], ["false"]):
        return words == ["true"]
    if not words or not is_test(words):
        return None
    inner = [word for word in words if word not in ("[", "[[", "]", "]]")]
    inner = inner[1:] if inner[:1] == ["test"] else inner
    if inner[:1] == ["!"] and len(inner) < MOST_WORDS:
        return holds(["!", "test", *inner[1:]])
    texts = [word_of(word) for word in inner]
    match texts:
        case [str(text)]:
            return bool(text)
        case ["-z" | "-n" as sign, str(text)]:
            return (text == "") is (sign == "-z")
        case [str(text), "=" | "==" | "!=" as sign, str(pattern)]:
            return (fits(text, pattern) if "[[" in words else text == pattern) is (sign != "!=")
        case [str(a), str(sign), str(b)] if sign in COMPARED:
            numbers = [each.isdecimal() and len(each) < 19 for each in (a, b)]
            return all(numbers) and COMPARED[sign](int(a), int(b))
    return None


def word_of(word: str) -> str | None:
    """Return a word of a test; of a variable that nothing sets, nothing; None: it is no plain word."""
    return "" if OPEN.fullmatch(word) else None if re.search(r"\$|`", word) else word


def fits(text: str, pattern: str) -> bool:
    return len(pattern) <= MOST_PATTERN and fnmatchcase(text, pattern)


def both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    return True if a is True or b is True else None if a is None or b is None else False
