"""The words of a measured training row -> fields of the question. By rule where words have a form, by table where they are names.

Every word of truth/words_training.json is read here. A word that says nothing ("see source") raises Incomplete where it matters.
"""

import re
from typing import NamedTuple

from ..errors import UnsupportedError
from .serving_rows import Incomplete

FRAMEWORKS = {
    "ColossalAI": "colossalai",
    "DeepSpeed": "deepspeed",
    "Megatron-Bridge": "megatron-bridge",
    "Megatron-Core": "megatron-lm",
    "Megatron-LM": "megatron-lm",
    "Megatron-LM (zero bubble)": "megatron-lm",
    "NeMo Automodel": "automodel",
    "PyTorch": "transformers",
    "axolotl": "axolotl",
    "formula": "deepspeed",
    "fsdp_qlora": "fsdp-qlora",
    "lingua": "lingua",
    "litgpt": "litgpt",
    "llama-recipes FSDP1": "llama-recipes",
    "ms-swift": "ms-swift",
    "peft": "peft",
    "torchtitan": "torchtitan",
    "torchtitan+torchao": "torchtitan",
    "torchtune": "torchtune",
    "transformers": "transformers",
    "transformers+peft": "peft",
    "transformers+peft+DeepSpeed": "transformers-2023",
    "xtuner": "xtuner",
}
"""The table's framework -> ours."""

SAYS_NOTHING = ("see source", "see config", "not stated", "see line", "log sample", "sweep, see source")


def framework(word: str) -> str:
    """Our name of a framework."""
    if word not in FRAMEWORKS:
        raise UnsupportedError(f"framework {word} is not known yet")
    return FRAMEWORKS[word]


class Precision(NamedTuple):
    """What a row's precision says."""

    recipe: str
    quantization: str | None
    """How frozen weights are stored, where that is not bfloat16."""
    products: str
    """Type of matrix products where it is not that of the activations: fp8, mxfp8, nvfp4."""


def precision(word: str, framework: str) -> Precision:
    """The recipe, the storage of frozen weights and the type of matrix products.

    >>> precision("params fp32 + grads fp32 + Adam fp32, compute bf16, linear NVFP4", "torchtitan")
    Precision(recipe='mixed-bf16', quantization=None, products='nvfp4')
    >>> precision("bf16-true + bnb.nf4-dq", "litgpt")
    Precision(recipe='bf16', quantization='nf4-dq', products='')
    """
    text = word.lower()
    products = next((name for name in ("nvfp4", "mxfp8") if name in text), "fp8" if re.search(r"float8|fp8", text) else "")
    if "int8 training" in text:
        raise UnsupportedError(f"precision {word}: training in INT8 is not known yet")
    return Precision(_recipe(text, framework), _stored(text), products)


def _stored(text: str) -> str | None:
    if "gptq int4" in text:
        return "gptq-int4"
    if "gptq int8" in text:
        return "gptq-int8"
    if "8-bit base" in text:
        return "int8"
    if "nf4-dq" in text:
        return "nf4-dq"
    if re.search(r"nf4|4-bit|qlora", text):
        return "nf4"
    return None


def _recipe(text: str, framework: str) -> str:
    if text.startswith("params fp32 + grads fp32"):
        return "mixed-bf16"
    if "bf16 params, fp32 grads" in text:
        return "bf16-moments" if "bf16 moments" in text else "megatron-bf16"
    if "bf16-mixed" in text or "fp32 params, bf16 amp" in text:
        return "amp-bf16"
    if framework == "colossalai" and "amp" in text:
        return "colossalai-bf16"
    if framework == "deepspeed" and text == "bf16":
        return "deepspeed-bf16"
    if "bf16 amp" in text or text in ("bf16 + fp32 master", "full, bf16"):
        return "deepspeed-bf16"
    if "amp" in text:
        return "megatron-fp16" if framework.startswith("megatron") else "deepspeed-fp16"
    if text.startswith("fp32"):
        return "fp32"
    return "bf16"


class Steps(NamedTuple):
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
    "ao adamw 4bit": "adamw-4bit",
    "ao adamw fp8": "adamw-fp8",
    "adamw foreach=false": "adamw-loop",
    "adamw fused": "adamw-fused",
    "adamw_torch_fused": "adamw-fused",
    "adamw_torch": "adamw",
    "pagedadamw8bit": "paged-adamw-8bit",
    "8-bit galore": "galore-8bit",
    "hybridadam": "adam-fused",
    "muon": "muon",
    "lora-fa": None,
}


