"""Flags that take JSON whole, or its keys one by one."""

import json
from typing import Any

from ..errors import UsageError


def with_keys(text: str | None, found: list[tuple[str, str]]) -> str:
    """Return the JSON of a flag that is given key by key, as --speculative-config.method (vLLM's
    FlexibleArgumentParser).

    >>> with_keys(None, [("method", "mtp"), ("draft.size", "3")])
    '{"method": "mtp", "draft": {"size": 3}}'
    """
    try:
        whole = json.loads(text or "{}")
        for path, value in found:
            *outer, last = path.split(".")
            inner = whole
            for key in outer:
                inner = inner.setdefault(key, {})
            inner[last] = _loaded(value)
        return json.dumps(whole)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"--command: {found[0][0]} is no key of {text!r:.60}",
            "quote the command as the shell takes it",
            "command",
        ) from None


def _loaded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def with_rope(scaling: str, overrides: str | None) -> str:
    """Return vLLM's --rope-scaling as the --hf-overrides that it was made into (config.py of 0.8 to 0.11).

    >>> with_rope('{"rope_type": "yarn", "factor": 4.0}', None)
    '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}'
    """
    try:
        return json.dumps({**json.loads(overrides or "{}"), "rope_scaling": json.loads(scaling)})
    except (ValueError, TypeError, RecursionError):
        raise UsageError(
            f"--command: --rope-scaling {scaling[:60]!r} is not valid JSON",
            "quote the command as the shell takes it",
            "command",
        ) from None
