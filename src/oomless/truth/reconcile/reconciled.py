"""What files tell, run by run and snapshot by snapshot, its JSON, and the measured rows that `validate` reads
of it."""

from typing import Any, NamedTuple

from ...estimate.serving.estimate import Estimate
from ...ledger import Compared, Observed
from ...plan.answer import arguments_of
from ...plan.training_answer import arguments_of as training_arguments
from ...recording.held_places import HeldPlace
from ...recording.snapshot_file import AllocatorSnapshot
from ...run.card_names import flag_name
from ...run.cards import Hardware, card
from ...units import GIB, MIB, format_exact
from .compare import Comparison
from .explain import Explanation
from .log_facts import Fact, facts_of
from .log_observed import observed_of
from .log_question import LogQuestion
from .log_row import COLUMNS, QUANTITIES
from .logged_run import LoggedRun
from .scrub import scrub

SCHEMA = "oomless/reconcile/1"
STATES = {"ready": "started", "": "cut_off"}
"""How a run is called that was seen to begin: ready, or not any more."""


class ReconciledRun(NamedTuple):
    """One run beside its prediction."""

    run: LoggedRun
    asked: LogQuestion
    comparison: Comparison
    explanation: Explanation | None
    gpu_word: str = ""
    """The cards as they were asked for; "": those of the log."""

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
        """The arguments of `oomless infer` or `train` that ask the same; empty where something is missing, or
        where a list of arguments asks it."""
        estimate, trained = self.comparison.estimate, self.comparison.training
        if trained is not None and self.asked.training is not None and not self.asked.missing:
            asked = self.asked.training.question
            if asked is None or not asked.word:
                return []
            return list(
                training_arguments(asked.asked, asked.word, self.gpu_word or gpu_word(asked.hardware))
            )
        if estimate is None or self.asked.missing:
            return []
        word = self.gpu_word or gpu_word(estimate.cards or estimate.hardware)
        return list(arguments_of(estimate, estimate.asked, estimate.model.name, word))

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


ABOUT = 0.01
"""By how much of its size a log may see a card smaller or larger and still mean that card."""


def gpu_word(hardware: Hardware) -> str:
    """Return the cards of a log as `--gpu` takes them: by name if the catalogue has one of that size, since a
    size alone has the architecture of another card.

    >>> from ...run.hardware import parse_gpu
    >>> gpu_word(parse_gpu("rtx-4090:2")), gpu_word(parse_gpu("20GiB"))
    ('rtx-4090:2', '20GiB:1')
    """
    short, seen = flag_name(hardware.card), hardware.card.memory_bytes
    if short and abs(card(short).memory_bytes / seen - 1) < ABOUT:
        return f"{short}:{hardware.num_gpus}"
    return f"{format_exact(seen)}:{hardware.num_gpus}"


class ReadSnapshot(NamedTuple):
    """One allocator's snapshot, and what grew since the one before it on the command line."""

    name: str
    snapshot: AllocatorSnapshot
    grown: tuple[HeldPlace, ...] = ()

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
        runs = [each.to_json() for each in self.runs] + [each.to_json() for each in self.snapshots]
        return {"schema": SCHEMA, "runs": runs}

    def __repr__(self) -> str:
        runs = [
            f"{each.facts['engine']}, {each.state}: {len(each.observed)} values measured, "
            f"{len(each.rows)} beside a prediction"
            for each in self.runs
        ]
        return "\n".join([*runs, *(f"snapshot {each.name}" for each in self.snapshots)])

    def measured_rows(self) -> list[dict[str, str]]:
        """Return measured rows as `validate` reads them."""
        return [
            row for each in self.runs for row in measured_rows(each.run, each.asked, each.comparison.estimate)
        ]


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


PRINTED = {"GiB": ("GiB", GIB), "MiB": ("MiB", MIB), "B": ("bytes", 1), "count": ("tokens", 1)}
"""Unit of a log's figure -> unit of the row and its bytes."""


def measured_rows(run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> list[dict[str, str]]:
    """Return a row for each quantity that the log measured. A share that the printed arguments leave to the
    engine is the release's own, as the estimate has it."""
    share = asked.row["gpu_mem_util"]
    if not share and estimate is not None:
        own = estimate.request.gpu_memory_utilization or estimate.request.mem_fraction_static
        share = f"{own:g}" if own else ""
    found = facts_of(run)
    rows: list[dict[str, str]] = []
    for word, quantity in QUANTITIES.items():
        value = found.get(word)
        if not isinstance(value, int):
            continue
        values = run.on_cards(word) or run.of_ranks(word)
        said = next(iter(values.values()), None)
        unit, factor = PRINTED.get(said.unit if said else "B", ("bytes", 1))
        if word == "kv_tokens":
            unit, factor = "tokens", 1
        if run.names_devices:
            value = _of_all_devices(run, word) or value
        amount = value / factor
        row = {**dict.fromkeys(COLUMNS, ""), **asked.row}
        row |= {
            "id": f"{run.source.rpartition(':')[0]}-{len(rows) + 1}",
            "source": scrub(run.source),
            "quantity": quantity,
            "value": f"{amount:.4f}".rstrip("0").rstrip(".") if factor > 1 else str(value),
            "unit": unit,
            "gpu_mem_util": share,
            "verbatim_log_line": scrub(run.wordings.get(said.source, "")) if said else "",
            "confidence": "A",
            "other_flags": scrub(row["other_flags"]),
            "model": scrub(row["model"]),
        }
        rows.append(row)
    return rows


def _of_all_devices(run: LoggedRun, word: str) -> int:
    """What llama.cpp's tables count: the weights of all cards together, the cache of cards and host with its
    states, the buffer of the first card. 0: the log names no device."""
    match word:
        case "kv_bytes":
            parts = [*run.of_ranks(word).values(), *run.of_ranks("state_bytes").values()]
        case "weights_bytes":
            parts = list(run.on_cards(word).values())
        case _:
            parts = list(run.on_cards(word).values())[:1]
    return round(sum(each.value for each in parts if isinstance(each.value, float)))
