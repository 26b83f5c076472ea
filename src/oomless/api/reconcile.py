"""`oomless reconcile`: a log, a text or a metrics page in, what it says beside the prediction out."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..engines.logs import engine_logs
from ..errors import OomlessError, UsageError
from ..ledger import Compared, Observed
from ..plan.answer import arguments_of
from ..recording.snapshot_file import AllocatorSnapshot, Held, growth, is_snapshot, read_snapshot
from ..truth.reconcile.blocks import open_log
from ..truth.reconcile.compare import Comparison, compare
from ..truth.reconcile.explain import Explanation, explain
from ..truth.reconcile.log_facts import Fact, facts_of, observed_of
from ..truth.reconcile.log_question import Asked, question_of
from ..truth.reconcile.logged_run import LoggedRun
from ..truth.reconcile.measured_rows import measured_rows
from ..truth.reconcile.metrics_page import is_metrics, read_metrics
from ..truth.reconcile.nvidia_smi import is_nvidia_smi, read_nvidia_smi
from ..truth.reconcile.read_log import follow_log, read_log, read_stream
from ..units import format_exact

SCHEMA = "oomless/reconcile/1"
STATES = {"ready": "started", "": "cut_off"}
"""How a run is called that was seen to begin: ready, or not any more."""


class ReconciledRun(NamedTuple):
    """One run beside its prediction."""

    run: LoggedRun
    asked: Asked
    comparison: Comparison
    explanation: Explanation | None

    @property
    def state(self) -> str:
        """started, oom, failed or cut_off. An engine that reports requests has started."""
        if not self.run.state and self.run.peaks:
            return "started"
        return STATES.get(self.run.state, self.run.state)

    @property
    def facts(self) -> dict[str, Fact]:
        """What the log states."""
        return facts_of(self.run)

    @property
    def observed(self) -> tuple[Observed, ...]:
        """Every measured value with its place."""
        return observed_of(self.run)

    @property
    def rows(self) -> tuple[Compared, ...]:
        """Predicted beside measured."""
        return self.comparison.rows

    @property
    def command(self) -> list[str]:
        """The arguments of `oomless infer` that ask the same; empty where something is missing."""
        estimate = self.comparison.estimate
        if estimate is None:
            return []
        hardware = estimate.cards or estimate.hardware
        card = f"{format_exact(hardware.card.memory_bytes)}:{hardware.num_gpus}"
        return list(arguments_of(estimate, estimate.asked, estimate.model.name, estimate.gpu_word or card))

    def to_json(self) -> dict[str, Any]:
        """Return the run as `reconcile --json` prints it."""
        facts = self.facts
        changes = self.explanation.advice if self.explanation else ()
        return {
            "engine": facts["engine"],
            "engine_version": facts.get("engine_version"),
            "state": self.state,
            "facts": facts,
            "command": self.command,
            "missing": list(self.asked.missing),
            "assumed": list(self.asked.assumed),
            "observed": [_observed(each) for each in self.observed],
            "rows": [row.to_json() for row in self.rows],
            "oom": self.explanation.to_json() if self.explanation else None,
            "changes": [each._asdict() for each in changes],
            "live": self.run.peaks,
            "problem": self.comparison.problem,
        }


class ReadSnapshot(NamedTuple):
    """One allocator's snapshot, and what grew since the one before it on the command line."""

    name: str
    snapshot: AllocatorSnapshot
    grown: tuple[Held, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a run without an engine: what is held is observed."""
        observed = [
            Observed(key, value, self.name, rank=self.snapshot.device)
            for key, value in (
                ("reserved", self.snapshot.reserved_bytes),
                ("allocated", self.snapshot.active_bytes),
                ("peak_allocated", self.snapshot.peak_bytes),
                ("fragmentation", self.snapshot.fragmentation_bytes),
            )
        ]
        return {
            "engine": "torch",
            "engine_version": None,
            "state": "started",
            "facts": {"engine": "torch"},
            "command": [],
            "missing": ["model", "gpu"],
            "assumed": [],
            "observed": [_observed(each) for each in observed],
            "rows": [],
            "oom": None,
            "changes": [],
            "snapshot": {**self.snapshot.to_json(), "grown": [each._asdict() for each in self.grown]},
        }


class Reconciled(NamedTuple):
    """What all files tell."""

    runs: tuple[ReconciledRun, ...]
    snapshots: tuple[ReadSnapshot, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document of `reconcile --json`."""
        return {"schema": SCHEMA, "runs": [each.to_json() for each in (*self.runs, *self.snapshots)]}

    def measured_rows(self) -> list[dict[str, str]]:
        """Return measured rows as `validate` reads them."""
        return [row for each in self.runs for row in measured_rows(each.run, each.asked)]


def _observed(each: Observed) -> dict[str, object]:
    value: dict[str, object] = {"bytes": int(each.value)} if each.unit == "B" else {"value": each.value}
    return {
        "key": each.key,
        "owner": each.owner,
        "rank": each.rank,
        **value,
        "unit": each.unit,
        "source": each.source,
    }


def reconcile(*files: str | Path, gpu: str = "", model: str = "") -> Reconciled:
    """Return what logs tell beside the prediction; `gpu` and `model` stand in for what they do not say.

    "-" is the standard input.
    """
    if not files:
        raise UsageError("no file is given", "oomless reconcile server.log, or - for the standard input")
    runs: list[LoggedRun] = []
    snapshots: list[ReadSnapshot] = []
    for file in files:
        if str(file) == "-":
            runs += _needed(read_stream(sys.stdin.buffer, "stdin"), "stdin")
            continue
        path = _readable(Path(file))
        kind = kind_of(path)
        if kind == "snapshot":
            snapshots += _snapshots(path, snapshots)
        else:
            runs += _runs_of(path, kind)
    return beside_prediction(runs, gpu, model)._replace(snapshots=tuple(snapshots))


def kind_of(path: Path) -> str:
    """Return what a file is by its beginning: a snapshot, a metrics page, nvidia-smi's words, or a log."""
    with open_log(path) as stream:
        head = stream.read(HEAD)
    if is_snapshot(head) or path.suffix in (".pickle", ".pkl"):
        return "snapshot"
    text = head.decode("utf-8", "replace")
    if is_metrics(text):
        return "metrics"
    return "nvidia-smi" if is_nvidia_smi(text) and len(head) < HEAD else "log"


HEAD = 1 << 16


def _snapshots(path: Path, before: list[ReadSnapshot]) -> list[ReadSnapshot]:
    found = []
    for each in read_snapshot(path):
        earlier = next((old for old in reversed(before) if old.snapshot.device == each.device), None)
        found.append(ReadSnapshot(path.name, each, growth(earlier.snapshot, each) if earlier else ()))
    return found


def beside_prediction(runs: Iterable[LoggedRun], gpu: str = "", model: str = "") -> Reconciled:
    """Return runs with the prediction of each."""
    found = []
    for run in runs:
        asked = question_of(run, gpu, model)
        comparison = compare(run, asked)
        if comparison.estimate is not None and gpu:
            comparison = comparison._replace(
                estimate=comparison.estimate._replace(gpu_word=_counted(gpu, asked))
            )
        found.append(ReconciledRun(run, asked, comparison, explain(run, asked, comparison)))
    return Reconciled(tuple(found))


def _counted(gpu: str, asked: Asked) -> str:
    """The cards as `--gpu` writes them, with the number that the log has."""
    if asked.question is None or ":" in gpu:
        return gpu
    return f"{gpu}:{asked.question.hardware.num_gpus}"


def follow(file: str | Path, gpu: str = "", model: str = "") -> Iterator[Reconciled]:
    """Return what a growing log tells, again after each piece that is written."""
    for runs in follow_log(_readable(Path(file))):
        yield beside_prediction(runs, gpu, model)


def _runs_of(path: Path, kind: str) -> tuple[LoggedRun, ...]:
    try:
        if kind == "log":
            return _needed(read_log(path), path.name)
        text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, EOFError) as error:
        raise OomlessError(f"{path}: {error}", "the file cannot be read to its end") from None
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
    return path