def optimizer(word: str) -> Steps:
    """The optimizer, and whether gradients are applied inside of the backward.

    >>> optimizer("PagedAdamW8bit, optimizer-in-backward")
    Steps(name='paged-adamw-8bit', in_backward=True)
    """
    if word in SAYS_NOTHING:
        raise Incomplete("the optimizer is not given")
    text = word.lower()
    inside = "in-backward" in text or "per-layer" in text
    name = re.sub(r",? ?(optimizer-)?in-backward|,? per-layer", "", text).strip()
    if name not in OPTIMIZERS:
        raise UnsupportedError(f"optimizer {word} is not known yet")
    return Steps(OPTIMIZERS[name], inside)


class Length(NamedTuple):
    """Tokens of a sequence; `most`: no more than that, since samples may be shorter."""

    tokens: int
    most: bool
    packed: bool


LONGEST = {"alpaca": 1304}
"""Longest sample of a data set in tokens of Llama's tokenizer, where a row names no limit: litgpt prints it for Alpaca."""


def length(word: str, ranks: int, micro_batch: int) -> Length:
    """Tokens of a sequence of the micro-batch.

    >>> length("<=512 (Alpaca2k, padded to longest)", 1, 4), length("variable: 40953 tokens in the global batch of that step", 8, 32)
    (Length(tokens=512, most=True, packed=False), Length(tokens=160, most=True, packed=False))
    """
    if not word or word in SAYS_NOTHING or word == "op":
        raise Incomplete("seq_len is not given")
    if "(224px)" in word:
        raise UnsupportedError("image classifiers are no language models")
    if found := re.match(r"variable: (\d+) tokens", word):
        return Length(-(-int(found[1]) // (ranks * micro_batch)), True, False)
    if found := re.match(r"padded to multiple of (\d+)", word):
        return Length(int(found[1]), True, False)
    if word.lower() == "alpaca (variable)":
        return Length(LONGEST["alpaca"], True, False)
    found = re.search(r"\d+", word)
    if not found:
        raise Incomplete(f"seq_len {word!r} says no number")
    return Length(int(found[0]), "<=" in word or "shorter" in word or word.startswith("max_length"), "packed" in word)


def count(word: str, what: str) -> int:
    """The number at the start of a cell.

    >>> count("32 (finetune config)", "micro_batch")
    32
    """
    if found := re.match(r"\d+", word):
        return int(found[0])
    if found := re.match(r"default \((\d+) x", word):
        return int(found[1])
    raise Incomplete(f"{what} is not given")


SHARDINGS = {
    "": None,
    "DDP": "ddp",
    "FSDP1 NO_SHARD (DDP)": "ddp",
    "FSDP ZeRO-3": "fsdp1",
    "FSDP1": "fsdp1",
    "FSDP2": "fsdp2",
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
    """How states are divided; "FSDP" is the framework's own kind."""
    if word == "FSDP":
        return "megatron_fsdp" if framework.startswith("megatron") else "fsdp1" if framework == "transformers" else "fsdp2"
    if word not in SHARDINGS:
        raise UnsupportedError(f"sharding {word} is not known yet")
    return SHARDINGS[word]


class Again(NamedTuple):
    """What is computed again; `how` None: the framework's own."""

    how: str | None
    modules: tuple[str, ...] = ()
    every: int = 1


def recompute(word: str, num_layers: int) -> Again:
    """Activation checkpointing.

    >>> recompute("selective mla_up_proj+mlp", 27), recompute("selective: every 2nd layer", 32)
    (Again(how='selective', modules=('mla_up_proj', 'mlp'), every=1), Again(how='selective', modules=('layer',), every=2))
    """
    if not word or word.startswith("default of"):
        return Again(None)
    if word in ("none", "full", "selective"):
        return Again(word)
    if word == "full (reentrant)":
        return Again("full")
    if found := re.fullmatch(r"selective: every (\d+)nd layer", word):
        return Again("selective", ("layer",), int(found[1]))
    if word == "sqrt-style":
        return Again("full", (), max(1, round(num_layers**0.5)))
    if word.startswith("selective "):
        return Again("selective", tuple(word.removeprefix("selective ").split("+")))
    raise UnsupportedError(f"recompute {word} is not known yet")


FLASH = ("TE fused/flash", "flash", "flash (v2)", "flash_attention_2", "flex", "kernels-community/vllm-flash-attn3", "te")


def attention(word: str) -> str:
    """The attention kernel: flash where a row names one, else what the card allows."""
    if word in FLASH:
        return "flash"
    if word.startswith("eager"):
        return "eager"
    return "auto"


def loss(word: str) -> str | None:
    """The loss; "" and "plain" are the framework's plain one.

    >>> loss("fused (CCE)"), loss("chunked 1024"), loss("")
    ('fused', 'chunked', None)
    """
    return word.split(" ")[0] or None


class Schedule(NamedTuple):
    name: str
    virtual_stages: int


def schedule(word: str) -> Schedule:
    """The pipeline schedule and its chunks a rank; torchtitan's interleaved schedules have two.

    >>> schedule("interleaved VPP5"), schedule("InterleavedZeroBubble")
    (Schedule(name='interleaved', virtual_stages=5), Schedule(name='zb1p', virtual_stages=2))
    """
    text = word.lower().replace(" ", "")
    chunks = int(found[1]) if (found := re.search(r"vpp(\d+)", text)) else 2
    if "zerobubble" in text:
        return Schedule("zb1p", 2)
    if text.startswith("interleaved"):
        return Schedule("interleaved", chunks)
    if text == "zb-v":
        return Schedule("zbv", 2)
    if text == "zb-2p":
        raise UnsupportedError("schedule ZB-2p is not known yet")
    return Schedule("1f1b", 1)


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
"""What lies in host memory. FSDP that offloads parameters keeps gradients and optimizer with them (torch CPUOffloadPolicy)."""


def offload(word: str) -> tuple[str, ...]:
    if word not in OFFLOADS:
        raise UnsupportedError(f"offload {word} is not known yet")
    return OFFLOADS[word]


class Adapter(NamedTuple):
    """An adapter: its kind (lora or another of PEFT), rank (0: the kind has none, or it is not given) and targets."""

    kind: str
    rank: int
    targets: tuple[str, ...]
    ends: bool
    """Embedding and head are trained in full."""


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ALL = ("all-linear",)


def adapter(word: str) -> Adapter | None:
    """What the column lora says.

    >>> adapter("BOFT r= q_proj,v_proj")
    Adapter(kind='boft', rank=0, targets=('q_proj', 'v_proj'), ends=False)
    >>> adapter("r64 attn+mlp + emb,head")
    Adapter(kind='lora', rank=64, targets=('all-linear',), ends=True)
    """
    text = word.strip()
    if not text:
        return None
    if found := re.match(r"([A-Z][A-Z0-9_]+) r=(\d*) ?(.*)", text):
        targets = tuple(name for name in found[3].split(",") if name)
        return Adapter(found[1].lower(), int(found[2] or 0), targets, False)
    rank = int(found[1]) if (found := re.search(r"\br(\d+)", text)) else 0
    if not rank and "see" in text and "rank" in text:
        raise Incomplete("the rank of LoRA is not given")
    rest = re.sub(r"^r\d*", "", text).strip()
    ends = "emb,head" in rest
    return Adapter("lora", rank, _targets(rest.replace("+ emb,head", "").strip()), ends)


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


class Setting(NamedTuple):
    compiled: bool
    eager: bool
    expandable_segments: bool
    rank: int | None
    step: int
    """Step of the measurement; optimizer states are there from the second on."""
    offload: tuple[str, ...]


def setting(word: str) -> Setting:
    """The column setting: words divided by semicolons.

    >>> setting("compile; expandable_segments").expandable_segments, setting("rank 7").rank, setting("step 1; step 2").step
    (True, 7, 2)
    """
    words = [each.strip() for each in word.split(";")]
    ranks = [int(found[1]) for each in words if (found := re.fullmatch(r"rank (\d+)", each))]
    steps = [int(found[1]) for each in words if (found := re.fullmatch(r"step (\d+)", each))]
    return Setting(
        "compile" in words,
        "eager" in words,
        "expandable_segments" in words,
        ranks[0] if ranks else None,
        max(steps, default=2),
        ("activations",) if "activation offload" in words else (),
    )


def card_name(word: str) -> str:
    """A card of the catalogue; where a row names none, the kernels are those of an H100, and no size is used.

    >>> card_name("4xA10G"), card_name("NVIDIA A100-SXM4-80GB"), card_name("")
    ('a10g', 'a100-80gb', 'h100')
    """
    text = re.sub(r"^\d+x", "", word.lower().strip())
    for pattern, name in CARDS:
        if re.search(pattern, text):
            return name
    return "h100"


CARDS = (
    (r"v100-32gb", "v100-32gb"),
    (r"v100", "v100"),
    (r"a10g", "a10g"),
    (r"a100.*40gb", "a100-40gb"),
    (r"a100|a800", "a100-80gb"),
    (r"a6000", "rtx-a6000"),
    (r"gb200", "gb200"),
    (r"b200", "b200"),
    (r"h200", "h200"),
    (r"l40s", "l40s"),
    (r"mi3", "mi300x"),
    (r"3090", "rtx-3090"),
    (r"4070", "rtx-4090"),  # the same kernels
    (r"4090", "rtx-4090"),
)
