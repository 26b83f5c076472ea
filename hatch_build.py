"""The wheel, packed again as small as deflate makes it: the builder itself takes zlib's middle level."""

import os
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


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
                after.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
        os.replace(packed, artifact_path)
