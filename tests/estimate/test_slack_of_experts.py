"""What Megatron-SWIFT's runs with experts hold beyond what is counted."""

from oomless.api.training import train
from oomless.ledger import Line
from oomless.units import GIB


def held(ep: int, framework: str = "megatron-swift") -> Line:
    """What the allocator holds beside its tensors."""
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
    return line


def test_experts_over_ranks_hold_the_middle_of_what_was_seen() -> None:
    alone, exchanged = held(ep=1), held(ep=4)
    assert exchanged.bytes > 9 * GIB > 1.5 * GIB > alone.bytes
    assert exchanged.high_bytes >= 14 * GIB > 8 * GIB > alone.high_bytes
