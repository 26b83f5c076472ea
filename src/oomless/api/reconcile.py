"""`oomless reconcile`: a log, a text, a snapshot or a metrics page -> what it says beside the prediction."""

import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..engines.logs import engine_logs
from ..errors import OomlessError, UsageError
from ..files import need_path, need_regular, shown
from ..recording.snapshot_file import growth, is_snapshot, read_snapshot
from ..truth.reconcile.blocks import open_log
from ..truth.reconcile.compare import compare
from ..truth.reconcile.explain import explain
from ..truth.reconcile.log_question import LogQuestion, question_of
from ..truth.reconcile.logged_run import LoggedRun
from ..truth.reconcile.metrics_page import is_metrics, read_metrics
from ..truth.reconcile.nvidia_smi import is_nvidia_smi, read_nvidia_smi
from ..truth.reconcile.read_log import follow_log, read_log, read_stream
from ..truth.reconcile.reconciled import ReadSnapshot, Reconciled, ReconciledRun
from ..truth.reconcile.training_question import LoggedTrainingQuestion, TrainingAsks
from ..truth.serving_rows import ServingQuestion


def reconcile(
    *files: str | Path, gpu: str = "", model: str = "", engine_version: str = "", command: str = ""
) -> Reconciled:
    """Return what logs tell beside the prediction; the others stand in for what they do not say. `command`:
    what was run, for a text that an allocator alone has written.

    "-" is the standard input.
    """
    if not files:
        raise UsageError("no file is given", "oomless reconcile server.log, or - for the standard input")
    words = {"gpu": gpu, "model": model, "engine_version": engine_version, "command": command}
    for name, value in words.items():
        if not isinstance(value, str):  # Python may ask too
            raise UsageError(f"{name} is {shown(value)}", "it is a text, as on the command line")
    runs: list[LoggedRun] = []
    snapshots: list[ReadSnapshot] = []
    for file in files:
        need_path(file, "a log")
        if str(file) == "-":
            runs += _needed(read_stream(sys.stdin.buffer, "stdin"), "stdin")
            continue
        path = _readable(Path(file))
        kind = kind_of(path)
        if kind == "snapshot":
            snapshots += _snapshots(path, snapshots)
        else:
            runs += _runs_of(path, kind)
    asks = asked_by(command, gpu, model) if command else None
    return beside_prediction(runs, gpu, model, engine_version, command=asks)._replace(
        snapshots=tuple(snapshots)
    )


def asked_by(command: str, gpu: str, model: str) -> LogQuestion:
    """Return what a command asks that starts an engine, or that trains."""
    from ..engines.command_line import starts_engine
    from .command_question import need_cards, put_serving
    from .serving import infer
    from .training import train

    cards = {"gpu": gpu} if gpu else {}
    if starts_engine(command):
        put = put_serving(model or None, {"command": command, **cards}, {})
        found = infer(put.model, **put.asked).estimate
        hardware = found.cards or found.hardware
        return LogQuestion(ServingQuestion(found.model, found.asked, hardware), {})
    need_cards(cards)
    estimate = train(model or None, gpu, command=command).estimate
    asks = LoggedTrainingQuestion(
        estimate.model, estimate.asked, estimate.hardware, None, estimate.model.name
    )
    return LogQuestion(None, {}, training=TrainingAsks(asks))


def kind_of(path: Path) -> str:
    """Return what a file is by its beginning: a snapshot, a metrics page, nvidia-smi's words, or a log."""
    try:
        with open_log(path) as stream:
            head = stream.read(HEAD)
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if is_snapshot(head) or path.suffix in (".pickle", ".pkl"):
        return "snapshot"
    text = head.decode("utf-8", "replace")
    if is_metrics(text):
        return "metrics"
    return "nvidia-smi" if is_nvidia_smi(text) and len(head) < HEAD else "log"


HEAD = 1 << 16
UNREADABLE = (OSError, EOFError, zlib.error)


def _unreadable(path: Path, error: Exception) -> OomlessError:
    return OomlessError(f"{path}: {error}", "the file cannot be read to its end")


def _snapshots(path: Path, before: list[ReadSnapshot]) -> list[ReadSnapshot]:
    found = []
    for each in read_snapshot(path):
        earlier = next((old for old in reversed(before) if old.snapshot.device == each.device), None)
        found.append(ReadSnapshot(path.name, each, growth(earlier.snapshot, each) if earlier else ()))
    return found


def beside_prediction(
    runs: Iterable[LoggedRun],
    gpu: str = "",
    model: str = "",
    engine_version: str = "",
    *,
    command: LogQuestion | None = None,
) -> Reconciled:
    """Return runs with the prediction of each: of its own question, or of `command` where it says none."""
    found = []
    for run in runs:
        asked = question_of(run, gpu, model, engine_version)
        if command is not None and asked.is_empty:
            asked = command
        comparison = compare(run, asked)
        word = _counted(gpu, asked) if gpu else ""
        found.append(ReconciledRun(run, asked, comparison, explain(run, asked, comparison), word))
    return Reconciled(tuple(found))


def _counted(gpu: str, asked: LogQuestion) -> str:
    """The cards as `--gpu` writes them, with the number that the log has."""
    if asked.question is None or ":" in gpu:
        return gpu
    return f"{gpu}:{asked.question.hardware.num_gpus}"


def follow(
    file: str | Path, gpu: str = "", model: str = "", engine_version: str = ""
) -> Iterator[Reconciled]:
    """Return what a growing log tells, again each time that it tells more."""
    before: list[tuple[int, str, int]] = []
    for runs in follow_log(_readable(Path(file))):
        told = [(sum(map(len, run.values.values())), run.state, len(run.ooms)) for run in runs]
        if told != before:
            before = told
            yield beside_prediction(runs, gpu, model, engine_version)


def _runs_of(path: Path, kind: str) -> tuple[LoggedRun, ...]:
    try:
        if kind == "log":
            return _needed(read_log(path), path.name)
        text = path.read_text(encoding="utf-8", errors="replace")
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if kind == "metrics":
        return _needed(read_metrics(text, path.name, engine_logs()), path.name)
    return (read_nvidia_smi(text, path.name),)


def _needed(runs: tuple[LoggedRun, ...], name: str) -> tuple[LoggedRun, ...]:
    if not runs:
        raise OomlessError(
            f"{name}: not found: no line of an engine, a trainer or an allocator that is known",
            "logs of vLLM, SGLang, llama.cpp, Ollama, TensorRT-LLM, Megatron-LM, DeepSpeed, torchtitan and "
            "trainers are read, and torch's out-of-memory texts",
        )
    return runs


def _readable(path: Path) -> Path:
    if path.is_dir():
        raise OomlessError(f"{path} is a folder", "name a log file in it")
    if not path.exists():
        raise OomlessError(f"{path}: no such file", "name a log file, or - for the standard input")
    need_regular(path, "give a file; what comes through a pipe is read with -")
    return path
