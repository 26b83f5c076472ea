"""A Record is a NamedTuple: both made of the same body do the same."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from oomless.records import Record


class Ours(Record):
    """A body."""

    name: str
    size: int = 1
    parts: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        """A field, doubled."""
        return 2 * self.size


class Theirs(NamedTuple):
    """The same body."""

    name: str
    size: int = 1
    parts: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        """A field, doubled."""
        return 2 * self.size


class Narrower(Ours):
    """A record may have a child, which has the same fields."""

    __slots__ = ()


Use = Callable[[Any], Any]
RIGHT: dict[str, Use] = {
    "in place": lambda each: each("a", 2, ("b",)),
    "with defaults": lambda each: each("a"),
    "with some defaults": lambda each: each("a", 3),
    "by name": lambda each: each(parts=("b",), name="a"),
    "both": lambda each: each("a", parts=("b",)),
    "made": lambda each: each._make(["a", 2, ()]),
    "replaced": lambda each: each("a")._replace(size=5),
    "as a dict": lambda each: each("a")._asdict(),
    "its fields": lambda each: (each._fields, each._field_defaults, each.__match_args__),
    "unpacked": lambda each: [*each("a", 2)],
    "compared": lambda each: (each("a") == ("a", 1, ()), each("a") < each("b"), hash(each("a"))),
    "a property": lambda each: each("a", 4).twice,
    "copied": lambda each: copy.deepcopy(each("a", 2)),
    "pickled": lambda each: pickle.loads(pickle.dumps(each("a", 2))),
    "printed": lambda each: repr(each("a", 2)).partition("(")[2],
    "no dict beside it": lambda each: hasattr(each("a"), "__dict__"),
}
WRONG: dict[str, Use] = {
    "nothing": lambda each: each(),
    "too many": lambda each: each("a", 1, (), 2),
    "an unknown name": lambda each: each("a", colour="red"),
    "an unknown name in a missing one's stead": lambda each: each(size=1, parts=(), colour="red"),
    "a name twice": lambda each: each("a", name="b"),
    "too few are made": lambda each: each._make(["a"]),
    "an unknown one is replaced": lambda each: each("a")._replace(colour="red"),
    "it is set": lambda each: setattr(each("a"), "size", 2),
    "another is set": lambda each: setattr(each("a"), "colour", 2),
}


@pytest.mark.parametrize("use", RIGHT.values(), ids=list(RIGHT))
def test_what_a_named_tuple_does(use: Use) -> None:
    assert use(Ours) == use(Theirs)


@pytest.mark.parametrize("use", WRONG.values(), ids=list(WRONG))
def test_what_a_named_tuple_refuses(use: Use) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)) as theirs:
        use(Theirs)
    with pytest.raises(theirs.type):
        use(Ours)


def test_a_child_keeps_fields_and_methods() -> None:
    child = Narrower("a", parts=("b",))
    assert (child, child.twice, type(child._replace(size=3))) == (("a", 1, ("b",)), 2, Narrower)
