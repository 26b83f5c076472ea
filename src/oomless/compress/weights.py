"""Weights: one checkpoint becomes another; the request, the plan of all bytes, the run."""

import shlex
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from .checkpoint.card import card, format_name
from .checkpoint.choice import Asked, chooser
from .checkpoint.finish import quantization_config
from .checkpoint.journal import WHOLE, Part
from .checkpoint.run import join, silent, stream
from .checkpoint.source import Checkpoint, read_source
from .checkpoint.stored_weight import StoredWeight, stored_weights
from .checkpoint.stream import Progress
from .checkpoint.target import Target, plan_target
from .codecs.registry import codec

NEAREST = (
    "Every value was rounded to the nearest code; a scale is rounded to its stored type before it divides."
)
DEEPSEEK = ("deepseek", "kimi")
"""Families whose publishers store FP8 under DeepSeek's names."""


class Request(NamedTuple):
    """What is to be compressed, and how."""

    source: str
    to: str
    keep: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    formats: tuple[tuple[str, str], ...] = ()
    """Patterns of modules and the formats that they get."""

    def command(self) -> str:
        """Return the command line that asks the same, of a folder that bears the model's name alone."""
        words = ["oomless", "compress", Path(self.source).resolve().name, "--to", self.to]
        words += [word for name in self.keep for word in ("--keep", name)]
        words += [word for name in self.skip for word in ("--skip", name)]
        words += [word for name, form in self.formats for word in ("--format", f"{name}={form}")]
        return shlex.join(words)


class Planned(NamedTuple):
    """A request with all that headers tell: nothing has been read of the data yet."""

    request: Request
    source: Checkpoint
    weights: tuple[StoredWeight, ...]
    target: Target

    def card(self, method: str = NEAREST) -> str:
        """Return the card of the result."""
        return card(self.source, self.target, self.request.command(), method)

    def modules(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield (name, format, bytes, why it stays) of each weight of the result."""
        for weight in self.target.weights:
            yield weight.name, format_name(weight), weight.num_bytes, weight.why


def is_deepseek(config: dict[str, Any]) -> bool:
    """Return whether a model's publisher stores FP8 as DeepSeek does."""
    names = [config.get("model_type"), (config.get("text_config") or {}).get("model_type")]
    section = config.get("quantization_config") or {}
    return section.get("quant_method") == "fp8" or any(
        isinstance(name, str) and name.startswith(DEEPSEEK) for name in names
    )


def plan(request: Request) -> Planned:
    """Return everything that can be said before a byte of data is read; errors of the question come here."""
    source = read_source(request.source)
    weights = stored_weights(source)
    deepseek = is_deepseek(source.config)
    wanted = codec(request.to, source.dtype, deepseek)
    if wanted.container == "gguf":
        raise UsageError(
            f"--to {request.to} is a type of GGUF files", f"name a file: --out NAME-{request.to}.gguf"
        )
    asked = Asked(
        wanted,
        request.keep,
        request.skip,
        tuple((pattern, codec(word, source.dtype, deepseek)) for pattern, word in request.formats),
    )
    target = plan_target(source, weights, chooser(source, weights, asked), skips(request.skip))
    quantization_config(source, target)  # formats that no config can hold together are an error now
    return Planned(request, source, weights, target)


def skips(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return whether a weight is left out of the result."""
    return lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)


def compress(
    planned: Planned,
    folder: Path,
    part: Part = WHOLE,
    *,
    threads: int | None = None,
    durable: bool = True,
    force: bool = False,
    progress: Callable[[Progress], None] = silent,
) -> None:
    """Write the result, or one part of it; a whole run ends with a folder that loads."""
    stream(
        planned.source,
        planned.target,
        folder,
        planned.request._asdict(),
        part,
        threads=threads,
        durable=durable,
        force=force,
        progress=progress,
    )
    if part.total == 1:
        finish_parts(planned, folder, 1, durable)


def finish_parts(planned: Planned, folder: Path, num_parts: int, durable: bool = True) -> None:
    """Finish a folder whose parts are all done."""
    request, text = planned.request._asdict(), planned.card()
    join(planned.source, planned.target, folder, request, text, num_parts, durable)
