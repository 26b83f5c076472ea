"""An earlier answer's JSON, of serving or of training -> the question that it answered, so that it can be
asked again."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError
from ..files import read_whole
from ..limits import ANSWER, parse_json
from .option_values import typed
from .options import by_keyword
from .serving import Asked, Layout
from .training import Mesh, TrainingAsked
from .training_question import BESIDE

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


def question(entries: dict[str, Any], path: Path) -> tuple[str, str | None, TrainingAsked, dict[str, Any]]:
    """(MODEL, GPU, question, what stands beside the policy). Data-parallel ranks that filled the cards are
    left to fill others."""
    request = entries.get("request")
    mesh = request.get("mesh") if isinstance(request, dict) else None
    if (
        not isinstance(request, dict)
        or not isinstance(mesh, dict)
        or not isinstance(request.get("model"), str)
    ):
        raise OomlessError(
            f"{path}: no answer of `train --json`", "`infer --from` asks a serving answer again"
        )
    said = {name: request.get(name) for name in TrainingAsked._fields if name != "mesh"}
    values = typed_values("train", said, path)
    sizes = typed_values("train", {name: mesh.get(name) for name in Mesh._fields}, path)
    beside = request.get("beside", {})
    if not isinstance(beside, dict) or not set(beside) <= set(BESIDE):
        raise OomlessError(f"{path}: wrong type: beside", "save the answer again")
    beside = typed_values("train", beside, path)
    gpu = request.get("gpu")
    if not isinstance(gpu, dict):
        raise OomlessError(f"{path}: wrong type: gpu", "save the answer again")
    spec, num_gpus = gpu.get("spec"), gpu.get("num_gpus")
    ranks = Mesh(**sizes)
    asked = TrainingAsked(**values, mesh=ranks)
    try:
        asked.check()
    except UsageError as error:
        raise OomlessError(f"{path}: {error.message}", "save the answer again", error.field) from None
    if ranks.num_ranks == num_gpus:
        asked = asked._replace(mesh=ranks._replace(dp=0))
    return request["model"], spec if isinstance(spec, str) else None, asked, beside
