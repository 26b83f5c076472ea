"""A run of a training log -> the question that its lines put, with what they leave out named."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError
from ...frameworks import framework_of_log
from ...frameworks.logged import LoggedTraining, LogWords
from ...frameworks.megatron.run import Megatron
from ...model.catalogue_names import catalogue_name
from ...model.load import load
from ...model.model import Model
from ...run.card_names import card_named
from ...run.cards import Hardware, synthetic
from ...run.hardware import parse_gpu
from ...run.text_files import flat
from ...run.training import TrainingAsked
from ...units import TIB
from .log_facts import facts_of
from .log_model import model_name
from .logged_run import LoggedRun

ANY_SIZE = 16 * TIB
"""Of a card that nobody knows: what lies on it is predicted, whether it fits is not."""


class LoggedTrainingQuestion(NamedTuple):
    """What a training log asks."""

    model: Model | None
    """None: the run's own arguments describe it."""
    asked: TrainingAsked
    hardware: Hardware
    megatron: Megatron | None
    word: str
    """The model as a command names it; "": by no name."""


class TrainingAsks(NamedTuple):
    """The question; None where something is missing that nothing can stand in for."""

    question: LoggedTrainingQuestion | None
    missing: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    reason: str = ""


SAYS_NO_QUESTION = "the text does not say what was run: --command says it"


def not_given(gpu: str, model: str) -> tuple[str, ...]:
    """Return what is missing of a text that says nothing, beside what stands in for it.

    >>> not_given("", ""), not_given("h100:8", "deepseek-v3")
    (('model', 'gpu'), ())
    """
    return tuple(word for word, said in (("model", model), ("gpu", gpu)) if not said)


def training_question(run: LoggedRun, gpu: str = "", model: str = "") -> TrainingAsks:
    """Return the question of a training run; `gpu` and `model` stand in for what the log does not say."""
    try:
        logged = _asked(run)
        if logged is None:
            return TrainingAsks(None, not_given(gpu, model), (), SAYS_NO_QUESTION)
        known = facts_of(run)
        seen = str(known.get("gpu", ""))
        hardware = _hardware(gpu, seen, logged.num_gpus or 1)
        unknown = () if gpu or hardware.card.memory_bytes != ANY_SIZE else ("gpu",)
        if logged.megatron is not None:
            found = LoggedTrainingQuestion(None, logged.asked, hardware, logged.megatron, "")
            return TrainingAsks(found, unknown, logged.assumed)
        word = model or _catalogued(logged.model)
        if not word:
            named = f"model {logged.model} is not in the catalogue" if logged.model else SAYS_NO_MODEL
            return TrainingAsks(None, ("model", *unknown), logged.assumed, named)
        found = LoggedTrainingQuestion(load(word), logged.asked, hardware, None, word)
        return TrainingAsks(found, unknown, logged.assumed)
    except OomlessError as error:
        return TrainingAsks(None, (), (), error.message)


SAYS_NO_MODEL = "the log names no model"


def _asked(run: LoggedRun) -> LoggedTraining | None:
    framework = framework_of_log(run.engine)
    if run.reader is None or framework is None:
        return None
    asks = import_module(f"oomless.frameworks.{framework.log}").asks
    words = LogWords(
        framework.name, Path(run.source.rpartition(":")[0]), run.text, run.named, _configuration(run)
    )
    found: LoggedTraining | None = asks(words)
    return found


def _configuration(run: LoggedRun) -> dict[str, Any]:
    """The entries of a configuration that a log prints whole; none where its text is cut off."""
    printed = run.first("configuration")
    if printed is None or not isinstance(printed.value, str):
        return {}
    try:
        values, _ = json.JSONDecoder().raw_decode(printed.value)
    except (ValueError, RecursionError):
        return {}
    return flat(values, Path("the log")) if isinstance(values, dict) else {}


def _catalogued(printed: str) -> str:
    return (catalogue_name(printed) or model_name(printed) or "") if printed else ""


def _hardware(gpu: str, seen: str, ranks: int) -> Hardware:
    """As many cards as the run has ranks: those that are given, or the one that the log names."""
    if gpu:
        hardware = parse_gpu(gpu)
    else:
        card = card_named(seen) or synthetic(ANY_SIZE, seen or "any card")
        hardware = Hardware(card, ranks, min(ranks, card.gpus_per_node))
    if hardware.num_gpus >= ranks:
        return hardware
    return hardware._replace(num_gpus=ranks, per_node=min(ranks, hardware.card.gpus_per_node))
