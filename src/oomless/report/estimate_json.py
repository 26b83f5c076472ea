"""A serving estimate as the JSON object of the contract: bytes as integers, nothing rounded."""

from typing import Any

from ..estimate.serving.estimate import Estimate
from ..ledger import Ledger
from ..model.model import Model

SCHEMA = "oomless/estimate/1"


def serving_json(estimate: Estimate) -> dict[str, Any]:
    """What `infer --json` prints."""
    model, cache = estimate.model, estimate.kv_cache
    return {
        "schema": SCHEMA,
        "model": model_json(model),
        "request": request_json(estimate),
        "ranks": [rank_json(ledger) for ledger in estimate.ledgers],
        "kv_cache": {**cache._asdict(), "bytes_per_token": _number(cache.bytes_per_token)},
        "host": {"ram_bytes": estimate.ram_bytes, "disk_bytes": estimate.disk_bytes},
        "verdict": estimate.verdict,
        "worst_rank": estimate.worst_rank,
        "headroom_bytes": estimate.headroom_bytes,
        "changes": changes_json(estimate),
        "warnings": list(estimate.warnings),
    }


def model_json(model: Model) -> dict[str, Any]:
    """The model of an answer."""
    return {
        "name": model.name,
        "family": model.family,
        "num_parameters": model.num_parameters,
        "num_active_parameters": model.num_active_parameters,
        "checkpoint_bytes": model.checkpoint_bytes,
        "num_draft_parameters": model.parameters_of("mtp"),
        "num_engram_parameters": model.parameters_of("engram"),
        "num_vision_parameters": model.parameters_of("vision"),
        "num_layers": len(model.layers),
        "max_positions": model.max_positions,
        "dtype": model.dtype.name,
        "quantization": model.quantization or None,
    }


def changes_json(estimate: Estimate) -> list[dict[str, Any]]:
    """Single changes that would make it fit; [] for an answer that fits."""
    if estimate.verdict == "fits":
        return []
    from ..estimate.serving.changes import changes_that_fit

    return [change._asdict() for change in changes_that_fit(estimate)]


def request_json(estimate: Estimate) -> dict[str, Any]:
    """Every value that was used, given or default."""
    values = estimate.request._asdict()
    layout, speculation = values.pop("layout"), estimate.request.speculation
    values["speculation"] = speculation and speculation._asdict()
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        values[name] = values[name] or None  # 0: the engine has no such limit
    hardware = estimate.hardware
    return {
        "model": estimate.model_word or estimate.model.name,
        **values,
        "layout": {**layout._asdict(), "replicas": estimate.replicas},
        "given": list(estimate.asked.given()),
        "gpu": {
            "spec": estimate.gpu_word or None,
            "name": hardware.what if hardware.mixed else hardware.card.name,
            "num_gpus": hardware.num_gpus,
            "num_nodes": hardware.num_nodes,
            "memory_bytes": hardware.card.memory_bytes,
            "memory_source": hardware.card.memory_source,
        },
    }


def rank_json(ledger: Ledger) -> dict[str, Any]:
    return {
        "group": ledger.group,
        "num_ranks": ledger.num_ranks,
        "capacity_bytes": ledger.capacity_bytes,
        "total_bytes": ledger.total_bytes,
        "low_bytes": ledger.low_bytes,
        "high_bytes": ledger.high_bytes,
        "by_category": ledger.by_category(),
        "lines": [line._asdict() for line in ledger.lines],
    }


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
