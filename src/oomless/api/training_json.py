"""A training answer as the JSON object of the contract: bytes as integers, nothing rounded."""

from typing import TYPE_CHECKING, Any

from ..estimate.training.phases import StepPhase
from ..estimate.training.post_training import PAIRS
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.training_estimate import After
from .serving_json import SCHEMA, model_json, rank_json

if TYPE_CHECKING:
    from .training_answer import TrainingAnswer


def training_json(answer: "TrainingAnswer") -> dict[str, Any]:
    """What `train --json` prints; `peaks` are the worst rank's."""
    return {
        "schema": SCHEMA,
        "model": model_json(answer.model),
        "request": request_json(answer),
        "ranks": [group_json(group) for group in answer.groups],
        "peaks": {
            "allocated_bytes": answer.peaks.allocated_bytes,
            "reserved_bytes": answer.peaks.reserved_bytes,
            "device_bytes": answer.peaks.device_bytes,
            "phase": answer.peaks.phase,
            "moment": answer.peaks.moment,
        },
        "host": {"ram_bytes": answer.ram_bytes, "disk_bytes": answer.disk_bytes},
        "verdict": answer.verdict,
        "worst_rank": answer.worst_rank,
        "headroom_bytes": answer.headroom_bytes,
        "speed": speed_json(answer),
        "communication": communication_json(answer),
        "changes": [
            {"flags": each.flags, "saved_bytes": each.saved_bytes, "headroom_bytes": each.headroom_bytes}
            for each in answer.changes
        ],
        **({"after": after_json(answer.after)} if answer.after else {}),
        **({"file": answer.origin._asdict()} if answer.origin else {}),
        "warnings": list(answer.warnings),
    }


def speed_json(answer: "TrainingAnswer") -> dict[str, Any] | None:
    """Time of a step, tokens a second and share of the peak, each with its band, and what a step is made of;
    null where it is not known."""
    speed, _ = answer.speed
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
                "by_role": each.ledger.by_owner(),
                **rank_json(each.ledger),
            }
            for each in found.moments
        ],
        "engine": rank_json(found.engine) | {"verdict": found.engine.verdict} if found.engine else None,
    }


def communication_json(answer: "TrainingAnswer") -> list[dict[str, Any]]:
    """What one rank of each stage sends in a step, by axis and collective; [] for a single rank and for
    argument lists of Megatron-LM."""
    return [
        {
            **stage._asdict(),
            "sent_bytes": stage.sent_bytes,
            "transfers": [each._asdict() for each in stage.transfers],
        }
        for stage in answer.communication
    ]


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


def request_json(answer: "TrainingAnswer") -> dict[str, Any]:
    """Every value that was used, given or default."""
    values = answer.request._asdict()
    values.pop("mesh")
    if answer.asked.task in PAIRS:
        values["micro_batch"] = (
            answer.asked.micro_batch
        )  # pairs, as asked; the update runs two sequences for each
    hardware = answer.hardware
    return {
        "model": answer.model_word or answer.model.name,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        "beside": dict(answer.beside),
        "mesh": {**answer.mesh._asdict(), "num_ranks": answer.mesh.num_ranks},
        "gpu": {
            "spec": answer.gpu_word or None,
            "name": hardware.card.name,
            "num_gpus": hardware.num_gpus,
            "num_nodes": hardware.num_nodes,
            "memory_bytes": hardware.card.memory_bytes,
            "memory_source": hardware.card.memory_source,
        },
    }
