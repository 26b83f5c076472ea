"""A question that is pasted whole: an engine's own command line, or an answer that was saved."""

from typing import Any

from ..errors import UsageError


def from_command(
    model: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], tuple[str, ...]]:
    """Return MODEL and options of a pasted command line; what stands beside it on ours counts first. Notes
    say what was not read."""
    from ..engines.command_line import is_path, read_command
    from ..model.load import catalogue_name

    command = read_command(options["command"])
    if (
        model is not None
        and command.model is not None
        and model not in (command.model, catalogue_name(command.model))
        and not is_path(command.model)
    ):
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
    ) and (known := catalogue_name(served)):
        notes.append(f"{served} is {known} of the catalogue; name it as MODEL to read the hub instead")
        served = known
    return served, {"engine": command.engine, **command.flags, **ours}, tuple(notes)


def from_saved(model: str | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return MODEL and options of an earlier answer; what stands beside it on our command line counts
    first."""
    from pathlib import Path

    from ..run.from_answer import read_answer

    saved_model, gpu, flags = read_answer(Path(options["from_file"]))
    ours = {name: value for name, value in options.items() if name != "from_file"}
    if ours.get("engine", flags.get("engine")) != flags.get("engine"):
        flags.pop("engine_version", None)  # another engine counts its releases otherwise
    return model or saved_model, {"gpu": gpu, **flags, **ours}
