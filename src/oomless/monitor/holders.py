"""Who holds a tensor, as far as Python shows: found from the collector's own table, when a leak is
suspected."""

import gc
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..errors import need

MOST_YOUNG = 60_000
"""Objects of the young generations that are looked through at each sample: about 3 ms."""
DEPTH = 7
MOST_REFERRERS = 60
PLAIN = frozenset(("builtins", "collections", "queue", "_queue", "types"))
"""Modules of classes that only pass on: the name is further up."""
QUEUES = ("Queue", "SimpleQueue", "LifoQueue", "PriorityQueue")
LOADERS = ("_BaseDataLoaderIter", "_SingleProcessDataLoaderIter", "_MultiProcessingDataLoaderIter")


class Holder(NamedTuple):
    """What leads from a tensor to something with a name."""

    container: str
    """list, dict, deque, an object's class: what holds it first."""
    name: str
    """Of the variable or attribute that everything hangs on; empty if none was found."""
    where: str
    """The function, class or module in which it has that name."""
    path: str
    """Of the file of that function or module; empty if unknown."""
    through: tuple[str, ...]
    """Classes on the way, the tensor's holder first."""
    is_local: bool = False
    """The name is that of a variable of a running function."""
    bound: int | None = None
    """How many entries the container takes at most, if it says so."""

    def text(self) -> str:
        """Return the holder for people."""
        of = f" of {self.where}" if self.where else ""
        return f"{self.container} `{self.name}`{of}" if self.name else self.container


def young_tensors(pointers: set[int]) -> dict[int, Any]:
    """Return the tensors of the collector's young generations that lie at some addresses, by address."""
    found: dict[int, Any] = {}
    for generation in (0, 1):
        objects = gc.get_objects(generation)
        if len(objects) <= MOST_YOUNG:
            found.update((pointer, tensor) for pointer, tensor in tensors_at(objects) if pointer in pointers)
    return found


def all_tensors() -> Iterator[tuple[int, Any]]:
    """Yield (address, tensor) of every tensor that Python knows."""
    return tensors_at(gc.get_objects())


