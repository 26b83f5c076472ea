"""What makes a folder of weights whole: the files beside them, the index, the card, and last of all the
config, without which nothing loads."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import OomlessError
from ...model.checkpoint import INDEX_NAME
from ..codecs.codec import Codec
from ..codecs.plain import Plain
from .source import Checkpoint
from .target import Target, TargetWeight

BESIDE = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "LICENSE",
)
"""Files that belong to a model and hold no weight; code (.py) is not among them: who trusts it copies it."""
MAX_BESIDE_BYTES = 256 << 20
CARD_NAME = "README.md"
SUFFIX = ".part"
HEAD = "lm_head"
TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


class Mixed(OomlessError):  # noqa: N818 - it says what was asked, not what went wrong
    """Formats that no one config can describe together."""

    code = 4


def quantization_config(target: Target) -> dict[str, Any] | None:
    """Return the section of config.json that tells engines how the weights are stored; None where none has a
    scale."""
    used = {weight.codec or weight.source.codec for weight in target.weights}
    scaled = {codec for codec in used if codec is not None and codec.container != "plain"}
    containers = {codec.container for codec in scaled}
    if not scaled:
        return None
    if len(containers) > 1:
        raise Mixed(
            f"{' and '.join(sorted(codec.name for codec in scaled))} cannot stand in one config",
            "choose formats of one kind: fp8-block instead of fp8 beside int4",
        )
    if containers == {"compressed-tensors"}:
        return compressed_tensors(target, sorted(scaled, key=lambda codec: codec.name))
    (only,) = scaled
    section = only.scheme()
    left = sorted(kept_matrices(target))
    if left:
        section["modules_to_not_convert" if only.container == "deepseek" else "llm_int8_skip_modules"] = left
    return section


def compressed_tensors(target: Target, codecs: list[Codec]) -> dict[str, Any]:
    """Return the section of compressed-tensors: one format for all, or `mixed-precision` with a group for
    each."""
    ignore = sorted(kept_matrices(target))
    if len(codecs) == 1:
        scheme = codecs[0].scheme()
        groups = {"group_0": {"targets": ["Linear"], **scheme}}
        form = scheme["format"]
    else:
        form, groups = "mixed-precision", {}
        for number, codec in enumerate(codecs):
            mine = [
                weight.name for weight in target.weights if (weight.codec or weight.source.codec) == codec
            ]
            groups[f"group_{number}"] = {"targets": mine, **codec.scheme()}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ignore,
        "config_groups": groups,
    }


def kept_matrices(target: Target) -> Iterator[str]:
    """Yield the modules that stay and that engines could take for quantised ones: every matrix but
    embeddings.

    A head that is tied to the embedding is a module without a tensor: it is named all the same.
    """
    if not any(weight.name.endswith(HEAD) for weight in target.weights):
        yield HEAD
    for weight in target.weights:
        if stays_linear(weight):
            yield weight.name


def stays_linear(weight: TargetWeight) -> bool:
    """Return whether a weight is a matrix of a linear layer that stays as it is."""
    codec = weight.codec or weight.source.codec
    is_plain = codec is None or isinstance(codec, Plain)
    return is_plain and len(weight.source.shape) == 2 and weight.why not in ("embedding", "norm", "no matrix")


def config_of(source: Checkpoint, target: Target) -> dict[str, Any]:
    """Return the config of the result: the source's, with another section on quantisation and the type of
    what stays."""
    config = {
        key: value
        for key, value in source.config.items()
        if key not in ("quantization_config", "quantization")
    }
    section = quantization_config(target)
    if section is not None:
        config["quantization_config"] = section
    kinds = {weight.codec.dtype for weight in target.weights if isinstance(weight.codec, Plain)}
    if section is None and len(kinds) == 1:
        config["dtype" if "dtype" in config else "torch_dtype"] = TORCH_NAMES[kinds.pop()]
    return config


def index_of(target: Target) -> dict[str, Any]:
    """Return the index of the files."""
    return {
        "metadata": {"total_size": target.num_bytes},
        "weight_map": dict(sorted(target.weight_map().items())),
    }


def finish(source: Checkpoint, target: Target, folder: Path, card: str, durable: bool) -> None:
    """Give every file its name, in the order that keeps a folder unreadable until it is whole: what loads
    alone, the config or a GGUF file, comes last."""
    try:
        match target.kind:
            case "safetensors":
                finish_safetensors(source, target, folder, card, durable)
            case "gguf":
                write(folder / CARD_NAME, card.encode(), durable)
                give_names(target, folder)
        sync_folder(folder, durable)
    except OSError as error:
        raise OomlessError(
            f"{error.filename or folder}: cannot be written ({error.strerror})",
            "make room or check the folder, then run the same command: it goes on where it stopped",
        ) from None


def finish_safetensors(source: Checkpoint, target: Target, folder: Path, card: str, durable: bool) -> None:
    """Give weights their names, then what belongs to them, the index, the config."""
    give_names(target, folder)
    for name in BESIDE:
        path = source.folder / name
        if path.is_file() and path.stat().st_size <= MAX_BESIDE_BYTES:
            shutil.copyfile(path, folder / (name + SUFFIX))
            os.replace(folder / (name + SUFFIX), folder / name)
    write(folder / CARD_NAME, card.encode(), durable)
    if len(target.files) > 1:
        write(folder / INDEX_NAME, as_json(index_of(target)), durable)
    sync_folder(folder, durable)
    write(folder / "config.json", as_json(config_of(source, target)), durable)


def give_names(target: Target, folder: Path) -> None:
    """Give the files of weights the names that they are found by."""
    for file in target.files:
        part = folder / (file.name + SUFFIX)
        if part.exists():
            os.replace(part, folder / file.name)


def as_json(document: dict[str, Any]) -> bytes:
    """Return a document as transformers writes it."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def write(path: Path, content: bytes, durable: bool) -> None:
    """Write a small file whole or not at all."""
    part = path.with_name(path.name + SUFFIX)
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.replace(part, path)


def sync_folder(folder: Path, durable: bool) -> None:
    """Bring names of files to the disk."""
    if durable:
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
