"""--hf-overrides: keys of a config that an engine is told to take otherwise than the checkpoint says."""

import os
from typing import Any

from ..errors import OomlessError, UnsupportedError, UsageError
from ..limits import FLAG, parse_json
from .catalogue_names import catalogue_name
from .families import build
from .load import config_document, load, with_copies
from .model import Model


def load_with(
    name: "str | os.PathLike[str]", overrides: str, *, offline: bool = False, revision: str | None = None
) -> Model:
    """The model of a word, with a JSON object of other values for keys of its config, as vLLM and SGLang put
    them there (config.update).

    The weights on disk stay what they were. A config inside of a config (text_config) is changed key by key;
    any other object is replaced.

    >>> yarn = '"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768'
    >>> scaled = '{"rope_scaling": {' + yarn + "}}"
    >>> load_with("qwen3-8b", scaled).ropes[0].factor, load("qwen3-8b").ropes[0].factor
    (4.0, 1.0)
    """
    published = load(name, offline=offline, revision=revision)
    word, document = config_document(os.fspath(name), offline=offline, revision=revision)
    try:
        changed = build(overridden(document, overrides), word, f"{name} with --hf-overrides")
    except UnsupportedError:
        raise
    except OomlessError as error:  # the published config can be read: what is wrong was typed
        raise UsageError(error.message, EXAMPLE, "hf_overrides") from None
    if catalogue_name(os.fspath(name)) == word:
        changed = with_copies(changed)
    notes = tuple(note for note in published.warnings if note not in changed.warnings)
    return changed._replace(
        name=published.name, stored_bytes=published.stored_bytes, warnings=(*changed.warnings, *notes)
    )


def overridden(document: dict[str, Any], overrides: str) -> dict[str, Any]:
    """A config with other values for some of its keys. rope_scaling and rope_parameters are names of one
    thing: either replaces both."""
    try:
        values = parse_json(overrides, "--hf-overrides", FLAG)
    except OomlessError as error:
        raise UsageError(error.message, EXAMPLE) from None
    if not isinstance(values, dict):
        raise UsageError(f"--hf-overrides is a {type(values).__name__}, no JSON object", EXAMPLE)
    return _merged(document, values)


def _merged(document: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    gone = ROPES if ROPES & values.keys() else set()
    found = {key: value for key, value in document.items() if key not in gone}
    for key, value in values.items():
        older = found.get(key)
        part = key.endswith("_config") and key != "quantization_config"
        found[key] = (
            _merged(older, value) if part and isinstance(older, dict) and isinstance(value, dict) else value
        )
    return found


ROPES = {"rope_scaling", "rope_parameters"}
EXAMPLE = """write '{"max_position_embeddings": 131072}'"""
