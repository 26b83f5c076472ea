"""Weights: one checkpoint becomes another; the request, the plan of all bytes, the run."""

import hashlib
import shlex
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from ..units import format_exact
from .calibration.run import CalibrationRun
from .calibration.run import check as check_calibration
from .checkpoint.blocks import num_jobs
from .checkpoint.card import card, format_name
from .checkpoint.choice import FormatsAsked, chooser
from .checkpoint.finish import quantization_config
from .checkpoint.journal import WHOLE, Journal, Part
from .checkpoint.run import AS_USUAL, OutputFolder, Writing, first_line, join, reserve, stream
from .checkpoint.source import Checkpoint, read_source
from .checkpoint.stored_weight import StoredWeight, stored_weights
from .checkpoint.stream import Progress
from .checkpoint.target import Target, plan_target
from .codecs.registry import codec
from .gguf.target import plan_gguf
from .mix.damage import damages
from .mix.search import LADDER, Mix, search

NEAREST = (
    "Every value was rounded to the nearest code; a scale is rounded to its stored type before it divides."
)
CALIBRATED = {
    "diagonal": "Scales of 4-bit weights were chosen by the mean squares of what each layer is fed with on a "
    "text; every value was then rounded to the nearest code.",
    "gptq": "4-bit weights were rounded column by column, each error made good by the columns that follow "
    "(GPTQ), on a text.",
    "wanda": "Of each four neighbours the two stay whose magnitude times the root mean square of their input "
    "on a text is highest (Wanda).",
    "sparsegpt": "Of each four neighbours two were set to zero, what was lost made good by the columns that "
    "follow (SparseGPT), on a text.",
}
CALIBRATION_TOKENS = 8192
MIX_TOKENS = 1024
"""The run goes back too, and each format of each matrix meets each of them."""
DEEPSEEK = ("deepseek", "kimi")
"""Families whose publishers store FP8 under DeepSeek's names."""


class CompressRequest(NamedTuple):
    """What is to be compressed, and how."""

    source: str
    to: str
    keep: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    formats: tuple[tuple[str, str], ...] = ()
    """Patterns of modules and the formats that they get."""
    calibrate: str = ""
    """How codes are chosen: "" is nearest rounding."""
    text_digest: str = ""
    """SHA-256 of the text that a calibration or a search of a mix runs on."""
    budget: int = 0
    """Bytes of tensor data under which `formats` was found; 0: it was given."""

    def command(self) -> str:
        """Return the command line that asks the same, of a folder that bears the model's name alone."""
        words = ["oomless", "compress", Path(self.source).resolve().name, "--to", self.to]
        words += [word for name in self.keep for word in ("--keep", name)]
        words += [word for name in self.skip for word in ("--skip", name)]
        given = () if self.budget else self.formats
        words += [word for name, form in given for word in ("--format", f"{name}={form}")]
        words += ["--budget", format_exact(self.budget).replace(" ", "")] if self.budget else []
        words += ["--calibrate", self.calibrate] if self.calibrate else []
        return shlex.join(words)


class Planned(NamedTuple):
    """A request with all that headers tell: nothing has been read of the data yet."""

    request: CompressRequest
    source: Checkpoint
    weights: tuple[StoredWeight, ...]
    target: Target
    notes: tuple[str, ...] = ()
    """What a user should know of the result."""

    @property
    def num_layers(self) -> int:
        """Layers that a calibration goes through."""
        config = self.source.config.get("text_config") or self.source.config
        return int(config.get("num_hidden_layers") or 0) if self.request.calibrate else 0

    def into(self, folder: Path) -> OutputFolder:
        """Return the folder that the result is written into."""
        return OutputFolder(folder, self.source, self.target, self.request._asdict())

    def card(self) -> str:
        """Return the card of the result."""
        method = CALIBRATED.get(self.request.calibrate, NEAREST)
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


