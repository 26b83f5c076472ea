"""A model that is published in 16 bit, asked for in a format that only somebody's checkpoint has: what that
checkpoint may hold more, and what a rank holds while it loads one of 16 bit.

--quantization fp8 and bitsandbytes quantise on loading, by the engine's own rule. The other formats come from
files whose makers chose groups and modules: the usual choice (every linear layer, groups of 128) is the
prediction, and this line reaches up to the others.
"""

from math import prod
from typing import NamedTuple

from .. import facts
from ..ledger import Line, ranged
from ..model.attention import DSA, MLA, Linear
from ..model.model import Model, Tensor
from ..model.quantization_scheme import EXPERTS_ALONE, OTHERS_IN, REQUANTISED, requantised
from ..model.storage import Format, Shape
from .rank import Placed
from .releases import Families


class Loading(NamedTuple):
    """What a rank holds while it loads a checkpoint of 16 bit, where that is more than what stays.

    It is said, where it is too much for the card, and decides nothing unless the checkpoint itself is known
    to be in 16 bit: in six public cases of six the flag beside a model's name stood for a checkpoint that is
    published in the form (405B and GLM-4.6 in FP8), which loads as it stays.
    """

    placed: list[Placed]
    """Its tensors at that moment."""
    why: str
    """Which rule of the engine that is."""
    instead: str
    """What loads less."""
    source: str
    decides: bool = False
    """Whether the checkpoint is known to be in 16 bit."""


FROM_16_BIT = "from 16 bit"
"""What the text of a release says where a command names the checkpoint of 16 bit that its flag quantises."""


ON_LOADING = ("fp8", "bitsandbytes", "tpu_int8")
KEEP_ATTENTION, KEEP_IN_HYBRIDS = ("nvfp4", "mxfp4"), ("fp8-dynamic", "w8a8")
"""Formats whose published checkpoints often leave attention alone, nvidia's, RedHatAI's and unsloth's of
Qwen3.6 and Qwen3.8; and those that do so beside linear attention alone: llm-compressor's examples in 8 bits
name lm_head, routers and towers (examples/quantization_w8a8_fp8, quantization_w8a8_int8), as 17 published
dense models have it. ModelSlim's recipes in W8A8 keep other matrices than attention, and as many."""
KEPT_KINDS = (MLA, DSA, Linear)
"""Attention that makers of NVFP4 leave in 16 bit as a rule where experts hold the weight: nvidia's R1, GLM-5
and GLM-5.2, Qwen3.5-122B and 397B, RedHatAI's Qwen3.6-35B; of GQA beside experts (GLM-4.7, Gemma-4) they
quantise it too."""
BITS_OF_DENSE_ATTENTION = 8
"""Bits in which makers of NVFP4 leave attention of models with linear attention and no experts: FP8 by
nvidia's, unsloth's, RedHatAI's and RadixArk's configs of Qwen3.8-27B, two others' NVFP4 throughout. Logs of
27B hold 17.6 GiB (throughout), 19.8, 24.6 and 27.6 (attention in 16 bit): the middle, 21.2, is this."""
KEPT_OF_HYBRIDS = 0.5
"""Share of all that a checkpoint in 4 bits may hold more that is counted of models with linear attention,
which llm-compressor's makers write. The commonest are in groups of 32, with shared experts and most attention
in 16 bit: 0.94 of Qwen3.5-122B (36.73 GiB a card, vLLM 0.16.1rc1), 0.90 of Qwen3-Next (22.53, 0.13), 0.82 of
35B (22.05, 0.17); another Qwen3-Next has 0.3 by its pool (16.63, 0.27.1), llm-compressor's recipe none."""
KEPT_OF_DENSE_HYBRIDS = (1.1, 1.6)
"""The same without experts in AWQ, usual and most, of what groups of 32 take: 0.73 of Qwen3.5-9B (7.55,
groups of 32 without zero points), 1.1 of 27B (18.37), 1.55 of QuantTrio's Qwen3.6-27B (18.83, 0.24)."""
SMALLEST_GROUP, AUTOAWQ_GROUP = 32, 64
"""Columns of the smallest groups that makers take, and of those that AutoAWQ's take beside its own 128
(docs/examples.md)."""
AUTOAWQ, MODELSLIM = "AutoAWQ", "ModelSlim"
SLIM_KEEPS = ("kv_b_proj", "wq_b", "wk", "weights_proj")
"""What ModelSlim's recipes for latents in W8A8 and W4A8 leave in 16 bit beside routers: kv_b_proj, and of
the indexer matrices (Ascend/msmodelslim, lab_practice: deepseek_v3_2/deepseek_w8a8.yaml, glm_5/,
deepseek_v3/deepseek_w4a8_per_channel.yaml, kimi_k2_5/kimi_w4a8.yaml)."""
MODELSLIM_GROUP = 256
"""Columns of the groups, each with a scale in I64, that ModelSlim's W4A8 may have instead of whole rows
(vllm-ascend#2296; a log of V4-Flash in SGLang holds 4.5 GiB more than whole rows on each of four cards)."""


