"""Compressed: what a run of `compress` has planned and written, and its JSON."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from ..model.checkpoint import read_checkpoint
from ..model.gguf import read_gguf
from .mix.search import Mix
from .quality.encoder import EncoderQuality
from .quality.language import Quality
from .weights import Planned

SCHEMA = "oomless/compress/1"
READ_BYTES = 1 << 18


class Compressed(NamedTuple):
    """What a run of `compress` has planned and written."""

    planned: Planned
    folder: Path | None
    """None: nothing was written, only predicted."""
    errors: dict[str, float]
    """Relative squared error by weight."""
    quality: Quality | EncoderQuality | None = None
    mix: Mix | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.planned.notes

    @property
    def predicted_bytes(self) -> int:
        """Tensor data by header arithmetic, known before anything is read."""
        return self.planned.target.num_bytes

    @property
    def written_bytes(self) -> int | None:
        """Tensor data that the headers of the written files count; None where nothing was written."""
        if self.folder is None:
            return None
        match self.planned.target.kind:
            case "safetensors":
                return sum(tensor.num_bytes for tensor in read_checkpoint(self.folder))
            case "gguf":
                (file,) = self.planned.target.files
                return sum(tensor.num_bytes for tensor in read_gguf(self.folder / file.name).tensors)

    def files(self) -> list[dict[str, Any]]:
        """Return name, bytes and SHA-256 of each written file."""
        if self.folder is None:
            return []
        return [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(self.folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]

    def mix_json(self) -> dict[str, Any] | None:
        """Return what the search for a mix found, and one format for all beside it."""
        if self.mix is None:
            return None
        return {
            "budget_bytes": self.planned.request.budget,
            "num_bytes": self.mix.num_bytes,
            "error": self.mix.error,
            "one_format": self.mix.alone or None,
            "one_format_bytes": self.mix.alone_bytes or None,
            "one_format_error": self.mix.alone_error if self.mix.alone else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        modules = [
            {"name": name, "format": form, "bytes": num_bytes, "rel_error": self.errors.get(name), "why": why}
            for name, form, num_bytes, why in self.planned.modules()
        ]
        return {
            "schema": SCHEMA,
            "model": self.planned.request.source,
            "to": self.planned.request.to,
            "source_bytes": self.planned.source.num_bytes,
            "predicted_bytes": self.predicted_bytes,
            "written_bytes": self.written_bytes,
            "modules": modules,
            "quality": self.quality.to_json() if self.quality else None,
            "mix": self.mix_json(),
            "files": self.files(),
            "warnings": list(self.warnings),
        }


def sha256(path: Path) -> str:
    """Return the digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
