"""A Model as a GGUF file: the tensors that llama.cpp's converter makes of ours, their types by file type, the
size of the file. The way back is gguf_metadata.py."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import OomlessError, UsageError
from .attention import DSA, GQA, MLA, Linear, Sliding
from .feedforward import MoE
from .gguf_builds import MTP_SINCE, by_publisher, bytes_per_token, has_rule, own_mixes, usual_build
from .gguf_choice import VALUES, Facts, mix_type, quantized, values_in
from .gguf_dynamic import (
    Size,
    Sized,
    dynamic_size,
    experts_of,
    full_word,
    is_dynamic,
    kept_spread,
    own_size,
    plain_mix,
    resized,
    spread_of,
)
from .gguf_mixes import OTHER_RECIPES, REPACKED, KvB, hand_made, hand_spread, published, size_note, words
from .gguf_tensor_names import gguf_name
from .gguf_types import TYPES, file_type
from .model import EMBEDDING, HEAD, Model, Tensor
from .storage import F32, Shape


class StoredTensor(NamedTuple):
    """One tensor of a GGUF file, and the group of ours that it belongs to."""

    name: str
    shape: Shape
    layer: int
    """-1: outside of the layers."""
    group: Tensor


def pieces(model: Model, kv_b: KvB = "split", build: str = "") -> list[StoredTensor]:
    """The tensors of the model's GGUF file, in the order in which llama-quantize meets them. Vision parts
    have files of their own.

    `build` is the month of the converter: "" for the model's usual one.

    >>> from .load import load
    >>> len(pieces(load("deepseek-r1"))), len(pieces(load("deepseek-r1"), "whole"))
    (1086, 1025)
    """
    month = build or usual_build(model.name, model.family)
    groups = [group for tensor in model.tensors for group in _groups(model, tensor, kv_b, month)]
    if model.tied and has_rule(model.family, "tied_with_output"):
        groups += [group._replace(name=HEAD, lookup=False) for group in groups if group.name == EMBEDDING]
    if (
        model.ropes and model.ropes[0].scaling == "llama3"
    ):  # the converter stores the factors of its frequencies
        groups.append(Tensor("rope_freqs.weight", (model.ropes[0].dim // 2,), F32))
    found = []
    for group in groups:
        shape = (group.repeat, *group.shape) if group.role == "expert" else group.shape
        found += [
            StoredTensor(gguf_name(group, layer), shape, layer, group) for layer in group.layers or (-1,)
        ]
    return sorted(found, key=lambda piece: (piece.layer, piece.name))


def keeps_mtp(model: Model, build: str = "") -> bool:
    """Return whether the converter of that month keeps the MTP layer; "": of the model's usual one."""
    month = build or usual_build(model.name, model.family)
    return has_rule(model.family, "keeps_mtp", month)


def drafting_build(model: Model) -> str:
    """Return the month of a converter that keeps the MTP layer, where the model's usual one need not: files
    of Qwen3.6 that draft were made anew.

    >>> from oomless.model.load import load
    >>> [drafting_build(load(name)) for name in ("qwen3.6-27b", "qwen3.8-27b", "glm-4.5-air")]
    ['2026-06', '', '']
    """
    return MTP_SINCE if has_rule(model.family, "keeps_mtp") and not keeps_mtp(model) else ""


def num_blocks(model: Model) -> int:
    """Return the layers that -ngl counts and --tensor-split deals: those of the file, the one that drafts
    among them where it has it (src/llama-model.cpp, n_layer_all: 66/66 of Qwen3.8-27B, 48/48 of GLM-4.5-Air).

    >>> from oomless.model.load import load
    >>> [num_blocks(load(name)) for name in ("qwen3.8-27b", "glm-4.5-air", "deepseek-r1")]
    [65, 47, 61]
    """
    drafting = {layer for tensor in model.tensors if tensor.part == "mtp" for layer in tensor.layers}
    return len(model.layers) + (len(drafting) if keeps_mtp(model) else 0)


