"""What a word means in the catalogue: a name, a hub id, another spelling, a copy by another owner."""

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
        for spelling in (row["hub_id"].lower(), *row["aliases"].split(";")):
            if spelling:
                found.setdefault(spelling, row["name"])
    for spelling, name in tuple(found.items()):
        found.setdefault(spelling.rpartition("/")[2], name)
    return found
