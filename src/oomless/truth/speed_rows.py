"""A measured speed row (truth/perf.csv) -> what the model of speed/ gives for it. Only configuration columns are read.

Most rows say less than a command line: no release, no batch limit, no share of memory. What is missing is taken as the benchmark's
harness has it (module constants below); what cannot be taken from anywhere is `incomplete`.
"""

import re
from typing import NamedTuple

from ..errors import OomlessError, UnsupportedError
from ..model.families import build
from ..model.load import catalogue_name, load
from ..model.model import Model
from ..run.hardware import MAX_GPUS, Card, find_card
from ..speed.band import Evidence, Kind, spread
from ..speed.batching import Policy, Request, simulate
from ..speed.cost import step_cost
from ..speed.machine import machine_of
from ..speed.network import Network, network, unnamed
from ..speed.serving import BUDGET, NVIDIA, Setup, decode_pass, era, evidence_of, prompt_pass, speed_of
from ..speed.step import Runner, Split, cache_bytes_per_token, resident_bytes
from ..units import GB, GIB, MB, MIB
from .serving_rows import Incomplete

Interval = tuple[float, float, float]

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
PROMPTS_AT_ONCE = re.compile(r"(\d+) prompts at once")


class SpeedRow(NamedTuple):
    """A row as a question."""

    setup: Setup
    card: Card
    num_gpus: int
    input_len: int
    output_len: int
    batch: int | None
    """None: as much as there is room for."""
    prompts: int | None
    """Requests that arrive at once."""
    evidence: Evidence


def predict_speed(row: dict[str, str], quantity: str, unit: str) -> Interval:
    """The value of a row in its own unit, with its band."""
    asked = question(row)
    metric = row["metric"]
    if quantity == "memory":
        return _memory(asked)
    if metric.endswith("latency") or metric.startswith(("TPOT", "TTFT")):
        seconds = _between(asked) if "TPOT" in metric else _first(asked, together=metric.endswith("latency"))
        if unit not in ("ms", "s"):
            raise Incomplete(f"{metric} is a time, and {unit} is none")
        number = seconds * {"ms": 1000.0, "s": 1.0}[unit]
        share = 1.0
    else:
        number, share = _rate(asked, metric, quantity), _share(asked, metric)
    number *= share
    factor = spread(KINDS[quantity], asked.evidence)
    return number, number / factor, number * factor


KINDS: dict[str, Kind] = {"decode": "decode", "prefill": "prefill", "serving": "serving", "throughput": "throughput"}


def question(row: dict[str, str]) -> SpeedRow:
    """The setup and the load of a row."""
    net, known = network_of(row)
    card = card_of(row["gpu"])
    machine = machine_of(card)
    if machine.device == "other":
        raise UnsupportedError(f"only a bound is known on {card.name}: no speed was measured on cards like it")
    runner = runner_of(row["engine"], row.get("date", ""), bool(net.experts) and machine.device in NVIDIA)
    count = row["n_gpus"].strip() or "1"
    if not count.isdecimal() or not 0 < int(count) <= MAX_GPUS:
        raise Incomplete(f"n_gpus is {count!r}")
    num_gpus = int(count)
    split = split_of(row["parallelism"], num_gpus, card.gpus_per_node, runner.engine)
    bits = 8 if runner.engine == "trtllm" and row["quant"] in ("FP8", "FP4") else 16
    concurrency = row["concurrency_or_batch"].strip()
    at_once = PROMPTS_AT_ONCE.fullmatch(concurrency)
    budget = SMALL_BUDGET if runner.engine == "vllm" and (card.memory_bytes < LARGE_CARD or "A100" in card.name) else BUDGET
    setup = Setup(net, machine, split, runner, bits, budget * (1 if runner.engine == "sglang" else split.dp))
    return SpeedRow(
        setup,
        card,
        num_gpus,
        _length(row["input_len"]),
        _length(row["output_len"]) if row["output_len"] else 1,
        int(concurrency) if concurrency.isdecimal() else None,
        int(at_once[1]) if at_once else None,
        evidence_of(setup, known),
    )


SMALL_BUDGET, LARGE_CARD = 2048, 70 * GIB
"""max_num_batched_tokens of a vLLM server on cards below 70 GiB and on the A100 (EngineArgs.get_batch_defaults); 8192 on larger ones."""


def _length(text: str) -> int:
    word = text.strip()
    if word.isdecimal():
        return int(word)
    return SHORT


