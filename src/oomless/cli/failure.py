"""How a failure reaches the user: what, where, what to do on stderr, and the exit code; under --json as one
object; a traceback only with --debug."""

import sys
from contextlib import suppress

from ..errors import meant
from ..files import json_text


def explain(error: Exception, debug: bool, as_json: bool) -> int:
    """Print an error on stderr and return its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    failure = meant(error)
    with suppress(OSError):  # a stderr that is full or closed: the code still says it
        print(json_text(failure.to_json()) if as_json else f"oomless: {failure}", file=sys.stderr)
    return failure.code
