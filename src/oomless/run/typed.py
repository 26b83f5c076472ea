"""Values as Python or JSON gives them, held against the annotation of the field that they are for; and flags
under their other names."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from ..errors import UsageError


def is_of(value: object, kind: Any) -> bool:
    """Whether a value is of a field's type.

    >>> (
    ...     is_of(3, int),
    ...     is_of(True, int),
    ...     is_of(3, float),
    ...     is_of("a", str | None),
    ...     is_of(("a",), tuple[str, ...]),
    ...     is_of(2.5, int | None),
    ... )
    (True, False, True, True, True, False)
    """
    origin = get_origin(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(type(each) is str for each in value)
    if origin is Literal:
        return value in get_args(kind)
    if origin is not None:
        return any(is_of(value, each) for each in get_args(kind))
    if isinstance(kind, str):  # a class that is only named
        return type(value).__name__ == kind
    return type(value) in ((int, float) if kind is float else (NoneType if kind is None else kind,))


def need_types(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Refuse the first value whose type is not that of its field."""
    for name, value in values.items():
        if name in kinds and not is_of(value, kinds[name]):
            wanted = [each for each in (get_args(kinds[name]) or (kinds[name],)) if each is not NoneType]
            words = [
                word
                for each in (kinds[name], *wanted)
                if get_origin(each) is Literal
                for word in get_args(each)
            ]
            kind = next((WORDS[each] for each in wanted if each in WORDS), "a text")
            raise UsageError(
                f"--{name.replace('_', '-')} is {value!r}",
                f"it is {' or '.join(words)}" if words else f"write {kind}",
            )


WORDS = {int: "a whole number", float: "a number", bool: "True or False"}


def own_names(flags: Mapping[str, Any], spellings: Mapping[str, str]) -> dict[str, Any]:
    """Flags that are given (None is not), each under the name of its field.

    >>> own_names({"tp_size": 8, "context": None}, {"tp_size": "tp"})
    {'tp': 8}
    """
    given: dict[str, Any] = {}
    for name, value in flags.items():
        field = spellings.get(name, name)
        if value is None:
            continue
        if field in given:
            raise UsageError(f"{name} is another name of what is given already", "give one of them")
        given[field] = value
    return given
