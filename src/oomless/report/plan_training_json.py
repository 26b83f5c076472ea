"""A plan for training as the JSON object of the contract: the same rows as for serving, with a step's time and share of the peak."""

from typing import Any

from ..plan.training import TrainingRow
from ..plan.training_answer import PlannedTraining, TrainingPlan
from .plan_json import MOST_MISSES, SCHEMA, figure_json, price_json


def plan_training_json(plan: TrainingPlan) -> dict[str, Any]:
    """What `plan --for train --json` prints."""
    wanted = plan.wanted
    return {
        "schema": SCHEMA,
        "model": {
            "name": plan.model.name,
            "num_parameters": plan.model.num_parameters,
            "checkpoint_bytes": plan.model.checkpoint_bytes,
        },
        "request": {
            "model": plan.model_word,
            "for": "train",
            **plan.training._asdict(),
            "goal": wanted.goal,
            "limits": wanted.limits._asdict(),
            "gpus": list(wanted.gpus),
            "vendors": list(wanted.vendors),
            "providers": list(wanted.providers),
            "regions": list(wanted.regions),
            "tier": wanted.tier,
            "host_memory": wanted.host_memory,
        },
        "rows": [training_row_json(planned) for planned in plan.rows],
        "num_more_rows": plan.num_more,
        "front": [training_front_json(row) for row in plan.front],
        "excluded": plan.excluded,
        "misses": [miss._asdict() for miss in plan.misses[:MOST_MISSES]],
        "num_candidates": plan.num_candidates,
        "num_estimates": plan.num_estimates,
        "warnings": list(plan.warnings),
    }


def training_row_json(planned: PlannedTraining) -> dict[str, Any]:
    """One row. A step has no first token: those keys are null."""
    row = planned.row
    estimate, speed, request = row.estimate, row.speed, row.estimate.request
    return {
        "gpu": row.gpu.partition(":")[0],
        "num_gpus": row.hardware.num_gpus,
        "num_nodes": row.hardware.num_nodes,
        "engine": request.framework,
        "layout": {**estimate.mesh._asdict(), "sharding": request.sharding},
        "precision": {"recipe": request.precision, "optimizer": request.optimizer, "method": request.method},
        "micro_batch": request.micro_batch,
        "grad_accum": request.grad_accum,
        "recompute": request.recompute,
        "verdict": estimate.verdict,
        "headroom_bytes": estimate.headroom_bytes,
        "capacity_bytes": estimate.ledger.capacity_bytes,
        "host_bytes": estimate.ram_bytes,
        "tokens_per_s": None if speed is None else figure_json(speed.tokens_per_s),
        "ttft_s": None,
        "tpot_s": None,
        "step_s": None if speed is None else figure_json(speed.step_s),
        "mfu": None if speed is None else figure_json(speed.mfu),
        "usd_per_hour": price_json(row),
        "usd_per_million_tokens": row.cost,
        "on_front": planned.on_front,
        "why": planned.why,
        "estimate": list(planned.arguments),
        "launch": {"command": planned.launch.command, "files": planned.launch.files, "note": planned.launch.note},
    }


def training_front_json(row: TrainingRow) -> dict[str, Any]:
    return {
        "gpu": row.gpu,
        "engine": row.runner,
        "usd_per_hour": row.usd_per_hour,
        "tokens_per_s": row.rate,
        "headroom_bytes": row.headroom_bytes,
    }
