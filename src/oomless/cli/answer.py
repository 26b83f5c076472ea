"""`infer`: options -> answer on stdout -> exit code. Used by both readers of the command line."""

import sys
from typing import Any

from ..api import infer
from ..estimate.serving import Estimate
from ..ledger import CATEGORIES
from .flags import OUTPUT_FIELDS


def answer_infer(model: str, options: dict[str, Any]) -> int:
    """Print the answer as text or JSON; nothing reaches stdout before all of it is known."""
    how = {name: options.get(name) for name in OUTPUT_FIELDS}
    asked = {name: value for name, value in options.items() if name not in OUTPUT_FIELDS}
    if how["explain"] and how["explain"] not in ("all", *CATEGORIES):
        from ..errors import UsageError, did_you_mean

        raise UsageError(
            f"--explain {how['explain']}: no such category",
            did_you_mean(how["explain"], ["all", *CATEGORIES], "--explain all"),
        )
    estimate = infer(model, **asked)
    if how["json"]:
        import json

        sys.stdout.write(json.dumps(estimate.to_json()) + "\n")
    else:
        from ..report.estimate_text import print_estimate
        from .terminal import colour, width

        print_estimate(estimate, how["explain"], colour(), width())
    return exit_code(estimate, bool(how["strict"]))


def exit_code(estimate: Estimate, strict: bool) -> int:
    """0 fits or tight, 3 does not fit; tight is 3 too if asked for."""
    match estimate.verdict:
        case "fits":
            return 0
        case "tight":
            return 3 if strict else 0
        case "does_not_fit":
            return 3
