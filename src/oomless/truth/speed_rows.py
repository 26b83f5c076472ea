"""A measured speed row (truth/perf.csv) -> a question to the model of speed/. Only configuration columns are
read.

What cannot be taken from anywhere is `incomplete`.
"""

import re
from typing import NamedTuple

from ..engines.speed_classes import class_of_word, speed_class
from ..errors import OomlessError, UnsupportedError
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..frameworks.releases import release_of
from ..model.catalogue_names import catalogue_name
from ..model.load import load
from ..run.card_names import card_named
from ..run.cards import Card, Hardware
from ..run.hardware import MAX_GPUS
from ..run.serving import Asked, Layout
from ..speed.band import Coverage
from ..speed.efficiency import SHIPPED, Efficiencies
from ..speed.load import Runner
from ..speed.machine import machine_of
from ..speed.serving import evidence_of
from ..speed.setup import BUDGET, NVIDIA, Setup, split_of
from .speed_row_models import MODELS, _quantization, network_of
from .speed_workload import Sent, sent
from .tables import Incomplete

CARDS = {
    "h100 80gb hbm3": "h100",
    "rtx pro 6000 se": "rtx-pro-6000",
    "ampereone a192-32x 512gb": "ampereone-a192-32x",
    "a100 pcie 80gb": "a100-pcie",
    "h100 pcie 80gb": "h100-pcie",
    "a100 sxm 80gb": "a100-80gb",
    "h100 sxm 80gb": "h100",
    "h20 96gb": "h20",
    "jetson agx thor": "thor",
    "m4 mac mini 10c 32gb": "m4",
    "mac mini m4 16gb": "m4",
}
"""Cards whose words in the table are no names of ours."""
SHORT = 64
"""Tokens of a prompt that the table calls short."""
NARROW = ("FP8", "FP4")
"""Weights beside which TensorRT-LLM's tables have a cache in FP8; beside MXFP4 on Blackwell alone
(perf-overview.md of 1.1: dtype fp8, on Hopper auto)."""


class SpeedRow(NamedTuple):
    """A row as a question."""

    setup: Setup
    card: Card
    num_gpus: int
    input_len: int
    output_len: int
    batch: int | None
    """None: as much as there is room for."""
    sent: Sent | None
    """The requests of a run that ends."""
    evidence: Coverage
    held: Estimate | None = None
    """The engine's own account of its memory and limits."""


def question(row: dict[str, str], efficiencies: Efficiencies = SHIPPED) -> SpeedRow:
    """The setup and the load of a row. A prompt that is called short was sent to a server; an engine's own
    benchmark counts its tokens."""
    net, known = network_of(row)
    card = card_of(row["gpu"])
    machine = machine_of(card, efficiencies)
    if machine.device == "other":
        raise UnsupportedError(
            f"only a bound is known on {card.name}: no speed was measured on cards like it"
        )
    runner = runner_of(row["engine"], row.get("date", ""), bool(net.experts) and machine.device in NVIDIA)
    if not row["input_len"].strip().isdecimal():
        runner = runner._replace(conditions=runner.conditions | {"served"})
    count = row["n_gpus"].strip() or "1"
    if not count.isdecimal() or not 0 < int(count) <= MAX_GPUS:
        raise Incomplete(f"n_gpus is {count!r}")
    num_gpus = int(count)
    kind = speed_class(runner.engine)
    layout = layout_of(row["parallelism"], num_gpus, runner.engine)
    per_node = 1 if "Ethernet" in row["parallelism"] else card.gpus_per_node
    split = split_of(layout, runner.engine, per_node)
    held = held_by_engine(row, layout, Hardware(card, num_gpus, card.gpus_per_node))
    if held is not None:
        runner = runner._replace(captured=held.request.largest_graph)
    narrow = NARROW + (("MXFP4",) if machine.architecture.startswith("Blackwell") else ())
    bits = 8 if kind.cache_as_weights and row["quant"] in narrow else 16
    concurrency = row["concurrency_or_batch"].strip()
    chunk = held.request.max_num_batched_tokens if held else None
    budget = (chunk or BUDGET) * (1 if kind.shares_chunk and not chunk else split.dp)
    setup = Setup(net, machine, split, runner, bits, budget)
    return SpeedRow(
        setup,
        card,
        num_gpus,
        _length(row["input_len"]),
        _length(row["output_len"]) if row["output_len"] else 1,
        int(concurrency) if concurrency.isdecimal() else None,
        sent(row, concurrency),
        evidence_of(setup, known),
        held,
    )


