"""Watching without a change to the script: the model is found when an optimizer is made for its
parameters."""

import atexit
import gc
import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..errors import need
from .guard import say
from .place import RUN_VARIABLE
from .run_watch import Watch

PACKAGE_VARIABLE, EVERY_VARIABLE = "OOMLESS_PACKAGE", "OOMLESS_EVERY"
STARTUP = Path(__file__).parent / "startup"
MOST_WATCHES = 20
"""Models that are watched in one process, one after the other."""


class Attached:
    """The watch of this process, and how it came and goes."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.num_watches = 0

    def made(self, optimizer: Any) -> None:
        """An optimizer was made: watch the model of its parameters, unless one that is alive is watched."""
        if self.watch is not None and self.watch.model() is not None:
            return
        if self.num_watches >= MOST_WATCHES:
            return
        model = model_of(optimizer)
        if model is None:
            return
        if self.watch is not None:
            self.watch.end()
        every = os.environ.get(EVERY_VARIABLE, "")
        self.watch = Watch(model, every=int(every) if every.isdecimal() else None)
        self.watch.seen.append(weakref.ref(optimizer))
        self.num_watches += 1
        self.watch.begin()

    def end(self, error: BaseException | None = None) -> None:
        """The process ends."""
        if self.watch is not None:
            self.watch.end(error)


def attach() -> None:
    """Watch the first training of this process."""
    attached = Attached()
    optimizers = need("torch.optim.optimizer", "trace")
    original = optimizers.Optimizer.__init__

    def made(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        try:
            attached.made(self)
        except Exception as error:
            say(f"this training is not watched ({type(error).__name__}: {error})")

    optimizers.Optimizer.__init__ = made
    at_exit(attached)


class Ending(Protocol):
    """What ends with the process."""

    def end(self, error: BaseException | None = None) -> None: ...


def at_exit(watched: Ending) -> None:
    """Let something end with this process, with the exception that ends it if one does."""
    before = sys.excepthook

    def failed(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        watched.end(error)
        before(kind, error, trace)

    sys.excepthook = failed
    atexit.register(watched.end)


def model_of(optimizer: Any) -> Any:
    """Return the outermost module that holds most of an optimizer's parameters; None if no module does."""
    wanted = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    module_class = need("torch.nn", "trace").Module
    modules = [each for each in gc.get_objects() if issubclass(type(each), module_class)]
    inner = {id(child) for module in modules for child in module._modules.values() if child is not None}
    best, most = None, 0
    for module in modules:
        if id(module) in inner:
            continue
        held = sum(id(parameter) in wanted for parameter in module.parameters())
        if held > most:
            best, most = module, held
    return best


def environment_of_child(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment under which a child, and all that it starts, is watched into a folder."""
    paths = [str(STARTUP), *filter(None, [environment.get("PYTHONPATH", "")])]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(paths),
        PACKAGE_VARIABLE: str(Path(__file__).parent.parent),
        RUN_VARIABLE: str(folder),
    }
