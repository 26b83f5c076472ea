"""A question as a command line, a page or an agent puts it - fields of the table of options, a pasted
command, a saved answer, the user's own defaults - and its answer."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, did_you_mean, told_by
from ..files import config_folder
from ..ledger import CATEGORIES
from ..records import Record
from ..run.options import answered_of, asked_of
from .serving import ServingAnswer, infer

if TYPE_CHECKING:
    from ..plan.cost import Cost
    from ..truth.calibration import Calibration
    from .guide import GuideAnswer
    from .speed import SpeedAnswer
    from .training_answer import TrainingAnswer
    from .tune import TuneAnswer


class PutQuestion(Record):
    """A question with what stood in its place resolved, and how its answer is wanted."""

    model: str
    asked: dict[str, Any]
    """Keywords of `infer`."""
    how: dict[str, Any]
    """The options of the answer; None where they are not given."""
    notes: tuple[str, ...]
    words: Mapping[str, str] = {}
    """What a pasted command calls flags of ours."""


def put_serving(model: str | None, options: dict[str, Any], environ: Mapping[str, str]) -> PutQuestion:
    """Return what `infer` is asked; what is missing or contradicts itself is a UsageError."""
    if "from_file" in options:
        from .pasted import from_saved

        model, options = from_saved(model, options)
    model, options, notes, words = unpasted(model, options)
    options, from_settings = with_defaults(options, environ)
    notes = (*notes, *from_settings)
    model = named("infer", model)
    how = {option.field: options.get(option.field) for option in answered_of("infer")}
    asked = {name: value for name, value in options.items() if name not in how}
    need_category(how["explain"])
    if not (how["compare"] or "").startswith("gpu="):
        need_cards(asked)
    return PutQuestion(model, asked, how, notes, words)


def unpasted(
    model: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], tuple[str, ...], Mapping[str, str]]:
    """Return MODEL, options, notes and what flags are called, with what a pasted command says, or the name of
    a GGUF file or of a repository as MODEL; nothing is imported without one."""
    if "command" in options:
        from .pasted import from_command

        return from_command(model, options)
    if model and MAY_BE_GGUF.search(model):
        found = by_gguf_name(model, options)
        if found[0] != model:
            return (*found, {})
    if not model or "/" not in model:
        return model, options, (), {}
    from .pasted import from_name

    return (*from_name(model, options), {})


MAY_BE_GGUF = re.compile(r":|\.gguf$|[-_.]i?q\d", re.IGNORECASE)
"""What may be the name of a GGUF file, with a look at it alone."""


def by_gguf_name(model: str, options: dict[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return MODEL, options and notes of what llama.cpp's -hf, Ollama or a file elsewhere is called:
    the model, its type, and the engine that runs it. A tag that says no type is one for Ollama alone."""
    from ..model.gguf_names import type_in_name
    from ..truth.reconcile.log_model import gguf_by_name

    known, kind, runs_it = gguf_by_name(model)
    if not known or os.path.lexists(os.path.expanduser(model)):
        return model, options, ()
    note = f"{kind} is read from the name of {model}"
    if type_in_name(model) is None:
        if options.get("engine", runs_it) != runs_it:
            return model, options, ()
        note = f"{model} is Ollama's: {kind}, as its library has it; --engine vllm asks for it as published"
    return known, {"engine": runs_it, "quantization": kind, **options}, (note,)


def named(command: str, model: str | None) -> str:
    """Return MODEL; a question of a command without one is refused."""
    if model is None:
        example = f"oomless {command} deepseek-r1 --gpu h200:8; `oomless models` lists them"
        raise UsageError("MODEL is missing", f"name a model: {example}", "model")
    return model


def need_cards(asked: Mapping[str, Any]) -> None:
    """Refuse a question without its cards."""
    if "gpu" not in asked:
        raise UsageError(
            "--gpu is missing", "say which cards: --gpu h200:8; `oomless gpus` lists them", "gpu"
        )


