"""`oomless run -- CMD`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files import json_text

if TYPE_CHECKING:
    from ..api.launched import Predicted, Watched
    from ..api.launched_training import TrainingWatch
    from ..monitor.launcher import ChildEnd


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="\b\nExamples:\n  oomless run -- vllm serve deepseek-ai/DeepSeek-V3 -tp 8\n"
    "  oomless run --strict --report run.json -- llama-server -m model.gguf\n"
    "  oomless run -- torchrun --nproc-per-node 8 train.py",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--gpu", default="", help="The cards, instead of this machine's.")
@click.option("--strict", is_flag=True, help="Do not start what is predicted not to fit; exit code 3.")
@click.option("--report", type=click.Path(path_type=Path), help="Keep prediction and comparison as JSON.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where a watched training is written down.")
@click.option("--quiet", is_flag=True, help="Say nothing; only the report is written.")
def run(
    command: tuple[str, ...], gpu: str, strict: bool, report: Path | None, folder: Path | None, quiet: bool
) -> int:
    """Predict COMMAND, start it untouched, read its log or watch what it trains, print both side by side."""
    from ..api.launched import predict, run_watched
    from ..api.launched_training import TrainingWatch, new_folder
    from ..monitor.launcher import die_like

    predicted = predict(command, gpu)
    where = None if predicted.engine else folder or new_folder()
    _say(_first_line(predicted, where), quiet)
    if strict and predicted.answer is not None and predicted.answer.verdict == "does_not_fit":
        _say("oomless: not started (--strict)", quiet)
        return 3
    show = _nothing if quiet else _comparison
    training = None if where is None else TrainingWatch(where, lambda text: _say(f"oomless: {text}", quiet))
    ended, watched = run_watched(command, predicted, gpu, show, training)
    if training is not None:
        _say_training(training, ended, quiet)
    if watched.file.finish() and (not watched.is_shown or watched.found().runs[-1].state == "oom"):
        show(watched)
    if report is not None:
        _write(report, predicted, watched, ended, command)
    return die_like(ended)


def _say_training(training: "TrainingWatch", ended: "ChildEnd", quiet: bool) -> None:
    """What a watched training left behind, and what killed it."""
    words, found = training.last_words(ended), training.found()
    if found is not None:
        from ..report.monitor_text import run_text

        _say(f"oomless: {run_text(found)}\noomless: kept in {training.folder}", quiet)
    if words:
        _say(f"oomless: {words}", quiet)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)


def _first_line(predicted: "Predicted", folder: Path | None) -> str:
    if folder is not None:
        return f"oomless: this starts no engine that is known; what it trains is watched into {folder}"
    if predicted.answer is None:
        return f"oomless: no prediction: {predicted.problem}"
    from ..api.screen import verdict_line

    return f"oomless: {verdict_line(predicted.answer)}"


def _comparison(watched: "Watched") -> None:
    from ..report.reconcile_text import reconciled_text

    click.echo(reconciled_text(watched.found()), err=True)


def _nothing(watched: "Watched") -> None:
    """Stand in for the comparison where nothing shall be said."""


def _write(
    path: Path, predicted: "Predicted", watched: "Watched", ended: "ChildEnd", command: tuple[str, ...]
) -> None:
    from ..files import write_whole
    from ..truth.reconcile.scrub import scrub

    document = {
        "schema": "oomless/run/1",
        "command": [scrub(word) for word in command],
        "exit_code": ended.code,
        "signal": ended.signal,
        "wall_s": round(ended.wall_s, 3),
        "predicted": predicted.answer.to_json() if predicted.answer is not None else None,
        "problem": predicted.problem,
        **watched.found().to_json(),
    }
    document["schema"] = "oomless/run/1"
    write_whole(path, json_text(document) + "\n", f"--report {path}")
