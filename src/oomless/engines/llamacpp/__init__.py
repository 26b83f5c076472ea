"""llama.cpp and ik_llama.cpp: tensors as the GGUF file stores them, layers dealt out over the cards, a cache
of fixed size.

Nothing is allotted in advance: the cache is as long as the context asked for, and the compute buffer is what
the graph of one micro-batch needs, found by building that graph and serving it as ggml does.
"""

from ..rank import Count
from .buffers import budget_bytes, budget_lines, pool_bytes
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import layouts, resolve, stages
from .gguf_file import stored
from .release import LATEST, VERSIONS
from .weights import host_bytes, placed_weights

NAME = "llama.cpp"
COUNTS: Count = "plain"

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
    "stored",
]