def kept_line(
    model: Model, wanted: str | None, parts: list[tuple[Tensor, Shape, int]], maker: str = ""
) -> list[Line]:
    """The line for weights of (tensor, shape on a rank, number on a rank); none where nothing is left to a
    maker. AutoAWQ keeps no linear layer of a block but a router, and ModelSlim none of latents but what
    `SLIM_KEEPS`.

    high = sum over modules that may be kept of elements * (16 - bits) / 8, over the others of their scales
    and zero points, of which groups of 32 have as many more; the value is that of attention alone, where
    makers keep it as a rule. Of linear attention Qwen's own GPTQ keeps all attention and shared experts
    (`dynamic` of Qwen3.5-27B-GPTQ-Int4: -:.*attn.*, -:.*shared_expert.*), while GPTQModel and AutoRound by
    themselves keep gates alone. Layers that draft may be copied as they are, where a maker's tool does not
    load them (transformers' modeling_qwen3_5_moe.py ignores mtp.*): RedHatAI's Qwen3.6-35B in NVFP4 holds
    1.55 GiB more with them (23.43 by 21.88, vLLM 0.20 and 0.19), Sehyo's Qwen3.5-122B does not.

    >>> from ..model.load import load
    >>> model = load("qwen3-8b")
    >>> parts = [(t, t.shape, t.repeat * len(t.layers)) for t in model.tensors if t.role == "linear"]
    >>> [
    ...     line.high_bytes // 2**20 for line in kept_line(model, "w4a16", parts)
    ... ]  # 6.95 G elements, 12 bits a group of 128
    [310]
    >>> [line.high_bytes // 2**20 for line in kept_line(model, "awq", parts)]  # zero points: 4 bits a group
    [388]
    >>> [line.high_bytes // 2**20 for line in kept_line(model, "awq", parts, AUTOAWQ)]
    [129]
    >>> kept_line(model, "fp8-dynamic", parts), kept_line(model, "w8a8", parts)
    ([], [])
    """
    if wanted == "bitsandbytes" and wanted != model.quantization and not model.kinds.has_experts:
        return [kept_by_unsloth(parts)]
    if wanted not in REQUANTISED or wanted in ON_LOADING or wanted == model.quantization:
        return []
    if wanted == "auto-round" and not kept_of("auto-round", model.family):
        return []
    usual, more = _kept_ends(model, wanted, parts, maker)
    formula = f"{wanted} by the usual choice: every linear layer; makers keep more, or group more finely"
    return (
        [
            ranged(
                "weights.unquantized",
                "engine",
                "weights that the checkpoint may keep in 16 bit, or in groups of 32",
                (usual, 0, more),
                "assumed",
                formula,
                "engines/requantised.py",
            )
        ]
        if more > 0
        else []
    )


def kept_of(method: str, family: str) -> str:
    """Return what makers of a method leave as it is of a family (facts/kept_by_makers.csv); "" is nothing.

    >>> kept_of("gptq", "qwen3_5"), kept_of("auto-round", "glm_moe_dsa"), kept_of("auto-round", "qwen3_5")
    ('attention', 'dense layers', '')
    """
    rows = facts.table("kept_by_makers")
    found = (row for row in rows if row["method"] == method and family in Families(row["families"].split()))
    return next((row["keeps"] for row in found), "")


