"""Arguments that describe a Megatron run's network: layers, widths, attention, experts, vocabulary."""

import re
from typing import Any

from ...errors import UnsupportedError, UsageError
from ...files import shown
from ...model.config import MAX_LAYERS
from .argument_reader import ArgumentReader, Value, divides
from .run import Family, Latent, Mamba, MegatronExperts


def family_of(given: dict[str, Value], kind: str) -> Family:
    if "hybrid-layer-pattern" in given or "hybrid-override-pattern" in given or "is-hybrid-model" in given:
        return "hybrid"
    if "decoder-seq-length" in given:
        return "t5"
    kind = kind or str(given.get("model-family", given.get("model-type", "")))
    if kind in ("bert", "t5", "gpt", "hybrid"):
        return kind  # type: ignore[return-value]
    return "bert" if any(name.startswith("bert-") for name in given) else "gpt"


def network_fields(get: ArgumentReader, family: Family, tp: int) -> dict[str, Any]:
    """Return the fields of a run that its network gives."""
    hidden, heads = get.needed("hidden-size"), get.needed("num-attention-heads")
    divides(heads, tp, "num-attention-heads", "tensor-model-parallel-size")
    groups = get.whole("num-query-groups", heads) if get.flag("group-query-attention") else heads
    divides(heads, groups, "num-attention-heads", "num-query-groups")
    if groups > tp:
        divides(groups, tp, "num-query-groups", "tensor-model-parallel-size")
    if "kv-channels" not in get.given:
        divides(hidden, heads, "hidden-size", "num-attention-heads")
    ffn, gated = _feed_forward(get, hidden, tp)
    experts = _experts(get)
    if experts is not None and not experts.width:
        experts = experts._replace(width=ffn)
    kinds, encoder = _layers(get, family, experts)
    bias = not get.flag("disable-bias-linear")
    rotary = "rope" if get.flag("use-rotary-position-embeddings") else "learned_absolute"
    return {
        "family": family,
        "kinds": kinds,
        "encoder_layers": encoder,
        "hidden": hidden,
        "heads": heads,
        "query_groups": groups,
        "head_dim": get.whole("kv-channels", hidden // heads),
        "ffn": ffn,
        "gated": gated,
        "rms_norm": get.text("normalization", "LayerNorm") == "RMSNorm",
        "bias": bias,
        "qkv_bias": bias or get.flag("add-qkv-bias"),
        "position": get.text("position-embedding-type", rotary),
        "padded_vocab": _vocab(get, tp),
        "latent": _latent(get),
        "experts": experts,
        "mamba": _mamba(get, hidden) if family == "hybrid" else None,
    }


def _feed_forward(get: ArgumentReader, hidden: int, tp: int) -> tuple[int, bool]:
    """Return the width of a dense feed-forward, and whether it has a gate.

    SwiGLU's default width is two thirds of the plain one; quick-GeGLU has a gate too, and the plain width.
    """
    swiglu = get.flag("swiglu")
    quick = get.flag("quick-geglu") and not get.flag("squared-relu")
    plain = int(4 * hidden * 2 / 3) // 64 * 64 if swiglu else 4 * hidden
    ffn = get.optional("ffn-hidden-size") or plain
    divides(ffn, tp, "ffn-hidden-size", "tensor-model-parallel-size")
    return ffn, swiglu or quick


OWN_VOCABULARY = {"GPT2BPETokenizer": 50257}
"""Kinds of tokenizers that are of one vocabulary (megatron/tokenizer/tokenizer.py, _GPT2BPETokenizer)."""


def _vocab(get: ArgumentReader, tp: int) -> int:
    """Vocabulary with its padding: a multiple of --make-vocab-size-divisible-by (128) times TP."""
    padded, step = get.optional("padded-vocab-size"), get.whole("make-vocab-size-divisible-by", 128) * tp
    if padded:
        divides(padded, tp, "padded-vocab-size", "tensor-model-parallel-size")
        return padded
    plain = get.optional("vocab-size") or OWN_VOCABULARY.get(get.text("tokenizer-type", ""), 0)
    if not plain:
        raise UsageError(
            "vocabulary size is not given",
            "add --vocab-size N (or --padded-vocab-size N): it comes from the tokenizer",
        )
    return -(-plain // step) * step


def _latent(get: ArgumentReader) -> Latent | None:
    if not get.flag("multi-latent-attention"):
        return None
    return Latent(
        get.optional("q-lora-rank") or 0,
        get.whole("kv-lora-rank", 32),
        get.whole("qk-head-dim", 128),
        get.whole("qk-pos-emb-head-dim", 64),
        get.whole("v-head-dim", 128),
    )


def _experts(get: ArgumentReader) -> MegatronExperts | None:
    num = get.optional("num-experts")
    if not num:
        return None
    topk = get.whole("moe-router-topk", 2)
    if topk > num:
        raise UsageError(
            f"--moe-router-topk {topk} is more than --num-experts {num}", "change one of the two"
        )
    return MegatronExperts(
        num=num,
        topk=topk,
        width=get.optional("moe-ffn-hidden-size") or 0,
        shared_width=get.optional("moe-shared-expert-intermediate-size") or 0,
        grouped=get.flag("moe-grouped-gemm"),
        dispatcher=get.text("moe-token-dispatcher-type", "allgather"),
        router_float32=get.text("moe-router-dtype", "") in ("fp32", "fp64"),
        latent=get.optional("moe-latent-size") or 0,
        capacity_factor=get.number("moe-expert-capacity-factor", 0.0),
        routing=_routing(get),
        loaded=bool(get.text("load", "")),
    )


def _routing(get: ArgumentReader) -> tuple[str, ...]:
    """Whether experts are chosen at random, or a bias or a loss evens them out."""
    if get.flag("moe-router-force-load-balancing"):
        return ("forced",)
    if get.flag("moe-router-enable-expert-bias"):
        return "balanced", "biased"
    return ("balanced",) if get.number("moe-aux-loss-coeff", 0.0) else ()


def _mamba(get: ArgumentReader, hidden: int) -> Mamba:
    head = get.whole("mamba-head-dim", 64)
    return Mamba(
        get.whole("mamba-num-heads", 2 * hidden // head),
        head,
        get.whole("mamba-state-dim", 128),
        get.whole("mamba-num-groups", 8),
    )


def _layers(get: ArgumentReader, family: Family, experts: MegatronExperts | None) -> tuple[str, int]:
    """Kinds of the decoder's layers, and the number of encoder layers."""
    if family == "hybrid":
        pattern = str(
            get.given.get("hybrid-layer-pattern", get.given.get("hybrid-override-pattern", ""))
        ).split("/")[0]
        if len(pattern) > MAX_LAYERS:
            raise UsageError(
                f"the hybrid layer pattern has {len(pattern):,} layers", f"it has at most {MAX_LAYERS:,}"
            )
        if not pattern or set(pattern) - set("M*-E|"):
            raise UnsupportedError(
                f"hybrid layer pattern {shown(pattern)} is not understood", "known are M, *, -, E and |"
            )
        if "E" in pattern and experts is None:
            raise UsageError(
                "the hybrid layer pattern has experts (E), and --num-experts is not given",
                "add it to the arguments",
            )
        return pattern, 0
    if family == "t5":
        encoder = get.optional("encoder-num-layers") or get.needed("num-layers")
        return "t" * (get.optional("decoder-num-layers") or encoder), encoder
    count = get.needed("num-layers")
    return "".join("e" if each else "t" for each in _frequency(get, count, experts)), 0


def _frequency(get: ArgumentReader, count: int, experts: MegatronExperts | None) -> list[int]:
    """--moe-layer-freq: every how many-th layer has experts, or a list such as ([0]*3+[1]*12)."""
    if experts is None:
        return [0] * count
    text = get.text("moe-layer-freq", "1").replace(" ", "")
    if text.isdecimal() and len(text) < 10 and int(text):
        return [0 if index % int(text) else 1 for index in range(count)]
    found: list[int] = []
    for part in text.strip("()").split("+"):
        match = re.fullmatch(r"\(?\[([01](?:,[01])*)\](?:\*(\d+))?\)?", part)
        if not match or len(found) > MAX_LAYERS or int(match[2] or 1) > MAX_LAYERS:
            raise UsageError(
                f"--moe-layer-freq {text!r} is not understood",
                "give a number or a list such as ([0]*3+[1]*12)",
            )
        found += [int(each) for each in match[1].split(",")] * int(match[2] or 1)
    if len(found) != count:
        raise UsageError(
            f"--moe-layer-freq names {len(found)} layers, --num-layers {count}", "change one of the two"
        )
    return found
