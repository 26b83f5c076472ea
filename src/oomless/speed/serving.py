"""How fast will it serve? An estimate and a load -> time to the first token, time a token, tokens a
second."""

from itertools import repeat
from math import ceil, prod
from typing import NamedTuple

from ..engines import engine
from ..engines.speed_classes import speed_class
from ..errors import UsageError
from ..estimate.serving.estimate import Estimate
from .band import Coverage, Figure, TimePart, bound, figure, measured
from .drafts import accepted, rate_with_drafts, time_with_drafts
from .host_offload import host_note
from .load import ForwardPass, Load
from .setup import NVIDIA, Setup, setup_of
from .steady import added

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
    prompt_parts: tuple[TimePart, ...]
    decode_parts: tuple[TimePart, ...]
    between_parts: tuple[TimePart, ...]
    """What a sequence waits for beside its own step: with it the parts add up to the time between two."""
    warnings: tuple[str, ...]
    prompt_steps: int = 1
    """Steps that read a prompt, whose parts are of all of them."""

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return {
            "ttft_s": self.ttft_s.to_json(),
            "tpot_s": self.tpot_s.to_json(),
            "tokens_per_s": self.tokens_per_s.to_json(),
            "running": self.running,
            "waiting": self.waiting,
            "prompt": [part._asdict() for part in self.prompt_parts],
            "decode": [part._asdict() for part in (*self.decode_parts, *self.between_parts)],
            "warnings": list(self.warnings),
        }


def serving_speed(
    estimate: Estimate, *, input_len: int, output_len: int, concurrency: int, host: str | None = None
) -> ServingSpeed:
    """The speed of an estimate's layout when `concurrency` requests of this shape are kept in flight over all
    replicas.

    >>> from ..estimate.serving.estimate import estimate_serving
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> from ..run.serving import Asked, Layout
    >>> eight = estimate_serving(
    ...     load("deepseek-r1"), Asked(layout=Layout(tp=8), max_model_len=16384), parse_gpu("h200:8")
    ... )
    >>> alone = serving_speed(eight, input_len=2000, output_len=500, concurrency=1)
    >>> 0.005 < alone.tpot_s.value < 0.02
    True
    """
    for name, given in (("input_len", input_len), ("output_len", output_len), ("concurrency", concurrency)):
        if not 1 <= given <= MAX_COUNT:
            raise UsageError(f"{name} is {given}", f"it must be between 1 and {MAX_COUNT:,}")
    longest = max(estimate.model.max_positions, estimate.request.max_model_len or 0)
    if longest < input_len + output_len:
        raise UsageError(
            f"{input_len:,} and {output_len:,} tokens are more than {estimate.model.name} has room for",
            f"a sequence of it has {longest:,} tokens at most",
        )
    setup = setup_of(estimate, host)
    here = concurrency / estimate.replicas
    room = places(estimate, input_len + output_len)
    found = speed_of(
        setup, input_len, output_len, max(here, 1.0), room, estimate.replicas if here >= 1 else concurrency
    )
    return found._replace(
        warnings=(*found.warnings, *left_out(estimate, host is None or setup.drafts is not None))
    )


def left_out(estimate: Estimate, drafts_count: bool = True) -> tuple[str, ...]:
    """What the question asks for and no figure here counts; `drafts_count`: drafts of which it is known how
    many hold are counted."""
    found = []
    asked, said = estimate.request, estimate.request.speculation
    if said is not None and not drafts_count:
        found.append("speculative decoding is not in the figures: a step gives one token")
    elif said is not None and not accepted(said, estimate.model.name):
        found.append(
            "speculative decoding is not in the figures: a step gives one token; how many "
            "drafts are taken hangs on the text (accepted_length in --speculative-config says it)"
        )
    if asked.sizes.divides_cache:
        found.append(
            "decode context parallelism is not in the figures: each rank is taken to "
            "read its cache as without it"
        )
    if asked.instances > 1:
        found.append("the other instances on the card are not in the figures: this one works alone")
    if asked.enable_lora:
        found.append("adapters (--enable-lora) are not in the figures")
    return tuple(found)


def places(estimate: Estimate, length: int) -> float:
    """Return how many sequences of a length, each full-grown only at its end, run at once in one replica, as
    `infer` counts them: where layers keep a window, sequences that run together share a step.

    >>> from ..estimate.serving.estimate import estimate_serving
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> from ..run.serving import Asked, Layout
    >>> asked = Asked(layout=Layout(tp=4), max_model_len=32768, context=32768, concurrency=64)
    >>> found = estimate_serving(load("deepseek-v4-flash"), asked, parse_gpu("h200:4"))
    >>> found.at_once, places(found, 32768) >= 64
    (64, True)
    """
    request, rules = estimate.request, engine(estimate.request.engine)
    of_group = min(
        rules.sequences(rank.cache, rank.pool_bytes, length, request) for rank in estimate.ranks
    )  # of one data-parallel group
    return max(min(of_group, request.max_num_seqs or MAX_COUNT) * request.layout.dp, 1.0)


