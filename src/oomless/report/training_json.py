"""A training estimate as the JSON object of the contract: bytes as integers, nothing rounded."""

from typing import Any

from ..estimate.training.phases import StepPhase
from ..estimate.training.post_training import PAIRS, roles
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.traffic import known, traffic
from ..estimate.training.training_estimate import After, TrainingEstimate
from .estimate_json import SCHEMA, model_json, rank_json


def training_json(estimate: TrainingEstimate) -> dict[str, Any]:
    """What `train --json` prints; `peaks` are the worst rank's."""
    return {
        "schema": SCHEMA,
        "model": model_json(estimate.model),
        "request": request_json(estimate),
        "ranks": [group_json(group) for group in estimate.groups],
        "peaks": {
            "allocated_bytes": estimate.peaks.allocated_bytes,
            "reserved_bytes": estimate.peaks.reserved_bytes,
            "device_bytes": estimate.peaks.device_bytes,
            "phase": estimate.peaks.phase,
            "moment": estimate.peaks.moment,
        },
        "host": {"ram_bytes": estimate.ram_bytes, "disk_bytes": estimate.disk_bytes},
        "verdict": estimate.verdict,
        "worst_rank": estimate.worst_rank,
        "headroom_bytes": estimate.headroom_bytes,
        "speed": speed_json(estimate),
        "communication": communication_json(estimate),
        "changes": changes_json(estimate),
        **({"after": after_json(estimate.after)} if estimate.after else {}),
        **({"file": estimate.origin._asdict()} if estimate.origin else {}),
        "warnings": list(estimate.warnings),
    }


def speed_json(estimate: TrainingEstimate) -> dict[str, Any] | None:
    """Time of a step, tokens a second and share of the peak, each with its band, and what a step is made of;
    null where it is not known."""
    from ..speed.training import speed_of_estimate

    speed, _ = speed_of_estimate(estimate)
    return None if speed is None else speed.to_json()


def after_json(found: After) -> dict[str, Any]:
    """The moments of a step on the worst rank, which one sets the peak, and the engine's ledger if it has
    cards of its own."""
    return {
        "peak": found.peak.name,
        "moments": [
            {
                "name": each.name,
                "verdict": each.ledger.verdict,
                "by_role": roles(each.ledger),
                **rank_json(each.ledger),
            }
            for each in found.moments
        ],
        "engine": rank_json(found.engine) | {"verdict": found.engine.verdict} if found.engine else None,
    }


def communication_json(estimate: TrainingEstimate) -> list[dict[str, Any]]:
    """What one rank of each stage sends in a step, by axis and collective; [] for a single rank and for
    argument lists of Megatron-LM."""
    if estimate.mesh.num_ranks == 1 or not known(estimate.model):
        return []
    return [
        {
            **stage._asdict(),
            "sent_bytes": stage.sent_bytes,
            "transfers": [each._asdict() for each in stage.transfers],
        }
        for stage in traffic(estimate.model, estimate.request, estimate.mesh.num_ranks)
    ]


def changes_json(estimate: TrainingEstimate) -> list[dict[str, Any]]:
    """Single changes that would make it fit; [] for an answer that fits."""
    if estimate.verdict == "fits":
        return []
    from ..estimate.training.changes import changes_that_fit

    return [change._asdict() for change in changes_that_fit(estimate)]


def group_json(group: RankGroup) -> dict[str, Any]:
    """One group of ranks: its ledger at the peak, what it holds between steps, its three peaks, its
    phases."""
    return {
        **rank_json(group.ledger),
        "steady_bytes": group.steady_bytes,
        "peaks": group.peaks._asdict(),
        "phases": [phase_json(phase, group) for phase in group.phases],
    }


def phase_json(phase: StepPhase, group: RankGroup) -> dict[str, Any]:
    """The worst moment of a phase: all that is allocated then, by category."""
    sums = group.at(phase)
    return {
        "name": phase.name,
        "moment": phase.moment,
        "allocated_bytes": sum(sums.values()),
        "by_category": sums,
    }


def request_json(estimate: TrainingEstimate) -> dict[str, Any]:
    """Every value that was used, given or default."""
    values = estimate.request._asdict()
    values.pop("mesh")
    if estimate.asked.task in PAIRS:
        values["micro_batch"] = (
            estimate.asked.micro_batch
        )  # pairs, as asked; the update runs two sequences for each
    hardware = estimate.hardware
    return {
        "model": estimate.model_word or estimate.model.name,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        "beside": dict(estimate.beside),
        "mesh": {**estimate.mesh._asdict(), "num_ranks": estimate.mesh.num_ranks},
        "gpu": {
            "spec": estimate.gpu_word or None,
            "name": hardware.card.name,
            "num_gpus": hardware.num_gpus,
            "num_nodes": hardware.num_nodes,
            "memory_bytes": hardware.card.memory_bytes,
            "memory_source": hardware.card.memory_source,
        },
    }
