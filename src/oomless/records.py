"""Record: a NamedTuple whose class is cheap to make.

An answer loads some sixty classes of records. `typing` checks each annotation and `collections` compiles a
constructor for each class, which was a quarter of a start. Here one constructor serves all of them, and a
class costs a fifth of that. To a type checker a Record is a NamedTuple, and it behaves as one;
tests/test_records.py holds both side by side.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Record"]

if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    from collections import _tuplegetter  # what reads a field of every namedtuple

    new = tuple.__new__

    class RecordType(type):
        """Makes a class of records: the annotations in its body are the fields, in order."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            body.setdefault("__slots__", ())  # no dict beside the tuple
            made = super().__new__(cls, name, bases, body)
            if hasattr(made, "_fields") or bases == (tuple,):
                return made
            fields = made._fields = made.__match_args__ = tuple(made.__annotations__)
            made._field_defaults = {field: body[field] for field in fields if field in body}
            made._num_fields = len(fields)
            made._last = tuple(made._field_defaults.values())  # defaults follow what has none
            for place, field in enumerate(fields):
                setattr(made, field, _tuplegetter(place, ""))
            return made

    class Record(tuple, metaclass=RecordType):
        """The methods of a NamedTuple."""

        def __new__(cls, *values: Any, **named: Any) -> "Record":
            missing = cls._num_fields - len(values)
            if named or missing:
                if named or not 0 < missing <= len(cls._last):
                    values = cls._filled(values, named)
                else:
                    values += cls._last[-missing:]
            return new(cls, values)

        @classmethod
        def _filled(cls, values: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
            """Return a value for every field: as it stands in its place, by its name, or its default."""
            given = dict(zip(cls._fields, values, strict=False))
            filled = {**cls._field_defaults, **given, **named}
            if len(values) + len(named) != len(given | named) or len(filled) != len(cls._fields):
                told = f"got {len(values)} values, and by name {', '.join(named) or 'none'}"
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}; {told}")
            try:
                return [filled[field] for field in cls._fields]
            except KeyError as missing:
                raise TypeError(f"{cls.__name__} lacks {missing}") from None

        @classmethod
        def _make(cls, values: Any) -> "Record":
            made = new(cls, values)
            if len(made) != cls._num_fields:
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(made)}")
            return made

        def _replace(self, **named: Any) -> "Record":
            values, place = list(self), self._fields.index
            try:
                for field, value in named.items():
                    values[place(field)] = value
            except ValueError:
                unknown = ", ".join(field for field in named if field not in self._fields)
                raise ValueError(f"{type(self).__name__} has no field {unknown}") from None
            return new(type(self), values)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            fields = (f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({', '.join(fields)})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        __replace__ = _replace  # of copy.replace
