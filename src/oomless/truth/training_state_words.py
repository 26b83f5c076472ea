"""The words of a measured training row that say what lies between steps: precision, optimizer, sharding,
offload, adapters."""

import re
from typing import NamedTuple

from .. import facts
from ..errors import UnsupportedError
from ..frameworks import framework as record_of
from ..frameworks.record import FrameworkRows
from .tables import Incomplete
from .training_words import SAYS_NOTHING


class Precision(NamedTuple):
    """What a row's precision says."""

    recipe: str
    """"": the framework's own."""
    quantization: str | None
    """How frozen weights are stored, where that is not bfloat16."""
    products: str
    """Type of matrix products where it is not that of the activations: fp8, mxfp8, nvfp4."""


def precision(word: str, framework: str) -> Precision:
    """The recipe, the storage of frozen weights and the type of matrix products.

    >>> precision("params fp32 + grads fp32 + Adam fp32, compute bf16, linear NVFP4", "torchtitan")
    Precision(recipe='mixed-bf16', quantization=None, products='nvfp4')
    >>> precision("bf16 params, bf16 grads, fp32 master + fp32 Adam", "megatron-bridge").recipe
    'megatron-bf16-gradients'
    >>> precision("bf16-true + bnb.nf4-dq", "litgpt")
    Precision(recipe='bf16', quantization='nf4-dq', products='')
    """
    text = word.lower()
    products = next(
        (name for name in ("nvfp4", "mxfp8") if name in text), "fp8" if re.search(r"float8|fp8", text) else ""
    )
    if "int8 training" in text:
        raise UnsupportedError(f"precision {word}: training in INT8 is not known yet")
    return Precision(_recipe(text, record_of(framework).rows), _stored(text), products)


def _stored(text: str) -> str | None:
    if "gptq int4" in text:
        return "gptq-int4"
    if "gptq int8" in text:
        return "gptq-int8"
    if "8-bit base" in text:
        return "int8"
    if "nf4-dq" in text:
        return "nf4-dq"
    if "awq" in text:
        return "gptq-int4"  # values of 4 bits and scales of groups of 128, as AutoAWQ and AutoGPTQ pack them
    if re.search(r"nf4|4-bit|qlora", text):
        return "nf4"
    return None


def _recipe(text: str, rows: FrameworkRows) -> str:
    """Return the recipe of the first pattern that a row's words have (facts/precision_words.csv), or what the
    framework means by them."""
    row = next(row for row in facts.table("precision_words") if re.search(row["pattern"], text))
    meant = {"bf16_amp": rows.bf16_amp, "amp": rows.amp, "bf16": rows.bf16, "own": ""}
    return row["recipe"] or meant[row["meant"]]


class OptimizerSteps(NamedTuple):
    """What a row's optimizer says; `name` None: the framework's own."""

    name: str | None
    in_backward: bool


OPTIMIZERS = {
    "": None,
    "adam": None,
    "adam (distributed)": "adam-fused",
    "adamw": None,
    "adamw 8bit": "adamw-8bit",
    "adamw8bit": "adamw-8bit",
    "bnb adamw 8bit": "adamw-8bit",
    "adamw_8bit": "adamw-8bit",
    "adamw_bnb_8bit": "adamw-8bit",
    "ao adamw 8bit": "adamw-8bit-ao",
    "adamw_torch_8bit": "adamw-8bit-ao",
    "adamw_torch_4bit": "adamw-4bit",
    "ao adamw 4bit": "adamw-4bit",
    "ao adamw fp8": "adamw-fp8",
    "adamw foreach": "adamw-foreach",
    "adamw foreach=false": "adamw-loop",
    "adamw fused": "adamw-fused",
    "adamw_torch_fused": "adamw-fused",
    "adamw_torch": "adamw",
    "pagedadamw8bit": "paged-adamw-8bit",
    "8-bit galore": "galore-8bit",
    "galore": "galore",
    "hybridadam": "adam-fused",
    "muon": "muon",
    "lora-fa": None,
}


def optimizer(word: str) -> OptimizerSteps:
    """The optimizer, and whether gradients are applied inside of the backward.

    >>> optimizer("PagedAdamW8bit, optimizer-in-backward")
    OptimizerSteps(name='paged-adamw-8bit', in_backward=True)
    >>> optimizer("paged_adamw_32bit").name  # a word of transformers (facts/optimizer_words.csv)
    'paged-adamw'
    """
    if word in SAYS_NOTHING:
        raise Incomplete("the optimizer is not given")
    text = word.lower()
    inside = "in-backward" in text or "per-layer" in text
    name = re.sub(r",? ?(optimizer-)?in-backward|,? per-layer", "", text).strip()
    if name in OPTIMIZERS:
        return OptimizerSteps(OPTIMIZERS[name], inside)
    for row in facts.table("optimizer_words"):
        if row["word"] == name and not row["framework"]:
            return OptimizerSteps(row["optimizer"], inside)
    raise UnsupportedError(f"optimizer {word} is not known yet")


