"""`oomless speed`: how fast, for a steady load or for a workload."""

import os
import sys
from typing import Any

from ..api.command_question import speed_answer
from ..files import json_text
from .options import asking


def _speed(model: str | None, **options: Any) -> int:
    from ..speed.serving import ServingSpeed

    against, as_json = options.pop("against", None), options.pop("json", None)
    answer = speed_answer(model, options, os.environ)
    if against:
        answer = answer.beside_silicon()
    if as_json:
        text = json_text(answer.to_json())
    elif isinstance(answer.speed, ServingSpeed):
        from ..report.speed_text import speed_text

        text = speed_text(answer.serving, answer.speed, answer.silicon)
    else:
        from ..report.speed_text import dynamic_text

        text = dynamic_text(answer.serving, answer.speed)
    sys.stdout.write(text + "\n")
    return 0 if answer.starts else 3


speed = asking(
    "speed",
    _speed,
    "How fast does MODEL serve on the cards of --gpu: first token, time a token, tokens "
    "a second, each with its band?\n\n"
    "With --arrival-rate or --workload, continuous batching over the paged cache is simulated.",
    "\b\nExamples:\n  oomless speed deepseek-r1 --gpu h200:8 --input-len 2000 "
    "--output-len 500 --concurrency 32\n"
    "  oomless speed deepseek-coder-1.3b --gpu t4 --arrival-rate 4 --input-len "
    "128-1024 --output-len 200~0.6\n"
    "  oomless speed --command 'vllm serve deepseek-ai/DeepSeek-R1 -tp 8' --gpu h200:8\n"
    "  oomless speed deepseek-v2-lite --gpu a100-80gb --workload requests.csv --memory-policy no-evict",
)