def _groups(model: Model, tensor: Tensor, kv_b: KvB, build: str) -> Iterator[Tensor]:
    """The tensor as the file groups it: one of ours, kv_b in two, or queries, keys and values in one."""
    if tensor.part != "main" and not (tensor.part == "mtp" and keeps_mtp(model, build)):
        return
    found = re.search(r"self_attn\.([qkv])_proj\.", tensor.name)
    if found and has_rule(model.family, "fused"):
        if found[1] == "q":
            fused = tensor.name.replace("q_proj", "qkv_proj")
            yield tensor._replace(name=fused, shape=(_fused_rows(model, tensor), *tensor.shape[1:]))
        return
    if tensor.name == "model.altup_projections.weight":  # into the further streams, and out of them
        each = tensor._replace(shape=(tensor.repeat // 2, *tensor.shape), repeat=1)
        yield from (each._replace(name=f"{name}.weight") for name in ("altup_proj", "altup_unembd_proj"))
        return
    if tensor.name.endswith(("linear_attn.in_proj_k.weight", "linear_attn.in_proj_v.weight")):
        return
    if tensor.name.endswith("linear_attn.in_proj_q.weight"):
        linear = model.layers[tensor.layers[0]].attention
        assert isinstance(linear, Linear)
        rows = 2 * linear.key_width + linear.value_width
        yield tensor._replace(
            name=tensor.name.replace("in_proj_q", "in_proj_qkv"), shape=(rows, tensor.shape[1])
        )
        return
    if not tensor.name.endswith("kv_b_proj.weight") or kv_b != "split":
        yield tensor
    if tensor.name.endswith("kv_b_proj.weight") and kv_b != "whole":
        attention = model.layers[tensor.layers[0]].attention
        mla = attention.mla if isinstance(attention, DSA) else attention
        assert isinstance(mla, MLA)
        for part, shape in (
            ("k_b", (mla.kv_lora_rank, mla.qk_nope_head_dim)),
            ("v_b", (mla.v_head_dim, mla.kv_lora_rank)),
        ):
            yield tensor._replace(name=tensor.name.replace("kv_b", part), shape=(mla.num_heads, *shape))


def _fused_rows(model: Model, query: Tensor) -> int:
    """Rows of queries, keys and values together, in the layers of a tensor of queries."""
    others = query.name.replace("q_proj", "k_proj"), query.name.replace("q_proj", "v_proj")
    return query.shape[0] + sum(
        each.shape[0] for each in model.tensors if each.name in others and each.layers == query.layers
    )


def _choose_types(
    model: Model, word: str, kv_b: KvB, imatrix: bool | None, build: str
) -> tuple[str, list[tuple[StoredTensor, str]]]:
    """(the file type, each piece with the type that llama-quantize gives it, or that its publisher chose)."""
    month = build or usual_build(model.name, model.family)
    word = full_word(word)
    if by_hand := hand_made(model.name, word, experts_of(model.tensors) != "none"):
        of_file = pieces(model, by_hand.kv_b, month)
        types = (by_hand.fitting(*x[:3]) if quantized(x.name, x.shape) else "F32" for x in of_file)
        return word.upper(), list(zip(of_file, types, strict=True))
    if size := _size(model, word):
        _, plain = _choose_types(model, size.plain, kv_b, True, build)
        return word.upper(), _resized(plain, size)
    publisher, word = by_publisher(word)
    mix, usual = _file_type(model, word)
    imatrix = True if publisher and imatrix is None else imatrix
    found = pieces(model, kv_b, month)
    n_gqa = _heads_a_value(model)
    grouped = has_rule(model.family, "always_70b") or (n_gqa > 1 and has_rule(model.family, "grouped_70b"))
    facts = Facts(
        num_layers=max(piece.layer for piece in found) + 1,
        n_gqa=n_gqa,
        num_experts=max(
            (layer.ffn.num_experts for layer in model.layers if isinstance(layer.ffn, MoE)), default=0
        ),
        tied=all(piece.name != "output.weight" for piece in found),
        is_70b=len(model.layers) == 80 and grouped,
        falcon=model.family == "falcon",
        imatrix=usual if imatrix is None else imatrix,
        num_attn_v=sum(piece.name.endswith(VALUES) for piece in found),
        build=month,
    )
    before = {"values": 0, "ffn_down": 0}
    chosen = []
    for piece in found:
        counted = "values" if values_in(piece.name, month) else "ffn_down" if "ffn_down" in piece.name else ""
        kind = counted if quantized(piece.name, piece.shape) else ""
        kept = model.quantization == "mxfp4" and piece.group.role == "expert" and len(piece.shape) > 2
        of_mix = mix_type(mix, piece.name, piece.shape, facts, before.get(kind, 0), piece.layer)
        chosen.append(
            (piece, "MXFP4" if kept else of_mix)
        )  # the converter repacks them, and llama-quantize does not quantise twice
        if kind:
            before[kind] += 1
    return mix, chosen


def _size(model: Model, word: str) -> Size | None:
    """How large the file of a dynamic mix is, or of one by its publisher's own rule; None: its types are
    known."""
    publisher, plain = by_publisher(word)
    if publisher:
        rows = [row for row in own_mixes(model.family, model.name) if row["publisher"] == publisher]
        return own_size(rows[0], plain) if rows and rows[0]["share"] else None
    word = full_word(word)
    if not is_dynamic(word) or published(model.name, word):
        return None
    try:
        file_type(plain_mix(word))
    except UsageError as error:
        raise UsageError(f"{word!r} is no GGUF file type", error.hint) from None
    return dynamic_size(model.name, word, experts_of(model.tensors))


def _resized(chosen: list[tuple[StoredTensor, str]], size: Size) -> list[tuple[StoredTensor, str]]:
    sized = [Sized(piece.name, piece.shape, kind, piece.layer) for piece, kind in chosen]
    total = sum(TYPES[kind].num_bytes(piece.shape) for piece, kind in chosen)
    return [
        (piece, kind) for (piece, _), kind in zip(chosen, resized(sized, size.share * total), strict=True)
    ]


def file_tensors(model: Model, word: str) -> list[tuple[StoredTensor, str]]:
    """The tensors of the model's GGUF file, each with the type that llama-quantize gives it.

    >>> from .load import load
    >>> found = file_tensors(load("deepseek-r1-distill-qwen-7b"), "q4_0")
    >>> len(found), sorted({kind for _, kind in found})
    (339, ['F32', 'Q4_0', 'Q6_K'])
    """
    return _choose_types(model, word, "split", None, "")[1]


def _heads_a_value(model: Model) -> int:
    """Query heads a value head of the first layer, as the file's hyperparameters have them.

    Qwen's hybrids write one number for all layers; others an array, with 0 for layers that have no heads.
    """
    attentions = [layer.attention for layer in model.layers]
    inner = [each.inner if isinstance(each, Sliding) else each for each in attentions]
    if has_rule(model.family, "one_head_count"):
        inner = [each for each in inner if isinstance(each, GQA)]
    first = inner[0] if inner else None
    return first.num_heads // first.num_kv_heads if isinstance(first, GQA) else 1


def _file_type(model: Model, word: str) -> tuple[str, bool]:
    """The file type that a word names; what is no file type is refused with the mixes that are known."""
    try:
        return file_type(REPACKED.get(word.upper(), word))
    except OomlessError as error:
        if by_hand := words(model.name):
            error.hint += f"; of {model.name} also the published {', '.join(by_hand)}"
        raise


def with_types(model: Model, chosen: list[tuple[StoredTensor, str]], quantization: str) -> Model:
    """The model as a GGUF file stores it: equal tensors of one type are a group again."""
    groups: dict[tuple[Tensor, str], list[int]] = {}
    for piece, kind in chosen:
        groups.setdefault((piece.group, kind), []).append(piece.layer)
    tensors = [
        group._replace(
            format=TYPES[kind].format(group.shape[-1]), layers=() if layers == [-1] else tuple(layers)
        )
        for (group, kind), layers in groups.items()
    ]
    total = sum(tensor.num_bytes for tensor in tensors)
    return model._replace(
        tensors=tuple(tensors), quantization=quantization, explained_bytes=total, stored_bytes=0, draft=()
    )


def as_gguf(
    model: Model, word: str, kv_b: KvB = "split", imatrix: bool | None = None, build: str = ""
) -> Model:
    """The model as its GGUF file of a file type would store it.

    >>> from .load import load
    >>> as_gguf(load("deepseek-r1"), "Q4_K_M").checkpoint_bytes  # published by unsloth and others as 404 GB
    404488847360
    """
    mix, chosen = _choose_types(model, word, kv_b, imatrix, build)
    made = with_types(model, chosen, f"gguf {mix}")
    if mix == "NVFP4":
        note = (
            f"{word}: llama-quantize makes no such file, a checkpoint's own blocks are kept; what it has "
            "beside feed-forward layers may be NVFP4, 8 or 16 bit. Give the file for an exact answer"
        )
        return made._replace(size_spread=kept_spread(chosen), warnings=(*made.warnings, note))
    size = _size(model, word)
    by_hand = hand_spread(model.name, mix, experts_of(model.tensors) != "none")
    if spread := spread_of(made, size) if size else by_hand:
        note = size_note(word, size.because if size else OTHER_RECIPES)
        made = made._replace(size_spread=spread, warnings=(*made.warnings, note))
    return made


def file_bytes(
    model: Model, word: str, kv_b: KvB = "split", imatrix: bool | None = None, build: str = ""
) -> int:
    """Bytes of the model's GGUF file of a file type: header, tokenizer and aligned tensors.

    Ignored: chat template and other short keys (up to 20 KB), a second header of each further part. The
    tokenizer is one of its kind (facts/gguf_vocabularies.csv), some 10 % off, which is 0.03 % of a 2 GB file.

    >>> from .load import load
    >>> round(file_bytes(load("deepseek-r1-distill-qwen-7b"), "Q4_K_M") / 1e9, 3)  # published: 4.683 GB
    4.683
    """
    _, chosen = _choose_types(model, word, kv_b, imatrix, build)
    infos = sum(24 + len(piece.name) + 8 * len(piece.shape) for piece, _ in chosen)
    header = 24 + int(model.vocab_size * bytes_per_token(model.family, model.vocab_size)) + infos
    return _aligned(header) + sum(_aligned(TYPES[kind].num_bytes(piece.shape)) for piece, kind in chosen)


def _aligned(num_bytes: int, alignment: int = 32) -> int:
    return -(-num_bytes // alignment) * alignment
