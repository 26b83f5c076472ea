"""One forward pass of the slowest rank, in seconds: weights, matrix units, cache, collectives, kernels, host
- each a part."""

from math import exp, log
from typing import NamedTuple

from .banded import Part
from .collectives import Fabric, all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from .efficiency import value
from .machine import Machine
from .network import Cache, Experts, Network, tokens_read


class Split(NamedTuple):
    """How ranks divide the work."""

    tp: int = 1
    """Ranks that divide a matrix."""
    pp: int = 1
    dp: int = 1
    """Groups that divide the sequences."""
    expert_ranks: int = 1
    """Ranks that divide the routed experts of a layer."""
    experts_whole: bool = False
    """Expert parallelism: a rank holds whole experts; else a slice of each."""
    per_node: int = 8
    overlaps_stages: bool = True
    """Stages work at once on other micro-batches; llama.cpp's single stream cannot."""


class Runner(NamedTuple):
    """What runs the model, as the rows of speed.csv call it."""

    engine: str
    conditions: frozenset[str] = frozenset()


class Load(NamedTuple):
    """What one pass has to do, over all data-parallel groups."""

    sequences: float = 0.0
    """Sequences that get one new token each."""
    context: float = 0.0
    """Tokens that each of them has already."""
    prompt_tokens: float = 0.0
    prompt_length: float = 0.0
    """Length of the prompts that these tokens are of: half of it is their mean context."""
    groups: float = 0.0
    """Data-parallel groups that share the prompts: with few prompts at once some groups have one and others
    wait for them; 0: all."""
    cache_bits: int = 16


class Pass(NamedTuple):
    """A forward pass: its parts, and its time."""

    parts: tuple[Part, ...]
    seconds: float
    stage_s: float
    """Time of the slowest pipeline stage: what a full pipeline gives one micro-batch of."""


def matrix_kind(form: str, machine: Machine) -> str:
    """The type in which a matrix of a storage type is multiplied on a card: FP8 and FP4 natively where it
    can, else 16 bit."""
    rates = dict(machine.flops_per_s)
    if form.startswith("fp8") and "fp8" in rates:
        return "fp8"
    if form.startswith("int8, one f32 scale a row") and "bitsandbytes" not in form and "int8" in rates:
        return "int8"
    if form.startswith("fp4 1x16") and "fp4" in rates:
        return "fp4"
    return "bf16" if "bf16" in rates else "fp32"


def block_kind(form: str) -> str:
    """kquant for GGUF types with scales within scales, which take more work to unpack; else plain, fp8 or
    quantised."""
    return "kquant" if form.endswith("_k") or form.startswith("iq") else storage_kind(form)


def generation(machine: Machine) -> frozenset[str]:
    """The words by which rows of speed.csv tell cards of one class apart: the architecture, or Apple's
    generation and two dies;

    lean: a card cut in matrix units that keeps its memory, caches and power, so that its units are hardly
    ever waiting (H20).
    """
    if machine.device == "apple":
        words = machine.name.lower().split(" ")
        return frozenset(words[:1] + [word for word in words[1:] if word == "ultra"])
    lean = machine.device == "hbm" and machine.peak("bf16") < LEAN_FLOPS_PER_BYTE * machine.bytes_per_s
    return frozenset((machine.architecture.lower().split(" ")[0], *(("lean",) if lean else ())))


LEAN_FLOPS_PER_BYTE = 60
"""16-bit operations a byte of memory: 37 on the H20, 139 on a V100, 153 on an A100, 295 on an H100."""


def storage_kind(form: str) -> str:
    """fp16, fp8, or quantised: what reading a matrix costs beside its bytes."""
    if form.startswith(("bfloat16", "float16", "float32", "bf16", "f16", "f32")):
        return "plain"
    return "fp8" if form.startswith("fp8") else "quantised"


def touched(experts: float, active: float, tokens: float) -> float:
    """Expected number of distinct experts that `tokens` tokens visit, each `active` of `experts` at random.

    experts x (1 - (1 - active / experts) ^ tokens). Real routers are skewed, so fewer are met at small
    batches.

    >>> touched(256, 8, 1), round(touched(256, 8, 64), 1)
    (8.0, 222.4)
    """
    if tokens <= 0 or not experts:
        return 0.0
    return (
        float(experts * -_expm1(tokens * log(1 - active / experts))) if active < experts else float(experts)
    )


def _expm1(x: float) -> float:
    return exp(x) - 1


