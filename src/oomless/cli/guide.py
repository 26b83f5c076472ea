"""`oomless guide`."""

import os
import sys
from typing import Any

from ..api.command_question import guide_answer
from ..files import json_text
from ..run.options import answered_of
from .options import asking


def _guide(model: str | None, **options: Any) -> int:
    how = {option.field: options.pop(option.field, None) for option in answered_of("guide")}
    answer = guide_answer(model, options, os.environ)
    if how["json"]:
        sys.stdout.write(json_text(answer.to_json()) + "\n")
    else:
        from ..api.guide import guide_lines

        sys.stdout.write("\n".join(guide_lines(answer)) + "\n")
    return 0 if answer.holds else 3


guide = asking(
    "guide",
    _guide,
    "From MODEL's files to a server whose log was reconciled, on the cards of --gpu: compress, fit, monitor, "
    "reconcile.\n\nEach step is printed as commands with the numbers of this model on these cards; nothing "
    "is run.",
    "\b\nExamples:\n  oomless guide deepseek-r1 --gpu h200:8\n"
    "  oomless guide deepseek-r1-distill-qwen-32b --gpu rtx-4090:2 --context 16384 --concurrency 4",
)
