"""Hugging Face transformers, `generate`: the checkpoint's tensors as they are, layers dealt out by
device_map, a cache as long as the text.

No pool: the cache is what is asked for, made as it grows (dynamic) or at once (static). 4.x keeps MLA
expanded to every head's keys and values, 5.x keeps the latent (models.md 4.1: measured on 4.57 and 5.24).
Read in modeling_deepseek_v3.py, cache_utils.py and generation/utils.py.
"""

from ..layouts import layers_over_cards, one_card
from ..record import Candidates, CardMakers, Engine, EngineRows, Start
from .budget import budget_bytes, budget_lines, host_bytes, pool_bytes
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import CACHE_TYPES, resolve, stages
from .release import RELEASES
from .weights import placed_weights

TRANSFORMERS = Engine(
    name="transformers",
    label="transformers",
    versions=RELEASES.versions,
    cards=CardMakers(),
    candidates=Candidates(one_card, shares_card=True),
    start=Start(by="script"),
    rows=EngineRows(words=("Transformers", "transformers")),
    speed_class="transformers",
    layouts=layers_over_cards,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_bytes=budget_bytes,
    budget_lines=budget_lines,
    pool_bytes=pool_bytes,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    host_bytes=host_bytes,
    cache_types=CACHE_TYPES,
    encodes=True,
)
