"""A saved answer of `train --json` -> the question that it answered, so that it can be asked again."""

from pathlib import Path
from typing import Any, get_args

from ...errors import OomlessError
from ..training import Mesh, Training

SCHEMA = "oomless/estimate/1"


def question(entries: dict[str, Any], path: Path) -> tuple[str, str | None, Training]:
    """(MODEL, GPU, question). Data-parallel ranks that filled the cards are left to fill others."""
    request = entries.get("request")
    mesh = request.get("mesh") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(mesh, dict) or not isinstance(request.get("model"), str):
        raise OomlessError(f"{path}: no answer of `train --json`", "`infer --from` asks a serving answer again")
    values = {name: request[name] for name in Training._fields if name != "mesh" and name in request}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    sizes = {name: mesh[name] for name in Mesh._fields if name in mesh}
    faults = [name for name, value in values.items() if not _fits(value, Training.__annotations__[name])]
    faults += [f"mesh.{name}" for name, value in sizes.items() if not _fits(value, Mesh.__annotations__[name])]
    gpu = request.get("gpu")
    if faults or not isinstance(gpu, dict):
        raise OomlessError(f"{path}: wrong type: {', '.join(faults or ['gpu'])}", "save the answer again")
    spec, num_gpus = gpu.get("spec"), gpu.get("num_gpus")
    ranks = Mesh(**sizes)
    if ranks.num_ranks == num_gpus:
        ranks = ranks._replace(dp=0)
    return request["model"], spec if isinstance(spec, str) else None, Training(**values, mesh=ranks)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value of JSON is of the type that a field says."""
    allowed = get_args(kind) or (kind,)
    if isinstance(value, tuple):
        return any(getattr(each, "__origin__", each) is tuple for each in (kind, *allowed)) and all(
            isinstance(each, str) for each in value
        )
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return True
    words = [word for each in allowed for word in (get_args(each) or (each,))]
    return type(value) in words or (isinstance(value, str) and value in words)
