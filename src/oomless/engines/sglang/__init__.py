"""SGLang 0.4 to 0.5: what each rank creates, how the card is divided, how the cache is sized. Every rule is
keyed by version.

Read in the sources of 0.4.4, 0.4.5, 0.4.6, 0.5.3 and 0.5.23; a version between two of them takes the rules of
the earlier one. The pool is what is left of mem_fraction_static after loading; activations and graphs live in
the rest and are not subtracted.
"""

from ..layouts import tensor_parallel_layouts
from ..rank import Count
from .budget import budget_bytes, budget_lines, host_bytes, pool_bytes
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import resolve, stages
from .release import RELEASES
from .weights import placed_weights

NAME = "SGLang"
LATEST, VERSIONS = RELEASES.latest, RELEASES.versions
COUNTS: Count = "reserved"
"""Its log takes differences of the card's free memory, which shrinks by whole segments."""

layouts = tensor_parallel_layouts

__all__ = [
    "COUNTS",
    "LATEST",
    "NAME",
    "VERSIONS",
    "budget_bytes",
    "budget_lines",
    "cache_layout",
    "host_bytes",
    "layouts",
    "longest_sequence",
    "max_tokens",
    "needed_bytes",
    "placed_weights",
    "pool_bytes",
    "resolve",
    "sequences",
    "stages",
]
