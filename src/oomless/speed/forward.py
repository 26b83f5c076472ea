"""One forward pass of the slowest rank, in seconds: weights, matrix units, cache, communication, kernels,
host - each a part."""

from functools import cache, partial

from ..engines.speed_classes import speed_class
from ..facts import select
from ..kept import Kept
from .attention_work import attention_seconds, attention_work
from .band import TimePart
from .collectives import all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from .kernel_curves import NONE, curves_of
from .load import ForwardPass, Load, Runner, Split
from .machine import Machine
from .matrices import (
    Matrices,
    beyond_reading_s,
    experts_of_rank,
    generation,
    matrices_of,
    matrix_kind,
    reading_s,
)
from .network import Network
from .steady import added, hidden

_KNOWN = Kept[ForwardPass](most=2048)


def forward(net: Network, machine: Machine, split: Split, run: Runner, load: Load) -> ForwardPass:
    """Return the time of a pass, made once: settings of one engine that differ in room have the same."""
    known = machine, split, run, load
    return _KNOWN.of(net, known, lambda: timed_pass(net, machine, split, run, load))


def timed_pass(net: Network, machine: Machine, split: Split, run: Runner, load: Load) -> ForwardPass:
    """Return the time of a pass. A host that launches kernels one by one is hidden in part, and a pass waits
    for its pipeline stages; on a card of which no speed was measured it is the hardware's best."""
    if machine.device == "other":
        return roofline(machine, net, split, load, matrices_of(net, split, load))
    engine, conditions = run.engine, run.conditions | generation(machine)
    if load.prompt_tokens:
        conditions |= {"prompts"}
    tokens, everywhere, cite = load.of_group(split), load.tokens, machine.efficiencies.cite
    measured = curves_of(machine, run)
    if measured:
        multiplied = measured.of_pass(net, split, load)
        weights_s, matrix_s = multiplied.reading_s, multiplied.beyond_s
    else:
        multiplied = NONE
        kind = speed_class(run.engine)
        fills = machine.device in ("gddr", "hbm") or not kind.multiplies_vectors
        tile = partial(kind.tile, run.conditions)
        matrices = matrices_of(net, split, load, tile) if fills else matrices_of(net, split, load)
        weights_s = reading_s(matrices, machine, engine, conditions)
        matrix_s = beyond_reading_s(matrices, machine, engine, conditions, tokens, weights_s)
    work = attention_work(net, split, load)
    cache_s, attention_s = attention_seconds(work, machine, engine, conditions)
    passes = machine.reached("passes", engine, conditions)
    activations_s = activation_s(net, machine, split, engine, conditions, tokens, everywhere)
    joined, joining_s = communication(net, machine, split, engine, tokens, everywhere)
    kernels = num_kernels(net, engine, conditions)
    rest = max(kernels - multiplied.num_kernels, 0)
    kernels_s = rest * machine.reached("kernel", engine, conditions) + multiplied.floors_s
    routing_s = routing(net, machine, split, engine, conditions, load)
    device_s = weights_s + matrix_s + joining_s + activations_s + cache_s + attention_s
    device_s += kernels_s + routing_s
    launched = conditions | {"prompts"} if 0 < run.captured < load.sequences / split.dp else conditions
    launches_s = bare_launches_s(machine, engine, launched, kernels, device_s)
    seconds = device_s + launches_s
    sequences, each_s = load.sequences / split.dp, machine.reached("host_sequence", engine, conditions)
    host_s = machine.reached("host", engine, conditions) + each_s * sequences
    sends_s = stages_s(net, machine, split, tokens)
    flops = f"{work.decode_flops + work.prompt_flops + work.index_flops:.3g} operations"
    parts = [
        TimePart("weights", weights_s, f"bytes read / {REACHED}", cite("weights")),
        TimePart("matrix units", matrix_s, "operations / (peak x share reached)", cite("matrix", "unpack")),
        TimePart("cache", cache_s, f"{work.cache_bytes:,.0f} B / {REACHED}", cite("cache")),
        TimePart("attention", attention_s, f"{flops} / {ATTENDING}", cite("attention")),
        TimePart("activations", activations_s, f"{passes:g} {RESIDUAL}", cite("passes")),
        TimePart("collectives", joining_s, joined, "speed/collectives.py"),
        TimePart("kernels", kernels_s, f"{kernels} kernels", cite("kernel")),
        TimePart("routing", routing_s, ROUTED, cite("sorting", "kernel")),
        TimePart("launches", launches_s, f"{kernels} {LAUNCHED}", cite("launch")),
        TimePart("host", host_s, "scheduling, sampling, detokenising", cite("host")),
        TimePart("stages", sends_s, f"{split.pp - 1} sends between pipeline stages", "speed/collectives.py"),
    ]
    stage_s = seconds / split.pp + host_s + sends_s / max(split.pp - 1, 1)
    seconds += host_s + sends_s
    streamed_s = sequences * machine.reached("stream", engine, conditions)
    if streamed_s > seconds:
        words = f"{sequences:,.0f} tokens leave one process, beyond the pass"
        parts.append(TimePart("streams", streamed_s - seconds, words, cite("stream")))
        seconds, stage_s = streamed_s, max(stage_s, streamed_s)
    return ForwardPass(tuple(part for part in parts if part.seconds > 0), seconds, stage_s, host_s)


