"""A saved answer of `train --json` -> the question that it answered, so that it can be asked again."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError
from .training import BESIDE, Mesh, Training
from .typed import is_of

SCHEMA = "oomless/estimate/1"


def question(entries: dict[str, Any], path: Path) -> tuple[str, str | None, Training, dict[str, Any]]:
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
    values = {name: request[name] for name in Training._fields if name != "mesh" and name in request}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    sizes = {name: mesh[name] for name in Mesh._fields if name in mesh}
    faults = [name for name, value in values.items() if not is_of(value, Training.__annotations__[name])]
    faults += [
        f"mesh.{name}" for name, value in sizes.items() if not is_of(value, Mesh.__annotations__[name])
    ]
    beside = request.get("beside", {})  # answers from before it was written down have none
    if not isinstance(beside, dict):
        faults.append("beside")
    else:
        faults += [
            f"beside.{name}"
            for name, value in beside.items()
            if name not in BESIDE or not is_of(value, BESIDE[name])
        ]
    gpu = request.get("gpu")
    if faults or not isinstance(gpu, dict):
        raise OomlessError(f"{path}: wrong type: {', '.join(faults or ['gpu'])}", "save the answer again")
    spec, num_gpus = gpu.get("spec"), gpu.get("num_gpus")
    ranks = Mesh(**sizes)
    if ranks.num_ranks == num_gpus:
        ranks = ranks._replace(dp=0)
    return request["model"], spec if isinstance(spec, str) else None, Training(**values, mesh=ranks), beside
