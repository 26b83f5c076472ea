"""vLLM 0.5 to 0.33: what each rank creates, how the budget is cut, how the cache is paged. Every rule is
keyed by version.

Read in the sources of 0.7.2, 0.8.5, 0.11, 0.16, 0.19, 0.21, 0.25 and 0.33; a version between two of them
takes the rules of the earlier one. Constants that were measured are in facts/engines.csv.
"""

from ..layouts import tensor_parallel_layouts
from ..rank import Count
from .budget import budget_bytes, budget_lines, host_bytes, pool_bytes
from .cache import cache_layout
from .capacity import longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import resolve, stages
from .release import RELEASES
from .weights import placed_weights

NAME = "vLLM"
LATEST, VERSIONS = RELEASES.latest, RELEASES.versions
COUNTS: Count = "allocated"
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
