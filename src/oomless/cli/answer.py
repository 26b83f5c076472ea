"""`infer`: options -> answer on stdout -> exit code. Used by both readers of the command line."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..api.serving import ServingAnswer, infer
from ..files import json_text
from ..ledger import CATEGORIES, Verdict
from ..run.options import answered_of
from ..run.settings import read_settings, with_settings

if TYPE_CHECKING:
    from ..truth.calibration import Calibration


def answer_infer(model: str | None, options: dict[str, Any]) -> int:
    """Print the answer as text or JSON; nothing reaches stdout before all of it is known."""
    notes: tuple[str, ...] = ()
    if "from_file" in options:
        model, options = from_saved(model, options)
    if "command" in options:
        model, options, notes = from_command(model, options)
    options, from_settings = with_settings(options, read_settings(os.environ))
    notes = (*notes, *from_settings)
    if model is None:
        from ..errors import UsageError

        raise UsageError(
            "MODEL is missing",
            "name a model: oomless infer deepseek-r1 --gpu h200:8; `oomless models` lists them",
        )
    how = {option.field: options.get(option.field) for option in answered_of("infer")}
    asked = {name: value for name, value in options.items() if name not in how}
    if how["explain"] and how["explain"] not in ("all", *CATEGORIES):
        from ..errors import UsageError, did_you_mean

        raise UsageError(
            f"--explain {how['explain']}: no such category",
            did_you_mean(how["explain"], ["all", *CATEGORIES], "--explain all"),
        )
    if "gpu" not in asked and not (how["compare"] or "").startswith("gpu="):
        from ..errors import UsageError

        raise UsageError("--gpu is missing", "say which cards: --gpu h200:8; `oomless gpus` lists them")
    if how["compare"]:
        return compare(model, asked, how)
    learned = calibration(os.environ)
    estimate = infer(model, adjust=learned, **asked)
    if learned is not None and (said := learned.note()):
        notes = (*notes, said)
    estimate = estimate.noting(*notes)
    if how["plot"]:
        write_plot(estimate, how["plot"])
    if how["json"]:
        sys.stdout.write(json_text(estimate.to_json()) + "\n")
    else:
        from ..report.estimate_text import print_estimate
        from .terminal import colour, width

        print_estimate(estimate, how["explain"], colour(), width())
    return exit_code(estimate.verdict, bool(how["strict"]))


def calibration(environ: Mapping[str, str]) -> "Calibration | None":
    """What this machine's logs taught; nothing is imported where none is stored."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    if not os.path.exists(os.path.join(base, "oomless", "calibrations.json")):
        return None
    from ..api.calibrations import calibration as stored

    return stored(environ)


def exit_code(verdict: Verdict, strict: bool) -> int:
    """0 fits or tight, 3 does not fit; tight is 3 too if asked for."""
    match verdict:
        case "fits":
            return 0
        case "tight":
            return 3 if strict else 0
        case "does_not_fit":
            return 3


def from_command(
    model: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], tuple[str, ...]]:
    """MODEL and options of a pasted command line; what stands beside it on ours counts first. Notes say what
    was not read."""
    from ..engines.command_line import is_path, read_command

    command = read_command(options["command"])
    if (
        model is not None
        and command.model is not None
        and model != command.model
        and not is_path(command.model)
    ):
        from ..errors import UsageError

        raise UsageError(f"MODEL is {model}, --command serves {command.model}", "leave one of them out")
    ours = {name: value for name, value in options.items() if name != "command"}
    notes = []
    if command.ignored:
        notes.append(f"flags that do not touch memory: {', '.join(command.ignored)}")
    notes += [
        f"{flag}: asked for here is the model's own length; where that is too much, the engine "
        "takes the longest that its cache holds"
        for flag in command.left_open
    ]
    if command.unknown:
        notes.append(f"flags not known, which may change memory: {', '.join(command.unknown)}")
    served = model or command.model
    if (
        model is None
        and served
        and "/" in served
        and not is_path(served)
        and "revision" not in {**command.flags, **ours}
    ):
        from ..model.load import catalogue_name

        if known := catalogue_name(served):
            notes.append(f"{served} is {known} of the catalogue; name it as MODEL to read the hub instead")
            served = known
    return served, {"engine": command.engine, **command.flags, **ours}, tuple(notes)


def from_saved(model: str | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """MODEL and options of an earlier answer; what stands beside it on our command line counts first."""
    from pathlib import Path

    from ..run.from_answer import read_answer

    saved_model, gpu, flags = read_answer(Path(options["from_file"]))
    ours = {name: value for name, value in options.items() if name != "from_file"}
    if ours.get("engine", flags.get("engine")) != flags.get("engine"):
        flags.pop("engine_version", None)  # another engine counts its releases otherwise
    return model or saved_model, {"gpu": gpu, **flags, **ours}


def compare(model: str, asked: dict[str, Any], how: dict[str, Any]) -> int:
    """Several answers side by side, which differ in one flag, the cards or the model."""
    from ..api.compare import variants
    from ..errors import OomlessError, UsageError

    asked_for = variants("infer", how["compare"], "kv-cache-dtype=auto,fp8")
    if how.get("plot") or how.get("explain"):
        raise UsageError("--compare has neither --plot nor --explain", "ask for one variant alone")
    found: list[ServingAnswer | OomlessError] = []
    for value in asked_for.values:
        try:
            found.append(
                infer(value, **asked)
                if asked_for.field == "model"
                else infer(model, **{**asked, asked_for.field: value})
            )
        except OomlessError as error:  # one that cannot run is an answer too, beside others
            found.append(error)
    answered = [each for each in found if not isinstance(each, OomlessError)]
    if not answered:
        raise next(each for each in found if isinstance(each, OomlessError))
    if how["json"]:
        from ..report.compare_text import variant_json

        document = {
            "schema": "oomless/compare/1",
            "flag": asked_for.flag,
            "values": list(asked_for.words),
            "answers": list(map(variant_json, found)),
        }
        sys.stdout.write(json_text(document) + "\n")
    else:
        from ..report.compare_text import print_comparison
        from .terminal import colour, width

        print_comparison(list(asked_for.words), found, width(), colour())
    return min(exit_code(estimate.verdict, bool(how.get("strict"))) for estimate in answered)


def write_plot(answer: ServingAnswer, path: str) -> None:
    """The picture of an answer."""
    from ..report.svg import estimate_svg
    from .files import write_svg

    write_svg(path, estimate_svg(answer))