def runner_of(word: str, date: str, sparse: bool) -> Runner:
    """The engine's family and era. llama.cpp is known by its date alone: when it began to capture graphs."""
    lower = word.lower()
    if ("llama" in lower and "distributed" not in lower) or lower.startswith("ollama"):
        return Runner("llamacpp", frozenset(era(date, sparse)))
    if lower.startswith("distributed-llama"):
        return Runner("llamacpp")
    if lower.startswith("tensorrt edge"):
        return Runner("trtllm", frozenset(("edge",)))
    if lower.startswith("tensorrt"):
        early = re.search(r" 0\.(\d+)", lower)
        return Runner("trtllm", frozenset(("eager",)) if early and int(early[1]) < IN_FLIGHT else frozenset())
    if lower.startswith("vllm"):
        return Runner("vllm", frozenset(("eager",)) if date and date < CAPTURED else frozenset())
    if lower.startswith("sglang"):
        return Runner("sglang")
    raise UnsupportedError(f"the speed of {word} is not known: nothing of it was measured")


IN_FLIGHT = 10
"""From 0.10 on TensorRT-LLM's tables are of in-flight batching; before, of static batches of gptSessionBenchmark (perf-overview.md)."""
CAPTURED = "2023-12"
"""From when on vLLM captures decoding as CUDA graphs (0.2.3)."""


def card_of(word: str) -> Card:
    """The card of a cell; sizes of memory and numbers of cores behind its name are not part of it."""
    name = word.strip().lower()
    tries = [CARDS.get(name, name), re.sub(r" \d+gb$", "", name), re.sub(r"( \d+c)? \d+gb$", "", name)]
    tries += [re.sub(r"^mac (studio|mini) ", "", each) for each in tries[1:]]
    if name.startswith("raspberry pi 5"):
        tries.append("raspberry-pi-5-16-gb")
    for each in tries:
        try:
            return find_card(each.strip())[0]
        except OomlessError:
            continue
    raise UnsupportedError(f"card {word!r} is not in the catalogue")


def split_of(word: str, num_gpus: int, per_node: int, engine: str) -> Split:
    """TP8, TP8+EP, TP8 DP8, TP8 + DP attention, EP16, TP8 PP2, PP8, layer split; "-" is one card."""
    sizes = {axis: int(size) for axis, size in re.findall(r"(TP|PP|DP|EP)(\d+)", word)}
    tp, pp, dp = sizes.get("TP", 1), sizes.get("PP", 1), sizes.get("DP", 1)
    if "from memory" in word or "disaggregated" in word:
        raise Incomplete(f"how many cards prefill and how many decode is not given ({word})")
    if "layer split" in word:
        return Split(pp=num_gpus, per_node=per_node, overlaps_stages=False)
    if "EP" in sizes and "TP" not in sizes:  # every card has its own sequences and some of the experts
        ranks = sizes["EP"]
        return Split(dp=ranks, expert_ranks=ranks, experts_whole=True, per_node=per_node)
    if "DP attention" in word or (dp > 1 and tp == dp == num_gpus):
        return Split(dp=tp, expert_ranks=tp, per_node=per_node)
    whole = "+EP" in word
    if whole and engine == "trtllm":  # its recipes for maximum throughput divide sequences over the cards that divide the experts
        return Split(dp=tp, expert_ranks=tp, experts_whole=True, per_node=per_node)
    if tp * pp * dp == 1 and num_gpus > 1:
        raise Incomplete(f"how {num_gpus} cards share the model is not given")
    over = 1 if "Ethernet" in word else per_node
    return Split(tp, pp, dp, tp * dp, whole, over)


def network_of(row: dict[str, str]) -> tuple[Network, bool]:
    """The model's sums, and whether its config is known; else a model of that size."""
    word = row["model"].strip().lower()
    name = word if word in SHAPES else catalogue_name(MODELS.get(word, word))
    quant = row["quant"].split(" (")[0]
    given = float(row["weight_bytes_gb"]) * GB if row["weight_bytes_gb"] else None
    if name is None:
        params = float(row["params_b"]) * GB  # billions
        active = float(row["active_params_b"] or row["params_b"]) * GB
        return unnamed(row["model"], params, active, bits_of(quant, given, params)), False
    model = build(SHAPES[name], row["model"], "its published config") if name in SHAPES else load(name)
    net = network(model, _quantization(quant, model, "llama" in row["engine"].lower()))
    mean = re.search(r"([\d.]+)bpw", quant)
    if mean and abs(float(mean[1]) * float(row["params_b"]) * GB / 8 / _total_bytes(net) - 1) > NOMINAL:
        return _scaled(net, float(mean[1]) * float(row["params_b"]) * GB / 8 / _total_bytes(net)), True
    return net, True


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
"""Models of the tables that the catalogue lacks: GPT-J has the matrices of a GPT-NeoX of its size."""
NOMINAL = 0.1
"""A file's mean bits within this of what its type gives are that type's own; further off, the mix was chosen by hand."""


