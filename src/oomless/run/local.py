"""`--gpu local`: the cards of this machine as the driver's own tool reports them, less what other processes
hold now."""

import shutil
import subprocess

from ..errors import OomlessError
from ..units import MIB, format_bytes
from .card_names import card_named
from .cards import Card, Hardware, mixed

QUERY = "name,memory.total,memory.used,compute_cap"
TIMEOUT_S = 10


def query_cards() -> list[tuple[str, int, int, str]]:
    """(name, total bytes, used bytes, compute capability) of each NVIDIA card; [] without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 3)]
        if len(cells) == 4 and cells[1].isdecimal() and cells[2].isdecimal():
            found.append((cells[0], int(cells[1]) * MIB, int(cells[2]) * MIB, cells[3]))
    return found


def local_hardware() -> Hardware:
    """This machine's cards: of one kind, or one by one if they are of several."""
    cards = query_cards()
    if not cards:
        raise OomlessError(
            "--gpu local: no NVIDIA card found here",
            "nvidia-smi must be on the PATH; or name the cards: --gpu h100:8",
        )
    if len({name for name, *_ in cards}) > 1:
        return mixed([local_group([card]) for card in cards], "local")
    return local_group(cards)


def local_group(cards: list[tuple[str, int, int, str]]) -> Hardware:
    """Cards of one name: the fullest decides."""
    total = min(size for _, size, _, _ in cards)
    used = max(size for _, _, size, _ in cards)
    card = _known(cards[0][0], cards[0][3])
    seen = min(total, card.memory_bytes) if card.memory_bytes else total
    reading = (
        f"{len(cards)} x {cards[0][0]}: {format_bytes(total)} by the driver, of which other "
        f"processes hold {format_bytes(used)}"
    )
    free = card._replace(memory_bytes=max(seen - used, 0), memory_source="this machine now", range_bytes=0)
    return Hardware(free, len(cards), len(cards), reading)


def _known(name: str, capability: str) -> Card:
    """The catalogue's card of a driver's name, or one that only has its name and capability."""
    known = card_named(name) or card_named(name.split("-")[0])
    return known or Card(name, "NVIDIA", capability, 0, "this machine now", 8, 0, "", "B")
