"""How fast a card is: what facts/hardware.csv says of its memory, its matrix units and its links."""

from functools import cache
from typing import Literal, NamedTuple

from .. import facts
from ..errors import UnsupportedError
from ..run.hardware import MIG, Card, Hardware
from ..units import GB, TB

DeviceClass = Literal["hbm", "gddr", "unified", "apple", "pi", "cpu", "amd", "other"]


class Machine(NamedTuple):
    """One card's peak rates. Zero: not known."""

    name: str
    device: DeviceClass
    architecture: str
    bytes_per_s: float
    flops_per_s: tuple[tuple[str, float], ...]
    """Dense, by type: bf16, fp8, int8, fp4, fp32."""
    link: str
    link_bytes_per_s: float
    """One direction."""
    pcie_bytes_per_s: float

    def peak(self, kind: str) -> float:
        """Operations a second in a type; in one that the card lacks it computes in 16 bit, without matrix units in FP32."""
        rates = dict(self.flops_per_s)
        for name in (kind, "bf16", "fp32"):
            if rates.get(name):
                return rates[name]
        return 0.0


PCIE_BYTES_PER_S = {"3": 16 * GB, "4": 32 * GB, "5": 64 * GB}
"""x16, one direction, as the standard gives it."""


@cache
def _rows() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in facts.table("hardware")}


def machine_of(card: Card) -> Machine:
    """The rates of a card; a card without a known bandwidth has no speed to tell.

    >>> from ..run.hardware import parse_gpu
    >>> machine_of(parse_gpu("h200").card).bytes_per_s, machine_of(parse_gpu("h200").card).peak("fp8")
    (4800000000000.0, 1979000000000000.0)
    """
    parent, cut, _ = card.name.partition(f" {MIG.strip('-').upper()} ")
    row = _rows().get(parent)
    if row is None or not _number(row["bw_gbs"]):
        raise UnsupportedError(
            f"the speed of {card.name} is not known: no table has its memory bandwidth",
            "name a card of `oomless gpus`; memory alone is answered by `oomless infer`",
        )
    share = card.num_sms / int(row["num_sms"]) if cut and card.num_sms and row["num_sms"] else 1.0
    kinds = {"bf16": "bf16_tflops", "fp8": "fp8_tflops", "int8": "int8_tops", "fp4": "fp4_tflops", "fp32": "fp32_tflops"}
    rates = {kind: _number(row[column]) * TB * share for kind, column in kinds.items()}
    rates["bf16"] = rates["bf16"] or _number(row["fp16_tflops"]) * TB * share
    link = _number(row["link_gbs_bidir"]) * GB / 2
    pcie = PCIE_BYTES_PER_S.get(row["pcie_gen"].strip(), 0)
    return Machine(
        name=card.name,
        device=_device(row),
        architecture=row["architecture"],
        bytes_per_s=_number(row["bw_gbs"]) * GB * share,
        flops_per_s=tuple((kind, rate) for kind, rate in rates.items() if rate),
        link=_link(row),
        link_bytes_per_s=link or pcie,
        pcie_bytes_per_s=pcie,
    )


def machines_of(hardware: Hardware) -> tuple[Machine, ...]:
    """The machine of each card, slowest memory first; one entry where all are alike."""
    cards = {card.name: card for card in hardware.mixed or (hardware.card,)}
    return tuple(sorted((machine_of(card) for card in cards.values()), key=lambda machine: machine.bytes_per_s))


def _device(row: dict[str, str]) -> DeviceClass:
    memory = row["mem_type"]
    match row["vendor"]:
        case "NVIDIA" if "unified" in memory:
            return "unified"
        case "NVIDIA":
            return "hbm" if memory.startswith("HBM") else "gddr"
        case "Apple":
            return "apple"
        case "Raspberry Pi":
            return "pi"
        case "generic" | "Ampere":
            return "cpu"
        case "AMD":
            return "amd"
    return "other"


def _link(row: dict[str, str]) -> str:
    """nvlink, xgmi, hccs, roce, pcie or ethernet: what joins the cards of a node."""
    words = row["link"].lower()
    for word, link in (
        ("nvlink", "nvlink"),
        ("xgmi", "xgmi"),
        ("hccs", "hccs"),
        ("roce", "roce"),
        ("ici", "ici"),
        ("connectx", "ib"),
    ):
        if word in words:
            return link
    if row["vendor"] in ("Apple", "Raspberry Pi", "generic", "Ampere"):
        return "ethernet"
    return "pcie"


def _number(text: str) -> float:
    digits = ""
    for char in text:
        if char.isdigit() or (char == "." and digits):
            digits += char
        elif digits:
            break
    return float(digits or 0)
