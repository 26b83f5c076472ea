"""What the model of speed/ gives for a measured speed row, in the row's own unit: as the page that it stands
on measured.

Most rows say less than a command line: no release, no batch limit, no share of memory. What is missing is
taken as the benchmark's harness has it (module constants below).
"""

from ..engines.speed_classes import speed_class
from ..model.attention import Sliding
from ..speed.attention_work import cache_bytes_per_token
from ..speed.band import Kind, spread
from ..speed.batching import Policy, Request, simulate
from ..speed.cost import step_cost
from ..speed.efficiency import SHIPPED, Efficiencies
from ..speed.matrices import resident_bytes
from ..speed.serving import decode_pass, front_s, places, prompt_pass, speed_of
from ..units import MB, MIB
from .speed_rows import SpeedRow, question
from .speed_training_rows import predict_training_rate
from .speed_workload import Sent, requests_of
from .tables import Incomplete

Interval = tuple[float, float, float]


def predict_speed(
    row: dict[str, str], quantity: str, unit: str, efficiencies: Efficiencies = SHIPPED
) -> Interval:
    """The value of a row in its own unit, with its band."""
    if quantity == "training":
        return predict_training_rate(row, unit)
    if quantity != "memory" and quantity not in KINDS:
        raise Incomplete(f"{quantity!r} is no kind of speed")
    asked = question(row, efficiencies)
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


KINDS: dict[str, Kind] = {
    "decode": "decode",
    "prefill": "prefill",
    "serving": "serving",
    "throughput": "throughput",
}


def need(asked: SpeedRow, *what: str) -> None:
    """Stop where a row measures prompts or answers and gives them no length."""
    for name, length in (("prompts", asked.input_len), ("answers", asked.output_len)):
        if name in what and not length:
            raise Incomplete(f"how long {name} are is not given")


def _first(asked: SpeedRow, together: bool) -> float:
    """Seconds to the first token: of a batch of prompts that run as one, the mean of all that come at once,
    or of a steady stream."""
    need(asked, "prompts")
    if asked.sent:
        served = at_once(asked)
        return sum(one[0] for one in served) / len(served)
    if not together and asked.batch and asked.batch > 1:
        return speed_of(
            asked.setup, asked.input_len, max(asked.output_len, 1), asked.batch, room(asked)
        ).ttft_s.value
    alone = prompt_pass(asked.setup, asked.input_len, asked.batch or 1).seconds
    return alone if together else alone + front_s(asked.setup)


def _between(asked: SpeedRow) -> float:
    """Seconds between two tokens."""
    if asked.batch != 1:
        need(asked, "prompts", "answers")
    if asked.sent:
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
        need(asked, "prompts")
        if metric == "prefill" and batch:
            one_by_one = (
                "edge" in asked.setup.run.conditions
            )  # its batches of prompts take as long as one after the other
            together = 1 if one_by_one else batch
            return asked.input_len * together / prompt_pass(asked.setup, asked.input_len, together).seconds
        tokens = max(FULL_STEP, asked.input_len)
        return tokens / prompt_pass(asked.setup, asked.input_len, tokens / asked.input_len).seconds
    if quantity == "decode" and batch:
        return batch / decode_pass(asked.setup, batch, asked.input_len + asked.output_len / 2).seconds
    if quantity == "decode" and not asked.sent:
        raise Incomplete("how many sequences an agreed latency allows is not given")
    need(asked, "prompts", "answers")
    if asked.sent:
        drawn = requests_of(long_enough(asked, asked.sent), asked.input_len, asked.output_len)
        out = sum(one.output_tokens for one in drawn)
        tokens = out + sum(one.prompt_tokens for one in drawn) if metric.startswith("total") else out
        return tokens / max(one[2] for one in served_of(asked, drawn))
    if batch and batch > 1 and "load" not in metric and asked.setup.run.conditions >= {"eager"}:
        rate = static_rate(asked, batch)
    elif batch is None and (num := REQUESTS.get((asked.input_len, asked.output_len))):
        rate = finite_rate(asked, num)
    else:
        rate = speed_of(
            asked.setup,
            asked.input_len,
            asked.output_len,
            batch or MAX_BATCH * asked.setup.split.dp,
            room(asked),
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
    (1024, 1024): 3000,
    (8192, 1024): 1500,
    (1024, 8192): 1500,
    (32768, 1024): 1000,
    (1024, 32768): 1000,
}
"""Requests of a run of trtllm-bench under maximum load, by input and output (TensorRT-LLM, perf-overview.md:
$num_requests)."""