def held_by_engine(row: dict[str, str], layout: Layout, hardware: Hardware) -> Estimate | None:
    """What vLLM or SGLang of the row's release makes of its memory, as the command line answers it: cache,
    sequences at once, tokens of a step. None: other engines, and models or releases that it cannot tell."""
    word = row["model"].strip().lower()
    found, name = ENGINE.match(row["engine"]), catalogue_name(MODELS.get(word, word))
    if found is None or name is None:
        return None
    model, setting = load(name), row.get("setting", "")
    said = {flag: int(each[1]) for flag in FLAGS if (each := re.search(rf"{flag} (\d+)", setting))}
    share = re.search(r"mem-fraction-static (\d\.\d+)", setting)
    asked = Asked(
        engine=found[1].lower(),
        engine_version=found[2] or release_of(found[1].lower(), row.get("date", "")),
        layout=layout,
        quantization=_quantization(row["quant"].split(" (")[0], model),
        mem_fraction_static=float(share[1]) if share else None,
        max_num_batched_tokens=said.get("max-num-batched-tokens"),
        max_num_seqs=said.get("max-num-seqs"),
        max_model_len=said.get("max-model-len"),
    )
    try:
        return estimate_serving(model, asked, hardware)
    except OomlessError:
        return None


ENGINE = re.compile(r"(vLLM|SGLang)(?: (\d+\.\d+\S*(?: \([^)]+\))?))?")
FLAGS = ("max-num-batched-tokens", "max-num-seqs", "max-model-len")


def _length(text: str) -> int:
    word = text.strip()
    if word.isdecimal():
        return int(word)
    return SHORT


def runner_of(word: str, date: str, sparse: bool) -> Runner:
    """The engine's class and era. llama.cpp is known by its date alone: when it began to capture graphs."""
    found = class_of_word(word)
    if found is None:
        raise UnsupportedError(f"the speed of {word} is not known: nothing of it was measured")
    return Runner(found.name, found.row_conditions(word.lower(), date, sparse))


def card_of(word: str) -> Card:
    """The card of a cell; sizes of memory and numbers of cores behind its name are not part of it."""
    name = word.strip().lower()
    tries = [CARDS.get(name, name), re.sub(r" \d+gb$", "", name), re.sub(r"( \d+c)? \d+gb$", "", name)]
    tries += [re.sub(r"^mac (studio|mini) ", "", each) for each in tries[1:]]
    if name.startswith("raspberry pi 5"):
        tries.append("raspberry-pi-5-16-gb")
    for each in tries:
        if found := card_named(each):
            return found
    raise UnsupportedError(f"card {word!r} is not in the catalogue")


def layout_of(word: str, num_gpus: int, engine: str) -> Layout:
    """The sizes of TP8, TP8+EP, TP8 DP8, TP8 + DP attention, EP16, TP8 PP2, layer split; "-" is one card.

    SGLang's groups lie inside of its tensor ranks, and without --dp its --enable-dp-attention does nothing
    (server_args.py: of one group it is switched off).

    >>> layout_of("TP8 DP4", 8, "sglang").num_ranks, layout_of("TP8 + DP attention", 8, "sglang").dp
    (8, 1)
    """
    sizes = {axis: int(size) for axis, size in re.findall(r"(TP|PP|DP|EP)(\d+)", word)}
    tp, pp, dp = sizes.get("TP", 1), sizes.get("PP", 1), sizes.get("DP", 1)
    if "from memory" in word or "disaggregated" in word:
        raise Incomplete(f"how many cards prefill and how many decode is not given ({word})")
    if "layer split" in word:
        return Layout(pp=num_gpus)
    if "EP" in sizes and "TP" not in sizes:  # every card has its own sequences and some of the experts
        return inside(sizes["EP"], sizes["EP"])
    kind = speed_class(engine)
    if "+EP" in word and kind.divides_sequences_with_experts:  # its recipes for maximum throughput
        return inside(tp, tp)
    if dp > 1 and (kind.shares_chunk or tp == dp == num_gpus):
        return Layout(tp=tp, pp=pp, dp=dp, enable_dp_attention=True)
    if tp * pp * dp == 1 and num_gpus > 1:
        raise Incomplete(f"how {num_gpus} cards share the model is not given")
    return Layout(tp=tp, pp=pp, dp=dp, enable_expert_parallel="+EP" in word)


def inside(ranks: int, experts: int) -> Layout:
    """Ranks that each have sequences of their own, and some of the experts."""
    return Layout(tp=ranks, dp=ranks, enable_dp_attention=True, ep_size=experts)
