"""A saved answer of `train --json` -> the question that it answered, so that it can be asked again."""

from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError
from .from_answer import typed_values
from .training import Mesh, TrainingAsked
from .training_question import BESIDE


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