def finite_rate(asked: SpeedRow, num: int) -> float:
    """Output tokens a second of a run of `num` equal requests that are all there at once.

    Equal requests start and end in waves: as many as there is room for, and what is left over in a last wave,
    which takes its steps as well. rate = num x output / (whole waves x time of a full one + time of the
    last); a wave of b takes b x output / rate(b).
    """
    places = min(float(MAX_BATCH * asked.setup.split.dp), float(num))

    def rate(batch: float) -> float:
        return speed_of(asked.setup, asked.input_len, asked.output_len, batch, room(asked)).tokens_per_s.value

    full = speed_of(asked.setup, asked.input_len, asked.output_len, places, room(asked))
    waves, rest = divmod(num, max(int(full.running), 1))
    seconds = waves * int(full.running) / full.tokens_per_s.value + (
        rest / rate(float(rest)) if rest else 0.0
    )
    return num / seconds


SHORTEST_S = 600.0
"""What a run of MLPerf lasts at least: its samples are sent again until then."""


def long_enough(asked: SpeedRow, sent: Sent) -> Sent:
    """Return what was sent, with as many samples as a run of MLPerf needs."""
    if sent.spread != "reasoning":
        return sent
    steady = speed_of(asked.setup, asked.input_len, asked.output_len, sent.in_flight, room(asked))
    each_s = asked.output_len / steady.tokens_per_s.value
    return sent._replace(num=max(sent.num, round(SHORTEST_S / each_s)))


def static_rate(asked: SpeedRow, batch: int) -> float:
    """Output tokens a second of one batch that starts and ends together, as gptManagerBenchmark's static
    batches of 2023."""
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
"""free_gpu_memory_fraction of TensorRT-LLM: of what the weights leave; gpu_memory_utilization of vLLM: of
everything."""
STATIC_SHARE = 0.88
"""mem_fraction_static of SGLang on large cards: weights and cache; graphs and activations lie in the rest."""
SET_ASIDE_BYTES = 3000 * MIB
"""Contexts, graphs and workspaces of a rank: 2 to 4 GiB in engine logs (facts/engines.csv)."""


LOGITS_COPIES = 3
"""Of max_batch_size rows of the vocabulary in FP32, for which TensorRT-LLM sets memory aside: the model's,
the decoder's, sampling's."""


def room(asked: SpeedRow) -> float:
    """Sequences of full length for which the cards have room: by the engine's own account, else by the usual
    share of what the weights leave."""
    setup = asked.setup
    if asked.held and asked.held.kv_cache.max_tokens:
        return places(asked.held, asked.input_len + asked.output_len)
    weights, whole = resident_bytes(setup.net, setup.split), asked.card.memory_bytes
    match speed_class(setup.run.engine).pool:
        case "share of free":
            logits = LOGITS_COPIES * MAX_BATCH * setup.net.vocab * 4
            free = (whole - weights - SET_ASIDE_BYTES - logits) * FREE_SHARE
        case "static share":
            free = whole * STATIC_SHARE - weights
        case "share of card":
            free = whole * FREE_SHARE - weights - SET_ASIDE_BYTES
    each = cache_bytes_per_token(setup.net, setup.split, setup.cache_bits) * (
        asked.input_len + asked.output_len
    )
    return max(free, each) / each * setup.split.dp


def at_once(asked: SpeedRow) -> list[tuple[float, float, float]]:
    """(first token, between tokens, end) of the requests of a run that ends."""
    assert asked.sent
    return served_of(asked, requests_of(asked.sent, asked.input_len, asked.output_len))


def served_of(asked: SpeedRow, requests: list[Request]) -> list[tuple[float, float, float]]:
    """(first token, between tokens, end) of requests: those that a client keeps back wait as those do that
    have no place."""
    assert asked.sent
    setup, longest = asked.setup, max(one.prompt_tokens + one.output_tokens for one in requests)
    most = asked.held.request.max_num_seqs if asked.held else None
    running = (most or speed_class(setup.run.engine).running) * setup.split.dp
    windows = asked.held is not None and asked.held.model.kinds.has(Sliding)
    tokens = asked.held.kv_cache.max_tokens * setup.split.dp if asked.held and not windows else 0
    length = asked.input_len + asked.output_len
    kind = speed_class(setup.run.engine)
    policy = Policy(
        max(tokens or int(room(asked) * length), longest + 16),  # engines may count windows as whole layers
        max(min(running, asked.sent.in_flight), 1),
        setup.budget,
        mixed=kind.mixes_prompts,
        kept_free=kind.keeps_free_of_groups if setup.split.dp > 1 else kind.keeps_free,
        groups=setup.split.dp,
        micro_batches=setup.micro_batches,
    )
    done = simulate(requests, step_cost(setup), policy)
    return [(one.ttft_s, one.tpot_s, one.finished_s) for one in done.served]


def _memory(asked: SpeedRow) -> Interval:
    """Megabytes of weights and cache."""
    setup = asked.setup
    tokens = (asked.batch or 1) * (asked.input_len + asked.output_len)
    used = resident_bytes(setup.net, setup.split) + tokens * cache_bytes_per_token(
        setup.net, setup.split, setup.cache_bits
    )
    return used / MB, used / MB * 0.85, used / MB * 1.3
