"""The entries of a file, which remember what was read, what was taken by default, and what nobody asked
for."""

from collections.abc import Sequence
from copy import copy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import facts
from ..errors import OomlessError, UnsupportedError
from .releases import Habits, habits

UNSET = (None, "auto", "")
"""What a file writes where it leaves the choice to others: null, and DeepSpeed's word for the trainer's
value."""


class Entries:
    """Entries of one file under dotted names. Each accessor checks the type, and notes the value or the
    default."""

    def __init__(
        self, path: Path, framework: str, values: dict[str, Any], version: str | None = None
    ) -> None:
        self.path, self.framework, self.values = path, framework, values
        self.version = version
        """Releases that are named beside the file."""
        self.read: list[str] = []
        self.defaults: list[str] = []
        self.notes: list[str] = []
        self.beside: dict[str, Any] = {}
        """What stands beside the policy, by flag of `train`."""
        self.keeps_gathered = False
        """Gathered weights stay from the forward to the backward."""
        self.missing: OomlessError | None = None
        """What is wrong unless flags beside the file say how ranks divide states."""
        self.asked: set[str] = set()
        self.like = framework
        """Whose harmless entries are its own, too."""
        self.prefix = ""
        """How the names begin that are asked for."""

    def within(self, prefix: str) -> "Entries":
        """Return the same entries, asked for by what stands behind a prefix.

        >>> entries = Entries(Path("x"), "verl", {"actor.strategy": "fsdp2"})
        >>> entries.within("actor.").text("strategy"), entries.read
        ('fsdp2', ['actor.strategy = fsdp2'])
        """
        found = copy(self)
        found.prefix = self.prefix + prefix
        return found

    def habits(self, package: str) -> Habits:
        """What the named releases of a package do otherwise than its newest one.

        >>> Entries(Path("x"), "verl", {}, "verl 0.5.0").habits("verl").fixed_segments
        True
        """
        return habits(self.framework, (package,), self.version)

    def has(self, *names: str) -> bool:
        """Whether one of the names has a value of its own."""
        return any(self.values.get(self.prefix + name) not in UNSET for name in names)

    def named(self, value: Any) -> str:
        """Return the one entry that was read with a value; "" where none or several were.

        >>> entries = Entries(Path("x"), "trl", {"lora_r": 0, "packing": False})
        >>> entries.whole("lora_r", default=16), entries.named(0), entries.named(16)
        (0, 'lora_r', '')
        """
        found = [
            name for name, _, said in (each.partition(" = ") for each in self.read) if said == _short(value)
        ]
        return found[0] if len(found) == 1 else ""

    def _find(self, names: Sequence[str], default: Any) -> tuple[str, Any, bool]:
        names = [self.prefix + name for name in names]
        self.asked.update(names)
        for name in names:
            if isinstance(value := self.values.get(name), list) or value not in UNSET:
                if (said := f"{name} = {_short(value)}") not in self.read:
                    self.read.append(said)
                return name, value, True
        if default is not None and (said := f"{names[0]} = {_short(default)}") not in self.defaults:
            self.defaults.append(said)
        return names[0], default, False

    def _fault(self, name: str, value: Any, kind: str) -> OomlessError:
        return OomlessError(f"{self.path}: {name} is {_short(value)}, which is no {kind}", "correct the file")

    def whole(self, *names: str, default: int) -> int:
        """A whole number; 5e8 and "8" count as one."""
        name, value, _ = self._find(names, default)
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._fault(name, value, "whole number")
        if abs(value) >= 1 << 62:
            raise self._fault(name, value, "number of a reasonable size")
        return value

    def number(self, *names: str, default: float) -> float:
        name, value, _ = self._find(names, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise self._fault(name, value, "number")
        return float(value)

    def switch(self, *names: str, default: bool) -> bool:
        """Yes or no."""
        name, value, _ = self._find(names, default)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if value in (0, 1):
            value = bool(value)
        if not isinstance(value, bool):
            raise self._fault(name, value, "yes or no")
        return value

    def away(self, switches: dict[str, str]) -> tuple[str, ...]:
        """What is offloaded, by the switch that says so."""
        return tuple(what for what, name in switches.items() if self.switch(name, default=False))

    def text(self, *names: str, default: str | None = None) -> str | None:
        name, value, _ = self._find(names, default)
        if value is not None and not isinstance(value, str):
            if isinstance(value, int | float):
                return str(value)
            raise self._fault(name, value, "word")
        return value

    def words(self, *names: str) -> tuple[str, ...]:
        """A list of words, or words with commas between them, in brackets as Hydra has them or not."""
        name, value, found = self._find(names, None)
        if not found:
            return ()
        if isinstance(value, str):
            value = [part.strip(" '\"") for part in value.strip("[]").split(",")]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._fault(name, value, "list of words")
        return tuple(each for each in value if each)

    def optimizer(self, *names: str, default: str) -> str:
        """An optimizer of facts/optimizers.csv by the word that the framework has for it
        (facts/optimizer_words.csv)."""
        word = (self.text(*names, default=default) or default).lower()
        for row in facts.table("optimizer_words"):
            if row["word"] == word and row["framework"] in ("", self.framework):
                return row["optimizer"]
        known = ", ".join(
            row["word"] for row in facts.table("optimizer_words") if row["framework"] in ("", self.framework)
        )
        raise UnsupportedError(f"{self.path}: optimizer {word!r} is not known", f"known are {known}")

    def refuse(self, names: Sequence[str], reason: str) -> None:
        """An error if an entry asks for what no formula covers."""
        for name in names:
            self.asked.add(name)
            if self.values.get(name) not in (*UNSET, False, 0, []):
                raise UnsupportedError(
                    f"{self.path}: {name} = {_short(self.values[name])}: {reason}",
                    "leave it out for an estimate",
                )

    def towers(self, tower: str, *others: str, counted: bool) -> bool | None:
        """Return whether a vision tower is trained, where its switch says so, and note what is trained beside
        the language model and not `counted`. Names are switches that keep it frozen, as a framework does by
        itself."""
        free = [name for name in (tower, *others) if self.has(name) and not self.switch(name, default=True)]
        for name in free[1:] if counted and free[:1] == [tower] else free:
            self.note(
                f"{name} = false: gradients and states of what is not the language model are not counted"
            )
        return True if counted and tower in free else None

    def pixels(self, *names: str) -> int | None:
        """Return the most pixels of an image, by the first of several names that is there; None: by the
        framework."""
        return self.whole(*names, default=0) or None if self.has(*names) else None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warnings(self) -> tuple[str, ...]:
        """Notes of the reader, and entries that were not asked for and are not known to leave memory
        alone."""
        rows = facts.table("training_keys")
        alike = {self.framework, self.like}
        harmless = [row["key"] for row in rows if alike & {*row["framework"].split()}]
        found = list(self.notes)
        for name, value in self.values.items():
            if (
                name in self.asked
                or (isinstance(value, bool | None) and not value)
                or value in UNSET
                or value == []
            ):
                continue
            if not any(fnmatchcase(name, pattern) for pattern in harmless):
                found.append(f"{name} = {_short(value)} is not understood and may change memory")
        return tuple(found)


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
