"""What Megatron-SWIFT's runs with experts may hold beyond what is counted."""

from oomless.api.training import train
from oomless.units import GIB


def room_above(ep: int, framework: str = "megatron-swift") -> int:
    """How far the upper end of what the allocator holds lies above its value."""
    found = train(
        "qwen3-30b-a3b",
        "h100:8",
        framework=framework,
        method="lora",
        ep=ep,
        seq_len=4096,
        packed=True,
        recompute="full",
        expandable_segments=True,
    )
    (line,) = (each for each in found.groups[0].ledger.lines if each.key == "fragmentation.reserved")
    return line.high_bytes - line.bytes


def test_experts_over_ranks_leave_room_above() -> None:
    assert room_above(ep=4) >= 14 * GIB > 8 * GIB > room_above(ep=1)
