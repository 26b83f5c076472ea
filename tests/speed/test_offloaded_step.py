"""Optimizers in the host's memory."""

from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.training import TrainingAsked
from oomless.speed.offloaded_step import UPDATE
from oomless.speed.training import TrainingSpeed, training_speed

ASKED = TrainingAsked(
    framework="deepspeed", sharding="zero2", recompute="full", offload=("optimizer",), micro_batch=4
)


def speed(asked: TrainingAsked, gpu: str = "a100-80gb") -> TrainingSpeed:
    return training_speed(load("deepseek-llm-7b"), asked, parse_gpu(gpu))


def seconds(found: TrainingSpeed, what: str) -> float:
    return sum(part.seconds for part in found.parts if part.what == what)


def test_states_stay_on_the_host() -> None:
    """They crossed PCIe: 14.8 of 19.9 s."""
    found = speed(ASKED)
    assert 2 < seconds(found, UPDATE) < 5
    assert 0.3 < seconds(found, "to the host and back") < 1.5
    assert not seconds(found, "optimizer")


def test_the_band_is_as_wide_as_what_was_seen_of_hosts() -> None:
    step = speed(ASKED).step_s
    assert step.high - step.low > 3 * seconds(speed(ASKED), UPDATE)
    kept = speed(ASKED._replace(offload=())).step_s
    assert step.value > kept.value
    assert step.high / step.low > 2 * kept.high / kept.low


def test_ranks_share_the_memory_of_their_host() -> None:
    """Eight cards bring no more of it than one; two nodes bring twice as much."""
    one, eight, nodes = (seconds(speed(ASKED, gpu), UPDATE) for gpu in ("a100:1", "a100:8", "a100:8x2"))
    assert abs(one - eight) < 1e-6 * one
    assert abs(eight - 2 * nodes) < 1e-6 * eight


def test_gradients_of_each_micro_batch_go_down_and_up_again() -> None:
    found = speed(ASKED._replace(grad_accum=8, micro_batch=1))
    words = next(part.formula for part in found.parts if part.what == "to the host and back")
    assert "34 B behind the passes, 2 B after the update" in words


def test_an_unfused_adam_of_torch_passes_over_its_states_again_and_again() -> None:
    fsdp = ASKED._replace(framework="fsdp", sharding="fsdp2")
    loop, fused = (
        seconds(speed(fsdp._replace(optimizer=name), "a100:8"), UPDATE) for name in ("adamw", "adamw-fused")
    )
    assert abs(loop / fused - 20 / 7) < 1e-9
