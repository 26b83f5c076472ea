"""What a plan can be asked beside its rows, for people."""

from ..plan.crossbar import CELL_BITS, TILE, InMemory
from ..plan.disaggregate import Disaggregated
from ..plan.inverse import LargestModel
from ..plan.launch import Launch
from ..plan.launch.cluster import PORT
from ..plan.training_search import TrainingRow
from ..units import format_bytes, gb, gib
from .plan_cost_text import table
from .plan_text import rate_text, setting
from .plan_training_text import setting as trained_setting


def in_memory_text(found: InMemory) -> str:
    """What leaves the card, what stays, what moves."""
    return (
        f"if the weights lay in crossbars (a what-if: nothing is said of quality or speed):\n"
        f"  {format_bytes(found.freed_bytes)} of {format_bytes(found.weight_bytes)} of "
        "weights leave the worst card; "
        f"{format_bytes(found.headroom_bytes)} to spare, {found.more_tokens:,} more tokens of cache\n"
        f"  {found.num_cells:,} cells of {CELL_BITS} bits in {found.num_tiles:,} tiles of {TILE} x {TILE}\n"
        f"  a token reads {format_bytes(found.read_now_bytes)} of weights now; "
        f"{format_bytes(found.converted_bytes)} of activations would pass converters\n"
        f"  what stays on the card: cache, activations, norms, routers, embedding\n"
    )


def largest_text(found: tuple[LargestModel, ...]) -> str:
    """One line a model."""
    rows = [("model", "billions", "bits a weight", "cards", "engine", "GiB to spare", "tokens/s", "setting")]
    for held in found:
        row = held.row
        rate = "?" if row.speed is None else rate_text(row.speed.tokens_per_s)
        billions, bits = f"{held.num_parameters / 1e9:.1f}", f"{held.bits_a_weight:.1f}"
        rows.append(
            (
                held.name,
                billions,
                bits,
                row.gpu,
                row.runner,
                f"{gib(row.headroom_bytes):.1f}",
                rate,
                trained_setting(row) if isinstance(row, TrainingRow) else setting(row),
            )
        )
    return table(rows) + "\n"


def started(launch: Launch) -> list[str]:
    """The command, and what must be there before."""
    return [f"    $ {launch.command}", *([f"    {launch.note}"] if launch.note else [])]


def disaggregated_text(found: Disaggregated) -> str:
    """Both sides, and the best machine that does both beside them."""
    lines = ["prefill and decode apart, each side on machines of its own:"]
    sides = (("prefill", found.prefill, found.launch.prefill), ("decode", found.decode, found.launch.decode))
    for name, side, launch in sides:
        lines.append(
            f"  {side.num} x {side.row.gpu} {name}, {setting(side.row)}: "
            f"{side.requests_per_s:.3g} requests/s each"
        )
        lines += started(launch)
    lines += [f"  the router, which clients ask at port {PORT}:", *started(found.launch.router)]
    usd = "" if found.usd_per_hour is None else f", {found.usd_per_hour:,.2f} USD an hour"
    lines.append(
        f"  together {found.num_gpus} cards{usd}: {found.tokens_per_s:,.0f} tokens/s, "
        f"{found.tokens_per_s_per_gpu:,.0f} a card"
    )
    lines.append(f"  the best machine that does both: {found.together_tokens_per_s_per_gpu:,.0f} a card")
    lines.append(
        f"  a prompt's cache is {format_bytes(found.cache_bytes)}; to send it behind the next "
        "prompt each prefill machine needs "
        f"{gb(found.network_bytes_per_s):.2f} GB/s"
    )
    return "\n".join(lines) + "\n"
