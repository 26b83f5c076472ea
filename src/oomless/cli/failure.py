"""How a failure reaches the user: what, where, what to do on stderr, and the exit code; under --json as one
object; a traceback only with --debug."""

import sys
from contextlib import suppress

from ..errors import OomlessError
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


def meant(error: Exception) -> OomlessError:
    """Return an error as one that a user can act on; what nobody meant is called a defect of ours."""
    if isinstance(error, OomlessError):
        return error
    if isinstance(error, MemoryError):
        return OomlessError(
            "not enough memory on this machine for this input", "check that the file is what you meant"
        )
    if isinstance(error, OSError) and error.filename is None:
        # what we open ourselves is reported where it is opened
        return OomlessError(f"the answer could not be written: {error.strerror}", "check where stdout goes")
    return OomlessError(
        f"internal error: {type(error).__name__}: {error}",
        "this is a defect of oomless; run again with --debug and report what it prints",
    )
