"""Which model a measured row means: a copy under another name is its base, and a sequence that is longer than
the model's own positions ran with others."""

import json
import re

from ..model.catalogue_names import catalogue_name
from ..model.load import config_document
from ..model.model import Model
from ..model.overrides import load_with


def named_model(word: str, requantised: bool) -> str | None:
    """Return the catalogue's name of a row's model. A copy that somebody tuned is the model in its name, and
    somebody's quantised copy is its base where the row says the format apart (`requantised`).

    >>> named_model("someone/Mistral-7B-Instruct-v0.2-4bit", True), named_model("phi-4-AutoRound-GPTQ", True)
    ('mistral-7b-v0.2', 'phi-4')
    >>> named_model("orcarouter/Qwen3.8-27B-Uncensored-FP8", True)
    'qwen3.8-27b-fp8'
    >>> named_model("vrfai/Qwen3.6-27B-FP8", False) is None
    True
    """
    found = catalogue_name(word) or catalogue_name(re.sub(r"\s*\(.*\)$", "", word))
    if found or not requantised:
        return found
    own = word.strip().lower().rpartition("/")[2]
    base = TUNED.sub("", own)
    if base != own and (found := catalogue_name(base)):
        return found
    while (shorter := PACKED.sub("", base)) != base:
        base = shorter
    return catalogue_name(base)


PACKED = re.compile(
    r"[-_.](gptq|awq|auto-?round|nvfp4|mxfp4|fp4|fp8|dynamic|block|bnb|unsloth|[wa]\d+a\d+|quantized|int[48]|[48]-?bit|g\d+|marlin)$"
)
"""Words at the end of a repository's name that say how it is packed."""
TUNED = re.compile(
    r"[-_.](uncensored|abliterated|heretic|derestricted|finetuned?|sft|lora|copy|mtp|dspark)(?=[-_.]|$)"
)
"""Words of a repository's name that say that its weights have other values in the same shapes, or a draft
beside them."""


def with_positions(model: Model, flags: str, length: int | None) -> Model:
    """Return the model with the positions that a row ran with. An engine refuses a longer sequence, so one
    that ran had the rotary scaling that the model's card tells to set: YaRN, by as much as was needed.

    >>> from ..model.load import load
    >>> with_positions(load("qwen2.5-coder-7b"), "v0", 131072).max_positions
    131072
    >>> with_positions(load("qwen2.5-coder-7b"), "v0", 32768) == load("qwen2.5-coder-7b")
    True
    """
    said = re.search(r"yarn factor (\d+(?:\.\d+)?)", flags)
    own = model.max_positions
    if not said and (length is None or length <= own):
        return model
    if any(rope.scaling == "yarn" for rope in model.ropes):  # longer than even its own scaling reaches
        return model
    factor = float(said[1]) if said else float(-(-(length or own) // own))
    _, document = config_document(model.name)
    inner = next((key for key in ("text_config", "language_config") if key in document), "")
    config = document[inner] if inner else document
    key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    rope = {
        **(config.get(key) or {}),
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": own,
    }
    changed = {key: rope, "max_position_embeddings": int(own * factor)}
    return load_with(model.name, json.dumps({inner: changed} if inner else changed))
