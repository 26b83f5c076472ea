"""An earlier answer's JSON -> the question that it answered, so that it can be asked again."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError
from ..files import read_whole
from ..limits import ANSWER, parse_json
from .option_values import typed
from .options import by_keyword
from .serving import Asked, Layout

SCHEMA = "oomless/estimate/1"


def read_answer(path: Path) -> tuple[str, str, dict[str, Any]]:
    """Return (MODEL, GPU, flags) of a saved answer of `infer --json`: what was given, engine and release, not
    what followed from them."""
    content = read_whole(path, ANSWER.num_bytes, "give the JSON that infer --json printed")
    if not content.lstrip().startswith(b"{"):
        hint = "a command, a Compose file, a Kubernetes object: --command @FILE; of training: train --from"
        raise OomlessError(f"{path}: no answer of `infer --json`", hint)
    answer = parse_json(content, str(path), ANSWER)
    request = answer.get("request") if isinstance(answer, dict) else None
    if (
        not isinstance(request, dict)
        or answer.get("schema") != SCHEMA
        or not isinstance(request.get("gpu"), dict)
    ):
        raise OomlessError(f"{path}: no answer of `infer --json`", f"its schema is {SCHEMA}")
    if "mesh" in request:
        raise OomlessError(f"{path}: an answer of `train --json`", "`train --from` asks it again")
    model, gpu = request.get("model"), request["gpu"].get("spec")
    layout, given = request.get("layout", {}), request.get("given")
    if not isinstance(model, str) or not isinstance(gpu, str):
        raise OomlessError(
            f"{path}: request names no model or no cards", "save the answer again with this version"
        )
    if not isinstance(given, list) or not isinstance(layout, dict):
        wrong = "request.layout is no object" if isinstance(given, list) else "request.given is no list"
        raise OomlessError(f"{path}: {wrong}", "save the answer again")
    values = {name: request.get(name) for name in Asked._fields if name != "layout"} | {
        name: layout.get(name) for name in Layout._fields
    }
    said = {"engine", "engine_version", *map(str, given)}
    found = typed_values("infer", values, path)
    return model, gpu, {name: found[name] for name in found if name in said}


def typed_values(command: str, values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return values of a saved answer in the types of their fields; None is left out, a wrong type is
    named."""
    table, found, faults = by_keyword(command), dict[str, Any](), []
    for name, value in values.items():
        if value is None:
            continue
        try:
            found[name] = typed(table[name], value, name)
        except UsageError:
            faults.append(name)
    if faults:
        raise OomlessError(f"{path}: wrong type: {', '.join(faults)}", "save the answer again")
    return found