def tensors_at(objects: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Yield (address of its storage, tensor) of the tensors among objects. An object's type is asked, never
    the object: a proxy would answer for another."""
    torch = need("torch", "trace")
    tensor_class = torch.Tensor
    for each in objects:
        if issubclass(type(each), tensor_class):
            try:
                yield each.untyped_storage().data_ptr(), each
            except (RuntimeError, NotImplementedError):
                continue


class Link(NamedTuple):
    """An object on the way up from a tensor."""

    holder: Any
    held: Any
    below: "Link | None"

    def classes(self) -> tuple[str, ...]:
        """Return the classes on the way, the one nearest to the tensor first."""
        before = self.below.classes() if self.below is not None else ()
        return (*before, type(self.holder).__name__)


def holder_of(tensor: Any, ours: Iterable[Any] = ()) -> Holder | None:
    """Return who holds a tensor; None if nothing that leads to a name was found. `ours` are objects of the
    monitor that hold it too. One pass over all of Python's objects a level."""
    frames = running_frames()
    copies = [variables for frame, variables in frames if variables is not frame.f_globals]
    seen = {id(each) for each in (*ours, *copies)} | {id(tensor), id(frames), id(copies)}
    level: list[Link | None] = [None]
    objects = [tensor]
    for _ in range(DEPTH):
        seen |= {id(objects), id(level)}
        found = links(objects, level, seen)
        for link in found:
            attribute, local = attribute_name(link), local_name(link.holder, frames)
            named = attribute or local
            if named is not None:
                return Holder(link.classes()[0], *named, link.classes(), attribute is None, bound_of(link))
        if not found:
            return None
        level, objects = list(found), [link.holder for link in found]
    return None


def classes_around(shown: dict[int, Any], found: Iterable[Any]) -> str:
    """Return the classes of what holds some of the tensors that Python shows, two levels up."""
    tensors = [shown[each.pointer] for each in found if each.pointer in shown][:1]
    if not tensors:
        return "nothing that Python shows"
    ours = {id(shown), id(tensors), id(tensors[0])}
    first = links(tensors, [None], ours)
    objects = [link.holder for link in first]
    second = links(objects, first, {*ours, id(objects), id(first), *map(id, objects)}) if first else []
    names = dict.fromkeys(
        type(link.holder).__qualname__
        for link in (*first, *second)
        if not isinstance(link.holder, list | tuple | dict | types.ModuleType)
    )
    return ", ".join(list(names)[:4]) or "objects that hold each other"


def links(objects: list[Any], level: Sequence[Link | None], seen: set[int]) -> list[Link]:
    """Return the objects that refer to those of a level, the first ones of many. The dictionary of an
    object's attributes stands for the object."""
    below = {id(each): link for each, link in zip(objects, level, strict=True)}
    held_by_id = {id(each): each for each in objects}
    found: list[Link] = []
    for referrer in gc.get_referrers(*objects):
        if (
            id(referrer) in seen
            or isinstance(referrer, types.FrameType)
            or referrer is below
            or referrer is held_by_id
        ):
            continue
        held = next((each for each in gc.get_referents(referrer) if id(each) in held_by_id), None)
        if held is None:
            continue
        seen.add(id(referrer))
        found.append(Link(referrer, held, below[id(held)]))
        if len(found) == MOST_REFERRERS:
            break
    return found


def bound_of(link: Link) -> int | None:
    """Return how many entries the container that holds the tensor takes at most; None if nothing says so."""
    lowest = link
    while lowest.below is not None:
        lowest = lowest.below
    if isinstance(lowest.holder, deque):
        return lowest.holder.maxlen
    return None


def running_frames() -> list[tuple[types.FrameType, dict[str, Any]]]:
    """Return the frames of all threads with their variables, innermost first; the monitor's own are left
    out."""
    found = []
    for frame in sys._current_frames().values():
        current: types.FrameType | None = frame
        while current is not None:
            if "oomless" not in current.f_globals.get("__name__", ""):
                found.append((current, current.f_locals))
            current = current.f_back
    return found


def local_name(
    held: Any, frames: list[tuple[types.FrameType, dict[str, Any]]]
) -> tuple[str, str, str] | None:
    """Return (name, function, file) of a variable of a running function, if one is this object."""
    for frame, variables in frames:
        if variables is frame.f_globals:
            continue
        for name, value in variables.items():
            if value is held:
                return name, frame.f_code.co_name, frame.f_code.co_filename
    return None


def attribute_name(link: Link) -> tuple[str, str, str] | None:
    """Return (name, module or class, file) if the holder is a module's namespace, or an object that has what
    it holds as an attribute."""
    holder, held = link.holder, link.held
    if type(holder) is dict:
        if "__name__" in holder and "__builtins__" in holder:
            name = next((str(key) for key, value in holder.items() if value is held), "")
            return name, str(holder["__name__"]), str(holder.get("__file__", ""))
        owner = owner_of(holder)
        if owner is not None:
            name = next((str(key) for key, value in holder.items() if value is held), "")
            return name, type(owner).__qualname__, file_of(type(owner))
        return None
    if type(holder).__module__ in PLAIN:
        return None
    attributes = attributes_of(holder)
    name = next((str(key) for key, value in attributes.items() if value is held), "")
    return (name, type(holder).__qualname__, file_of(type(holder))) if name else None


def owner_of(attributes: dict[str, Any]) -> Any:
    """Return the object whose attributes a dictionary is; None if it is a dictionary like any other."""
    for each in gc.get_referrers(attributes):
        if attributes_of(each) is attributes and type(each).__module__ not in PLAIN:
            return each
    return None


def attributes_of(holder: Any) -> dict[str, Any]:
    """Return an object's own attributes; nothing of one that has none. A proxy is not asked for another's."""
    try:
        found = object.__getattribute__(holder, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return found if type(found) is dict else {}


def file_of(kind: type) -> str:
    """Return the file of a class; empty if it has none."""
    return str(getattr(sys.modules.get(kind.__module__), "__file__", "") or "")
