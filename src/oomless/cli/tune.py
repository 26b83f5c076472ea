"""`oomless tune`."""

import os
import sys
from typing import Any

from ..api.command_question import tune_answer
from ..files import json_text
from ..run.options import answered_of
from .options import asking


def _tune(model: str | None, **options: Any) -> int:
    how = {option.field: options.pop(option.field, None) for option in answered_of("tune")}
    answer = tune_answer(model, options, os.environ)
    if how["json"]:
        sys.stdout.write(json_text(answer.to_json()) + "\n")
    else:
        from ..api.tune_screen import tune_lines

        sys.stdout.write("\n".join(tune_lines(answer.tuned)) + "\n")
    return 0 if answer.rows else 3


tune = asking(
    "tune",
    _tune,
    "Which setting of the engine's own flags serves a load best on the cards of --gpu?\n\n"
    "Settings that hold the whole load come first, by tokens a second; a promise (--slo) comes before speed. "
    "Flags that are given stay as they are; a pasted command (--command) is where the search begins.",
    "\b\nExamples:\n  oomless tune deepseek-r1 --gpu h20:8 --context 32768 --concurrency 64\n"
    "  oomless tune deepseek-v3.2 --gpu h200:8 --engine sglang --slo ttft=2s,tpot=50ms\n"
    "  oomless tune --gpu h200:8 --context 16384 --concurrency 32 \\\n"
    "    --command 'vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --enforce-eager'",
)