def roofline(machine: Machine, net: Network, split: Split, load: Load, matrices: Matrices) -> ForwardPass:
    """Return the least time of a pass, which no software can beat: reading everything or computing
    everything, whichever takes longer."""
    attention = attention_work(net, split, load)
    flops = attention.decode_flops + attention.prompt_flops
    num_bytes = added(read.num_bytes for read in matrices.reads) + attention.cache_bytes
    bytes_s = num_bytes / machine.bytes_per_s
    rates = [
        *((each.flops, machine.peak(matrix_kind(each.form, machine))) for each in matrices.products),
        (flops, machine.peak("bf16")),
    ]
    matrix_s = added(operations / rate for operations, rate in rates if rate)
    parts = [TimePart("memory", bytes_s, f"{num_bytes:,.0f} B at the full bandwidth", "hardware.csv")]
    if matrix_s > bytes_s:
        formula = "operations at the full rate, beyond reading"
        parts.append(TimePart("matrix units", matrix_s - bytes_s, formula, "hardware.csv"))
    seconds = max(bytes_s, matrix_s)
    return ForwardPass(tuple(parts), seconds, seconds / split.pp)


def hyper_connected(net: Network) -> int:
    """Return the layers that mix several residual streams."""
    return sum(count for kind, count in net.kinds if kind in HYPER_CONNECTED)


def bare_launches_s(
    machine: Machine, engine: str, conditions: frozenset[str], kernels: int, device_s: float
) -> float:
    """Return the seconds by which launches are longer than what a queue of them hides behind kernels:
    (kernels^p + launches^p)^(1/p) - kernels."""
    launches_s = kernels * machine.reached("launch", engine, conditions)
    hiding = machine.reached("hiding", engine, conditions)
    return hidden(device_s, launches_s, hiding) - device_s


REACHED = "(bandwidth x share reached)"
SENT_EACH_WAY = 0.75
"""Of 16 bit, what tokens take on the way to their experts and back: out in FP8, back in BF16
(deepseek-ai/DeepEP, README)."""
ATTENDING = "(peak x share reached), decoding beside reading"
RESIDUAL = "passes over the residual stream a layer"
ROUTED = "tokens sorted by expert on the host, experts multiplied one by one"
LAUNCHED = "launches by the host, hidden in part"
HYPER_CONNECTED = ("v4", "v41")
"""Kinds of layers with several residual streams, which every rank mixes whole."""


def activation_s(
    net: Network,
    machine: Machine,
    split: Split,
    engine: str,
    conditions: frozenset[str],
    tokens: float,
    everywhere: float,
) -> float:
    """Return the seconds in which activations move: those of every layer, and of layers with several
    residual streams what mixing them reads and writes."""
    passes, cut, routed, hyper = (
        machine.reached(each, engine, conditions)
        for each in ("passes", "cut_passes", "expert_passes", "hyper_passes")
    )
    moved = net.num_layers * passes * tokens * net.hidden * 2 * (1 - cut + cut / split.tp)
    moved += routed * routed_values(net, split, everywhere) * 2
    moved += hyper_connected(net) * hyper * tokens * net.hidden * 2
    return moved / (machine.bytes_per_s * machine.efficiencies.value("weights", "hbm"))


def routed_values(net: Network, split: Split, tokens: float) -> float:
    """Return the values of the rows that go to experts and come from them."""
    whole = split.expert_ranks if split.experts_whole else 1
    return added(
        each.num_layers
        * each.num_active
        * tokens
        / whole
        * (each.hidden + each.width * whole / split.expert_ranks)
        for each in net.experts
    )


