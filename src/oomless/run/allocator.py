"""PyTorch's caching allocator as it is asked: its constants, how it rounds, and the settings of
PYTORCH_CUDA_ALLOC_CONF.

Constants and rules are those of c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp of torch
2.13. Sizes round up to 512 B. Up to 1 MiB they come out of 2 MiB segments; from 1 MiB to 10 MiB out of 20 MiB
segments; larger ones get a segment of their own, a multiple of 2 MiB.
"""

from typing import Any

from ..errors import UsageError
from ..records import Record

ROUND = 512
SMALL = 1 << 20
MEDIUM = 10 << 20
MEDIUM_SEGMENT = 20 << 20
LARGE_ROUND = 2 << 20
SMALL_SEGMENT = 2 << 20
INTERVALS = 16
"""Powers of two from 1 MiB to 64 GiB that may have divisions of their own."""
UNLIMITED = (1 << 64) - 1


def rounded(size: int) -> int:
    """A size as the allocator counts it at least, without power-of-two divisions.

    >>> rounded(1), rounded(513)
    (512, 1024)
    """
    return -(-size // ROUND) * ROUND


def fresh_segment(size: int) -> int:
    """Bytes of the segment that a rounded size above 1 MiB makes when no remainder holds it.

    >>> fresh_segment(5 << 20), fresh_segment((16 << 20) + 512)
    (20971520, 18874368)
    """
    return MEDIUM_SEGMENT if size < MEDIUM else (size + LARGE_ROUND - 1) // LARGE_ROUND * LARGE_ROUND


class AllocatorSettings(Record):
    """What PYTORCH_CUDA_ALLOC_CONF can say about memory; the defaults are torch's."""

    expandable_segments: bool = False
    max_split_size: int = UNLIMITED
    """Larger blocks are never split, and requests below it never take one of them."""
    max_non_split_rounding_size: int = MEDIUM_SEGMENT
    """How much larger than an oversize request a cached block may be."""
    large_segment_size: int = MEDIUM_SEGMENT
    garbage_collection_threshold: float = 0.0
    """Share of the allowed memory above which unused segments are given back before new ones are made."""
    divisions: tuple[int, ...] = (0,) * INTERVALS
    """Steps between powers of two that sizes round up to, by interval."""
    memory_fraction: float = 1.0

    def text(self) -> str:
        """The settings as the variable spells them; empty for the defaults.

        >>> parse_settings("max_split_size_mb:128, expandable_segments:True").text()
        'expandable_segments:True,max_split_size_mb:128'
        """
        default, parts = AllocatorSettings(), []
        if self.expandable_segments:
            parts.append("expandable_segments:True")
        for name, key in SIZES.items():
            if getattr(self, name) != getattr(default, name):
                parts.append(f"{key}:{getattr(self, name) >> MEGABYTE}")
        if self.garbage_collection_threshold:
            parts.append(f"garbage_collection_threshold:{self.garbage_collection_threshold:g}")
        if any(self.divisions):
            inner = ",".join(f"{1 << index}:{value}" for index, value in enumerate(self.divisions))
            parts.append(f"roundup_power2_divisions:[{inner}]")
        if self.memory_fraction != 1.0:
            parts.append(f"per_process_memory_fraction:{self.memory_fraction:g}")
        return ",".join(parts)

    def rounded(self, size: int) -> int:
        """A size as the allocator counts it, divisions included.

        >>> parse_settings("roundup_power2_divisions:4").rounded(1200 << 20) >> 20
        1280
        """
        if size < ROUND:
            return ROUND
        divisions = self.divisions[min(max(size.bit_length() - 21, 0), INTERVALS - 1)]
        if divisions <= 1 or size <= ROUND * divisions:
            return -(-size // ROUND) * ROUND
        floor = 1 << (size.bit_length() - 1)
        if size == floor:
            return size
        step = floor >> (divisions.bit_length() - 1)
        return floor << 1 if step == 0 else -(-size // step) * step

    def segment(self, size: int) -> int:
        """Bytes of the segment that a rounded size asks the driver for, without expandable segments."""
        if size <= SMALL:
            return SMALL_SEGMENT
        return self.large_segment_size if size < MEDIUM else -(-size // LARGE_ROUND) * LARGE_ROUND


MEGABYTE = 20
"""The variable's sizes are shifted by this: its "mb" are 2**20 bytes."""
SIZES = {
    "max_split_size": "max_split_size_mb",
    "max_non_split_rounding_size": "max_non_split_rounding_mb",
    "large_segment_size": "large_segment_size_mb",
}
WITHOUT_EFFECT = (
    "backend release_lock_on_cudamalloc release_lock_on_hipmalloc "
    "pinned_use_cuda_host_register pinned_use_hip_host_register "
    "pinned_num_register_threads pinned_use_background_threads "
    "pinned_reserve_segment_size_mb pinned_max_round_threshold_mb "
    "pinned_max_cached_size_mb pinned_free_catch_all "
    "graph_capture_record_stream_reuse throw_on_cudamalloc_oom"
).split()
"""Keys that torch 2.13 knows and that move no byte of the device: locks, pinned host memory, graphs."""
HINT = (
    "the syntax is that of PYTORCH_CUDA_ALLOC_CONF, for example "
    "expandable_segments:True,max_split_size_mb:128"
)


def parse_settings(text: str) -> AllocatorSettings:
    """Settings of a value of PYTORCH_CUDA_ALLOC_CONF.

    >>> parse_settings("roundup_power2_divisions:[256:1,512:2,>:8]").divisions[8:11]
    (1, 2, 8)
    """
    settings = AllocatorSettings()
    for key, value in _pairs("".join(text.split())):
        if key in SIZES.values():
            name = next(field for field, spelled in SIZES.items() if spelled == key)
            sized: dict[str, Any] = {name: _whole(key, value) << MEGABYTE}
            settings = settings._replace(**sized)
        elif key == "garbage_collection_threshold":
            settings = settings._replace(garbage_collection_threshold=_share(key, value, below=True))
        elif key == "per_process_memory_fraction":
            settings = settings._replace(memory_fraction=_share(key, value, below=False))
        elif key == "expandable_segments":
            if value not in ("True", "False"):
                raise UsageError(f"expandable_segments is {value!r}", "it is True or False")
            settings = settings._replace(expandable_segments=value == "True")
        elif key == "roundup_power2_divisions":
            settings = settings._replace(divisions=_divisions(value))
        elif key not in WITHOUT_EFFECT:
            raise UsageError(f"unknown allocator setting {key!r}", HINT)
        elif key == "backend" and value != "native":
            raise UsageError(
                f"backend:{value} is not torch's own allocator", "only the native backend is simulated"
            )
    if (
        settings.max_split_size < settings.large_segment_size
        or settings.max_non_split_rounding_size < settings.large_segment_size
    ):
        raise UsageError(
            f"allocator settings {text!r}: a limit is below the large segments",
            "they must be 20 (MiB) or more",
        )
    if settings.large_segment_size < MEDIUM:
        raise UsageError(
            "large_segment_size_mb is below 10", "segments must hold the tensors that they are made for"
        )
    return settings


def _pairs(text: str) -> list[tuple[str, str]]:
    """(key, value) in order; a value may be a list in brackets."""
    pairs, rest = [], text
    while rest:
        key, colon, rest = rest.partition(":")
        if rest.startswith("["):
            value, closed, rest = rest.partition("]")
            value += closed
            if not closed or (rest and not rest.startswith(",")):
                raise UsageError(f"allocator setting {key!r}: a list without its end", HINT)
            rest = rest[1:]
        else:
            value, _, rest = rest.partition(",")
        if not colon or not value or not key:
            raise UsageError(f"allocator setting {key!r} has no value", HINT)
        pairs.append((key, value))
    return pairs


def _whole(key: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 14):
        raise UsageError(f"{key} is {text!r}", "it is a whole number")
    return int(text)


def _share(key: str, text: str, below: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1 or (below and value == 1):
        raise UsageError(f"{key} is {text!r}", "it is a share between 0 and 1")
    return value


def _divisions(text: str) -> tuple[int, ...]:
    """Divisions of each interval: one number for all, or a list of "interval in MiB : divisions"."""
    key = "roundup_power2_divisions"
    found = [0] * INTERVALS
    if not text.startswith("["):
        return (_power(key, text),) * INTERVALS
    last, first = 0, True
    for part in text[1:-1].split(","):
        interval, colon, value = part.partition(":")
        if not colon:
            raise UsageError(f"{key}: {part!r} is no interval:divisions", HINT)
        number = 0 if value == "0" else _power(key, value)
        if interval == ">":
            found[last + (not first) :] = [number] * (INTERVALS - last - (not first))
            continue
        index = min(_power(key, interval).bit_length() - 1, INTERVALS - 1)
        if first:
            found[:index] = [number] * index
            first = False
        found[index], last = number, index
    return tuple(found)


def _power(key: str, text: str) -> int:
    value = _whole(key, text)
    if value < 1 or value & (value - 1):
        raise UsageError(f"{key}: {text} is no power of two", "intervals and divisions are powers of two")
    return value
