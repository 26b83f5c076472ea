"""Data -> YAML, TOML and JSON text, and an Ollama Modelfile. A name is a value here: each writer quotes it as its reader needs."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import inf
from typing import Any

from ...errors import UnsupportedError
from . import FileText

PLAIN = re.compile(r"(?:--?|\.{0,2}/)?[A-Za-z_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_/])?")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def yaml(*documents: Mapping[str, Any]) -> FileText:
    """Return YAML documents, as PyYAML writes them for its 1.1 and for the 1.2 of others: texts of several lines become blocks, and
    all that either could take for something else is quoted.

    >>> task = {"name": "r1", "resources": {"H100": 8}, "run": "a\\nb\\n", "args": ["--tp", "8"], "lr": 1e-5}
    >>> print(yaml(task), end="")
    name: r1
    resources:
      H100: 8
    run: |
      a
      b
    args:
      - --tp
      - "8"
    lr: 1.0e-05
    """
    import yaml as library  # type: ignore[import-untyped]  # most plans write none

    return FileText(
        "---\n".join(
            library.dump(
                document,
                Dumper=_dumper(),
                sort_keys=False,
                allow_unicode=True,
                default_flow_style=False,
                width=inf,
            )
            for document in documents
        )
    )


@cache
def _dumper() -> type[Any]:
    """Return PyYAML's safe dumper with lists indented, and texts quoted by our rule."""
    import yaml as library

    class Dumper(library.SafeDumper):  # type: ignore[misc]
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None if is_plain(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_multi_representer(str, text)  # Code
    return Dumper


def is_plain(text: str) -> bool:
    """Return whether every YAML reads a text without quotes as that text.

    >>> is_plain("deepseek-ai/DeepSeek-V3"), is_plain("1e3"), is_plain("no"), is_plain("a: b")
    (True, False, False, False)
    """
    return PLAIN.fullmatch(text) is not None and text.lower() not in WORDS


def toml(tables: Mapping[str, Mapping[str, Any]]) -> FileText:
    """Return a TOML document of tables of plain values; names of tables and keys are ours, values are anybody's.

    >>> print(toml({"training": {"seq_len": 4096, "compile": True}, "model": {"name": "llama3"}}), end="")
    [training]
    seq_len = 4096
    compile = true
    <BLANKLINE>
    [model]
    name = "llama3"
    """
    blocks = [
        "\n".join([f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in values.items())])
        for name, values in tables.items()
    ]
    return FileText("\n\n".join(blocks) + "\n")


def _toml_value(value: Any) -> str:
    """Return a value of TOML: JSON's spelling, but for DEL, which JSON leaves as it is."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def json_text(document: Mapping[str, Any]) -> FileText:
    """Return a JSON document for people to read.

    >>> print(json_text({"stage": 3}), end="")
    {
      "stage": 3
    }
    """
    return FileText(json.dumps(document, indent=2, allow_nan=False) + "\n")


def modelfile(source: str, parameters: Mapping[str, int]) -> FileText:
    """Return an Ollama Modelfile. Its reader (parser/parser.go) takes a value to the end of the line and knows no escapes, so a path
    that it would read otherwise is refused.

    >>> print(modelfile("r1-Q4_K_M.gguf", {"num_ctx": 4096}), end="")
    FROM ./r1-Q4_K_M.gguf
    PARAMETER num_ctx 4096
    """
    path = source if source.startswith(("/", "./", "../")) else f"./{source}"
    if not path.isprintable() or path != path.strip():
        raise UnsupportedError(
            f"an Ollama Modelfile cannot name {source!a}", "give the file a name of plain letters"
        )
    given = (f"PARAMETER {name} {value}\n" for name, value in parameters.items())
    return FileText(f"FROM {path}\n{''.join(given)}")
