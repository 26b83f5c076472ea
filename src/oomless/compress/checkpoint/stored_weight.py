"""StoredWeight: one weight of a checkpoint and how it is stored now, whatever made it."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ...errors import UnsupportedError
from ...model.storage import Shape
from ..codecs.codec import Codec
from ..codecs.floats8 import Float8
from ..codecs.plain import FORMS, Plain
from ..codecs.registry import codec_of_scheme
from .source import Checkpoint, Located

SCALE_TYPES = {"F32": "F32", "BF16": "BF16", "F16": "F16"}
FOREIGN = (".qweight", ".qzeros", ".g_idx", ".weight.absmax", ".weight_format", ".SCB")
"""Parts that GPTQ, AWQ and bitsandbytes store: read by their own tools, not here."""


class StoredWeight(NamedTuple):
    """A weight: `codec` reads it from `parts`; None for what no scale belongs to and no float is."""

    name: str
    """Of the module, without `.weight`; of other tensors the whole name."""
    shape: Shape
    codec: Codec | None
    parts: tuple[Located, ...]

    @property
    def file(self) -> int:
        """The file of its first part, in which what it becomes will lie too; 0 for what is in none."""
        return self.parts[0].file if self.parts else 0

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) == 2 and self.codec is not None

    @property
    def num_bytes(self) -> int:
        return sum(part.stored.num_bytes for part in self.parts)


def stored_weights(source: Checkpoint) -> tuple[StoredWeight, ...]:
    """Return every weight of a checkpoint, in the order of its files."""
    foreign = next((name for name in source.tensors if name.endswith(FOREIGN)), None)
    if foreign:
        raise UnsupportedError(
            f"{source.folder}: {foreign[:80]} is packed by another tool",
            "give the checkpoint that it was made from, or one in FP8 or compressed-tensors",
        )
    quantized = dict(_quantized(source))
    owners = {part.stored.name: module for module, weight in quantized.items() for part in weight.parts}
    found = []
    for name, located in source.tensors.items():
        if name not in owners:
            found.append(plain(located))
        elif owners[name] in quantized:
            found.append(quantized.pop(owners[name]))
    return tuple(found)


def plain(located: Located) -> StoredWeight:
    """Return a tensor that is stored as it is."""
    stored = located.stored
    codec = Plain(stored.dtype) if stored.dtype in FORMS else None
    name = stored.name.removesuffix(".weight") if len(stored.shape) > 1 else stored.name
    return StoredWeight(name, stored.shape, codec, (located,))


def _quantized(source: Checkpoint) -> Iterator[tuple[str, StoredWeight]]:
    """Modules whose weight has scales beside it, by name."""
    schemes = Schemes(source.config, source.dtype)
    for name, located in source.tensors.items():
        module, _, part = name.rpartition(".")
        match part:
            case "weight_scale_inv" if f"{module}.weight" in source.tensors:
                weight = source.tensors[f"{module}.weight"]
                yield module, own_float8(module, weight, located)
            case "weight_scale":
                yield module, _compressed(module, schemes.of(module, source), source)


def own_float8(module: str, weight: Located, scale: Located) -> StoredWeight:
    """Return a weight as DeepSeek stores it: the block follows from both shapes."""
    codec = Float8((128, 128), SCALE_TYPES.get(scale.stored.dtype, ""), own=True)
    expected = codec.parts[1].shape(weight.stored.shape) if len(weight.stored.shape) == 2 else ()
    if weight.stored.dtype != "F8_E4M3" or not codec.scale_dtype or scale.stored.shape != expected:
        raise UnsupportedError(
            f"{module[:80]}: {weight.stored.dtype}, scales {scale.stored.dtype} {list(scale.stored.shape)}",
            "what is read is E4M3 with a scale in F32 or BF16 for each 128x128",
        )
    return StoredWeight(module, weight.stored.shape, codec, (weight, scale))


class Schemes:
    """The config_groups of a compressed-tensors config: module -> codec."""

    def __init__(self, config: dict[str, Any], dtype: str) -> None:
        section = config.get("quantization_config") or {}
        self.dtype = dtype
        self.groups: list[tuple[list[str], Codec | None]] = []
        groups = section.get("config_groups") or {}
        for group in groups.values() if isinstance(groups, dict) else ():
            weights = group.get("weights") or {}
            form = group.get("format") or section.get("format", "")
            self.groups.append((group.get("targets") or ["Linear"], codec_of_scheme(weights, form, dtype)))

    def of(self, module: str, source: Checkpoint) -> Codec:
        """Return the codec of a module; named targets count before `Linear`."""
        named = [codec for targets, codec in self.groups if any(means(target, module) for target in targets)]
        rest = [codec for targets, codec in self.groups if "Linear" in targets]
        found = next(iter(named or rest), None)
        if found is None:
            raise UnsupportedError(
                f"{source.folder}: its config does not say how {module[:80]} is stored",
                "what is read is what compressed-tensors writes",
            )
        return found


def means(target: str, module: str) -> bool:
    """Return whether a target of a config names a module: its whole name, a glob, or the end of its path.

    >>> (
    ...     means("model.layers.0.mlp.down_proj", "model.layers.0.mlp.down_proj"),
    ...     means("re:.*down_proj", "a.down_proj"),
    ... )
    (True, True)
    """
    if target.startswith("re:"):
        return fnmatchcase(module, target[3:].replace("\\.", ".").replace(".*", "*").rstrip("$").lstrip("^"))
    return target == module


def _compressed(module: str, codec: Codec, source: Checkpoint) -> StoredWeight:
    """A module of a compressed-tensors checkpoint, checked part by part against its header."""
    parts = []
    for part in codec.parts:
        located = source.tensors.get(module + part.suffix)
        if located is None or located.stored.dtype != part.dtype:
            what = "is missing" if located is None else f"is {located.stored.dtype}, not {part.dtype}"
            raise UnsupportedError(
                f"{source.folder}: {(module + part.suffix)[:80]} {what}",
                "the config and its tensors disagree",
            )
        parts.append(located)
    shape = weight_shape(codec, parts, source)
    for part, located in zip(codec.parts, parts, strict=True):
        if part.shape(shape) != located.stored.shape:
            raise UnsupportedError(
                f"{source.folder}: {located.stored.name[:80]} has shape {list(located.stored.shape)}, "
                f"not {list(part.shape(shape))}",
                "the config and its tensors disagree",
            )
    return StoredWeight(module, shape, codec, tuple(parts))


def weight_shape(codec: Codec, parts: list[Located], source: Checkpoint) -> Shape:
    """Return the shape of a stored matrix: from the tensor that says it, else from what its codes fill."""
    for located in parts:
        if located.stored.name.endswith(".weight_shape"):
            with source.files[located.file].open("rb") as file:
                file.seek(located.stored.start)
                content = file.read(16)
            return tuple(int.from_bytes(content[at : at + 8], "little") for at in (0, 8))
    rows, columns = parts[0].stored.shape
    return (rows, columns * 2) if codec.form.bits == 4 else (rows, columns)
