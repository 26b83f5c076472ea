"""An earlier answer's JSON -> the question that it answered, so that it can be asked again."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError
from ..files import read_whole
from ..limits import ANSWER, parse_json
from .serving import Layout, Serving
from .typed import is_of


def read_answer(path: Path) -> tuple[str, str, dict[str, Any]]:
    """(MODEL, GPU, flags) of a saved answer of `infer --json`: what was given, engine and release, not what
    followed from them."""
    content = read_whole(path, ANSWER.num_bytes, "give the JSON that infer --json printed")
    answer = parse_json(content, str(path), ANSWER)
    request = answer.get("request") if isinstance(answer, dict) else None
    if (
        not isinstance(request, dict)
        or answer.get("schema") != "oomless/estimate/1"
        or not isinstance(request.get("gpu"), dict)
    ):
        raise OomlessError(f"{path}: no answer of `infer --json`", "its schema is oomless/estimate/1")
    if "mesh" in request:
        raise OomlessError(f"{path}: an answer of `train --json`", "`train --from` asks it again")
    model, gpu = request.get("model"), request["gpu"].get("spec")
    if not isinstance(model, str) or not isinstance(gpu, str):
        raise OomlessError(
            f"{path}: request names no model or no cards", "save the answer again with this version"
        )
    given = request.get(
        "given", [*Serving._fields, *Layout._fields]
    )  # answers from before it was written down
    if not isinstance(given, list):
        raise OomlessError(f"{path}: request.given is no list", "save the answer again")
    asked = {"engine", "engine_version", *map(str, given)}
    flags = {
        name: request[name] for name in Serving._fields if name != "layout" and request.get(name) is not None
    }
    layout = request.get("layout", {})
    if not isinstance(layout, dict):
        raise OomlessError(f"{path}: request.layout is no object", "save the answer again")
    faults = [name for name, value in flags.items() if not is_of(value, Serving.__annotations__[name])]
    faults += [
        f"layout.{name}"
        for name in Layout._fields
        if name in layout and not is_of(layout[name], Layout.__annotations__[name])
    ]
    if faults:
        raise OomlessError(f"{path}: wrong type: {', '.join(faults)}", "save the answer again")
    flags = {name: value for name, value in flags.items() if name in asked}
    layout = {name: value for name, value in layout.items() if name in asked}
    if layout:
        names = {"dcp": "decode_context_parallel_size"}
        flags |= {names.get(name, name): layout[name] for name in Layout._fields if name in layout}
    if flags.pop("speculative", False):
        flags["speculative_config"] = "mtp"
    return model, gpu, flags