ROUNDS = 4
"""Of the fixed point between the length of a cycle and the number of groups that read prompts at once."""


def speed_of(
    setup: Setup,
    input_len: int,
    output_len: int,
    concurrency: float,
    room: float,
    replicas: float = 1.0,
    kept: int = 0,
) -> ServingSpeed:
    """Closed form of continuous batching with `concurrency` requests always in flight; `kept`: tokens before
    the prompt that the cache has already.

    A request takes input / budget steps (one at least) that read its prompt, and output - 1 steps that
    decode, fewer where a step checks drafts of which some hold; in as many of those as the others' prompts
    take, a prompt is read beside them. Where more prompts would come than steps, every step carries tokens of
    both kinds in the proportion of input to output, up to the budget. Data-parallel groups go in step: while
    one reads a prompt the others wait, unless they read one too; how many do follows from the share of time
    that a group spends on prompts. Micro-batches of a pipeline are taken to have equal shares of the prompts
    (rates of three measured ones: 5 % off at most), though each prompt passes all stages in one of them.
    """
    running = max(min(concurrency, room), 1.0)
    context = kept + input_len + output_len / 2
    groups = setup.split.dp
    chunk = min(input_len, max(setup.budget // groups, 1))
    prompt_steps = input_len / chunk
    steps = (output_len - 1) / setup.accepted
    decode = step_pass(setup, running, context)
    alone = prompt_pass(setup, input_len)
    decode_s, prompt_s = period(setup, decode, running), period(setup, alone, running)
    together = 1.0  # groups that have a prompt in the same step
    for _ in range(ROUNDS if groups > 1 and running > 1 else 1):
        beside = (running - 1) * prompt_steps / together
        mixed = step_pass(setup, max(running - together, 0.0), context, chunk * together, input_len, together)
        mixed_s = period(setup, mixed, running)
        own_s = prompt_s if running == 1 else max(mixed_s * prompt_steps, prompt_s)
        between_s = ((steps - beside) * decode_s + beside * mixed_s) / max(steps, 1)
        cycle_s = own_s + steps * between_s
        busy = min(running / groups * own_s / cycle_s, 1.0)
        any_of_them = 1 - prod(repeat(1 - busy, groups))
        together = groups * busy / any_of_them if any_of_them else 1.0  # so seldom that never two at once
    if beside < steps or running == 1:
        rate = running * output_len / cycle_s
        first_s = own_s + (decode_s if running > 1 else 0.0)
    else:
        between_s, decoding = full_step(setup, running, context, input_len, output_len)
        rate = decoding * setup.accepted / between_s
        waits_s = max(running - decoding, 0.0) / rate * output_len
        first_s = max(between_s * max(prompt_steps, 1.0), prompt_s) + waits_s
    waiting, known = max(concurrency - running, 0.0), evidence_of(setup)
    first_s += front_s(setup) + waiting * output_len / rate
    return ServingSpeed(
        *figures(setup, known, first_s, between_s / setup.accepted, rate * replicas, concurrency),
        running,
        waiting,
        (*alone.parts, *before_steps(setup)),
        decode.parts,
        between_steps(decode.parts, between_s),
        notes(setup, known, waiting),
        steps_of_prompt(setup, input_len),
    )


def full_step(
    setup: Setup, running: float, context: float, input_len: int, output_len: int
) -> tuple[float, float]:
    """Return (seconds, sequences that decode) of a step that tokens of both kinds fill, in the proportion of
    input to output."""
    begun = setup.accepted / output_len  # prompts for each sequence that decodes
    budget = setup.budget * setup.micro_batches
    decoding = min(running, budget / (setup.checked + begun * input_len))
    one = step_pass(setup, decoding, context, decoding * begun * input_len, input_len, setup.split.dp)
    return period(setup, one, running), decoding


def between_steps(parts: tuple[TimePart, ...], between_s: float) -> tuple[TimePart, ...]:
    """The time between two steps that the parts of one leave."""
    left = between_s - added(part.seconds for part in parts)
    waits = "prompts of other sequences, stages that wait"
    return (TimePart("between steps", left, waits, "speed/serving.py"),) if left > between_s / 1000 else ()


def before_steps(setup: Setup) -> tuple[TimePart, ...]:
    """What a request's first token takes beside the pass of its prompt."""
    front, cite = front_s(setup), setup.machine.efficiencies.cite("front")
    return (TimePart("server", front, "tokeniser, queues between processes, HTTP", cite),) if front else ()


def front_s(setup: Setup) -> float:
    """Return the seconds that a request's first token spends outside of the model: tokeniser, queues between
    processes, detokeniser, HTTP."""
    return setup.machine.reached("front", setup.run.engine, setup.run.conditions)


def evidence_of(setup: Setup, model_known: bool = True) -> Coverage:
    """What is known of a setup."""
    split = setup.split
    ranks = max(split.tp * split.dp, split.expert_ranks) * split.pp
    odd = bool(setup.net.experts) or any(kind == "linear" for kind, _ in setup.net.kinds)
    sparse = speed_class(setup.run.engine).multiplies_vectors and odd and setup.machine.device in NVIDIA
    return Coverage(
        setup.machine.device,
        setup.run.engine,
        model_known,
        ranks > 1,
        ranks > max(split.per_node, setup.machine.domain),
        sparse,
        front_s(setup) > 0,
    )


def figures(
    setup: Setup, known: Coverage, first_s: float, between_s: float, rate: float, concurrency: float
) -> tuple[Figure, Figure, Figure]:
    """The three figures with their bands; on hardware of which no speed was measured, bounds."""
    if setup.is_bound:
        return bound(first_s), bound(between_s), bound(1 / rate).over(1)
    alone = concurrency <= 1
    return (
        figure(first_s, "prefill" if alone else "serving", known),
        time_with_drafts(figure(between_s, "decode" if alone else "serving", known), setup.drafts),
        rate_with_drafts(figure(rate, "decode" if alone else "throughput", known), setup.drafts),
    )


def notes(setup: Setup, known: Coverage, waiting: float) -> tuple[str, ...]:
    """What a reader must know before trusting the figures."""
    found = []
    if setup.hosted is not None:
        found.append(host_note(setup.hosted))
    elif setup.machine.device == "other":
        found.append(
            f"no speed was measured on cards like {setup.machine.name}: the figures are what its "
            "memory and matrix units allow at best"
        )
    elif not measured("decode", known) and not measured("throughput", known):
        found.append(
            f"no speed of {known.engine} was measured on cards like {setup.machine.name}: "
            "efficiencies are taken over from others"
        )
    if setup.drafts:
        found.append(setup.drafts.note)
    if waiting:
        found.append(f"{waiting:,.0f} of the requests wait for a place in the cache")
    return tuple(found)


def period(setup: Setup, one: ForwardPass, running: float) -> float:
    """Seconds after which a group of sequences has its next token: a pass, or under a full pipeline a round
    of its micro-batches.

    With fewer sequences than stages, stages wait.
    """
    stages = setup.split.pp
    if stages == 1 or not setup.split.overlaps_stages or running < 2:
        return one.seconds
    batches = min(stages, running)
    return max(one.stage_s * batches, one.seconds)


def step_pass(
    setup: Setup,
    decoding: float,
    context: float,
    prompt_tokens: float = 0.0,
    prompt_length: float = 0.0,
    groups: float = 0.0,
) -> ForwardPass:
    """A step of continuous batching; under a full pipeline each micro-batch has its share of it."""
    share = 1.0
    if setup.split.pp > 1 and setup.split.overlaps_stages and decoding >= 2:
        share = 1 / min(setup.split.pp, decoding)
    load = Load(decoding * share, context, prompt_tokens * share, prompt_length, groups, setup.cache_bits)
    return setup.forward(load)


def prompt_pass(setup: Setup, input_len: float, prompts: float = 1.0) -> ForwardPass:
    """The pass of whole prompts, spread over the data-parallel groups; what is longer than a step's budget
    takes several steps, each of which reads the weights again.

    Stages of a pipeline work on pieces of one prompt at once (vllm/v1/core/sched/scheduler.py counts tokens
    as computed once they are scheduled): all stages for the first, one more for each that follows.
    """
    tokens, groups = input_len * prompts, min(max(prompts, 1.0), setup.split.dp)
    steps = steps_of_prompt(setup, tokens / groups)
    load = Load(
        prompt_tokens=tokens / steps, prompt_length=input_len, groups=groups, cache_bits=setup.cache_bits
    )
    one = setup.forward(load)
    next_s = one.stage_s if setup.micro_batches > 1 else one.seconds
    return one.times(1 + (steps - 1) * next_s / one.seconds, steps)


def steps_of_prompt(setup: Setup, tokens: float) -> int:
    """Return the steps in which a data-parallel group reads so many tokens of prompts."""
    return max(ceil(tokens * setup.split.dp / setup.budget), 1)


def decode_pass(setup: Setup, sequences: float, context: float) -> ForwardPass:
    """A step that gives each sequence its next token."""
    return setup.forward(Load(sequences, context, cache_bits=setup.cache_bits))
