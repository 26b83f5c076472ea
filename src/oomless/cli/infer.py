"""`oomless infer`, built from the table of options."""

from typing import Any

import click

from ..errors import UsageError, did_you_mean
from .answer import answer_infer
from .flags import INFER, Flag

TYPES: dict[str, Any] = {"whole": int, "share": float, "text": str}


class Word(click.Choice[str]):
    """One of several words; another one is refused with what was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        name = param.opts[0] if param is not None and param.opts else "value"
        command = ctx.command_path if ctx is not None else "oomless infer"
        listed = ", ".join(map(str, self.choices))
        hint = OTHER_WORDS.get(str(value).lower()) if name == "--engine" else None
        raise UsageError(
            f"{name} {value!r} is not one of {listed}",
            hint or did_you_mean(str(value), list(map(str, self.choices)), f"{command} --help"),
        )


OTHER_WORDS = {
    **dict.fromkeys(
        ("llama.cpp", "llama-cpp", "llama-server", "llama_cpp", "llama-box"), "did you mean llamacpp?"
    ),
    **dict.fromkeys(("ik_llama.cpp", "ik_llama", "ik-llama.cpp"), "did you mean ik-llamacpp?"),
    **dict.fromkeys(("tensorrt-llm", "tensorrt_llm", "trt-llm", "trt"), "did you mean trtllm?"),
    **dict.fromkeys(("hf", "huggingface"), "did you mean transformers?"),
    "mindie": "MindIE's own rules are not known; vllm-ascend answers for the same cards",
    "lmdeploy": "its rules are not known; vllm serves the same formats",
    "exllamav3": "its rules are not known; llamacpp serves desktop cards",
}
"""What people call engines, or ask for beside those that are known."""


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from .. import facts

    return [row["name"] for row in facts.table("catalogue") if row["name"].startswith(incomplete.lower())]


def complete_gpu(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from ..run.cards import aliases, cards

    return [name for name in sorted({*cards(), *aliases()}) if name.startswith(incomplete.lower())]


def option(flag: Flag) -> click.Option:
    """A click option of a flag."""
    if flag.type == "switch":
        return click.Option([*flag.names, flag.field], is_flag=True, default=None, help=flag.help)
    kind = Word(flag.choices) if flag.choices else TYPES[flag.type]
    complete = complete_gpu if flag.field == "gpu" else None
    return click.Option(
        [*flag.names, flag.field], type=kind, default=None, help=flag.help, shell_complete=complete
    )


def _infer(model: str | None, **options: Any) -> int:
    return answer_infer(model, {name: value for name, value in options.items() if value is not None})


infer = click.Command(
    "infer",
    callback=_infer,
    params=[
        click.Argument(["model"], required=False, shell_complete=complete_model),
        *(option(flag) for flag in INFER),
    ],
    help="Will MODEL serve on the cards of --gpu, and how many tokens and sequences will its cache take?\n\n"
    "MODEL is a catalogue name (deepseek-v3), a hub id (deepseek-ai/DeepSeek-V3), a folder, a "
    "config.json, a .safetensors file or "
    "its index, or a .gguf file.",
    epilog="\b\nExamples:\n  oomless infer deepseek-r1 --gpu h200:8\n"
    "  oomless infer deepseek-v3.2 --gpu h200:8 --kv-cache-dtype fp8 --context 65536 --concurrency 32\n"
    "  oomless infer deepseek-r1-distill-qwen-7b --gpu rtx-4090 --max-model-len 32768 --explain all",
)
