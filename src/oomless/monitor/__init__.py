"""A live run is watched: phases and bytes of every step, the categories of sampled ones, leaks, and what a
death was of.

    from oomless.monitor import watch
    with watch(model, optimizer):
        train()

torch is imported inside of functions alone.
"""

from .run_watch import Watch, watch
from .training_callbacks import lightning_callback, trainer_callback

__all__ = ["Watch", "lightning_callback", "trainer_callback", "watch"]
