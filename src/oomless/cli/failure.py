"""How a failure reaches the user: what, where, what to do on stderr, and the exit code; a traceback only with
--debug."""

import sys

from ..errors import OomlessError


def explain(error: Exception, debug: bool) -> int:
    """Print an error and give its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, OomlessError):
        print(f"oomless: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, MemoryError):
        print(
            "oomless: not enough memory on this machine for this input\n  check that "
            "the file is what you meant",
            file=sys.stderr,
        )
        return 1
    if (
        isinstance(error, OSError) and error.filename is None
    ):  # what we open ourselves is reported where it is opened
        print(
            f"oomless: the answer could not be written: {error.strerror}\n  check where stdout goes",
            file=sys.stderr,
        )
        return 1
    print(f"oomless: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print("  this is a defect of oomless; run again with --debug and report what it prints", file=sys.stderr)
    return 1