def forward(net: Network, machine: Machine, split: Split, run: Runner, load: Load) -> Pass:
    """The time of a pass. Reading weights and multiplying with them hide behind each other in part:
    (bytes^p + operations^p)^(1/p); in llama.cpp's kernels wholly. A host that launches kernels one by one
    is hidden in part."""
    device, engine = machine.device, run.engine
    conditions = run.conditions | generation(machine)
    groups = load.groups or split.dp
    tokens = load.sequences / split.dp + load.prompt_tokens / groups
    asked = (
        load.sequences / split.dp
        + (load.prompt_tokens / load.prompt_length if load.prompt_length else 0) / groups
    )
    everywhere = load.sequences + load.prompt_tokens
    bandwidth = machine.bytes_per_s

    read: list[tuple[float, float, str]] = []  # bytes, values, storage
    work: list[tuple[float, str, float]] = []  # operations, storage, 1 / columns of small matrices
    for group in (*((each, split.tp) for each in net.cut), *((each, 1) for each in net.whole)):
        weights, ranks = group
        read.append((weights.bytes / ranks, weights.params / ranks, weights.format))
        work.append((2 * weights.params / ranks * tokens, weights.format, 0.0))
    head = net.head
    read.append((head.bytes / split.tp, head.params / split.tp, head.format))
    work.append((2 * head.params / split.tp * asked, head.format, 0.0))
    for experts in net.experts:
        met = experts_of_rank(experts, split, everywhere)
        share = 1 if split.experts_whole else split.expert_ranks
        read.append(
            (
                experts.num_layers * met * experts.bytes_each / share,
                experts.num_layers * met * experts.params_each / share,
                experts.format,
            )
        )
        rows = everywhere * experts.num_active / split.expert_ranks
        work.append(
            (2 * experts.num_layers * experts.params_each * rows, experts.format, share / experts.width)
        )

    if device == "other":
        return roofline(machine, net, split, load, read, work)
    weights_s = sum(
        num / reading_rate(machine, engine, conditions | {block_kind(form)}) for num, _, form in read
    )
    matrix_s = 0.0
    tile = value("tile", device, engine, conditions)
    for operations, form, small in work:
        kind = matrix_kind(form, machine)
        peak = machine.peak(kind)
        reach = value("matrix", device, engine, conditions | {kind, storage_kind(form)})
        matrix_s += operations / peak * (1 / reach + tile * peak / bandwidth * small)
    if engine == "llamacpp":
        per_value = value("unpack", device, engine, conditions)
        if (
            per_value and tokens < MATRIX_TOKENS
        ):  # one token: vector units unpack and multiply, no matrix units
            vector = machine.peak("fp32")
            matrix_s = (
                sum(num for _, num, form in read if storage_kind(form) == "quantised") * per_value / vector
                if vector
                else 0.0
            )
        elif tokens < MATRIX_TOKENS:
            matrix_s = 0.0
    cache_bytes, attention_flops, prompt_flops = attention_work(net, split, load)
    cache_s = cache_bytes / (bandwidth * value("cache", device, engine, conditions))
    rate = machine.peak("bf16") * value("attention", device, engine, conditions)
    attention_s = prompt_flops / rate + max(
        attention_flops / rate - cache_s, 0.0
    )  # decoding reads while it computes
    passes = value("passes", device, engine, conditions)
    activations_s = activation_bytes(net, split, tokens, everywhere, passes) / (
        bandwidth * value("weights", "hbm")
    )
    joined, collectives_s = collectives(net, machine, split, engine, tokens, everywhere)
    kernels = num_kernels(net, run)
    kernels_s = kernels * value("kernel", device, engine, conditions)
    if engine == "llamacpp":
        matrix_s = max(matrix_s - weights_s, 0.0)  # what reading does not hide
    else:
        both = value("overlap", device, engine, conditions)
        matrix_s = (weights_s**both + matrix_s**both) ** (1 / both) - weights_s
    device_s = weights_s + matrix_s + collectives_s + activations_s + cache_s + attention_s + kernels_s
    launches_s = kernels * value("launch", device, engine, conditions)
    launches_s = (
        device_s**2 + launches_s**2
    ) ** 0.5 - device_s  # a queue of launches hides the more, the longer kernels take
    seconds = device_s + launches_s
    host_s = (
        value("host", device, engine, conditions)
        + value("host_sequence", device, engine, conditions) * load.sequences / split.dp
    )
    stage_s = seconds / split.pp
    sends_s = 0.0
    if split.pp > 1:
        line = fabric(machine, split.pp, 1 if split.tp >= split.per_node else split.per_node)
        sends_s = (split.pp - 1) * send_s(line, tokens * net.hidden * 2)
    seconds += host_s + sends_s
    parts = (
        Part("weights", weights_s, "bytes read / (bandwidth x share reached)", "speed.csv: weights"),
        Part("matrix units", matrix_s, "operations / (peak x share reached)", "speed.csv: matrix, unpack"),
        Part("cache", cache_s, f"{cache_bytes:,.0f} B / (bandwidth x share reached)", "speed.csv: cache"),
        Part(
            "attention",
            attention_s,
            f"{attention_flops + prompt_flops:.3g} operations / (peak x share "
            "reached), decoding beside reading",
            "speed.csv: attention",
        ),
        Part(
            "activations",
            activations_s,
            f"{passes:g} passes over the residual stream a layer",
            "speed.csv: passes",
        ),
        Part("collectives", collectives_s, joined, "speed/collectives.py"),
        Part("kernels", kernels_s, f"{kernels} kernels", "speed.csv: kernel"),
        Part("launches", launches_s, f"{kernels} launches by the host, hidden in part", "speed.csv: launch"),
        Part("host", host_s, "scheduling, sampling, detokenising", "speed.csv: host"),
        Part("stages", sends_s, f"{split.pp - 1} sends between pipeline stages", "speed/collectives.py"),
    )
    return Pass(
        tuple(part for part in parts if part.seconds > 0),
        seconds,
        stage_s + host_s + sends_s / max(split.pp - 1, 1),
    )


