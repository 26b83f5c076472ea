"""How logs of training read: one reader a program, in the folder of its framework, and torchtune's."""

from ..recording.log_lines import NUMBER, LogLine, LogReader, Said, says
from .deepspeed.log import LOG as DEEPSPEED
from .logged import RANK
from .megatron.log import LOG as MEGATRON
from .torchtitan.log import LOG as TORCHTITAN
from .trainer.log import LOG as TRAINER

N = NUMBER
TORCHTUNE = LogReader(
    "torchtune",
    (
        LogLine(
            b"with resolved config",
            r"Running (\w*Recipe\w*) with resolved config",
            says("recipe text"),
            "start",
        ),
        LogLine(
            b"GPU peak memory alloc",  # "GB" of the first releases is 10^9 bytes
            rf"GPU peak memory allocation: {N} GiB",
            (Said("peak_allocated", "GiB", "most"),),
        ),
        LogLine(
            b"GPU peak memory reserved",
            rf"GPU peak memory reserved: {N} GiB",
            (Said("peak_reserved", "GiB", "most"),),
        ),
        LogLine(
            b"GPU peak memory active",
            rf"GPU peak memory active: {N} GiB",
            (Said("peak_active", "GiB", "most"),),
        ),
    ),
    label=RANK,
    is_training=True,
)
LOGS = (MEGATRON, DEEPSPEED, TORCHTITAN, TORCHTUNE, TRAINER)