def with_defaults(
    options: dict[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return options with the user's own defaults, and a note on each; nothing is imported where there are
    none."""
    named = any(name.startswith("OOMLESS_") for name in environ)
    if not named and not os.path.lexists(os.path.join(config_folder(environ), "config.toml")):
        return options, ()
    from ..run.settings import read_settings, with_settings

    return with_settings(options, read_settings(environ))


def need_category(explain: str | None) -> None:
    """Refuse an --explain that names no category of memory."""
    if explain and explain not in ("all", *CATEGORIES):
        raise UsageError(
            f"--explain {explain}: no such category",
            did_you_mean(explain, ["all", *CATEGORIES], "--explain all"),
        )


def serving_answer(put: PutQuestion, environ: Mapping[str, str]) -> ServingAnswer:
    """Return the answer to a question of `infer`, with what this machine's logs taught."""
    learned, notes = calibration(environ), put.notes
    with told_by(put.words):
        found = infer(put.model, adjust=learned, **put.asked)
    if learned is not None and (said := learned.note()):
        notes = (*notes, said)
    return found.noting(*notes)


def calibration(environ: Mapping[str, str]) -> "Calibration | None":
    """Return what this machine's logs taught; nothing is imported where none is stored."""
    if not os.path.exists(os.path.join(config_folder(environ), "calibrations.json")):
        return None
    from .calibrations import calibration as stored

    return stored(environ)


def speed_answer(model: str | None, options: dict[str, Any], environ: Mapping[str, str]) -> "SpeedAnswer":
    """Return the answer to a question of `speed`; the user's defaults are those of serving."""
    from ..facts.options.simulating import OWN
    from .speed import speed

    model, options, notes, words = unpasted(model, options)
    own: dict[str, Any] = {option.field: options.get(option.field) for option in OWN}
    rest = {name: value for name, value in options.items() if name not in own}
    settings, from_settings = with_defaults(rest, environ)
    taken = {option.field for option in asked_of("speed")} - own.keys()
    asked = {name: value for name, value in settings.items() if name in taken}
    model = named("speed", model)
    need_cards(asked)
    with told_by(words):
        return speed(model, **asked, **own, notes=(*notes, *from_settings))


def tune_answer(model: str | None, options: dict[str, Any], environ: Mapping[str, str]) -> "TuneAnswer":
    """Return the answer to a question of `tune`; the user's defaults are those of serving, and stay as they
    are."""
    from ..facts.options.tuning import OWN
    from .tune import tune

    of_name: tuple[str, ...] = ()
    if model and "command" not in options:
        model, options, of_name, _ = unpasted(model, options)
    own: dict[str, Any] = {option.field: options.get(option.field) for option in OWN}
    rest = {name: value for name, value in options.items() if name not in own}
    settings, notes = with_defaults(rest, environ)
    notes = (*of_name, *notes)
    taken = {option.field for option in asked_of("tune")} - own.keys()
    asked = {name: value for name, value in settings.items() if name in taken}
    need_cards(asked)
    learned = calibration(environ)
    if learned is not None and (said := learned.note()):
        notes = (*notes, said)
    return tune(model, **asked, **own, notes=notes, adjust=learned)


def guide_answer(model: str | None, options: dict[str, Any], environ: Mapping[str, str]) -> "GuideAnswer":
    """Return the answer to a question of `guide`; the user's defaults are those of serving."""
    from .guide import guide

    settings, _ = with_defaults(options, environ)
    taken = {option.field for option in asked_of("guide")}
    asked = {name: value for name, value in settings.items() if name in taken}
    model = named("guide", model)
    need_cards(asked)
    return guide(model, **asked)


def need_training(model: str | None, options: dict[str, Any], compare: str | None = None) -> None:
    """Refuse a question of `train` that lacks its model or its cards, or that says them twice."""
    if options.get("megatron_args"):
        if model is not None:
            raise UsageError(f"MODEL {model} and --megatron-args say the same thing", "give one of them")
        return
    if options.get("world_size"):
        raise UsageError("--world-size goes with --megatron-args", "say how many cards with --gpu: h100:8")
    read = "from_file" in options or "command" in options
    if not read:
        named("train", model)
    if "from_file" not in options and not (compare or "").startswith("gpu="):
        need_cards(options)


def training_answer(
    model: str | None, options: dict[str, Any], environ: Mapping[str, str]
) -> "TrainingAnswer":
    """Return the answer to a question of `train`, a model and flags or the file of a run, with what this
    machine's watched runs taught."""
    from .training import train

    need_training(model, options)
    learned = calibration(environ)
    if learned is None:
        return train(model, **options)
    found = train(model, **options, adjust=learned.of_training)
    found.warnings = (*found.warnings, *filter(None, [learned.note()]))
    return found


def cost_answer(options: dict[str, Any]) -> "Cost":
    """Return the answer to a question of `cost`."""
    from .cost import cost

    need_cards(options)
    return cost(**options)
