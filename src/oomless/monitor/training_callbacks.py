"""Callbacks for the trainers of transformers and Lightning, which call the training loop themselves."""

import os
from typing import Any

from ..errors import MissingExtra, need
from .attach import at_exit
from .run_watch import Watch


def trainer_callback(
    run: str | os.PathLike[str] | None = None, every: int | None = None, expect: Any = None
) -> Any:
    """Return a callback that watches what a transformers `Trainer` trains: `Trainer(...,
    callbacks=[...])`."""
    callback_class: Any = need("transformers", "trace").TrainerCallback

    class WatchTrainer(callback_class):  # type: ignore[misc]  # known when it runs
        """Watches from the begin of training to its end, or to that of the process."""

        watch: Watch | None = None

        def on_train_begin(self, arguments: Any, state: Any, control: Any, **named: Any) -> None:
            """Begin; the optimizer is found when it steps."""
            self.watch = Watch(named["model"], run=run, every=every, expect=expect)
            self.watch.begin()
            at_exit(self.watch)

        def on_train_end(self, arguments: Any, state: Any, control: Any, **named: Any) -> None:
            """End."""
            if self.watch is not None:
                self.watch.end()

    return WatchTrainer()


def lightning_module() -> Any:
    """Return the callbacks of Lightning, under the newer or the older name of its package."""
    try:
        return need("lightning.pytorch.callbacks", "lightning")
    except MissingExtra:
        return need("pytorch_lightning.callbacks", "lightning")


def lightning_callback(
    run: str | os.PathLike[str] | None = None, every: int | None = None, expect: Any = None
) -> Any:
    """Return a callback that watches what a Lightning `Trainer` fits: `Trainer(callbacks=[...])`."""
    callback_class: Any = lightning_module().Callback

    class WatchLightning(callback_class):  # type: ignore[misc]  # known when it runs
        """Watches from the begin of training to its end."""

        watch: Watch | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Begin."""
            self.watch = Watch(pl_module, list(trainer.optimizers), run=run, every=every, expect=expect)
            self.watch.begin()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """End."""
            if self.watch is not None:
                self.watch.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """The training failed."""
            if self.watch is not None:
                self.watch.end(exception)

    return WatchLightning()