def _total_bytes(net: Network) -> float:
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    return sum(each.bytes for each in (*net.cut, *net.whole, net.head)) + net.embedding_bytes + routed


def _scaled(net: Network, ratio: float) -> Network:
    """A network whose file is smaller or larger than its type says; mixes chosen by hand spare or spend on routed experts first."""
    if not net.experts:
        return net._replace(cut=tuple(each._replace(bytes=each.bytes * ratio) for each in net.cut))
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    share = max(1 + (ratio - 1) * _total_bytes(net) / routed, 0.1)
    return net._replace(experts=tuple(each._replace(bytes_each=each.bytes_each * share) for each in net.experts))


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
BITS = {"BF16": 16, "F16": 16, "FP16": 16, "FP8": 8, "INT8": 8, "W8A8": 8, "FP4": 4.5, "NVFP4": 4.5, "INT4": 4.25, "MXFP4": 4.25}
BITS |= {"Q8_0": 8.5, "Q4_K": 4.85, "Q4_0": 4.5, "Q4": 4.85}
"""Bits a value with its scales; K-quant files mix types: 4.85 is the mean of Q4_K_M files of 7 to 70 billion values."""


def bits_of(quant: str, given: float | None, params: float) -> float:
    """Bits a value of a model without config: of the file's size, or of the format's name."""
    if given:
        return given * 8 / params
    named = re.search(r"([\d.]+)bpw", quant)
    if named:
        return float(named[1])
    for word, bits in BITS.items():
        if word in quant:
            return bits
    raise Incomplete(f"how many bits {quant} takes is not given")


def _first(asked: SpeedRow, together: bool) -> float:
    """Seconds to the first token: of a batch of prompts that run as one, the mean of all that come at once, or of a steady stream."""
    if asked.prompts:
        served = at_once(asked)
        return sum(one[0] for one in served) / len(served)
    if not together and asked.batch and asked.batch > 1:
        return speed_of(asked.setup, asked.input_len, max(asked.output_len, 1), asked.batch, room(asked)).ttft_s.value
    return prompt_pass(asked.setup, asked.input_len, asked.batch or 1).seconds


def _between(asked: SpeedRow) -> float:
    """Seconds between two tokens."""
    if asked.prompts:
        served = at_once(asked)
        return sum(one[1] for one in served) / len(served)
    if asked.batch is None:
        raise Incomplete("how many requests run at once is not given")
    if asked.batch == 1:
        return decode_pass(asked.setup, 1, asked.input_len + asked.output_len / 2).seconds
    return speed_of(asked.setup, asked.input_len, asked.output_len, asked.batch, room(asked)).tpot_s.value


def _rate(asked: SpeedRow, metric: str, quantity: str) -> float:
    """Tokens a second of all cards."""
    batch = asked.batch
    if quantity == "prefill":
        if metric == "prefill" and batch:
            one_by_one = "edge" in asked.setup.run.conditions  # its batches of prompts take as long as one after the other
            together = 1 if one_by_one else batch
            return asked.input_len * together / prompt_pass(asked.setup, asked.input_len, together).seconds
        tokens = max(FULL_STEP, asked.input_len)
        return tokens / prompt_pass(asked.setup, asked.input_len, tokens / asked.input_len).seconds
    if quantity == "decode" and batch:
        return batch / decode_pass(asked.setup, batch, asked.input_len + asked.output_len / 2).seconds
    if quantity == "decode" and not asked.prompts:
        raise Incomplete("how many sequences an agreed latency allows is not given")
    if asked.prompts:
        total = asked.prompts * (asked.input_len + asked.output_len)
        rate = total / max(one[2] for one in at_once(asked))
        return rate if metric.startswith("total") else rate * asked.output_len / (asked.input_len + asked.output_len)
    if batch and batch > 1 and "load" not in metric and asked.setup.run.conditions >= {"eager"}:
        rate = static_rate(asked, batch)
    elif batch is None and (num := REQUESTS.get((asked.input_len, asked.output_len))):
        rate = finite_rate(asked, num)
    else:
        rate = speed_of(
            asked.setup, asked.input_len, asked.output_len, batch or MAX_BATCH * asked.setup.split.dp, room(asked)
        ).tokens_per_s.value
    if metric.startswith("total"):
        rate *= (asked.input_len + asked.output_len) / asked.output_len
    return rate


FULL_STEP = 16384
"""Tokens of a step where prompts alone are served as fast as they can be."""
MAX_BATCH = 2048
"""max_batch_size of trtllm-serve and trtllm-bench where nothing else is said (docs of 1.0)."""


