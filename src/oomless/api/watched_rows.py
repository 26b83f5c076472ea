"""A watched run -> measured rows as `validate` reads them: the columns of the table of training, without the
names of users and hosts.

A word of a column is one that the table's own readers turn back into what the run asked; where the table has
none, that is said and no row is made.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from .. import facts
from ..errors import OomlessError
from ..facts.options import DEFAULT_FRAMEWORK
from ..monitor.entries import RunQuestion, RunStart
from ..monitor.expected import is_card
from ..monitor.watched_run import WatchedRun
from ..truth import training_state_words as states
from ..truth.reconcile.scrub import scrub
from ..truth.tables import TRAINING
from ..units import GB, GIB
from .monitored import UNNAMED, asked_model

COLUMNS = ("id", "source", *TRAINING, "quantity", "value", "unit", "value_gib", "completeness", "notes")
PRECISIONS = {
    "fp32": "fp32",
    "bf16": "bf16",
    "fp16": "fp16",
    "amp-bf16": "bf16-mixed",
    "amp-fp16": "fp16 amp",
}
"""Recipe of a run -> the word that stands for it in the table."""
PACKED = {"": "", "nf4": ", nf4 base", "nf4-dq": ", nf4-dq base"}
SHARDINGS = {"none": "none", "ddp": "DDP", "fsdp2": "FSDP2"}


def measured_rows(run: WatchedRun) -> list[dict[str, str]]:
    """Return the rows of the rank with the highest peak: what is held between steps; on a card also the peaks
    of its allocator, which a host's memory has none of."""
    rank = run.worst
    asked = rank.run.of(RunQuestion)
    if not asked or not asked[-1].question:
        raise OomlessError(
            "the run did not say what it trains, so there is no row",
            "a model of transformers says it; its configuration is what a row is predicted from",
        )
    if rank.peak is None:
        raise OomlessError("no step of the run was sampled, so there is no row", "watch(..., every=N)")
    row = configuration_row(rank.run.start, asked[-1].question)
    figures = {"model_states": rank.peak.steady_bytes}
    if is_card(rank.run.start.device):
        figures |= {"peak_allocated": rank.peak.peak_bytes, "peak_reserved": rank.reserved_bytes}
    name = scrub(run.name)
    return [
        {
            **row,
            "id": f"{name}-{quantity}",
            "source": f"oomless run {name}",
            "quantity": quantity,
            "value": str(num_bytes),
            "unit": "bytes",
            "value_gib": f"{num_bytes / GIB:.4f}",
            "kind": "measured",
            "completeness": "A",
            "notes": f"sampled step {rank.peak.step} of rank {rank.run.start.rank}",
        }
        for quantity, num_bytes in figures.items()
        if num_bytes
    ]


def configuration_row(start: RunStart, asked: dict[str, Any]) -> dict[str, str]:
    """Return what a run asked, in the words of the table."""
    framework = str(asked.get("framework") or DEFAULT_FRAMEWORK)
    recipe, method = str(asked.get("precision") or ""), str(asked.get("method") or "full")
    sharding, stored = str(asked.get("sharding") or "none"), str(asked.get("quantization") or "")
    optimizer = str(asked.get("optimizer") or "")
    return {
        **dict.fromkeys(COLUMNS, ""),
        "date": datetime.fromtimestamp(start.time, UTC).date().isoformat(),
        "framework": framework_word(framework),
        "framework_version": ", ".join(f"{name} {version}" for name, version in start.versions.items()),
        "model": model_word(start, asked),
        "params": f"{start.num_parameters / GB:.3g}B",
        "precision": read_back(
            (PRECISIONS.get(recipe, recipe) + PACKED.get(stored, stored),),
            lambda word: states.precision(word, framework)[:2] == (recipe, stored or None),
            f"precision {recipe or 'that is not known'} {stored}".rstrip(),
        ),
        "optimizer": read_back(
            (word for word in states.OPTIMIZERS if word),
            lambda word: states.optimizer(word).name == optimizer,
            f"optimizer {optimizer}",
        ),
        "micro_batch": str(asked.get("micro_batch", "")),
        "seq_len": str(asked.get("seq_len", "")),
        "grad_accum": str(asked.get("grad_accum", 1)),
        "recompute": str(asked.get("recompute") or "none"),
        "zero_stage_or_fsdp": read_back(
            (SHARDINGS.get(sharding, sharding),),
            lambda word: states.sharding(word, framework) == sharding,
            f"sharding {sharding}",
        ),
        **{name: str(asked.get(name, 1)) for name in ("dp", "tp", "pp", "cp", "ep")},
        "sp": "n",
        "offload": "none",
        "lora": "" if method == "full" else f"LORA r={asked['lora_rank']} {asked['lora_targets']}",
        "gpu": start.device_name if is_card(start.device) else "",
        "setting": "; ".join(settings(start)),
    }


def settings(start: RunStart) -> list[str]:
    """Return the words of the column setting."""
    expandable = "expandable_segments:true" in start.allocator.lower()
    return ["compile"] * start.compiled + ["expandable_segments"] * expandable


def framework_word(framework: str) -> str:
    """Return what the table calls a framework.

    >>> framework_word("transformers"), framework_word("peft")
    ('transformers', 'peft')
    """
    for row in facts.table("measured_frameworks"):
        if row["framework"] == framework and row["words"]:
            known = row["words"].split(";")
            return framework if framework in known else known[0]
    raise OomlessError(f"the table of training has no word for {framework}", "write the row by hand")


def model_word(start: RunStart, asked: dict[str, Any]) -> str:
    """Return the catalogue's name of the model where it is one of the catalogue; else the model's class, in
    whose place a person has to write a name."""
    try:
        name = asked_model(asked.get("config")).name
    except OomlessError:
        return start.model
    return start.model if name == UNNAMED else name


def read_back(known: Iterable[str], is_meant: Callable[[str], bool], what: str) -> str:
    """Return the first word that the table's readers turn into what is meant."""
    for word in known:
        if is_meant(word):
            return word
    raise OomlessError(f"the table of training has no word for {what}", "write the row by hand")
