"""What the configuration that Axolotl prints asks; its lines are read with those of other trainers."""

from ..entries import Entries
from ..logged import LoggedTraining, LogWords
from ..trainer.log import LOG as LOG
from ..trainer.log import asks as trainer_asks
from .configuration import read


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the question of the configuration; without one that of the trainer's own lines."""
    if "base_model" not in words.configuration:
        return trainer_asks(words)
    entries = Entries(words.path, "axolotl", dict(words.configuration))
    model, asked, ranks = read(entries)
    world = words.configuration.get("world_size")
    return LoggedTraining(model or "", asked, ranks or (world if isinstance(world, int) else None))