REQUESTS = {
    (128, 128): 30000,
    (128, 2048): 3000,
    (128, 4096): 1500,
    (2048, 128): 3000,
    (2048, 2048): 1500,
    (5000, 500): 1500,
    (1000, 1000): 3000,
    (500, 2000): 3000,
    (20000, 2000): 1000,
}
"""Requests of a run of trtllm-bench under maximum load, by input and output (TensorRT-LLM, perf-overview.md: $num_requests)."""


def finite_rate(asked: SpeedRow, num: int) -> float:
    """Output tokens a second of a run of `num` equal requests that are all there at once.

    Equal requests start and end in waves: as many as there is room for, and what is left over in a last wave, which takes its
    steps as well. rate = num x output / (whole waves x time of a full one + time of the last); a wave of b takes b x output / rate(b).
    """
    places = min(float(MAX_BATCH * asked.setup.split.dp), float(num))

    def rate(batch: float) -> float:
        return speed_of(asked.setup, asked.input_len, asked.output_len, batch, room(asked)).tokens_per_s.value

    full = speed_of(asked.setup, asked.input_len, asked.output_len, places, room(asked))
    waves, rest = divmod(num, max(int(full.running), 1))
    seconds = waves * int(full.running) / full.tokens_per_s.value + (rest / rate(float(rest)) if rest else 0.0)
    return num / seconds


def static_rate(asked: SpeedRow, batch: int) -> float:
    """Output tokens a second of one batch that starts and ends together, as gptManagerBenchmark's static batches of 2023."""
    prompt = prompt_pass(asked.setup, asked.input_len, batch).seconds
    steps = max(asked.output_len - 1, 1)
    decode = decode_pass(asked.setup, batch, asked.input_len + asked.output_len / 2).seconds * steps
    return batch * asked.output_len / (prompt + decode)


def _share(asked: SpeedRow, metric: str) -> float:
    """What part of all cards the metric counts."""
    if "per GPU" in metric or "per NPU" in metric:
        return 1 / asked.num_gpus
    if "per node" in metric or "per 8-GPU node" in metric:
        return min(asked.card.gpus_per_node / asked.num_gpus, 1.0)
    return 1.0


FREE_SHARE = 0.9
"""free_gpu_memory_fraction of TensorRT-LLM: of what the weights leave; gpu_memory_utilization of vLLM: of everything."""
STATIC_SHARE = 0.88
"""mem_fraction_static of SGLang on large cards: weights and cache; graphs and activations lie in the rest."""
SET_ASIDE_BYTES = 3000 * MIB
"""Contexts, graphs and workspaces of a rank: 2 to 4 GiB in engine logs (facts/engines.csv)."""


LOGITS_COPIES = 3
"""Of max_batch_size rows of the vocabulary in FP32, for which TensorRT-LLM sets memory aside: the model's, the decoder's, sampling's."""


def room(asked: SpeedRow) -> float:
    """Sequences of full length for which the cards have room."""
    setup = asked.setup
    weights, whole = resident_bytes(setup.net, setup.split), asked.card.memory_bytes
    match setup.run.engine:
        case "trtllm":
            logits = LOGITS_COPIES * MAX_BATCH * setup.net.vocab * 4
            free = (whole - weights - SET_ASIDE_BYTES - logits) * FREE_SHARE
        case "sglang":
            free = whole * STATIC_SHARE - weights
        case _:
            free = whole * FREE_SHARE - weights - SET_ASIDE_BYTES
    each = cache_bytes_per_token(setup.net, setup.split, setup.cache_bits) * (asked.input_len + asked.output_len)
    return max(free, each) / each * setup.split.dp


def at_once(asked: SpeedRow) -> list[tuple[float, float, float]]:
    """(first token, between tokens, end) of requests that arrive together."""
    assert asked.prompts
    length = asked.input_len + asked.output_len
    places = min(int(room(asked)), RUNNING.get(asked.setup.run.engine, 256) * asked.setup.split.dp)
    policy = Policy(max(int(room(asked) * length), length + 16), max(places, 1), asked.setup.budget)
    requests = [Request(0.0, asked.input_len, asked.output_len)] * asked.prompts
    done = simulate(requests, step_cost(asked.setup), policy)
    return [(one.ttft_s, one.tpot_s, one.finished_s) for one in done.served]


RUNNING = {"vllm": 1024, "sglang": 4096, "trtllm": 2048}
"""Sequences at once: max_num_seqs of vLLM on large cards (engines.csv), as many as the cache holds in SGLang."""


def _memory(asked: SpeedRow) -> Interval:
    """Megabytes of weights and cache."""
    setup = asked.setup
    tokens = (asked.batch or 1) * (asked.input_len + asked.output_len)
    used = resident_bytes(setup.net, setup.split) + tokens * cache_bytes_per_token(setup.net, setup.split, setup.cache_bits)
    return used / MB, used / MB * 0.85, used / MB * 1.3