def kept_by_unsloth(parts: list[tuple[Tensor, Shape, int]]) -> Line:
    """Return the line of linear layers that a checkpoint of NF4 may keep in 16 bit, as Unsloth's "dynamic 4
    bits" do (...-unsloth-bnb-4bit); nothing is the value, as of NF4 throughout.

    >>> from ..model.load import load
    >>> parts = [(t, t.shape, t.repeat * len(t.layers)) for t in load("llama-3.1-8b").tensors]
    >>> round(kept_by_unsloth(parts).high_bytes / 2**30, 2)  # 5.60 by 5.34 GiB in vLLM 0.7.3
    0.49
    """
    values = sum(prod(shape) * number for tensor, shape, number in parts if tensor.role == "linear")
    row = facts.constant("training", "unpacked_share", (0,))
    return ranged(
        "weights.unquantized",
        "engine",
        "layers that the checkpoint may keep in 16 bit",
        (0, 0, round(row.high * values * (2 - requantised("bitsandbytes", "linear").bits / 8))),
        "assumed",
        f"0 to {row.high:.0%} of {values:,} values",
        row.source,
    )


def _kept_ends(
    model: Model, wanted: str, parts: list[tuple[Tensor, Shape, int]], maker: str
) -> tuple[int, int]:
    """Return (what checkpoints usually hold more, the most)."""
    experts, hybrid = model.kinds.has_experts, model.kinds.has(Linear)
    by_autoawq = maker == AUTOAWQ
    by_modelslim = maker == MODELSLIM and wanted in ("w8a8", "w4a8") and model.kinds.has(MLA, DSA)
    smallest = AUTOAWQ_GROUP if by_autoawq else SMALLEST_GROUP
    by_qwen = wanted == "gptq" and hybrid and kept_of("gptq", model.family) == "attention"
    as_a_rule = by_qwen or (wanted == "nvfp4" and experts and model.kinds.has(*KEPT_KINDS))
    in_8_bits = wanted == "nvfp4" and hybrid and not experts
    kept = grouped = usual = 0
    for tensor, shape, number in parts:
        form, elements = requantised(wanted, tensor.role), prod(shape) * number
        if wanted in EXPERTS_ALONE or (model.quantization and tensor.format == model.dtype):
            continue  # its packing says the groups, and all else is as published
        leaves = hybrid or maker == MODELSLIM
        keeps = wanted in KEEP_ATTENTION or by_qwen or (leaves and wanted in KEEP_IN_HYBRIDS)
        may_keep = (experts and not by_autoawq) or (keeps and "attn" in tensor.name)
        if by_modelslim:
            may_keep = any(f".{name}." in tensor.name for name in SLIM_KEEPS)
        drafts = tensor.part == "mtp" and tensor.role in ("linear", "expert") and maker != MODELSLIM
        if drafts or (tensor.role == "linear" and may_keep):
            wider = elements * max(16 - form.bits, 0) // 8
            kept += wider
            usual += wider if as_a_rule and not drafts and (by_qwen or "attn" in tensor.name) else 0
            if in_8_bits and not drafts:
                usual += int(elements * max(BITS_OF_DENSE_ATTENTION - form.bits, 0)) // 8
        elif tensor.role == "expert" and wanted in OTHERS_IN:
            grouped += elements // MODELSLIM_GROUP * 8
        elif tensor.role in ("linear", "expert") and _groups(form):
            scales, (_, columns) = form.scale_bytes(shape) * number, form.block or (0, 0)
            grouped += scales * columns // smallest - scales
    if by_qwen:
        return usual, max(kept, grouped)  # Qwen's groups have 128 columns
    if by_modelslim:
        return kept, kept + grouped
    most = kept + grouped
    if hybrid and experts and wanted in ("awq", "w4a16") and not by_autoawq:
        usual = int(KEPT_OF_HYBRIDS * most)
    elif hybrid and wanted == "awq" and not by_autoawq:
        usual, most = (int(share * most) for share in KEPT_OF_DENSE_HYBRIDS)
    return usual, most


def _groups(form: Format) -> bool:
    """Whether the format's groups of columns are a maker's choice."""
    rows, columns = form.block or (0, 0)
    return rows == 1 and columns > SMALLEST_GROUP
