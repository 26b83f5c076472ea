"""How fast a card is: what facts/hardware.csv says of its memory, its matrix units and its links."""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from ..errors import UnsupportedError
from ..facts.hardware import cards_by_full_name, first_number
from ..run.card_names import MIG, SIZED
from ..run.cards import Card, Hardware
from ..units import GB, GIB, MIB, TB
from .efficiency import SHIPPED, Efficiencies

DeviceClass = Literal["hbm", "instinct", "gddr", "unified", "apple", "pi", "cpu", "other"]


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
    bridged: bool
    """The link joins pairs of cards alone; larger groups meet over PCIe."""
    issue_hz: float
    """Multiprocessors x clock: how often a second a card can begin a load; 0: not known."""
    num_sms: int = 0
    """Multiprocessors; 0: not known."""
    domain: int = 0
    """Cards that one switched link joins beyond a node (NVL72); 0: those of a node."""
    efficiencies: Efficiencies = SHIPPED
    """What software reaches of these rates."""

    def peak(self, kind: str) -> float:
        """Operations a second in a type; in one that the card lacks it computes in 16 bit, without matrix
        units in FP32."""
        for wanted in (kind, "bf16", "fp32"):
            for name, rate in self.flops_per_s:
                if name == wanted and rate:
                    return rate
        return 0.0

    def reached(self, quantity: str, engine: str = "", conditions: frozenset[str] = frozenset()) -> float:
        """Return the efficiency of a quantity on this class of card."""
        return self.efficiencies.value(quantity, self.device, engine, conditions)


DOMAIN = re.compile(r"\((\d+) per domain\)")
PCIE_BYTES_PER_S = {"3": 16 * GB, "4": 32 * GB, "5": 64 * GB}
"""x16, one direction, as the standard gives it."""


@lru_cache(maxsize=256)
def machine_of(card: Card, efficiencies: Efficiencies = SHIPPED) -> Machine:
    """The rates of a card; a card without a known bandwidth has no speed to tell.

    >>> from ..run.hardware import parse_gpu
    >>> machine_of(parse_gpu("h200").card).bytes_per_s, machine_of(parse_gpu("h200").card).peak("fp8")
    (4800000000000.0, 1979000000000000.0)
    """
    parent, cut, _ = card.name.partition(f" {MIG.strip('-').upper()} ")
    rows = cards_by_full_name()
    row = rows.get(parent) or rows.get(parent.partition(SIZED)[0])
    if row is None or not first_number(row["bw_gbs"]):
        raise UnsupportedError(
            f"the speed of {card.name} is not known: no table has its memory bandwidth",
            "name a card of `oomless gpus`; memory alone is answered by `oomless infer`",
        )
    share = card.num_sms / int(row["num_sms"]) if cut and card.num_sms and row["num_sms"] else 1.0
    kinds = {
        "bf16": "bf16_tflops",
        "fp8": "fp8_tflops",
        "int8": "int8_tops",
        "fp4": "fp4_tflops",
        "fp32": "fp32_tflops",
    }
    rates = {kind: first_number(row[column]) * TB * share for kind, column in kinds.items()}
    rates["bf16"] = rates["bf16"] or first_number(row["fp16_tflops"]) * TB * share
    if row["vendor"] == "NVIDIA":
        vector = rates["bf16"] < rates["fp32"] or "Orin" in row["name"]  # a rate without matrix units
        rates["bf16"] = _sixteen_bit(rates, row) if vector else rates["bf16"]
    if not any(rates.values()):
        raise UnsupportedError(
            f"the speed of {card.name} is not known: no table has how much it computes",
            "name another card of `oomless gpus`",
        )
    link = first_number(row["link_gbs_bidir"]) * GB / 2
    pcie = PCIE_BYTES_PER_S.get(row["pcie_gen"].strip(), 0)
    return Machine(
        name=card.name,
        device=_device(row),
        architecture=row["architecture"],
        bytes_per_s=first_number(row["bw_gbs"]) * GB * share * _carries_data(row),
        flops_per_s=tuple((kind, rate) for kind, rate in rates.items() if rate),
        link=_link(row),
        link_bytes_per_s=link or pcie,
        pcie_bytes_per_s=pcie,
        bridged="bridge" in row["link"].lower(),
        issue_hz=_issue_hz(row) * share,
        num_sms=card.num_sms or int(first_number(row["num_sms"])),
        domain=int(found[1]) if (found := DOMAIN.search(row["gpus_per_node"])) else 0,
        efficiencies=efficiencies,
    )