def roofline(
    machine: Machine,
    net: Network,
    split: Split,
    load: Load,
    read: list[tuple[float, float, str]],
    work: list[tuple[float, str, float]],
) -> Pass:
    """What no software can beat: every byte at the full bandwidth or every operation at the full rate,
    whichever takes longer."""
    cache_bytes, decode_flops, prompt_flops = attention_work(net, split, load)
    flops = decode_flops + prompt_flops
    num_bytes = sum(num for num, _, _ in read) + cache_bytes
    bytes_s = num_bytes / machine.bytes_per_s
    rates = [(operations, machine.peak(matrix_kind(form, machine))) for operations, form, _ in work] + [
        (flops, machine.peak("bf16"))
    ]
    matrix_s = sum(operations / rate for operations, rate in rates if rate)
    parts = [Part("memory", bytes_s, f"{num_bytes:,.0f} B at the full bandwidth", "hardware.csv")]
    if matrix_s > bytes_s:
        parts.append(
            Part(
                "matrix units",
                matrix_s - bytes_s,
                "operations at the full rate, beyond reading",
                "hardware.csv",
            )
        )
    seconds = max(bytes_s, matrix_s)
    return Pass(tuple(parts), seconds, seconds / split.pp)


def reading_rate(machine: Machine, engine: str, conditions: frozenset[str]) -> float:
    """Bytes of weights a second: a share of the bandwidth; llama.cpp's kernels for one token have too few
    loads in flight for HBM,

    so that there the multiprocessors' clock is the limit (A100 and H100 PCIe have one bandwidth, and differ
    by their clocks).
    """
    rate = machine.bytes_per_s * value("weights", machine.device, engine, conditions)
    rate *= value("unpacked", machine.device, engine, conditions)
    if engine == "llamacpp" and machine.issue_hz:
        rate = min(rate, machine.issue_hz * value("issue", machine.device, engine, conditions))
    return rate


MATRIX_TOKENS = 8
"""From this batch on llama.cpp multiplies matrices instead of vectors (ggml-cuda: MMVQ_MAX_BATCH_SIZE)."""


def experts_of_rank(experts: Experts, split: Split, tokens: float) -> float:
    """Experts of a layer that the busiest rank reads.

    Whole experts: a rank has 1 / ranks of them, and the busiest one of the few that are met more than its
    share.
    """
    if not split.experts_whole or split.expert_ranks == 1:
        return touched(experts.num_experts, experts.num_active, tokens)
    mine = experts.num_experts / split.expert_ranks
    met = touched(experts.num_experts, experts.num_active, tokens) / split.expert_ranks
    spread: float = (2 * met * log(split.expert_ranks)) ** 0.5 * (
        1 - met / mine
    )  # the fullest of `ranks` bins
    return min(mine, met + spread)


def attention_work(net: Network, split: Split, load: Load) -> tuple[float, float, float]:
    """(bytes of cache that a rank reads, operations of decoding attention, operations of prompts'
    attention)."""
    num_bytes = decoding = prompting = 0.0
    sequences, prompts = load.sequences / split.dp, load.prompt_tokens / (load.groups or split.dp)
    for cache in net.caches:
        ranks = min(split.tp, cache.kv_heads) if cache.kv_heads else 1
        read = tokens_read(cache, load.context)
        element = load.cache_bits / 8
        once = read * cache.read * element / ranks + load.context * cache.index_bytes + cache.state * 4
        num_bytes += cache.num_layers * once * sequences
        mean = _mean_read(cache, load.prompt_length)
        decoding += cache.num_layers * cache.decode_flops * read * sequences / split.tp
        prompting += cache.num_layers * cache.prefill_flops * mean * prompts / split.tp
        if load.prompt_length:
            num_bytes += cache.num_layers * cache.read * element / ranks * prompts  # written, and read once
    return num_bytes, decoding, prompting


