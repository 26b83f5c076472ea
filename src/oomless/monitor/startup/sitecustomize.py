"""Runs when a Python starts below `oomless run`: arranges that a training is watched once torch is there, and
lets the machine's own sitecustomize run as it would have.

It must run on any Python and harm none: where anything is missing it does nothing.
"""

import os
import sys
from typing import Any

FOLDER = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.environ.get("OOMLESS_PACKAGE", "")
LEAST = (3, 11)


class AfterOptimizers:
    """Notices the import of torch's optimizers, and does something after it."""

    def __init__(self, done: Any) -> None:
        self.done = done

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec that others find, with a loader that does something more at the end."""
        if name != "torch.optim.optimizer":
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self.done()

            loader.exec_module = exec_module
        return spec


def own_package() -> Any:
    """Return the oomless that started this run, whatever else is installed here."""
    import importlib.util

    if "oomless" in sys.modules:
        return sys.modules["oomless"]
    file = os.path.join(PACKAGE, "__init__.py")
    spec: Any = importlib.util.spec_from_file_location("oomless", file, submodule_search_locations=[PACKAGE])
    module = importlib.util.module_from_spec(spec)
    sys.modules["oomless"] = module
    spec.loader.exec_module(module)
    return module


def watch() -> None:
    """Watch whatever is trained from now on."""
    try:
        own_package()
        from oomless.monitor.attach import attach

        attach()
    except Exception:
        return


def machines_own() -> None:
    """Run the sitecustomize that would have run without ours."""
    kept = [folder for folder in sys.path if os.path.abspath(folder or ".") != FOLDER]
    ours, whole = sys.modules.pop("sitecustomize", None), sys.path[:]
    sys.path[:] = kept
    try:
        __import__("sitecustomize")
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours
    finally:
        sys.path[:] = [folder for folder in whole if folder in kept]


if PACKAGE and sys.version_info >= LEAST:
    sys.meta_path.insert(0, AfterOptimizers(watch))
machines_own()