def num_kernels(net: Network, engine: str, conditions: frozenset[str]) -> int:
    """Return the kernels of a pass: those of each kind of block, of some families counted on their own, and
    the head and the sampler."""
    holds = conditions | {net.family}

    of_kind = {kind: kernels_of(engine, kind, holds) for kind, _ in net.kinds}
    more = net.more_norms * kernels_of(engine, "norm", holds)
    more += net.biases * kernels_of(engine, "bias", holds)
    return int(sum(count * of_kind[kind] for kind, count in net.kinds) + more) + HEAD_KERNELS


@cache
def kernels_of(engine: str, block: str, conditions: frozenset[str]) -> float:
    """Return the kernels that an engine runs for a kind of block."""
    return select("kernels", (engine, block), conditions).constant.value


HEAD_KERNELS = 10
"""Embedding, last norm, head, softmax, sampling."""


MATRICES = 3
"""Gate, up and down, each sorted for anew."""


def routing(
    net: Network, machine: Machine, split: Split, engine: str, conditions: frozenset[str], load: Load
) -> float:
    """Return the seconds that a pass spends on sorting and on kernels around each expert's products.

    layers x 3 x (wait for the host + experts x tokens x active x time of a comparison + experts met x kernels
    x time of one).
    """
    wait_s = machine.reached("choice_wait", engine, conditions)
    comparison_s = machine.reached("sorting", engine, conditions)
    around = select("kernels", (engine, "expert"), conditions).constant.value
    kernel_s = around * machine.reached("kernel", engine, conditions)
    if not wait_s:
        return 0.0
    tokens = load.tokens
    return added(
        each.num_layers
        * MATRICES
        * (
            wait_s
            + each.num_experts * tokens * each.num_active * comparison_s
            + experts_of_rank(each, split, tokens) * kernel_s
        )
        for each in net.experts
    )


SUMS_OF_SQUARES = 8
"""Bytes of a token: one FP32 sum of its queries and one of its keys, which ranks add up in one all-reduce
(sgl-project/sglang#14416, vllm-project/vllm#31493)."""


def communication(
    net: Network, machine: Machine, split: Split, engine: str, tokens: float, everywhere: float
) -> tuple[str, float]:
    """Return (in words, seconds): two all-reduces a layer under tensor parallelism; tokens to experts and
    back where groups of sequences share them."""
    if split.tp == 1 and split.expert_ranks == 1:
        return "", 0.0
    message = tokens * net.hidden * 2
    inside = fabric(machine, split.tp, split.per_node)
    if not speed_class(engine).reduces_in_switch:
        inside = inside._replace(adds=False)
    moe_layers = sum(experts.num_layers for experts in net.experts)
    total, words = 0.0, []
    if split.tp > 1:
        count = 2 * net.num_layers - (moe_layers if split.dp > 1 else 0)
        total += count * all_reduce_s(inside, message)
        words.append(f"{count} all-reduces of {message:,.0f} B over {split.tp}")
        if net.joint_norms:
            total += net.joint_norms * all_reduce_s(inside, tokens * SUMS_OF_SQUARES)
            words.append(f"{net.joint_norms} of sums of squares of queries and keys")
    if split.dp > 1 and moe_layers and split.expert_ranks > 1:
        group = fabric(machine, split.expert_ranks, split.per_node)
        whole = everywhere * net.hidden * 2
        if split.experts_whole:
            active = net.experts[0].num_active
            sent = tokens / split.tp * active * net.hidden * 2
            total += moe_layers * min(
                2 * all_to_all_s(group, SENT_EACH_WAY * sent), gather_s(group, whole) * 2
            )
            words.append(f"{moe_layers} x tokens to {active} experts and back")
        else:
            total += moe_layers * 2 * gather_s(group, whole)
            words.append(f"{moe_layers} all-gathers and reduce-scatters of {whole:,.0f} B")
    return ", ".join(words), total


def stages_s(net: Network, machine: Machine, split: Split, tokens: float) -> float:
    """Return the seconds of sending hidden states from one pipeline stage to the next, over all stages."""
    if split.pp <= 1:
        return 0.0
    line = fabric(machine, split.pp, 1 if split.tp >= split.per_node else split.per_node)
    return (split.pp - 1) * send_s(line, tokens * net.hidden * 2)
