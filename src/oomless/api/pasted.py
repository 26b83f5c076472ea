"""A question that is pasted whole: an engine's own command line, or an answer that was saved."""

from typing import TYPE_CHECKING, Any

from ..errors import OomlessError, UsageError

if TYPE_CHECKING:
    from ..engines.command_line import Command


def from_command(
    model: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], tuple[str, ...]]:
    """Return MODEL and options of a pasted command line; what stands beside it on ours counts first. Notes
    say what was not read."""
    from ..engines.command_line import read_command

    command = read_command(options["command"])
    ours = {name: value for name, value in options.items() if name != "command"}
    given = {**command.flags, **ours}
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
    served, said = served_model(model, command, "revision" in given)
    place = command.model or ""
    if place.lower().endswith(".gguf") and served != place and "quantization" not in given:
        given["quantization"], of_type = type_of(place)
        said = (*said, of_type)
    return served, {"engine": command.engine, **given}, (*notes, *said)


def served_model(
    model: str | None, command: "Command", has_revision: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Return (MODEL, notes) of a command: what stands beside it is the shape of a path, and of a name that
    nobody here knows; alone a path is read, or its name where that is a GGUF file's."""
    from ..engines.command_line import is_path
    from ..model.load import catalogue_name

    word = command.model
    if word is None:
        return model, ()
    known = None if is_path(word) else catalogue_name(word)
    if model is not None:
        if model in (word, known) or (known is not None and known == catalogue_name(model)):
            return model, ()
        if known is not None:
            raise UsageError(f"MODEL is {model}, --command serves {word}", "leave one of them out")
        return model, (f"{word}: the shape of {model} is taken for it",)
    if is_path(word):
        return from_path(word)
    if known and "/" in word and not has_revision:
        return known, (f"{word} is {known} of the catalogue; name it as MODEL to read the hub instead",)
    return word, ()


def from_path(place: str) -> tuple[str, tuple[str, ...]]:
    """Return (MODEL, notes) of a path without MODEL beside it: what lies there, or what a GGUF file's name
    says."""
    from pathlib import Path

    from ..truth.reconcile.log_model import model_name

    try:
        if Path(place).expanduser().exists():
            return place, ()
    except (OSError, RuntimeError, ValueError):
        pass  # too long, no such home, a NUL: nothing lies there
    named = model_name(place) if place.lower().endswith(".gguf") else None
    if named is None:
        raise OomlessError(f"{place[:200]}: not on this machine", "name MODEL beside it: its shape is taken")
    return named, (f"{place} is not on this machine: read by its name as {named} of the catalogue",)


def type_of(place: str) -> tuple[str, str]:
    """Return (type, note) of a GGUF file that is not read; a name without a type is refused, since it may be
    any."""
    from ..model.gguf_names import type_in_name

    found = type_in_name(place)
    if found is None:
        raise UsageError(
            f"{place[:200]}: the file is not read, and its name says no type",
            "say it beside the command: --quantization q4_k_m",
            "quantization",
        )
    return found, f"{found} is read from the file's name"


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