def _mean_read(cache: Cache, length: float) -> float:
    """Tokens that a token of a prompt reads on average: half of the prompt, or less behind a window."""
    return tokens_read(cache, length / 2)


def activation_bytes(net: Network, split: Split, tokens: float, everywhere: float, passes: float) -> float:
    """Bytes of activations that norms, residuals and experts move: `passes` over the stream a layer, and rows
    to and from experts."""
    stream = net.num_layers * passes * tokens * net.hidden * 2 * (1 - CUT_PASSES + CUT_PASSES / split.tp)
    routed = sum(
        experts.num_layers
        * experts.num_active
        * everywhere
        / split.expert_ranks
        * (3 * experts.hidden + 3 * experts.width)
        * 2
        if split.experts_whole
        else experts.num_layers
        * experts.num_active
        * everywhere
        * (3 * experts.hidden + 3 * experts.width / split.expert_ranks)
        * 2
        for experts in net.experts
    )
    return stream + routed


RINGS = ("vllm", "sglang")
"""Engines under which NCCL does not reduce in the switch: vLLM sets NCCL_CUMEM_ENABLE=0, SGLang
NCCL_NVLS_ENABLE=0 by default."""
CUT_PASSES = 0.6
"""Of the passes those over heads and the feed-forward's width, which tensor parallelism divides; norms and
residuals it does not."""


def collectives(
    net: Network, machine: Machine, split: Split, engine: str, tokens: float, everywhere: float
) -> tuple[str, float]:
    """Two all-reduces a layer under tensor parallelism; tokens to experts and back where groups of sequences
    share them."""
    if split.tp == 1 and split.expert_ranks == 1:
        return "", 0.0
    message = tokens * net.hidden * 2
    inside: Fabric = fabric(machine, split.tp, split.per_node)
    if engine in RINGS:
        inside = inside._replace(adds=False)
    moe_layers = sum(experts.num_layers for experts in net.experts)
    total, words = 0.0, []
    if split.tp > 1:
        count = 2 * net.num_layers - (moe_layers if split.dp > 1 else 0)
        total += count * all_reduce_s(inside, message)
        words.append(f"{count} all-reduces of {message:,.0f} B over {split.tp}")
    if split.dp > 1 and moe_layers and split.expert_ranks > 1:
        group = fabric(machine, split.expert_ranks, split.per_node)
        whole = everywhere * net.hidden * 2
        if split.experts_whole:
            active = net.experts[0].num_active
            sent = tokens / split.tp * active * net.hidden * 2
            total += moe_layers * min(2 * all_to_all_s(group, 0.75 * sent), gather_s(group, whole) * 2)
            words.append(f"{moe_layers} x tokens to {active} experts and back")
        else:
            total += moe_layers * 2 * gather_s(group, whole)
            words.append(f"{moe_layers} all-gathers and reduce-scatters of {whole:,.0f} B")
    return ", ".join(words), total


def num_kernels(net: Network, run: Runner) -> int:
    """Kernels of a pass: those of each kind of block, and the head and the sampler."""
    of_kind = {kind: value("kernels", "", run.engine, run.conditions | {kind}) for kind, _ in net.kinds}
    more = net.more_norms * value("kernels", "", run.engine, run.conditions | {"norm"})
    more += net.biases * value("kernels", "", run.engine, run.conditions | {"bias"})
    return int(sum(count * of_kind[kind] for kind, count in net.kinds) + more) + HEAD_KERNELS


HEAD_KERNELS = 10
"""Embedding, last norm, head, softmax, sampling."""


def resident_bytes(net: Network, split: Split) -> float:
    """Bytes of weights on a rank."""
    dense = sum(each.bytes for each in net.cut) / split.tp + sum(each.bytes for each in net.whole)
    routed = (
        sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts) / split.expert_ranks
    )
    return (dense + routed + (net.head.bytes + net.embedding_bytes) / split.tp) / split.pp


def cache_bytes_per_token(net: Network, split: Split, bits: int) -> float:
    """Bytes of cache that a token takes on a rank, windows counted as if they were whole."""
    return (
        sum(
            each.num_layers
            * (
                each.read / (min(split.tp, each.kv_heads) if each.kv_heads else 1) * bits / 8 / each.ratio
                + each.index_bytes
            )
            for each in net.caches
        )
        / split.pp
    )
