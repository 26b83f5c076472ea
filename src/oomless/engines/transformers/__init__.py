"""Hugging Face transformers, `generate`: the checkpoint's tensors as they are, layers dealt out by
device_map, a cache as long as the text.

No pool: the cache is what is asked for, made as it grows (dynamic) or at once (static). 4.x keeps MLA
expanded to every head's keys and values, 5.x keeps the latent (models.md 4.1: measured on 4.57 and 5.24).
Read in modeling_deepseek_v3.py, cache_utils.py and generation/utils.py.
"""

from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, V4
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ..defaults import default_length, resolve_dtype
from ..layers_dealt import deal
from ..layouts import layers_over_cards, one_card
from ..rank import Stage
from ..record import Candidates, CardMakers, Engine, EngineRows, Start
from .budget import budget_lines
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, row_bytes, sequences
from .release import RELEASES
from .weights import check_quantization, placed_weights

CACHE_TYPES = ("auto", "bfloat16", "float16", "float32")


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """torch_dtype="auto", one sequence, cache in the model's type."""
    release = RELEASES.latest if asked.engine_version is None else asked.engine_version
    rules = RELEASES.at(release)
    if layout.pp > 1 and asked.device_map != "auto":
        raise UsageError(
            f"--device-map {asked.device_map} is one card, --pp {layout.pp} are more", "use --device-map auto"
        )
    if asked.kv_cache_dtype not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not transformers'",
            "its cache has the type of the model",
            "kv_cache_dtype",
        )
    found = Resolved.of(
        asked,
        engine_version=release,
        layout=layout,
        max_model_len=asked.max_model_len or default_length(model),
    )
    check_quantization(model, found)
    for attention in model.kinds.attentions:
        if isinstance(attention, DSA | V4) and not rules.has_sparse_models:
            raise UnsupportedError(f"transformers before 5.0 has no class for {model.name}", "use 5.24")
        row_bytes(attention, found._replace(dtype="bfloat16"))  # refuses kinds that are not known
    return found._replace(dtype=resolve_dtype(model, asked.dtype, hardware))


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a card: as even as they divide, the first cards take the remainder (accelerate fills cards in
    order).

    >>> from ...model.load import load
    >>> [
    ...     stage.stop - stage.start
    ...     for stage in stages(load("deepseek-v2-lite"), Resolved(layout=Layout(pp=2)))
    ... ]
    [14, 13]
    """
    return deal(model, asked.layout.pp, "first stages")


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
    budget_lines=budget_lines,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    cache_types=CACHE_TYPES,
    encodes=True,
)
