"""Text of bounded size -> entries: TOML, JSON and YAML without surprises."""

from pathlib import Path
from typing import Any

from ..errors import MissingExtra, OomlessError
from ..model.config import parse_json
from ..model.local_file import read_whole

MAX_BYTES = 1_000_000
MAX_YAML_BYTES = 200_000
"""PyYAML reads some 100 KB a second; the largest published examples have 10 KB."""
MAX_ENTRIES = 10_000
MAX_DEPTH = 20
MAX_ALIASES = 16
"""Anchors that a file may use again: merged into each other they double, which is how a small file becomes a
large one."""


def content_of(path: Path) -> bytes:
    """The bytes of a regular file of bounded size."""
    limit = MAX_YAML_BYTES if path.suffix.lower() in (".yaml", ".yml") else MAX_BYTES
    return read_whole(path, limit, "give the configuration file of a training run")


def toml_of(content: bytes, path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise OomlessError(f"{path}: nested too deeply", "check the file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
        raise OomlessError(
            f"{path}: not valid TOML ({str(error)[:120]})", "check that the file is whole"
        ) from None


def json_of(content: bytes, path: Path) -> dict[str, Any]:
    return _mapping(parse_json(content, str(path)), path)


def yaml_of(content: bytes, path: Path) -> dict[str, Any]:
    """The mapping of a YAML document: plain data, few aliases, bounded depth."""
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra(f"{path}: reading YAML needs PyYAML", "pip install pyyaml") from None

    class Careful(yaml.SafeLoader):  # type: ignore[misc]
        depth = aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                self.aliases += 1
                if self.aliases > MAX_ALIASES:
                    raise OomlessError(f"{path}: more than {MAX_ALIASES} aliases", "write the entries out")
            self.depth += 1
            if self.depth > 2 * MAX_DEPTH:
                raise OomlessError(f"{path}: nested too deeply", "check the file")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    try:
        return _mapping(yaml.load(content, Careful), path)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OomlessError(f"{path}: not valid YAML ({reason})", "check that the file is whole") from None


def _mapping(value: Any, path: Path) -> dict[str, Any]:
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
