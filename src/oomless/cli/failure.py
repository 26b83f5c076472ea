"""How a failure reaches the user: what, where, what to do on stderr, and the exit code; under --json as one
object; a traceback only with --debug."""

import sys
from contextlib import suppress

from ..errors import OomlessError, meant
from ..files import json_text


def explain(error: Exception, debug: bool, as_json: bool) -> int:
    """Print an error on stderr and return its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    failure = meant(error)
    with suppress(OSError):  # a stderr that is full or closed: the code still says it
        print(json_text(failure.to_json()) if as_json else told(failure), file=sys.stderr)
    return failure.code


def told(failure: OomlessError) -> str:
    """Return what is printed: in the reader's language, then with the words of a command that was pasted."""
    put = getattr(sys.stderr, "plain", str)
    text = f"{failure.message}\n  {failure.hint}" if failure.hint else failure.message
    return failure.said(put(f"oomless: {text}") if failure.words else f"oomless: {text}")
