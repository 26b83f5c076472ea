"""How fast will it serve? An estimate and a load -> time to the first token, time a token, tokens a second."""

from typing import NamedTuple

from ..engines import LLAMA, VLLM, parse_version
from ..errors import UsageError
from ..estimate.serving import Estimate
from ..run.serving import Layout, Serving
from .figures import Figure, Part
from .machine import Machine, machines_of
from .network import Network, network
from .step import Load, Pass, Runner, Split, forward

MAX_COUNT = 10**11


class ServingSpeed(NamedTuple):
    """The answer for a load, with the parts of a prompt's pass and of a decoding step of the slowest rank."""

    ttft_s: Figure
    """From arrival to the first token: waiting for a place, the prompt, the step that runs."""
    tpot_s: Figure
    """Between two tokens of one sequence, with the prompts of others between them."""
    tokens_per_s: Figure
    """Output tokens a second of all replicas."""
    running: float
    """Sequences of one replica that run at once."""
    waiting: float
    """Sequences of one replica that wait for a place in the cache."""
    prompt_parts: tuple[Part, ...]
    decode_parts: tuple[Part, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return {
            "ttft_s": self.ttft_s._asdict(),
            "tpot_s": self.tpot_s._asdict(),
            "tokens_per_s": self.tokens_per_s._asdict(),
            "running": self.running,
            "waiting": self.waiting,
            "prompt": [part._asdict() for part in self.prompt_parts],
            "decode": [part._asdict() for part in self.decode_parts],
            "warnings": list(self.warnings),
        }


class Setup(NamedTuple):
    """A model on its cards: what every pass shares."""

    net: Network
    machine: Machine
    split: Split
    run: Runner
    cache_bits: int


def serving_speed(estimate: Estimate, *, input_len: int, output_len: int, concurrency: int) -> ServingSpeed:
    """The speed of an estimate's layout when `concurrency` requests of this shape are kept in flight over all replicas.

    >>> from ..estimate.serving import estimate_serving
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> eight = estimate_serving(load("deepseek-r1"), Serving(layout=Layout(tp=8), max_model_len=16384), parse_gpu("h200:8"))
    >>> alone = serving_speed(eight, input_len=2000, output_len=500, concurrency=1)
    >>> 0.005 < alone.tpot_s.value < 0.02
    True
    """
    for name, given in (("input_len", input_len), ("output_len", output_len), ("concurrency", concurrency)):
        if not 1 <= given <= MAX_COUNT:
            raise UsageError(f"{name} is {given}", f"it must be between 1 and {MAX_COUNT:,}")
    setup = setup_of(estimate)
    here = concurrency / estimate.replicas
    room = places(estimate, input_len + output_len)
    return speed_of(setup, input_len, output_len, max(here, 1.0), room, estimate.replicas if here >= 1 else concurrency)


def places(estimate: Estimate, length: int) -> float:
    """Sequences of a length for which the cache of one replica has room, each full-grown only at its end."""
    groups = estimate.request.layout.dp if estimate.request.layout else 1
    each = min(estimate.kv_cache.max_tokens / length, estimate.request.max_num_seqs or MAX_COUNT)  # of one data-parallel group
    return max(each * groups, 1.0)


def setup_of(estimate: Estimate) -> Setup:
    """The cards, the split and the engine's class of an estimate."""
    request = estimate.request
    machine = machines_of(estimate.hardware)[0]
    bits = 8 if "fp8" in request.kv_cache_dtype or request.kv_cache_dtype in ("e4m3", "e5m2") else 16
    if request.engine in LLAMA and request.cache_type_k.startswith("q8"):
        bits = 8
    layout = request.layout or Layout()
    split = split_of(layout, request.engine, estimate.hardware.per_node)
    return Setup(network(estimate.model, request.quantization), machine, split, runner_of(request), bits)


def split_of(layout: Layout, engine: str, per_node: int) -> Split:
    """The engine's sizes as ranks that divide work."""
    inside = layout.enable_dp_attention
    tp = layout.tp // layout.dp if inside and layout.tp % layout.dp == 0 else layout.tp
    ranks = layout.tp * (1 if inside else layout.dp)
    whole = layout.enable_expert_parallel or layout.ep_size > 1
    return Split(tp, layout.pp, layout.dp, ranks, whole, per_node, engine not in LLAMA)


def runner_of(request: Serving) -> Runner:
    """The family of an engine, and whether its release launches kernels one by one."""
    engine, version = request.engine, request.engine_version or ""
    family = "llamacpp" if engine in LLAMA else "vllm" if engine in VLLM else engine
    conditions = set()
    if request.enforce_eager or engine == "transformers":
        conditions.add("eager")
    if family == "trtllm" and version and parse_version(version) < (0, 10):
        conditions.add("eager")
    if family == "llamacpp" and version[:4].isdigit() and version < "2024-06":
        conditions.add("eager")
    return Runner(family, frozenset(conditions))


def speed_of(setup: Setup, input_len: int, output_len: int, concurrency: float, room: float, replicas: float) -> ServingSpeed:
    """Closed form of continuous batching: every step gives a token to each running sequence, and each finished one is followed by
    a new prompt, so a step carries running / output_len prompts.

    step = decode(running) + running / output_len x prompt(input_len); tokens/s = running / step.
    """
    running = min(concurrency, room)
    prompt = prompt_pass(setup, input_len)
    decode = decode_pass(setup, running, input_len + output_len / 2)
    step_s = decode.seconds + running / output_len * prompt.seconds * (output_len > 1)
    per_step = running
    if setup.split.pp > 1 and setup.split.overlaps_stages and running > 1:
        batches = min(setup.split.pp, running)
        small = decode_pass(setup, running / batches, input_len + output_len / 2)
        cycle_s = max(small.stage_s * batches, small.seconds) + running / output_len * prompt.stage_s
        if cycle_s < step_s:
            step_s, decode = cycle_s, small
    rate = per_step / step_s
    served = rate / output_len
    wait_s = max(concurrency - running, 0) / served
    first_s = prompt.seconds + wait_s + (decode.seconds if running > 1 else 0.0)
    spread = 1.3
    return ServingSpeed(
        Figure(first_s, first_s / 1.6, first_s * 1.6, "assumed"),
        Figure(step_s, step_s / spread, step_s * spread, "assumed"),
        Figure(rate * replicas, rate * replicas / spread, rate * replicas * spread, "assumed"),
        running,
        max(concurrency - running, 0.0),
        prompt.parts,
        decode.parts,
        (),
    )


def prompt_pass(setup: Setup, input_len: float, prompts: float = 1.0) -> Pass:
    """The pass of whole prompts."""
    load = Load(prompt_tokens=input_len * prompts, prompt_length=input_len, cache_bits=setup.cache_bits)
    return forward(setup.net, setup.machine, setup.split, setup.run, load)


def decode_pass(setup: Setup, sequences: float, context: float) -> Pass:
    """A step that gives each sequence its next token."""
    return forward(setup.net, setup.machine, setup.split, setup.run, Load(sequences, context, cache_bits=setup.cache_bits))
