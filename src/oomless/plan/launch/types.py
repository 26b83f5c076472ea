"""The types that a launch file asks for, by torch's names: those of the question on its cards."""

from typing import NamedTuple

from ...errors import UnsupportedError
from ...estimate.training.checks import in_types_of
from ...frameworks import framework as record
from ...frameworks import names
from ...frameworks.defaults import resolved
from ...run.cards import Hardware
from ...run.training import TrainingAsked, recipe

SHORT = {"bfloat16": "bf16", "float16": "fp16"}
"""As trainers spell them; F32 is neither."""


class FileTypes(NamedTuple):
    """The types that a file asks for, by torch's names."""

    arithmetic: str
    """Of matrix products."""
    weights: str
    """Of what is loaded and trained."""
    fp8: bool = False
    """Matrix products in FP8, of weights kept in it."""

    @property
    def switches(self) -> dict[str, bool]:
        """As transformers' trainers spell it: bf16 or fp16, or neither for F32.

        >>> FileTypes("float16", "float32").switches
        {'fp16': True}
        """
        short = SHORT.get(self.arithmetic)
        return {short: True} if short else {}


def types_of(asked: TrainingAsked, hardware: Hardware) -> FileTypes:
    """Return the types of a question on its cards.

    >>> from ...run.hardware import parse_gpu
    >>> types_of(TrainingAsked(framework="trl"), parse_gpu("t4"))
    FileTypes(arithmetic='float16', weights='float32', fp8=False)
    """
    request = in_types_of(hardware.card, asked, resolved(asked))
    form = recipe(request.precision)
    if "fp8" in (form.arithmetic, request.products):
        if not writes_fp8(asked.framework):
            raise UnsupportedError(f"no launch file of {asked.framework} with FP8 is known here", fp8_hint())
        return FileTypes("bfloat16", "bfloat16", fp8=True)
    arithmetic = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[form.arithmetic]
    return FileTypes(arithmetic, arithmetic if form.weight == 2 else "float32")


def fp8_hint() -> str:
    """Return what to ask for in place of FP8 in the files of another framework."""
    return f"use --precision bf16, or --framework {' or '.join(filter(writes_fp8, names()))}"


def writes_fp8(framework: str) -> bool:
    """Return whether the files of a framework say FP8: Megatron's arguments do."""
    return record(framework).launch == "megatron_args"
