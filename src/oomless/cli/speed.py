"""`oomless speed`: how fast, for a steady load or for a workload."""

import os
import sys
from typing import Any

from ..facts.options.simulating import OWN
from ..files import json_text
from ..run.options import answered_of, asked_of
from .options import asking


def _speed(model: str | None, **options: Any) -> int:
    from ..api.speed import speed as speed_api
    from ..errors import UsageError
    from ..run.settings import read_settings, with_settings
    from ..speed.serving import ServingSpeed

    how = {option.field: options.pop(option.field, None) for option in answered_of("speed")}
    own = {option.field: options.pop(option.field, None) for option in OWN}
    settings, notes = with_settings(options, read_settings(os.environ))
    taken = {option.field for option in asked_of("speed")} - own.keys()
    asked = {name: value for name, value in settings.items() if name in taken}
    if model is None:
        raise UsageError(
            "MODEL is missing",
            "name a model: oomless speed deepseek-r1 --gpu h200:8; `oomless models` lists them",
        )
    if "gpu" not in asked:
        raise UsageError("--gpu is missing", "say which cards: --gpu h200:8; `oomless gpus` lists them")
    answer = speed_api(model, **asked, **own, notes=notes)
    if how["json"]:
        text = json_text(answer.to_json())
    elif isinstance(answer.speed, ServingSpeed):
        from ..report.speed_text import speed_text

        text = speed_text(answer.serving, answer.speed)
    else:
        from ..report.dynamic_text import dynamic_text

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
    "  oomless speed deepseek-v2-lite --gpu a100-80gb --workload requests.csv --memory-policy no-evict",
)
