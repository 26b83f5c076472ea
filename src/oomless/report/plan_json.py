"""A plan as the JSON object of the contract."""

from typing import Any

from ..plan.answer import Plan, Planned
from ..plan.search import Row
from ..plan.training import TrainingRow
from ..speed.figures import Figure

SCHEMA = "oomless/plan/1"


def plan_json(plan: Plan) -> dict[str, Any]:
    """What `plan --json` prints for serving."""
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
            "for": "infer",
            "context": plan.input_len + plan.output_len,
            "input_len": plan.input_len,
            "output_len": plan.output_len,
            "concurrency": wanted.concurrency,
            "max_model_len": wanted.max_model_len,
            "goal": wanted.goal,
            "limits": wanted.limits._asdict(),
            **{name: list(getattr(wanted, name)) for name in ("gpus", "engines", "quantizations", "kv_cache_dtypes", "vendors")},
            "providers": list(wanted.providers),
            "regions": list(wanted.regions),
            "tier": wanted.tier,
            "host_memory": wanted.host_memory,
            "host": wanted.host,
            "instances": wanted.instances,
        },
        "rows": [row_json(planned) for planned in plan.rows],
        "num_more_rows": plan.num_more,
        "front": [front_json(row) for row in plan.front],
        "excluded": plan.excluded,
        "misses": [miss._asdict() for miss in plan.misses[:MOST_MISSES]],
        "num_candidates": plan.num_candidates,
        "num_estimates": plan.num_estimates,
        "warnings": list(plan.warnings),
    }


MOST_MISSES = 20


def row_json(planned: Planned) -> dict[str, Any]:
    """One row."""
    row = planned.row
    estimate, speed = row.estimate, row.speed
    request = estimate.request
    assert request.layout is not None
    return {
        "gpu": row.gpu.partition(":")[0],
        "num_gpus": row.hardware.num_gpus,
        "num_nodes": row.hardware.num_nodes,
        "engine": request.engine,
        "engine_version": request.engine_version,
        "layout": {**request.layout._asdict(), "replicas": row.replicas},
        "precision": {
            "weights": request.quantization or estimate.model.quantization or request.dtype,
            "dtype": request.dtype,
            "kv_cache": estimate.kv_cache.dtype,
        },
        "verdict": estimate.verdict,
        "headroom_bytes": estimate.headroom_bytes,
        "capacity_bytes": estimate.ledger.capacity_bytes,
        "host_bytes": estimate.ram_bytes,
        "max_tokens": estimate.kv_cache.max_tokens,
        "tokens_per_s": None if speed is None else figure_json(speed.tokens_per_s),
        "ttft_s": None if speed is None else figure_json(speed.ttft_s),
        "tpot_s": None if speed is None else figure_json(speed.tpot_s),
        "usd_per_hour": price_json(row),
        "usd_per_million_tokens": row.usd_per_million_tokens,
        "copies_a_card": planned.copies,
        "on_front": planned.on_front,
        "why": planned.why,
        "estimate": list(planned.arguments),
        "launch": {"command": planned.launch.command, "files": planned.launch.files, "note": planned.launch.note},
    }


def front_json(row: Row) -> dict[str, Any]:
    """A point of the front."""
    return {
        "gpu": row.gpu,
        "engine": row.asked.engine,
        "usd_per_hour": row.usd_per_hour,
        "tokens_per_s": None if row.speed is None else row.speed.tokens_per_s.value,
        "headroom_bytes": row.estimate.headroom_bytes,
    }


def figure_json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "kind": figure.kind}


def price_json(row: Row | TrainingRow) -> dict[str, Any] | None:
    """A rent with who asks it; null where nobody is known to."""
    price = row.price
    if price is None:
        return None
    return {
        "value": row.usd_per_hour,
        "provider": price.provider,
        "region": price.region,
        "tier": price.tier,
        "tier_word": price.tier_word,
        "date": price.date,
        "source": price.source,
    }
