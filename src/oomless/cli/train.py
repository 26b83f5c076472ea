"""`oomless train`: options -> answer on stdout -> exit code."""

import os
import sys
from typing import Any

from ..api.command_question import need_category, need_training, training_answer
from ..api.compare import variants
from ..api.training_answer import TrainingAnswer
from ..errors import UsageError
from ..files import json_text
from .answer import exit_code, print_evidence, with_evidence
from .options import asking

OUTPUT = ("strict", "json", "explain", "evidence", "plot", "compare")


def _train(model: str | None, **options: Any) -> int:
    how = {name: options.pop(name, None) for name in OUTPUT}
    need_category(how["explain"])
    need_training(model, options, how["compare"])
    if how["compare"]:
        if options.get("megatron_args"):
            raise UsageError(
                "--compare does not go with --megatron-args", "give two argument files, one after the other"
            )
        return _compare(model, options, how)
    return _answer(training_answer(model, options, os.environ), how)


def _answer(answer: TrainingAnswer, how: dict[str, Any]) -> int:
    """The answer as it is asked for: text, JSON, a picture."""
    if how["plot"]:
        from ..report.estimate_svg import training_svg
        from .files import write_svg

        write_svg(how["plot"], training_svg(answer))
    if how["json"]:
        sys.stdout.write(json_text(with_evidence(answer, how)) + "\n")
    else:
        from ..report.training_text import print_training
        from .terminal import colour, width

        print_training(answer, how["explain"], colour(), width())
        print_evidence(answer, how)
    return exit_code(answer.verdict, bool(how["strict"]))


def _compare(model: str | None, asked: dict[str, Any], how: dict[str, Any]) -> int:
    """Several answers side by side, which differ in one flag, the cards or the model."""
    asked_for = variants("train", how["compare"], "recompute=none,full")
    if how.get("plot") or how.get("explain"):
        raise UsageError("--compare has neither --plot nor --explain", "ask for one variant alone")
    estimates: list[TrainingAnswer] = []
    for value in asked_for.values:
        if asked_for.field == "model":
            estimates.append(training_answer(value, asked, os.environ))
        else:
            estimates.append(training_answer(model, {**asked, asked_for.field: value}, os.environ))
    if how["json"]:
        document = {
            "schema": "oomless/compare/1",
            "flag": asked_for.flag,
            "values": list(asked_for.words),
            "answers": [e.to_json() for e in estimates],
        }
        sys.stdout.write(json_text(document) + "\n")
    else:
        from ..report.training_text import print_comparison
        from .terminal import colour, width

        print_comparison(list(asked_for.words), estimates, width(), colour())
    return 0 if any(estimate.verdict != "does_not_fit" for estimate in estimates) else 3


train = asking(
    "train",
    _train,
    "Will MODEL train on the cards of --gpu: memory by category and rank at the "
    "worst moment of a step.\n\n"
    "MODEL is a catalogue name (deepseek-v2-lite), a hub id, a folder, a config.json, "
    "a .safetensors file or its index.",
    "\b\nExamples:\n  oomless train deepseek-v2-lite --gpu a100-80gb --method lora --lora-rank 16\n"
    "  oomless train llama-3.1-70b --gpu h100:64 --framework torchtitan --seq-len 8192\n"
    "  oomless train deepseek-r1-distill-qwen-7b --gpu rtx-4090 --method qlora "
    "--recompute full --explain all\n"
    "  oomless train --megatron-args pretrain.sh --world-size 16 --gpu h100:16",
)
