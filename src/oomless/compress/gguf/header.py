"""All that stands before the data of a GGUF file, written by the gguf package itself."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import need
from ...model.gguf_types import FILE_TYPES, file_type
from ...model.storage import Shape
from ..checkpoint.source import Checkpoint
from .families import GgufFamily
from .metadata import add_metadata
from .vocabulary import add_vocabulary

ALIGNMENT = 32
"""Each tensor begins at a multiple, the format's own default."""


class TensorInfo(NamedTuple):
    """What the header says of one tensor."""

    name: str
    type_name: str
    shape: Shape
    num_bytes: int


class Header(NamedTuple):
    """The bytes, and whether a vocabulary is among them."""

    content: bytes
    has_vocabulary: bool


def header_of(
    source: Checkpoint, family: GgufFamily, config: dict[str, Any], mix: str, infos: tuple[TensorInfo, ...]
) -> Header:
    """Return the header of a file of a type, padded to where the first tensor begins."""
    gguf = need("gguf", "compress")
    mix_name = file_type(mix)[0]
    number = next(number for number, name in FILE_TYPES.items() if name == mix_name)
    with tempfile.TemporaryDirectory(prefix="oomless-gguf-") as folder:
        path = Path(folder) / "header.gguf"
        writer = gguf.GGUFWriter(path, family.architecture)
        add_metadata(writer, family, config, source.folder.resolve().name, number)
        has_vocabulary = add_vocabulary(writer, source.folder, config["vocab_size"])
        for info in infos:
            kind = gguf.GGMLQuantizationType[info.type_name]
            writer.add_tensor_info(info.name, info.shape, None, info.num_bytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        content = path.read_bytes()
    return Header(content + bytes(-len(content) % ALIGNMENT), has_vocabulary)
