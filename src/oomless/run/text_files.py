"""Text of bounded size -> entries: TOML, JSON and YAML without surprises."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError
from ..files import read_whole
from ..limits import RUN_FILE, parse_json, parse_toml, parse_yaml

MAX_ENTRIES = 10_000
MAX_DEPTH = 20


def content_of(path: Path) -> bytes:
    """The bytes of a regular file of bounded size."""
    return read_whole(path, RUN_FILE.num_bytes, "give the configuration file of a training run")


def toml_of(content: bytes, path: Path) -> dict[str, Any]:
    return parse_toml(content, str(path), RUN_FILE)


def json_of(content: bytes, path: Path) -> dict[str, Any]:
    return _mapping(parse_json(content, str(path), RUN_FILE), path)


def yaml_of(content: bytes, path: Path) -> dict[str, Any]:
    """The mapping of a YAML document."""
    return _mapping(parse_yaml(content, str(path), RUN_FILE), path)


def _mapping(value: Any, path: Path) -> dict[str, Any]:
    if value is None:
        raise OomlessError(f"{path}: the file is empty", "give the configuration file of a training run")
    if not isinstance(value, dict):
        raise OomlessError(
            f"{path}: a configuration is a mapping of names to values, this is a {type(value).__name__}",
            "check the file",
        )
    return {str(name): each for name, each in value.items()}


def flat(entries: dict[str, Any], path: Path) -> dict[str, Any]:
    """Entries under dotted names; lists stay values.

    >>> flat({"zero_optimization": {"stage": 3}, "datasets": [1]}, Path("x"))
    {'zero_optimization.stage': 3, 'datasets': [1]}
    """
    found: dict[str, Any] = {}

    def walk(prefix: str, value: dict[Any, Any], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OomlessError(f"{path}: nested too deeply", "check the file")
        for name, each in value.items():
            if isinstance(each, dict):
                walk(f"{prefix}{name}.", each, depth + 1)
            else:
                found[f"{prefix}{name}"] = each
            if len(found) > MAX_ENTRIES:
                raise OomlessError(
                    f"{path}: more than {MAX_ENTRIES:,} entries",
                    "give the configuration file of a training run",
                )

    walk("", entries, 0)
    return found