SHARDINGS = {
    "": None,
    "DDP": "ddp",
    "FSDP1 NO_SHARD (DDP)": "ddp",
    "FSDP ZeRO-3": "fsdp1",
    "FSDP1": "fsdp1",
    "FSDP1 ZeRO-2": "fsdp1",
    "FSDP2": "fsdp2",
    "FSDP2 ZeRO-2": "fsdp2",
    "Gemini (ZeRO-3)": "zero3",
    "Megatron": "distopt",
    "Megatron dist opt": "distopt",
    "ZeRO none": "none",
    "ZeRO os": "zero1",
    "ZeRO os+g": "zero2",
    "ZeRO os+g+params": "zero3",
    "ZeRO-1": "zero1",
    "ZeRO-1 (Pos)": "zero1",
    "ZeRO-1 (dist optimizer)": "distopt",
    "ZeRO-2": "zero2",
    "ZeRO-2 (Pos+g)": "zero2",
    "ZeRO-3": "zero3",
    "ZeRO-3 (Pos+g+p)": "zero3",
    "baseline": "none",
    "none": "none",
    "none/eager": "none",
}


def sharding(word: str, framework: str) -> str | None:
    """How states are divided; "FSDP" is the framework's own kind.

    >>> sharding("FSDP", "megatron-lm"), sharding("ZeRO os+g", "deepspeed")
    ('megatron_fsdp', 'zero2')
    """
    if word == "FSDP":
        return record_of(framework).rows.fsdp
    if word not in SHARDINGS:
        raise UnsupportedError(f"sharding {word} is not known yet")
    return SHARDINGS[word]


OFFLOADS: dict[str, tuple[str, ...]] = {
    "": (),
    "none": (),
    "CPU": ("optimizer", "params"),
    "CPU (params, grads, optimizer)": ("optimizer", "params", "gradients"),
    "DeepSpeed CPU": ("optimizer", "params"),
    "DeepSpeed ZeRO-offload": ("optimizer", "gradients"),
    "FSDP params": ("params", "gradients", "optimizer"),
    "activations": ("activations",),
    "ao CPU offload optimizer": ("optimizer",),
    "ao CPU offload optimizer + grads": ("optimizer", "gradients"),
    "optimizer CPU": ("optimizer",),
    "params CPU": ("params", "gradients", "optimizer"),
    "params+optimizer CPU": ("params", "gradients", "optimizer"),
}
"""What lies in host memory. FSDP that offloads parameters keeps gradients and optimizer with them (torch
CPUOffloadPolicy)."""


def offload(word: str) -> tuple[str, ...]:
    if word not in OFFLOADS:
        raise UnsupportedError(f"offload {word} is not known yet")
    return OFFLOADS[word]


class RowAdapter(NamedTuple):
    """An adapter: its kind (lora or another of PEFT), rank (0: the kind has none, or it is not given) and
    targets."""

    kind: str
    rank: int
    targets: tuple[str, ...]
    ends: bool
    """Embedding and head are trained in full."""


RENAMED = {"BONE": "miss"}
"""Adapters that PEFT has under another name since (0.17: MiSS)."""

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

MLP = ("gate_proj", "up_proj", "down_proj")

ALL = ("all-linear",)


def adapter(word: str) -> RowAdapter | None:
    """What the column lora says.

    >>> adapter("BOFT r= q_proj,v_proj")
    RowAdapter(kind='boft', rank=0, targets=('q_proj', 'v_proj'), ends=False)
    >>> adapter("r64 attn+mlp + emb,head")
    RowAdapter(kind='lora', rank=64, targets=('all-linear',), ends=True)
    """
    text = word.strip()
    if not text:
        return None
    if found := re.match(r"([A-Z][A-Z0-9_]+) r=(\d*) ?(.*)", text):
        targets = tuple(name for name in found[3].split(",") if name)
        return RowAdapter(RENAMED.get(found[1], found[1].lower()), int(found[2] or 0), targets, False)
    rank = int(found[1]) if (found := re.search(r"\br(\d+)", text)) else 0
    if not rank and "see" in text and "rank" in text:
        raise Incomplete("the rank of LoRA is not given")
    rest = re.sub(r"^r\d*", "", text).strip()
    ends = "emb,head" in rest
    return RowAdapter("lora", rank, _targets(rest.replace("+ emb,head", "").strip()), ends)


def _targets(text: str) -> tuple[str, ...]:
    if text in ("", "default targets") or text.startswith("see") or text.startswith("LoRA"):
        return ()
    if text in ("q,v", "query,value"):
        return ("q_proj", "v_proj")
    if text == "q,v,o,mlp":
        return ("q_proj", "v_proj", "o_proj", *MLP)
    if text == "query,key,value,projection,mlp,head":
        return (*ALL, "lm_head")
    names = tuple(text.split(","))
    if all(re.fullmatch(r"\w+_proj", name) for name in names):
        return ALL if set(names) == {*ATTENTION, *MLP} else names
    return ALL  # all, all linear, attn+mlp, *_proj, or a pattern of attention and feed-forward
