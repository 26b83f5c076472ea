"""Data -> YAML and TOML text, for the few shapes that launch files have: mappings, lists, plain values. No
package is needed for that."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", ""}


def yaml(data: Mapping[str, Any]) -> str:
    """A YAML document. Texts of several lines become blocks, all others are quoted where YAML could read them
    otherwise.

    >>> print(
    ...     yaml(
    ...         {
    ...             "name": "r1",
    ...             "resources": {"accelerators": {"H100": 8}},
    ...             "run": "a\\nb\\n",
    ...             "args": ["--tp", "8"],
    ...         }
    ...     ),
    ...     end="",
    ... )
    name: r1
    resources:
      accelerators:
        H100: 8
    run: |
      a
      b
    args:
      - --tp
      - "8"
    """
    return "\n".join(_mapping(data, "")) + "\n"


def _mapping(data: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{indent}{_scalar(key)}:", value, indent)


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield start
        yield from _mapping(value, indent + "  ")
    elif isinstance(value, str) and "\n" in value:
        yield f"{start} |"
        yield from ((f"{indent}  {line}" if line else "") for line in value.rstrip("\n").split("\n"))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield start
        for item in value:
            if isinstance(item, Mapping):
                first, *rest = _mapping(item, indent + "    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
            else:
                yield f"{indent}  - {_scalar(item)}"
    else:
        yield f"{start} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        number = value.replace(".", "").replace("-", "").replace("_", "").replace("e", "").isdecimal()
        plain = set(value) <= PLAIN and value.lower() not in WORDS and not number and value[-1] not in "-."
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """A TOML document of tables of plain values.

    >>> print(toml({"training": {"seq_len": 4096, "compile": True}, "model": {"name": "llama3"}}), end="")
    [training]
    seq_len = 4096
    compile = true
    <BLANKLINE>
    [model]
    name = "llama3"
    """
    blocks = []
    for name, values in tables.items():
        blocks.append(
            "\n".join(
                [
                    f"[{name}]",
                    *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()),
                ]
            )
        )
    return "\n\n".join(blocks) + "\n"
