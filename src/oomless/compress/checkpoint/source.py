"""Source: a checkpoint on this disk, its tensors with their places, its config and the files beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError, UsageError
from ...model.checkpoint import read_shards
from ...model.config import read_config
from ...model.safetensors import Stored

TYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
SAMPLE_BYTES = 4096
"""Of the data of each file, which the fingerprint holds beside all headers."""


class Located(NamedTuple):
    """One tensor and the number of the file that it lies in."""

    stored: Stored
    file: int


class Checkpoint(NamedTuple):
    """A folder of safetensors, as far as headers tell."""

    folder: Path
    files: tuple[Path, ...]
    tensors: dict[str, Located]
    config: dict[str, Any]

    @property
    def num_bytes(self) -> int:
        """Tensor data of all files."""
        return sum(each.stored.num_bytes for each in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The type that the model computes in, by its config; else that of most of its matrices."""
        for section in (self.config, *sections(self.config)):
            name = section.get("dtype") or section.get("torch_dtype")
            if isinstance(name, str) and name.removeprefix("torch.") in TYPES:
                return TYPES[name.removeprefix("torch.")]
        counts = dict.fromkeys(TYPES.values(), 0)
        for each in self.tensors.values():
            if each.stored.dtype in counts:
                counts[each.stored.dtype] += each.stored.num_bytes
        return max(counts, key=lambda name: counts[name]) if any(counts.values()) else "BF16"

    def fingerprint(self) -> str:
        """Return a digest of everything that headers say, and of the first bytes of each file's data."""
        digest = hashlib.sha256()
        for number, path in enumerate(self.files):
            mine = [each.stored for each in self.tensors.values() if each.file == number]
            digest.update(json.dumps([path.name, mine]).encode())
            with path.open("rb") as file:
                file.seek(min((stored.start for stored in mine), default=0))
                digest.update(file.read(SAMPLE_BYTES))
        digest.update(json.dumps(self.config, sort_keys=True).encode())
        return digest.hexdigest()


def sections(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a config that are configs of their own: the language model of one that sees."""
    return [value for key, value in config.items() if key.endswith("_config") and isinstance(value, dict)]


def read_source(name: str) -> Checkpoint:
    """Return the checkpoint of a folder, an index or a file; its config stands beside it."""
    path = Path(name).expanduser()
    if not path.exists():
        raise OomlessError(
            f"{name}: no such file or folder",
            "give the folder of a downloaded checkpoint; infer MODEL --quantization Q predicts without one",
        )
    folder = path if path.is_dir() else path.parent
    if path.suffix == ".json" and not path.name.endswith(".index.json"):
        path = folder
    shards = read_shards(path)
    if not shards:
        raise UsageError(
            f"{name}: no .safetensors here", "give the folder that holds them beside config.json"
        )
    if not (folder / "config.json").is_file():
        raise OomlessError(f"{folder}: no config.json", "it says how the weights are stored and used")
    tensors = {
        stored.name: Located(stored, number) for number, each in enumerate(shards.values()) for stored in each
    }
    return Checkpoint(folder, tuple(shards), tensors, read_config(folder / "config.json"))
