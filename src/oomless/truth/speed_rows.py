"""A measured speed row (truth/perf.csv) -> a question to the model of speed/. Only configuration columns are
read.

What cannot be taken from anywhere is `incomplete`.
"""

import re
from typing import NamedTuple

from ..engines.speed_classes import class_of_word, speed_class
from ..errors import OomlessError, UnsupportedError
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..files import shown
from ..frameworks.releases import release_of
from ..model.catalogue_names import catalogue_name
from ..model.families import build
from ..model.load import load
from ..model.model import Model
from ..run.card_names import card_named
from ..run.cards import Card, Hardware
from ..run.hardware import MAX_GPUS
from ..run.serving import Asked, Layout
from ..speed.band import Coverage
from ..speed.efficiency import SHIPPED, Efficiencies
from ..speed.load import Runner
from ..speed.machine import machine_of
from ..speed.network import Network, network, unnamed
from ..speed.serving import BUDGET, NVIDIA, Setup, evidence_of, split_of
from ..units import GB
from .serving_rows import Incomplete
from .speed_workload import Sent, sent

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
MODELS = {
    "deepseek-r1-671b": "deepseek-r1",
    "deepseek-v3/r1": "deepseek-v3",
    "deepseek-r1-distill-14b": "deepseek-r1-distill-qwen-14b",
    "deepseek-r1-distill-70b": "deepseek-r1-distill-llama-70b",
    "llama-70b": "llama-2-70b",
    "llama-7b": "llama-2-7b",
    "phi-3-3.8b": "phi-3-mini-4k",
}
QUANTS: dict[str, str | None] = {
    "BF16": None,
    "F16": None,
    "FP16": None,
    "FP4": "nvfp4",
    "NVFP4": "nvfp4",
    "W4A16/NVFP4": "nvfp4",
    "FP8": "fp8",
    "INT4 GPTQ": "gptq",
    "INT8": "w8a8",
    "W8A8": "w8a8",
    "MXFP4": "mxfp4",
}
"""Words that are no GGUF types -> --quantization of a model published in 16 bit."""
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


def network_of(row: dict[str, str]) -> tuple[Network, bool]:
    """The model's sums, and whether its config is known; else a model of that size."""
    model = model_of(row)
    quant = row["quant"].split(" (")[0]
    given = float(row["weight_bytes_gb"]) * GB if row["weight_bytes_gb"] else None
    params = float(row["params_b"] or 0) * GB  # billions
    if model is None:
        if not params:
            raise Incomplete(f"the config of {shown(row['model'])} is not known, and params_b is not given")
        active = float(row["active_params_b"] or 0) * GB or params
        return unnamed(row["model"], params, active, bits_of(quant, given, params)), False
    net = network(model, _quantization(quant, model, "llama" in row["engine"].lower()))
    ratio = mean_bits(quant) * params / 8 / _total_bytes(net)
    return (_scaled(net, ratio) if ratio and abs(ratio - 1) > NOMINAL else net), True


def model_of(row: dict[str, str]) -> Model | None:
    """Return the model of a row: of the catalogue, or by its shape; None: its config is not known.

    >>> model_of({"model": "MPT-7B"}).num_parameters
    6649286656
    """
    word = row["model"].strip().lower()
    if word in SHAPES:
        return build(SHAPES[word], row["model"], "its published config")
    name = catalogue_name(MODELS.get(word, word))
    return load(name) if name is not None else None


def mean_bits(quant: str) -> float:
    """Bits a value that the words of a file's type name; 0: they name none.

    >>> mean_bits("Q2_K 2.71bpw"), mean_bits("1.2.3bpw"), mean_bits("Q8_0")
    (2.71, 0.0, 0.0)
    """
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)bpw", quant)
    return float(found[1]) if found else 0.0


SHAPES: dict[str, dict[str, object]] = {
    "gpt-j-6b": {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "vocab_size": 50400,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
    }
}
MPT = {
    "mpt-125m": (768, 12, 12),
    "mpt-350m": (1024, 16, 24),
    "mpt-760m": (1536, 12, 24),
    "mpt-1b": (2048, 16, 24),
    "mpt-3b": (2560, 20, 32),
    "mpt-7b": (4096, 32, 32),
    "mpt-13b": (5120, 40, 40),
    "mpt-30b": (7168, 64, 48),
    "mpt-70b": (8192, 64, 80),
}
"""Width, heads and layers of MPT (mosaicml/llm-foundry, scripts/train/yamls/pretrain)."""
SHAPES |= {
    name: {
        "model_type": "mpt",
        "architectures": ["MPTForCausalLM"],
        "d_model": width,
        "n_heads": heads,
        "n_layers": layers,
        "expansion_ratio": 4,
        "max_seq_len": 65536,
        "vocab_size": 50432,
        "no_bias": True,
        "attn_config": {"alibi": True},
        "torch_dtype": "bfloat16",
    }
    for name, (width, heads, layers) in MPT.items()
}
"""Models of the tables that the catalogue lacks: GPT-J has the matrices of a GPT-NeoX of its size."""
NOMINAL = 0.1
"""A file's mean bits within this of what its type gives are that type's own; further off, the mix was chosen
by hand."""


def _total_bytes(net: Network) -> float:
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    return sum(each.bytes for each in (*net.cut, *net.whole, net.head)) + net.embedding_bytes + routed


def _scaled(net: Network, ratio: float) -> Network:
    """A network whose file is smaller or larger than its type says; mixes chosen by hand spare or spend on
    routed experts first."""
    if not net.experts:
        return net._replace(cut=tuple(each._replace(bytes=each.bytes * ratio) for each in net.cut))
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    share = max(1 + (ratio - 1) * _total_bytes(net) / routed, 0.1)
    return net._replace(
        experts=tuple(each._replace(bytes_each=each.bytes_each * share) for each in net.experts)
    )


def _quantization(quant: str, model: Model, gguf: bool = False) -> str | None:
    if gguf and quant in GGUF_WORDS:
        return GGUF_WORDS[quant]
    if quant in QUANTS:
        found = QUANTS[quant]
        return found if not model.quantization or found in ("nvfp4", "mxfp4") else None
    found = quant.split(" ")[0]
    return {"Q4": "Q4_K_M"}.get(found, found)


GGUF_WORDS = {"MXFP4": "MXFP4_MOE", "BF16": "BF16", "F16": "F16"}
"""Words that mean another mix under llama.cpp: what is not an expert is Q8_0 beside MXFP4."""
BITS = {
    "BF16": 16,
    "F16": 16,
    "FP16": 16,
    "FP8": 8,
    "INT8": 8,
    "W8A8": 8,
    "FP4": 4.5,
    "NVFP4": 4.5,
    "INT4": 4.25,
    "MXFP4": 4.25,
}
BITS |= {"Q8_0": 8.5, "Q4_K": 4.85, "Q4_0": 4.5, "Q4": 4.85}
"""Bits a value with its scales; K-quant files mix types: 4.85 is the mean of Q4_K_M files of 7 to 70 billion
values."""


def bits_of(quant: str, given: float | None, params: float) -> float:
    """Bits a value of a model without config: of the file's size, or of the format's name."""
    if given:
        return given * 8 / params
    if named := mean_bits(quant):
        return named
    for word, bits in BITS.items():
        if word in quant:
            return bits
    raise Incomplete(f"how many bits {quant} takes is not given")
