"""A plan as the JSON object of the contract. A training step has no first token: those keys are null; it has
a time and a share of the peak."""

from typing import TYPE_CHECKING, Any, Union

from ..model.model import Model
from ..speed.band import Figure
from .candidates import NEAREST_MISSES, Candidate, PlannedRow

if TYPE_CHECKING:  # of two searches a plan makes one
    from .answer import Plan
    from .duration import Duration
    from .search import PlanRow
    from .training_answer import TrainingPlan
    from .training_search import TrainingRow

SCHEMA = "oomless/plan/1"


def plan_json(plan: "Plan") -> dict[str, Any]:
    """What `plan --json` prints for serving."""
    wanted = plan.wanted
    asked = {
        "context": plan.input_len + plan.output_len,
        "input_len": plan.input_len,
        "output_len": plan.output_len,
        **{name: getattr(wanted, name) for name in ("concurrency", "max_model_len", "host", "instances")},
        **{name: list(getattr(wanted, name)) for name in ("engines", "quantizations", "kv_cache_dtypes")},
        "speculation": wanted.speculation and wanted.speculation._asdict(),
    }
    return whole(plan, "infer", asked, [row_json(planned) for planned in plan.rows])


def plan_training_json(plan: "TrainingPlan") -> dict[str, Any]:
    """What `plan --for train --json` prints."""
    return whole(
        plan,
        "train",
        plan.training._asdict(),
        [training_row_json(planned, plan.whole(planned.row)) for planned in plan.rows],
    )


def whole(
    plan: Union["Plan", "TrainingPlan"], purpose: str, asked: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """The object around the rows, whatever for."""
    wanted = plan.wanted
    return {
        "schema": SCHEMA,
        "model": model_json(plan.model),
        "request": {
            "model": plan.model_word,
            "for": purpose,
            **asked,
            "goal": wanted.goal,
            "limits": wanted.limits._asdict(),
            **{name: list(getattr(wanted, name)) for name in ("gpus", "vendors", "providers", "regions")},
            "tier": wanted.tier,
            "host_memory": wanted.host_memory,
        },
        "rows": rows,
        "num_more_rows": plan.num_more,
        "front": [front_json(row) for row in plan.front],
        "excluded": plan.excluded,
        "misses": [miss._asdict() for miss in plan.misses[:NEAREST_MISSES]],
        "num_candidates": plan.num_candidates,
        "num_estimates": plan.num_estimates,
        "warnings": list(plan.warnings),
    }


def model_json(model: Model) -> dict[str, Any]:
    """Return what a search says of its model."""
    return {name: getattr(model, name) for name in ("name", "num_parameters", "checkpoint_bytes")}


def row_json(planned: "PlannedRow[PlanRow]") -> dict[str, Any]:
    """A row of serving."""
    row = planned.row
    estimate, speed, request = row.estimate, row.speed, row.estimate.request
    own = {
        "engine_version": request.engine_version,
        "layout": {**request.layout._asdict(), "replicas": row.replicas},
        "precision": {
            "weights": request.quantization or estimate.model.quantization or request.dtype,
            "dtype": request.dtype,
            "kv_cache": estimate.kv_cache.dtype,
        },
        "max_tokens": estimate.kv_cache.max_tokens,
        "support": estimate.support.runs,
        "starts": estimate.starts,
        "at_once": estimate.at_once,
        "ttft_s": None if speed is None else figure_json(speed.ttft_s),
        "tpot_s": None if speed is None else figure_json(speed.tpot_s),
        "copies_a_card": planned.copies,
    }
    return shared_json(planned.row, planned) | own


def training_row_json(planned: "PlannedRow[TrainingRow]", all_of_it: "Duration | None") -> dict[str, Any]:
    """A row of training."""
    row = planned.row
    speed, request = row.speed, row.estimate.request
    own = {
        "layout": {**row.estimate.mesh._asdict(), "sharding": request.sharding},
        "precision": {"recipe": request.precision, "optimizer": request.optimizer, "method": request.method},
        "micro_batch": row.asked.micro_batch,
        **{name: getattr(request, name) for name in ("grad_accum", "recompute")},
        "ttft_s": None,
        "tpot_s": None,
        "step_s": None if speed is None else figure_json(speed.step_s),
        "mfu": None if speed is None else figure_json(speed.mfu),
        "checkpoint_bytes": row.estimate.disk_bytes,
        **(
            {"days": None, "usd": None, "lost": None, "checkpoint_every_s": None}
            if all_of_it is None
            else {
                "days": figure_json(all_of_it.days),
                "usd": None if all_of_it.usd is None else figure_json(all_of_it.usd),
                "lost": all_of_it.lost,
                "checkpoint_every_s": all_of_it.checkpoint_every_s,
            }
        ),
    }
    return shared_json(planned.row, planned) | own


def shared_json(row: Candidate, planned: "PlannedRow[PlanRow] | PlannedRow[TrainingRow]") -> dict[str, Any]:
    """What every row has."""
    launch = planned.launch
    return {
        "gpu": row.gpu.partition(":")[0],
        "num_gpus": row.hardware.num_gpus,
        "num_nodes": row.hardware.num_nodes,
        "engine": row.runner,
        "verdict": row.estimate.verdict,
        "headroom_bytes": row.headroom_bytes,
        "capacity_bytes": row.estimate.ledger.capacity_bytes,
        "host_bytes": row.estimate.ram_bytes,
        "tokens_per_s": None if row.speed is None else figure_json(row.speed.tokens_per_s),
        "usd_per_hour": price_json(row),
        "usd_per_million_tokens": row.usd_per_million_tokens,
        "on_front": planned.on_front,
        "why": planned.why,
        "estimate": list(planned.arguments),
        "launch": {"command": launch.command, "files": launch.files, "note": launch.note},
    }


def front_json(row: Candidate) -> dict[str, Any]:
    """A point of the front."""
    return {
        "gpu": row.gpu,
        "engine": row.runner,
        "usd_per_hour": row.usd_per_hour,
        "tokens_per_s": None if row.speed is None else row.speed.tokens_per_s.value,
        "headroom_bytes": row.headroom_bytes,
    }


def figure_json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "kind": figure.kind}


def price_json(row: Candidate) -> dict[str, Any] | None:
    """A rent with who asks it; null where nobody is known to."""
    price = row.price
    if price is None:
        return None
    names = ("provider", "region", "tier", "tier_word", "date", "source")
    return {"value": row.usd_per_hour, **{name: getattr(price, name) for name in names}}
