"""How torchtitan's log reads, and what its lines ask: model, mesh, batch, recomputation
(torchtitan/train.py, distributed/parallel_dims.py, models/llama3/infra/parallelize.py)."""

import re

from ...recording.log_lines import NUMBER, LogLine, LogReader, Said, says
from ..entries import Entries
from ..logged import RANK, LoggedTraining, LogWords
from .configuration import read

N = NUMBER
LOG = LogReader(
    "torchtitan",
    (
        LogLine(
            b"step:",
            rf"step: +(\d+) .*?memory: +{N}GiB\(",
            (Said("steps", "count", "last"), Said("peak_reserved", "GiB", "most")),
            "ready",
        ),
        LogLine(
            b"capacity: ",
            rf"(?:CUDA|XPU|HIP) capacity: (.+?) with {N}GiB memory",
            says("gpu text", "gpu_memory_bytes GiB"),
            "start",
        ),
        LogLine(b"memory usage for model: ", rf"memory usage for model: {N}GiB\(", says("weights_bytes GiB")),
        LogLine(
            b" total parameters",
            r"Model (\S+) (\S+) size: ([\d,]+) total parameters",
            says("model text", "flavor text", "num_parameters count"),
        ),
        LogLine(
            b"device mesh with parallelism",
            r"parallelism: pp=(\d+), dp_replicate=(\d+), dp_shard=(-?\d+), cp=(\d+), tp=(\d+)\b",
            says("pp count", "dp_replicate count", "dp_shard count", "cp count", "tp count"),
        ),
        LogLine(
            b"device mesh with parallelism",
            r"parallelism: .*?\bep=(\d+), etp=(\d+)",
            says("ep count", "etp count"),
        ),
        LogLine(
            b"-D device mesh with",
            r"device mesh with (\[[^\]]*\]), \[([\d, ]+)\]",
            says("axes text", "sizes text"),
        ),
        LogLine(
            b"local batch size ",
            r"local batch size (\d+), global batch size (\d+)",
            says("micro_batch count", "global_batch count"),
        ),
        LogLine(b"sequence length ", r"global batch size .*?sequence length (\d+)\b", says("seq_len count")),
        LogLine(
            b"activation checkpointing to the model",
            r"Applied (\w+) activation checkpointing to the model",
            says("recompute text"),
        ),
        LogLine(b"with torch.compile", r"(Compiling each \w+ with torch\.compile)", says("compiled text")),
        LogLine(b"CPU Offloading to the model", r"(Applied CPU Offloading)", says("offload text")),
    ),
    label=RANK,
    is_training=True,
)
DEGREES = {
    "dp_replicate": "parallelism.data_parallel_replicate_degree",
    "dp_shard": "parallelism.data_parallel_shard_degree",
    "dp": "parallelism.data_parallel_shard_degree",
    "cp": "parallelism.context_parallel_degree",
    "tp": "parallelism.tensor_parallel_degree",
    "pp": "parallelism.pipeline_parallel_degree",
    "ep": "parallelism.expert_parallel_degree",
    "etp": "parallelism.expert_tensor_parallel_degree",
}
"""An axis of the mesh as the log names it -> the entry of the job's configuration."""


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the question of the lines before the first step; None: no mesh and no batch is named."""
    micro = words.number("micro_batch")
    degrees = {axis: words.number(axis) or _size(words, axis) for axis in DEGREES}
    if micro is None and not any(degrees.values()):
        return None
    values: dict[str, object] = {DEGREES[axis]: size for axis, size in degrees.items() if size is not None}
    values |= {
        "model.name": words.said("model") or None,
        "model.flavor": words.said("flavor") or None,
        "training.local_batch_size": micro,
        "training.global_batch_size": words.number("global_batch"),
        "training.seq_len": words.number("seq_len"),
        "training.enable_cpu_offload": bool(words.said("offload")),
        "activation_checkpoint.mode": words.said("recompute") or "none",
        "compile.enable": bool(words.said("compiled")),
    }
    model, asked, ranks = read(Entries(words.path, "torchtitan", values))
    unsaid = [name for name in ("micro_batch", "seq_len") if words.number(name) is None]
    return LoggedTraining(model or "", asked, ranks, (*unsaid, "precision", "optimizer"))


def _size(words: LogWords, axis: str) -> int | None:
    """An axis of the older line: names in one list, sizes in the other."""
    names = re.findall(r"\w+", words.said("axes"))
    sizes = [int(each) for each in re.findall(r"\d+", words.said("sizes"))]
    return dict(zip(names, sizes, strict=False)).get(axis)
