"""`oomless speed`: how fast, for a steady load or for a workload."""

import os
import sys
from typing import TYPE_CHECKING, Any

from ..facts.options.simulating import OWN as OWN_OPTIONS
from ..files import json_text
from ..run.options import answered_of, asked_of
from .answer import exit_code
from .options import asking

if TYPE_CHECKING:
    from ..estimate.serving.estimate import Estimate
    from ..speed.dynamic import Dynamic

OWN = tuple(option.field for option in (*OWN_OPTIONS, *answered_of("speed")))
SIMULATES = tuple(option.field for option in OWN_OPTIONS if option.group == "simulation")


def _speed(model: str | None, **options: Any) -> int:
    from ..api.serving import infer
    from ..errors import UsageError
    from ..run.settings import read_settings, with_settings

    own = {name: options.pop(name, None) for name in OWN}
    settings, notes = with_settings(options, read_settings(os.environ))
    taken = {option.field for option in asked_of("speed")}
    asked = {name: value for name, value in settings.items() if name in taken and name not in OWN}
    if model is None:
        raise UsageError(
            "MODEL is missing",
            "name a model: oomless speed deepseek-r1 --gpu h200:8; `oomless models` lists them",
        )
    if "gpu" not in asked:
        raise UsageError("--gpu is missing", "say which cards: --gpu h200:8; `oomless gpus` lists them")
    simulated = own["arrival_rate"] is not None or own["workload"] is not None
    if not simulated and (extra := [name for name in SIMULATES if own[name] is not None]):
        raise UsageError(
            f"--{extra[0].replace('_', '-')} is for a simulation", "give --arrival-rate or --workload with it"
        )
    estimate = infer(model, **asked)
    if own["host"] is not None:
        from ..speed.host_offload import on_the_host

        if not on_the_host(estimate):
            raise UsageError(
                f"--host {own['host']}: no weights lie on the host",
                "leave it out, or leave some there: --n-cpu-moe 30",
            )
    estimate = estimate._replace(warnings=(*estimate.warnings, *notes))
    return _simulation(estimate, own) if simulated else _steady(estimate, own)


def _steady(estimate: "Estimate", own: dict[str, Any]) -> int:
    """A load that stays the same."""
    from ..report.speed_text import speed_json, speed_text
    from ..speed.serving import serving_speed
    from ..speed.workload import parse_lengths

    prompts, outputs = (
        parse_lengths(own[name] or usual, f"--{name.replace('_', '-')}")
        for name, usual in (("input_len", "1024"), ("output_len", "256"))
    )
    concurrency = 1 if own["concurrency"] is None else own["concurrency"]
    answer = serving_speed(
        estimate,
        input_len=round(prompts.mean),
        output_len=round(outputs.mean),
        concurrency=concurrency,
        host=own["host"],
    )
    _print(speed_json(estimate, answer) if own["json"] else speed_text(estimate, answer), own)
    return exit_code(estimate.verdict, False)


def _simulation(estimate: "Estimate", own: dict[str, Any]) -> int:
    """A workload, simulated."""
    from ..errors import UsageError
    from ..report.dynamic_text import dynamic_json, dynamic_text
    from ..speed.dynamic import policy_of, run_workload
    from ..speed.serving import setup_of
    from ..speed.workload import parse_lengths, poisson, read_workload

    if own["workload"] is not None:
        for name in ("arrival_rate", "input_len", "output_len", "requests", "seed", "concurrency"):
            if own[name] is not None:
                raise UsageError(f"--workload says what --{name.replace('_', '-')} says", "give one of them")
        requests = read_workload(own["workload"])
    else:
        if own["concurrency"] is not None:
            raise UsageError("--concurrency and --arrival-rate are two kinds of load", "give one of them")
        prompts = parse_lengths(own["input_len"] or "1024", "--input-len")
        outputs = parse_lengths(own["output_len"] or "256", "--output-len")
        count = 1000 if own["requests"] is None else own["requests"]
        requests = poisson(own["arrival_rate"], count, prompts, outputs, own["seed"] or 0)
    policy = policy_of(
        estimate,
        setup_of(estimate, own["host"]),
        own["memory_policy"] or "evict",
        not own["no_chunked_prefill"],
        own["shared_prefix"] or 0,
        own["token_budget"],
    )
    answer: Dynamic = run_workload(estimate, requests, policy, own["host"])
    _print(dynamic_json(answer) if own["json"] else dynamic_text(answer), own)
    return exit_code(estimate.verdict, False)


def _print(answer: Any, own: dict[str, Any]) -> None:
    """An object as one line of JSON, or a text."""
    if own["json"]:
        answer = json_text(answer)
    sys.stdout.write(answer + "\n")


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
