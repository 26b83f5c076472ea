"""A serving answer as the JSON object of the contract: bytes as integers, nothing rounded."""

from typing import TYPE_CHECKING, Any

from ..ledger import Ledger
from ..model.model import Model

if TYPE_CHECKING:
    from .serving import ServingAnswer

SCHEMA = "oomless/estimate/1"


def serving_json(answer: "ServingAnswer") -> dict[str, Any]:
    """What `infer --json` prints."""
    model, cache = answer.model, answer.kv_cache
    return {
        "schema": SCHEMA,
        "model": model_json(model),
        "request": request_json(answer),
        "ranks": [rank_json(ledger) for ledger in answer.ledgers],
        "kv_cache": {**cache._asdict(), "bytes_per_token": _number(cache.bytes_per_token)},
        "host": {"ram_bytes": answer.ram_bytes, "disk_bytes": answer.disk_bytes},
        "verdict": answer.verdict,
        "starts": answer.starts,
        "at_once": answer.at_once,
        "worst_rank": answer.worst_rank,
        "headroom_bytes": answer.headroom_bytes,
        "changes": [change._asdict() for change in answer.changes],
        "warnings": list(answer.warnings),
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


def request_json(answer: "ServingAnswer") -> dict[str, Any]:
    """Every value that was used, given or default."""
    values = answer.request._asdict()
    layout, speculation = values.pop("layout"), answer.request.speculation
    values |= {
        "concurrency": answer.estimate.concurrency,
        "concurrency_per_replica": answer.request.concurrency,
    }
    values["speculation"] = speculation and speculation._asdict()
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        values[name] = values[name] or None  # 0: the engine has no such limit
    hardware = answer.hardware
    return {
        "model": answer.model_word or answer.model.name,
        **values,
        "layout": {**layout._asdict(), "replicas": answer.replicas},
        "given": list(answer.estimate.asked.given()),
        "gpu": {
            "spec": answer.gpu_word or None,
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