TENSOR_INT8_SHARE = 0.6
"""Of the INT8 rate of an Orin module, what is its GPU's: the rest are its deep-learning accelerators (85 of
138 on AGX 64 GB)."""


def _sixteen_bit(rates: dict[str, float], row: dict[str, str]) -> float:
    """The 16-bit rate where a table names narrower types alone: each halving of the width doubles the rate.

    FP4 doubles it once more on cards of capability 12 (RTX PRO 6000: 504, 1008, 2015; RTX 5090: 209, 419,
    1676).
    """
    if rates["fp8"]:
        return rates["fp8"] / 2
    if rates["fp4"] and not rates["bf16"]:
        return rates["fp4"] / (8 if row["compute_capability"].startswith("12") else 4)
    if "Orin" in row["name"]:
        return rates["int8"] / 2 * TENSOR_INT8_SHARE
    return rates["fp32"] * (
        2 if first_number(row["compute_capability"]) >= 7.5 else 1
    )  # GeForce cards of four generations


CHECKED = 15 / 16
"""What error correction leaves of GDDR where check bits lie among the data: 15 of 16 bytes, in capacity and
on the way."""


def _carries_data(row: dict[str, str]) -> float:
    """The share of the bandwidth that is left for data. HBM and GDDR7 keep check bits of their own; GDDR6
    shows by its size that it has them.

    nvidia-smi's 46,068 MiB of an L40S's 48 GiB are 15 / 16; of an RTX 6000 Ada, where it is off unless asked
    for, 49,140 MiB.

    >>> [
    ...     _carries_data(cards_by_full_name()[name])
    ...     for name in ("L40S", "RTX 6000 Ada", "A40", "RTX 4090", "H200 141GB SXM")
    ... ]
    [0.9375, 1.0, 0.9375, 1.0, 1.0]
    """
    if row["vendor"] != "NVIDIA" or not row["mem_type"].startswith("GDDR"):
        return 1.0
    seen = first_number(row["mem_mib_nvidia_smi"]) * MIB / GIB or first_number(row["mem_gib_torch_seen"])
    return CHECKED if 0 < seen < (1 + CHECKED) / 2 * first_number(row["mem_gb_marketed"]) else 1.0


def _issue_hz(row: dict[str, str]) -> float:
    """Multiprocessors x clock, from the FP32 rate: 128 lanes each, 64 where 32-bit integers have lanes of
    their own (Volta to A100).

    >>> round(
    ...     _issue_hz(
    ...         {"vendor": "NVIDIA", "fp32_tflops": "19.5", "num_sms": "108", "compute_capability": "8.0"}
    ...     )
    ...     / 1e9
    ... )
    152
    """
    if row["vendor"] != "NVIDIA" or not first_number(row["fp32_tflops"]):
        return 0.0
    lanes = 64 if row["compute_capability"] in ("7.0", "7.5", "8.0") else 128
    return first_number(row["fp32_tflops"]) * TB / (2 * lanes)


def machines_of(hardware: Hardware, efficiencies: Efficiencies = SHIPPED) -> tuple[Machine, ...]:
    """The machine of each card, slowest memory first; one entry where all are alike."""
    cards = {card.name: card for card in hardware.mixed or (hardware.card,)}
    machines = (machine_of(card, efficiencies) for card in cards.values())
    return tuple(sorted(machines, key=lambda machine: machine.bytes_per_s))


def _device(row: dict[str, str]) -> DeviceClass:
    memory = row["mem_type"]
    match row["vendor"]:
        case "NVIDIA" if "unified" in memory:
            return "unified"
        case "AMD" if memory.startswith("HBM"):
            return "instinct"
        case "NVIDIA":
            return "hbm" if memory.startswith("HBM") else "gddr"
        case "Apple":
            return "apple"
        case "Raspberry Pi":
            return "pi"
        case "generic":
            return "cpu"
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
    if row["vendor"] in ("Apple", "Raspberry Pi", "generic"):
        return "ethernet"
    return "pcie"
