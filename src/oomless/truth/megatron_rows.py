"""Rows of Megatron records -> predictions, by the path that `oomless train --megatron-args` takes. Measured
is the last rank."""

import re
from typing import Any

from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.training.megatron import estimate_megatron
from ..estimate.training.reserved import allocated_lines
from ..frameworks.megatron.args import read_arguments
from ..frameworks.megatron.argument_reader import Value
from ..frameworks.megatron.environment import Device, device_from
from ..frameworks.megatron.run import Megatron
from ..frameworks.megatron.source import named
from ..ledger import Line
from ..run.hardware import parse_gpu
from .tables import Incomplete

Interval = tuple[float, float, float]

CARDS = {"a100": ("a100-80gb", 8), "h100": ("h100", 9), "gb200": ("gb200", 10)}
"""Words of a stack's name, the card that they mean and its generation."""
FAMILIES = {"bert": "bert", "t5": "t5", "hybrid": "hybrid", "nemotron": "hybrid"}
"""The script that a case's folder runs where it is not pretrain_gpt."""
OTHER_KINDS = ("distill", "_gdn", "grpo")
"""Words in a case's name that its arguments do not always carry: distillation, gated delta net, reinforcement
learning."""
NEW_IMAGE = "2025-11-06"
"""Day on which the long-term-support image moved from PyTorch 24.01 to 25.09 (Megatron-LM pull request 2157).
Stacks named dracooci are older."""
NOT_TEXT = ("multimodal", "mimo", "vision", "retro", "inference", "ckpt_converter")


def predict_megatron(configuration: dict[str, Any], quantity: str) -> Interval:
    """Bytes of the last rank: `model_states` between steps, or `peak_allocated`."""
    if quantity not in ("peak_allocated", "model_states"):
        raise UnsupportedError(f"{quantity} is not predicted")
    run = run_of(configuration)
    device = device_of(configuration)
    card = next((name for name, generation in CARDS.values() if generation == device.generation), "a100-80gb")
    group = estimate_megatron(run, parse_gpu(f"{card}:{run.world_size}"), device).groups[-1]
    return _sum(group.states.lines if quantity == "model_states" else allocated_lines(group.ledger))


def _sum(lines: tuple[Line, ...]) -> Interval:
    return sum(x.bytes for x in lines), sum(x.low_bytes for x in lines), sum(x.high_bytes for x in lines)


def run_of(configuration: dict[str, Any]) -> Megatron:
    """The run of a record; what the record does not say is incomplete, and named."""
    case = str(configuration.get("case") or "")
    if any(word in case.partition("/")[0] for word in NOT_TEXT):
        raise UnsupportedError(f"{case}: no language-model pre-training")
    if any(word in case.partition("/")[2] for word in OTHER_KINDS):
        raise UnsupportedError(f"{case}: no plain pre-training")
    world_size, padded = _whole(configuration, "world_size"), _whole(configuration, "padded_vocab_size")
    if world_size is None:
        raise Incomplete("world_size")
    given: dict[str, Value] = named(configuration["args"], case)
    if padded is not None:
        given["padded-vocab-size"] = padded
    elif "vocab-size" not in given and "padded-vocab-size" not in given:
        raise Incomplete("padded_vocab_size")
    if (
        "account_for_embedding_loss_in_pipeline_split" in case
    ):  # the records leave these two switches out of their arguments
        given["account-for-embedding-in-pipeline-split"] = given["account-for-loss-in-pipeline-split"] = True
    try:
        return read_arguments(given, world_size, FAMILIES.get(case.partition("/")[0], ""))
    except UsageError as error:
        raise Incomplete(error.message) from None


def _whole(configuration: dict[str, Any], name: str) -> int | None:
    """A whole number of a record, or None where it says nothing."""
    value = configuration.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,8}", str(value)):
        raise OomlessError(f"{name} is {str(value)[:40]!r}", "it is a whole number from 1 on")
    return int(value)


def device_of(configuration: dict[str, Any]) -> Device:
    """Card and software of a record: its stack's name and its environment."""
    stack, env = str(configuration.get("stack") or ""), configuration.get("env")
    env = env if isinstance(env, dict) else {}
    generation = next((found for word, (_, found) in CARDS.items() if word in stack), 8)
    support = stack.startswith("lts")
    first_image = support and ("dracooci" in stack or "" < str(configuration.get("date") or "") < NEW_IMAGE)
    return device_from(generation, env, support, not first_image)
