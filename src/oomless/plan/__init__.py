"""Which hardware and setting, for how much money, started by which command.

`oomless.plan` is this room and, called, its question: the interface names its functions as the commands are
named.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """The room, which answers when it is called."""

    def __call__(self, *words: Any, **flags: Any) -> Any:
        from .request import plan

        return plan(*words, **flags)


sys.modules[__name__].__class__ = _Room
