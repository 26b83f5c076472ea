"""`oomless infer`, built from the table of options."""

from typing import Any

import click

from .answer import answer_infer
from .flags import INFER, Flag

TYPES: dict[str, Any] = {"whole": int, "share": float, "text": str}


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from .. import facts

    return [row["name"] for row in facts.table("catalogue") if row["name"].startswith(incomplete.lower())]


def complete_gpu(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from ..run.hardware import aliases, cards

    return [name for name in sorted({*cards(), *aliases()}) if name.startswith(incomplete.lower())]


def option(flag: Flag) -> click.Option:
    """A click option of a flag."""
    if flag.type == "switch":
        return click.Option([*flag.names, flag.field], is_flag=True, default=None, help=flag.help)
    kind = click.Choice(flag.choices) if flag.choices else TYPES[flag.type]
    complete = complete_gpu if flag.field == "gpu" else None
    return click.Option([*flag.names, flag.field], type=kind, default=None, help=flag.help, shell_complete=complete)


def _infer(model: str | None, **options: Any) -> int:
    return answer_infer(model, {name: value for name, value in options.items() if value is not None})


infer = click.Command(
    "infer",
    callback=_infer,
    params=[click.Argument(["model"], required=False, shell_complete=complete_model), *(option(flag) for flag in INFER)],
    help="Will MODEL serve on the cards of --gpu, and how many tokens and sequences will its cache take?\n\n"
    "MODEL is a catalogue name (deepseek-v3), a hub id (deepseek-ai/DeepSeek-V3), a folder, a config.json or a safetensors file.",
    epilog="\b\nExamples:\n  oomless infer deepseek-r1 --gpu h200:8\n"
    "  oomless infer deepseek-v3.2 --gpu h200:8 --kv-cache-dtype fp8 --context 65536 --concurrency 32\n"
    "  oomless infer deepseek-r1-distill-qwen-7b --gpu rtx-4090 --max-model-len 32768 --explain all",
)