def plan(request: CompressRequest) -> Planned:
    """Return everything that can be said before a byte of data is read; errors of the question come here."""
    source = read_source(request.source)
    weights = stored_weights(source)
    deepseek = is_deepseek(source.config)
    asked = FormatsAsked(
        codec(request.to, source.dtype, deepseek),
        request.keep,
        request.skip,
        tuple((pattern, codec(word, source.dtype, deepseek)) for pattern, word in request.formats),
    )
    if is_gguf(asked):
        if request.calibrate:
            raise UsageError(
                "--calibrate takes no GGUF type", "llama.cpp's llama-quantize has its own: --imatrix"
            )
        found = plan_gguf(source, weights, asked, request.to)
        return Planned(request, source, weights, found.target, found.notes)
    target = plan_target(source, weights, chooser(source, weights, asked), skips(request.skip))
    if request.calibrate:
        check_calibration(target, request.calibrate)
    quantization_config(target)  # formats that no config can hold together are an error now
    return Planned(request, source, weights, target)


def is_gguf(asked: FormatsAsked) -> bool:
    """Return whether a GGUF file is asked for; types of both kinds in one checkpoint are an error."""
    kinds = {each.container == "gguf" for each in (asked.codec, *(codec for _, codec in asked.formats))}
    if len(kinds) > 1:
        raise UsageError(
            "types of GGUF files and formats of safetensors cannot be mixed", "name types of one kind"
        )
    return kinds.pop()


def skips(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return whether a weight is left out of the result."""
    return lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)


def compress(
    planned: Planned,
    folder: Path,
    part: Part = WHOLE,
    writing: Writing = AS_USUAL,
    text: str = "",
) -> None:
    """Write the result, or one part of it; a whole run ends with a folder that loads. `text` is what a
    calibration runs on."""
    if planned.request.calibrate and part.total > 1:
        raise UsageError("--calibrate takes no --part", "layers follow from each other: calibrate in one run")
    stream(planned.into(folder), part, writing)
    if planned.request.calibrate:
        calibrate(planned, folder, text, writing)
    if part.total == 1:
        finish_parts(planned, folder, 1, writing.durable)


def calibrate(planned: Planned, folder: Path, text: str, writing: Writing) -> None:
    """Write the codes of all layers again, chosen by a text; layers that are done are not done again."""
    from .quality.language import token_ids
    from .quality.lazy_model import LazyModel

    source, target, request = planned.source, planned.target, planned.request
    sequences = token_ids(source, text, CALIBRATION_TOKENS, spread=True)
    journal = Journal(folder, WHOLE, first_line(planned.into(folder), 1))
    journal.open()
    lazy = LazyModel(source)
    started = time.monotonic()

    def told(done: int, total: int) -> None:
        writing.progress(
            Progress(target.num_bytes * done // total, target.num_bytes, time.monotonic() - started)
        )

    try:
        run = CalibrationRun(target, lazy, reserve(folder, target), request.calibrate)
        run.run(sequences, journal, num_jobs(target), writing.durable, told)
    finally:
        lazy.close()
        journal.close()


def mixed(
    request: CompressRequest, size: int, text: str, progress: Callable[[Progress], None]
) -> tuple[CompressRequest, Mix]:
    """Return a request with a format for each module, so that all tensor data is no larger than `size`; a
    text says which modules suffer."""
    from .quality.language import token_ids
    from .quality.lazy_model import LazyModel

    planned = plan(request._replace(to=LADDER[0], calibrate=""))
    changed = [weight for weight in planned.target.weights if weight.codec is not None and not weight.why]
    codecs = {word: codec(word, planned.source.dtype) for word in LADDER}
    sequences = token_ids(planned.source, text, MIX_TOKENS, spread=True)
    lazy, started = LazyModel(planned.source), time.monotonic()

    def told(done: int, total: int) -> None:
        progress(Progress(done * size // total, size, time.monotonic() - started))

    try:
        found = damages(lazy, planned.target, codecs, sequences, told)
    finally:
        lazy.close()
    stays = planned.target.num_bytes - sum(each.num_bytes for each in changed if each.name in found)
    mix = search(found, {each.name: each.group for each in changed}, stays, size)
    formats = tuple(each for each in mix.formats if each[1] != LADDER[0])
    return request._replace(to=LADDER[0], formats=(*request.formats, *formats), budget=size), mix


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def finish_parts(planned: Planned, folder: Path, num_parts: int, durable: bool = True) -> None:
    """Finish a folder whose parts are all done."""
    join(planned.into(folder), planned.card(), num_parts, planned.num_layers, durable)
