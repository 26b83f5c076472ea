"""The rules files that come with KTransformers (optimize/optimize_rules), which say what is on the cards:
read by their names, since what a name says is what its file does."""

import re

from ...errors import UnsupportedError
from ...records import Record


class RulesFile(Record):
    """What a rules file says."""

    num_cards: int = 1
    fp8: bool = False
    """Linear layers stay in FP8; elsewhere they become 4 bits in groups of 64."""
    some_experts: bool = False
    """A few layers have their experts on the cards, in 4 bits (EXPERTS_ON_CARDS)."""
    serves: bool = False
    """Its operators are those of balance_serve."""
    expert_bytes: int = 0
    """Bytes of an expert's parameter on the host; 0: as the file has it."""


EXPERTS_ON_CARDS = (0, 1, 2, 3, 4, 30)
"""Layers of ...-multi-gpu-marlin.yaml."""
NAME = re.compile(
    r"(?:DeepSeek-V[23]-Chat(-multi-gpu(?:-[48])?)?|DeepSeek-V2-Lite-Chat|Qwen2(?:-57B-A14B-Instruct)?"
    r"|Qwen3Moe|Mixtral)(-marlin)?(-fp8-linear-ggml-experts)?(-serve)?(-amx)?(?:\.yaml)?"
)


def rules_file(path: str | None) -> RulesFile:
    """Return what a file says; None: what is taken where none is named.

    >>> rules_file("optimize_rules/DeepSeek-V3-Chat-multi-gpu-4.yaml").num_cards
    4
    >>> [rules_file(f"{name}.yaml").expert_bytes for name in ("Qwen3Moe-serve-amx", "DeepSeek-V3-Chat-amx")]
    [2, 1]
    """
    if path is None:
        return RulesFile()
    name = path.replace("\\", "/").rpartition("/")[2]
    found = NAME.fullmatch(name)
    if found is None:
        raise UnsupportedError(
            f"the rules of {name} are not known",
            "known are those that come with KTransformers, as DeepSeek-V3-Chat.yaml",
            "optimize_config_path",
        )
    cards, marlin, fp8, serve, amx = found.groups()
    width = 2 if name.startswith("Qwen3Moe") else 1
    return RulesFile(
        int((cards or "-1").removeprefix("-multi-gpu").removeprefix("-") or 2),
        bool(fp8),
        bool(marlin),
        bool(serve),
        width if amx and not fp8 else 0,
    )
