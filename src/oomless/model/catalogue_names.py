"""What a word means in the catalogue: a name, a hub id, another spelling, a copy by another owner."""

import re
from collections import Counter
from functools import cache

from .. import facts

GGUF = "-gguf"
"""How repositories of GGUF files are called, after the model."""


def catalogue_name(word: str) -> str | None:
    """The catalogue's name for a model's word: its own name, its hub id, or another spelling (catalogue.csv);
    of a repository that the catalogue does not list, what the same name of another owner means.

    >>> (
    ...     catalogue_name("deepseek-ai/DeepSeek-R1"),
    ...     catalogue_name("unsloth/DeepSeek-R1-GGUF"),
    ...     catalogue_name("LLM-Research/Meta-Llama-3-8B-Instruct"),  # as ModelScope has it
    ...     catalogue_name("gpt-17"),
    ... )
    ('deepseek-r1', 'deepseek-r1', 'llama-3-8b', None)
    """
    key = word.strip().lower()
    if key.endswith(GGUF):
        key = key.rpartition("/")[2].removesuffix(GGUF)
    if facts.has_model_config(key):
        return key
    found = _spellings().get(key)
    return _copied(key.rpartition("/")[2]) if found is None and key.count("/") == 1 else found


def repository_of(name: str, word: str) -> str:
    """The repository that a word means, of those that the catalogue lists for a model; "" for none.
    Of several with one shape it is the one called so, or the first whose name has every piece of the word.

    >>> repository_of("llama-3.1-8b", "llama-3.1-8b"), repository_of("llama-3.1-8b", "llama-3.1-8b-instruct")
    ('meta-llama/Llama-3.1-8B', 'meta-llama/Llama-3.1-8B-Instruct')
    >>> repository_of("qwen3-30b-a3b-2507", "qwen3-coder:30b")
    'Qwen/Qwen3-Coder-30B-A3B-Instruct'
    """
    row = next((row for row in facts.table("catalogue") if row["name"] == name), None)
    if row is None or word.lower() == name:
        return row["hub_id"] if row else ""
    listed = (row["hub_id"], *(each for each in row["aliases"].split(";") if "/" in each))
    called = [each for each in listed if each.rpartition("/")[2].lower() == word.lower()]
    alike = [each for each in listed if _pieces(word) <= _pieces(each.rpartition("/")[2])]
    return (*called, *alike, row["hub_id"])[0]


def _pieces(name: str) -> Counter[str]:
    """Return the runs of letters and of digits in a name, each as often as it is there."""
    return Counter(re.findall(r"[a-z]+|\d+", name.lower()))


def _copied(name: str) -> str | None:
    """Return what the name of a repository means, whoever has copied it. In another form than 16 bit it means
    nothing: makers leave other layers as they are.

    >>> _copied("llama-2-7b-chat-ms"), _copied("qwen3.6-27b-fp8"), _copied("r1")
    ('llama-2-7b', None, None)
    """
    from .checkpoint_names import form_in_name

    name = name.removesuffix("-ms")  # as ModelScope calls its copies of Llama 2
    known = name if facts.has_model_config(name) else _repositories().get(name)
    return known if known and not form_in_name(name) else None


@cache
def _repositories() -> dict[str, str]:
    """What the name of each repository means, without its owner; DeepSeek-V3/R1 of a log names two models."""
    found: dict[str, str] = {}
    for spelling, name in _spellings().items():
        owner, _, repository = spelling.rpartition("/")
        if owner and not facts.has_model_config(owner):
            found.setdefault(repository, name)
    return found


@cache
def _spellings() -> dict[str, str]:
    """What each spelling means; a hub id without its owner means the same."""
    found: dict[str, str] = {}
    for row in facts.table("catalogue"):
        for spelling in (row["hub_id"], *row["aliases"].split(";")):
            if spelling:
                found.setdefault(spelling.lower(), row["name"])
    for spelling, name in tuple(found.items()):
        found.setdefault(spelling.rpartition("/")[2], name)
    return found
