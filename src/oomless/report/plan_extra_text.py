"""What a plan can be asked beside its rows, for people."""

from ..plan.in_memory import CELL_BITS, TILE, InMemory
from ..units import format_bytes


def in_memory_text(found: InMemory) -> str:
    """What leaves the card, what stays, what moves."""
    return (
        f"if the weights lay in crossbars (a what-if: nothing is said of quality or speed):\n"
        f"  {format_bytes(found.freed_bytes)} of {format_bytes(found.weight_bytes)} of weights leave the worst card; "
        f"{format_bytes(found.headroom_bytes)} to spare, {found.more_tokens:,} more tokens of cache\n"
        f"  {found.num_cells:,} cells of {CELL_BITS} bits in {found.num_tiles:,} tiles of {TILE} x {TILE}\n"
        f"  a token reads {format_bytes(found.read_now_bytes)} of weights now; "
        f"{format_bytes(found.converted_bytes)} of activations would pass converters\n"
        f"  what stays on the card: cache, activations, norms, routers, embedding\n"
    )
