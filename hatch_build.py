"""The wheel, packed again as small as deflate makes it: the builder itself takes zlib's middle level."""

import os
import zipfile
from pathlib import Path
from typing import Any

from deflate import deflate_compress
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HIGHEST = 12
"""libdeflate's last level: 2 % smaller than zlib's."""


class Whole:
    """A compressor as zipfile calls one, which waits for all of a file."""

    def __init__(self) -> None:
        self.content = b""

    def compress(self, content: bytes) -> bytes:
        self.content += content
        return b""

    def flush(self) -> bytes:
        return bytes(deflate_compress(self.content, HIGHEST))


class SmallWheel(BuildHookInterface[Any]):
    """Names, dates and contents stay, so the hashes of RECORD do, and the same tree is the same file."""

    PLUGIN_NAME = "custom"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.target_name != "wheel" or not zipfile.is_zipfile(artifact_path):
            return
        packed = Path(f"{artifact_path}.packed")
        with zipfile.ZipFile(artifact_path) as before, zipfile.ZipFile(packed, "w") as after:
            for entry in before.infolist():
                content = before.read(entry)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with after.open(entry, "w") as file:
                    file._compressor = Whole()  # type: ignore[attr-defined] # zipfile has no public way
                    file.write(content)
        os.replace(packed, artifact_path)
