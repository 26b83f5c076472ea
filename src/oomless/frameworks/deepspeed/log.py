"""How DeepSpeed's log reads, and what the configuration that it prints asks. Its "GB" is GiB: it divides by
powers of 1,024."""

from ...recording.log_lines import NUMBER, LogLine, LogReader, Said, says
from ..entries import Entries
from ..logged import RANK, LoggedTraining, LogWords
from .configuration import read

N = NUMBER
ZERO_STAGE = LogLine(
    b"ZeRO stage ",
    r"Creating (?:torch\.\w+ |fp16 |bf16 )?ZeRO stage (\d) optimizer",
    says("zero_stage count"),
)
"""Its engine's, under whatever trainer it runs."""
LOG = LogReader(
    "deepspeed",
    (
        LogLine(
            b" Max_MA ",
            rf"\bMA {N} GB\s+Max_MA {N} GB\s+CA {N} GB\s+Max_CA {N} GB",
            (
                Said("allocated", "GiB", "last"),
                Said("peak_allocated", "GiB", "most"),
                Said("reserved", "GiB", "last"),
                Said("peak_reserved", "GiB", "most"),
            ),
        ),
        LogLine(
            b"MaxMemAllocated=",  # of its timer, which divides by 1024^3
            rf"\bMemAllocated={N}GB, MaxMemAllocated={N}GB",
            (Said("allocated", "GiB", "last"), Said("peak_allocated", "GiB", "most")),
        ),
        LogLine(
            b"CPU Virtual Memory",
            rf"CPU Virtual Memory:\s+used = {N} GB, percent = {N}%",
            (Said("host_used", "GiB", "most"), Said("host_share", "percent", "most")),
        ),
        LogLine(
            b"DeepSpeed info: version",
            r"DeepSpeed info: version=(\S+),",
            says("engine_version text"),
            "start",
        ),
        ZERO_STAGE,
        LogLine(
            b"json = {",
            r"\bjson = (\{[\s\S]*)",
            says("configuration json"),
            goes_on=True,
        ),
        LogLine(b"fp16 partitions", r"(?:Before|After) creating fp16 partitions", says()),
    ),
    label=RANK,
    is_training=True,
)


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the question of the JSON that a log prints; None: it prints none. It names no model."""
    if not words.configuration:
        return None
    entries = Entries(words.path, "deepspeed", dict(words.configuration))
    _, asked, ranks = read(entries)
    return LoggedTraining("", asked, ranks or words.number("world_size"), ("seq_len", "recompute"))
