"""What names and tags of Ollama's library mean: models of the catalogue, and the type of their files."""

import re

from .. import facts
from .catalogue_names import catalogue_name
from .gguf_names import type_in_name


def library_model(name: str) -> tuple[str, str]:
    """Return (model of the catalogue, type of its file) of a name and tag; "" for what is not known.

    >>> library_model("llama3.1"), library_model("deepseek-r1:14b-qwen-distill-q8_0")
    (('llama-3.1-8b', 'Q4_K_M'), ('deepseek-r1-distill-qwen-14b', 'Q8_0'))
    >>> library_model("gemma4:26b"), library_model("gpt-17")
    (('gemma-4-26b-a4b', 'Q4_K_M'), ('', ''))
    """
    model, colon, tag = name.lower().partition(":")
    if colon and not tag:
        return "", ""
    rows = {row["tag"]: row for row in facts.table("ollama_tags")}
    usual = rows[f"{model}:latest"]["type"] if f"{model}:latest" in rows else ""
    kind = type_in_name(tag) or ""
    plain = tag.removesuffix(f"-{kind.lower()}") if kind else tag
    size = re.match(r"(?:\d+x)?[\d.]+b(?:-a\d+b)?", plain)
    for word in dict.fromkeys((plain, size[0] if size else plain)):
        row = rows.get(f"{model}:{word or 'latest'}")
        known = row["model"] if row else catalogue_name(f"{model}:{word}" if word else model)
        if known:
            return known, kind or (row["type"] if row else usual)
    return like(model, size[0] if size else plain), kind or usual


SIBLINGS = ("pro", "flash", "max", "mini", "lite", "nano", "super", "ultra")
"""Words that make another model of a name: MiMo-V2.5 is not MiMo-V2.5-Pro."""


def like(family: str, size: str) -> str:
    """Return the model of the catalogue whose name a library's name and a size come to, where all others that
    begin so are forms of it; "" for none.

    >>> like("qwen3.6", "35b-a3b"), like("gemma4", "26b"), like("granite3.3", "8b"), like("mistral", "24b")
    ('qwen3.6-35b-a3b', 'gemma-4-26b-a4b', 'granite-3.3-8b', '')
    >>> like("mimo-v2.5", "")
    ''
    """
    apart = re.sub(r"(?<=[a-z])(?=\d)", "-", family, count=1)
    for begins in (f"{family}-{size}".rstrip("-"), f"{apart}-{size}".rstrip("-")):
        names = (row["name"] for row in facts.table("catalogue"))
        found = sorted((each for each in names if f"{each}-".startswith(f"{begins}-")), key=len)
        if found and all(each.startswith(found[0]) for each in found):
            added = found[0][len(begins) :].split("-")[1:]
            return "" if added and added[0] in SIBLINGS else found[0]
    return ""
