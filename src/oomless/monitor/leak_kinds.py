"""Kinds of leaks, and what to change for each."""

from typing import Literal

LeakKind = Literal[
    "kept_outputs",
    "retained_graph",
    "reference_cycle",
    "growing_cache",
    "hooks",
    "data_pipeline",
    "pinned_memory",
    "dropped_parameters",
    "unknown",
]

ADVICE: dict[LeakKind, str] = {
    "kept_outputs": "keep a number (.item()) or a detached copy on the host, or empty the list each report",
    "retained_graph": "keep loss.item() or loss.detach(): the tensor holds all that its backward would need",
    "reference_cycle": "break the circle (a weakref, del, no attribute that points back): only Python's "
    "collector frees it, and it rarely runs",
    "growing_cache": "bound it (evict, functools.lru_cache, a deque with maxlen) or empty it each epoch",
    "hooks": "keep the handle that register_..._hook returns, and call its remove()",
    "data_pipeline": "bound the queue (maxsize, prefetch_factor); move a batch to the device when it is used",
    "pinned_memory": "reuse pinned buffers, or pin in the loader (pin_memory=True) in place of each batch",
    "dropped_parameters": "make a new optimizer, or delete its state and group, when parameters are replaced",
    "unknown": "nothing that Python shows holds it: look at what C++ or an extension keeps",
}
KINDS: tuple[LeakKind, ...] = tuple(ADVICE)
