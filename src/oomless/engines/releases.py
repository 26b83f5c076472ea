"""The releases of an engine, and what each of them does otherwise: rows of facts/engine_rules.csv by name.

A release between two that were read takes the rules of the earlier one.
"""

from functools import cache
from typing import Generic, NoReturn, TypeVar

from .. import facts
from ..errors import UsageError
from ..facts.release import Release, read_release
from ..records import Record
from ..run.speculation import HEADS

MOST_KEPT = 256
"""Releases of an engine whose rules are kept: a question names one."""


class Families(tuple[str, ...]):
    """Families of models that a rule is for: names, or with a * how names begin.

    >>> ours = Families(("llama", "qwen3*"))
    >>> [family in ours for family in ("llama", "llama4", "qwen3", "qwen3_moe")]
    [True, False, True, True]
    """

    __slots__ = ()

    def __contains__(self, family: object) -> bool:
        name = str(family)
        return any(name.startswith(each[:-1]) if each[-1] == "*" else name == each for each in self)


class ByFamily(tuple[tuple[str, int], ...]):
    """Numbers by families of models, named as in Families: the first that names a family counts.

    >>> lengths = ByFamily((("llama*", 4096), ("*", 2048)))
    >>> [lengths.of(family) for family in ("llama4", "qwen3")], ByFamily().of("qwen3")
    ([4096, 2048], 0)
    """

    __slots__ = ()

    def of(self, family: str) -> int:
        """Return the number of a family; 0: none names it."""
        return next((number for names, number in self if family in Families((names,))), 0)


NO_FAMILY = Families()
NO_NUMBERS = ByFamily()
Value = bool | int | float | Families | ByFamily


class RuleRow(Record):
    """One row of facts/engine_rules.csv: what holds from a release on, up to the one that ended it."""

    rule: str
    since: Release
    until: Release
    """() : it still holds."""
    value: Value
    """What holds, or the families of models for which it does, or numbers of theirs: those of several rows
    are put together."""

    def holds(self, release: Release) -> bool:
        """Whether the row is one of a release.

        >>> RuleRow("graph_step", (0, 16), (), 16).holds((0, 16, 0))
        True
        """
        return self.since <= release and (not self.until or release < self.until)


@cache
def rule_rows(engine: str) -> tuple[RuleRow, ...]:
    """Return the rows of an engine; a row may be of several."""
    return tuple(
        RuleRow(row["rule"], bound(row["since"]), bound(row["until"]), _value(row["value"]))
        for row in facts.rows_with("engine_rules", engine)
        if engine in row["engine"].split()
    )


def bound(cell: str) -> Release:
    """Return the release that a cell of `since` or `until` names; an empty one bounds nothing."""
    return read_release(cell) if cell else ()


def _value(cell: str) -> Value:
    if cell == "yes":
        return True
    if "=" in cell:
        parts = (each.partition("=") for each in cell.split())
        return ByFamily((names, int(number)) for names, _, number in parts)
    if cell[0].isalpha():
        return Families(cell.split())
    return int(cell) if cell.isdecimal() else float(cell)


def together(before: Value | None, value: Value) -> Value:
    """Return what two rows of a rule say: of families both, of anything else the later one."""
    match before, value:
        case Families(), Families():
            return Families((*before, *value))
        case ByFamily(), ByFamily():
            return ByFamily((*before, *value))
    return value


def first_with(engine: str, rule: str) -> str:
    """Return the first release that has a rule, as people write it.

    >>> first_with("vllm", "serves_v4"), first_with("llamacpp", "serves_v4")
    ('0.20', '2026-06')
    """
    rows = facts.table("engine_rules")
    return next(row["since"] for row in rows if engine in row["engine"].split() and row["rule"] == rule)


class ReleaseRules:
    """What a release does: an engine's own class has a field for each of its rules, with the value that it
    has where no row holds. Not a NamedTuple: fifty fields would cost more than the answer."""

    release: Release
    text: str
    """The version as it was asked for."""

    def __init__(self, release: Release, text: str, holding: dict[str, Value]) -> None:
        self.__dict__.update(holding, release=release, text=text)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"the rules of a release are as the table says: {name}")


def heads_loaded(rules: ReleaseRules) -> tuple[str, ...]:
    """Return the kinds of heads that a release loads."""
    return tuple(kind for kind in HEADS if getattr(rules, f"drafts_by_{kind}", False))


Rules = TypeVar("Rules", bound=ReleaseRules)


class Releases(Generic[Rules]):
    """The releases of an engine, whose rules are of a class of its own."""

    def __init__(
        self,
        engine: str,
        rules: type[Rules],
        versions: tuple[str, ...],
        first: str,
        dated: bool = False,
        newest_patch: bool = False,
    ) -> None:
        self.engine = engine
        self.versions = versions
        """Those whose sources were read, oldest first."""
        self.latest = versions[-1]
        self._class = rules
        self._first = first
        self._dated = dated
        """Builds are known by their dates."""
        self._newest_patch = newest_patch
        """A version of two numbers is the newest of its kind."""
        self._kept: dict[str, Rules] = {}

    def at(self, text: str | None) -> Rules:
        """Return the rules of the release that a text names; None: of the newest that is known."""
        version = self.latest if text is None else text
        found = self._kept.get(version)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[version] = self._rules(version)
        return found

    def _rules(self, text: str) -> Rules:
        release = self.release(text)
        holding: dict[str, Value] = {}
        for row in rule_rows(self.engine):
            if row.holds(release):
                holding[row.rule] = together(holding.get(row.rule), row.value)
        return self._class(release, text, holding)

    def release(self, text: str) -> Release:
        """Return the release whose rules count for a text: of one that is older than the rules here, the
        first that is known. Refuse what is no release of this engine."""
        if self._dated != (text[4:5] == "-"):
            hint = (
                f"{self.engine} has no releases: write the month of the build, {self.latest}"
                if self._dated
                else f"write it as {self.latest}; `oomless engines` lists what is known"
            )
            raise UsageError(f"{text!r} is no {'date' if self._dated else 'version'}", hint)
        release, first = read_release(text), read_release(self._first)
        if release < first:
            return first
        if self._newest_patch and len(release) == 2:
            known = [read_release(version) for version in self.versions]
            release = max((each for each in known if each[:2] == release), default=release)
        return release
