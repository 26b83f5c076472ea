"""A live run is watched: phases and bytes of every step, the categories of sampled ones, leaks, and what a
death was of.

    from oomless.monitor import watch
    with watch(model, optimizer):
        train()

torch is imported inside of functions alone.
"""

from .run_watch import Watch, watch

__all__ = ["Watch", "watch"]
