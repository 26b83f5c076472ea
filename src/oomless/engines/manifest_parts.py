"""Parts of what starts in a container: words of a command, variables, cards; whatever is of another type than
it should be counts as missing."""

from typing import Any

from ..run.shell_words import commands_in, valued

MOST_COUNT = 1 << 16
CARDS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi", "huawei.com/")
"""Resources of Kubernetes that are whole cards; of Huawei's the name goes on with the card's."""


def said(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in values.items())


def words_of(value: Any, values: dict[str, str]) -> list[str]:
    """Return the words of a command: a list as it stands, a text as a shell splits it."""
    if isinstance(value, list):
        return [valued(text_of(each), values) for each in value if not isinstance(each, dict | list)]
    if not isinstance(value, str):
        return []
    return [valued(word, values) for found in commands_in(value) for word in found.words]


def variables_of(value: Any) -> dict[str, str]:
    """Return variables that are written as a mapping, as NAME=value, or as Kubernetes' name and value."""
    if isinstance(value, dict):
        return {str(name): text_of(each) for name, each in value.items() if not isinstance(each, dict | list)}
    found: dict[str, str] = {}
    for each in items(value):
        if isinstance(each, str):
            name, _, text = each.partition("=")
            found[name] = text
        elif isinstance(each, dict) and isinstance(each.get("name"), str) and "value" in each:
            found[each["name"]] = text_of(each["value"])
    return found


def cards_of(container: dict[Any, Any]) -> int | None:
    """Return the cards that a container is limited to; None: it says none."""
    for kind in ("limits", "requests"):
        asked = at(container, "resources", kind)
        if isinstance(asked, dict):
            for name, value in asked.items():
                if str(name).startswith(CARDS) and (count := count_of(value)):
                    return count
    return None


def count_of(value: Any) -> int:
    text = str(value)
    return min(int(text), MOST_COUNT) if text.isdecimal() and len(text) < 10 else 0


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def at(value: Any, *path: str) -> Any:
    """Return what stands under a path of names; None where one is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
