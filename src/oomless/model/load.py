"""MODEL -> Model: a short name, a hub id, a folder, a config.json, a safetensors file. A name without a match is an error."""

from functools import cache

from .. import facts
from ..errors import UsageError, did_you_mean
from .families import build
from .model import Model


@cache
def load(name: str) -> Model:
    """The model of a catalogue name or of another spelling of it.

    >>> load("deepseek-r1").num_parameters
    671026419200
    """
    found = catalogue_name(name)
    if found is None:
        known = [row["name"] for row in facts.table("catalogue")]
        raise UsageError(f"unknown model {name!r}", did_you_mean(name.rpartition("/")[2], known, "oomless models"))
    return with_copies(build(facts.model_config(found), found, f"catalogue {found}"))


def with_copies(model: Model) -> Model:
    """The model with tensors that its published checkpoint stores twice, which no config says."""
    copies = []
    for row in facts.table("stored_copies"):
        if row["model"] == model.name:
            original = next(tensor for tensor in model.tensors if tensor.name == row["copy_of"])
            copies.append(original._replace(name=row["name"], copy_of=row["copy_of"]))
    return model._replace(tensors=(*model.tensors, *copies)) if copies else model


def catalogue_name(word: str) -> str | None:
    """The catalogue's name for a model's word: its own name, its hub id, or another spelling (catalogue.csv).

    >>> catalogue_name("deepseek-ai/DeepSeek-R1"), catalogue_name("gpt-17")
    ('deepseek-r1', None)
    """
    key = word.strip().lower()
    if facts.has_model_config(key):
        return key
    return _spellings().get(key)


@cache
def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for row in facts.table("catalogue"):
        for spelling in (row["hub_id"].lower(), *row["aliases"].split(";")):
            if spelling:
                found.setdefault(spelling, row["name"])
    return found
