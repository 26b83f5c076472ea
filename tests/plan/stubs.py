"""Stand-ins for what launch files start: each writes down the words that it was given, and ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock, patch

RECORDERS = (
    "vllm vllm-router python trtllm-serve llama-server ollama ray torchrun accelerate axolotl "
    "llamafactory-cli sleep pip git cp trl"
).split()
"""Programs that write down their words. `ray list` says one line a machine, `sleep` does not wait."""
RUNNERS = ("srun", "trtllm-llmapi-launch")
"""Programs that start what follows their own options."""
END = "\x01end"
RECORD = f"""#!/bin/sh
printf '%s\\0' "${{0##*/}}" "$@" "{END}" >> "$STUB_LOG"
echo '"node_id"'; echo '"node_id"'
"""
RUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
CLUSTER = {
    "HEAD": "10.0.0.1",
    "NODE_RANK": "1",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NUM_NODES": "2",
    "LWS_GROUP_SIZE": "2",
    "LWS_WORKER_INDEX": "1",
    "LWS_LEADER_ADDRESS": "leader",
    "HF_TOKEN": "secret",
    "PREFILL_1": "10.0.0.1",
    "PREFILL_2": "10.0.0.2",
    "DECODE_1": "10.0.0.3",
}
"""What clusters tell a machine."""


class Stubs:
    """A folder of programs, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "stubs", folder / "log"
        self.folder.mkdir()
        programs = {**dict.fromkeys(RECORDERS, RECORD), **dict.fromkeys(RUNNERS, RUN)}
        programs["scontrol"] = "#!/bin/sh\necho n1\necho n2\n"
        for name, text in programs.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o755)

    def run(self, *words: str, cwd: Path, **variables: str) -> list[list[str]]:
        """Return the words that each started program was given, in order."""
        self.log.write_bytes(b"")
        done = subprocess.run(
            words,
            cwd=cwd,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "STUB_LOG": str(self.log), **CLUSTER, **variables},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        found: list[list[str]] = [[]]
        for word in self.log.read_bytes().split(b"\0")[:-1]:
            if word == END.encode():
                found.append([])
            else:
                found[-1].append(os.fsdecode(word))
        return found[:-1]


def kubernetes(word: str) -> str:
    """Return a word of a container's command as Kubernetes hands it on: $(NAME) of what is set, $$ as $."""
    found, position = "", 0
    while position < len(word):
        rest = word[position:]
        name = rest[2:].partition(")")[0] if rest.startswith("$(") and ")" in rest else None
        if rest.startswith("$$"):
            found, position = found + "$", position + 2
        elif name in CLUSTER:
            found, position = found + CLUSTER[name], position + len(name) + 3
        else:
            found, position = found + word[position], position + 1
    return found


def modelfile(text: str) -> list[tuple[str, str]]:
    """Return the commands of a Modelfile as Ollama's parser reads plain lines: a name, and the rest of the
    line."""
    return [(name, value.strip()) for name, _, value in (line.partition(" ") for line in text.splitlines())]


@contextmanager
def libraries() -> Iterator[MagicMock]:
    """Put a torch, transformers and peft in place that do nothing; the mock keeps what from_pretrained was
    given."""
    names = MagicMock()
    modules: dict[str, ModuleType] = {}
    distributed = ("", ".fsdp", ".device_mesh", ".checkpoint", ".checkpoint.state_dict")
    for name in ("torch", *(f"torch.distributed{part}" for part in distributed), "transformers", "peft"):
        modules[name] = MagicMock(name=name)
    modules["torch"].utils.data.Dataset = object
    modules["torch"].distributed.get_rank.return_value = 0
    modules["torch"].distributed.get_world_size.return_value = 1
    for name in ("AutoModelForCausalLM", "AutoTokenizer", "AutoConfig"):
        getattr(modules["transformers"], name).from_pretrained = names.from_pretrained
    with patch.dict(sys.modules, modules), patch.dict(os.environ, LOCAL_RANK="0"):
        yield names
