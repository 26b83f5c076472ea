"""The time of any step of continuous batching from a few passes: tables over tokens and context, so that a
step costs microseconds."""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from .load import Load
from .serving import front_s, period, prompt_pass, step_pass
from .setup import Setup


class Points(dict[int, float]):
    """Values of a table by their place in it, each made when it is first looked up: a workload meets few of
    them."""

    def __init__(self, made: Callable[[int], float]) -> None:
        super().__init__()
        self.made = made

    def __missing__(self, place: int) -> float:
        """Return the value of a place, and keep it."""
        self[place] = found = self.made(place)
        return found


class Curve(NamedTuple):
    """A function known at some points, straight between them and beyond the last."""

    at: tuple[float, ...]
    values: tuple[float, ...] | Points

    def __call__(self, x: float) -> float:
        at, values = self
        index = bisect_right(at, x, 1, len(at) - 1) - 1
        left, low = at[index], values[index]
        return low + (values[index + 1] - low) * (x - left) / (at[index + 1] - left)


class StepCost(NamedTuple):
    """Seconds of a step with `decoding` sequences and some tokens of prompts.

    Without prompts: decodes(decoding) + sequences of a group x cache(mean context). With them, launched as
    prompts are: prompts(decoding + prompt tokens), more if one group has most of the prompts, + decoding x
    each + the cache as before + prompt attention. Within a pass everything but attention depends on the
    number of tokens alone; attention is linear in the tokens, and in the context piece by piece.
    """

    decodes: Curve
    """A step of so many sequences without context."""
    prompts: Curve
    """A step of so many tokens of prompts without context, dealt to all groups alike."""
    cache: Curve
    """What one sequence adds to its group by its context."""
    attention: Curve
    """What a token of a prompt adds to its group by the tokens before it."""
    each_s: float
    """What a sequence adds beside its token: its row of the head, its sampling."""
    uneven: Curve = Curve((0, 1), (0.0, 0.0))
    """What a step of so many tokens of prompts takes longer if one group has them all."""
    groups: int = 1
    """Data-parallel groups x micro-batches of a pipeline, which share the sequences."""
    readers: int = 1
    """Of them those that share a step's prompts: data-parallel groups."""
    passing: Curve = Curve((0, 1), (0.0, 0.0))
    """What so many tokens of one prompt take longer through all stages of a pipeline than a step."""
    front_s: float = 0.0
    """Seconds that a request spends outside of the engine's steps before its first token."""

    def step_s(
        self,
        decoding: int,
        context: float,
        prompt_tokens: int = 0,
        before: float = 0.0,
        largest: int | None = None,
    ) -> float:
        """`context`: tokens of all decoding sequences together; `before`: mean tokens before those of the
        prompts; `largest`: tokens of the prompt that has most of them, which one group reads [all]."""
        read = max(decoding / self.groups, 1) * self.cache(context / decoding) if decoding else 0.0
        if not prompt_tokens:
            return self.decodes(decoding) + read
        even = prompt_tokens / self.readers
        fullest = max(prompt_tokens if largest is None else largest, even)
        seconds = self.prompts(decoding + prompt_tokens) + fullest * self.attention(before)
        if fullest > even:
            seconds += self.uneven(prompt_tokens) * (fullest - even) / (prompt_tokens - even)
        return seconds + read + decoding * self.each_s

    def late_s(self, tokens: int) -> float:
        """Return the seconds from the end of the step that reads the last tokens of a prompt to when its
        first token is with the client."""
        return self.passing(tokens) + self.front_s


TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
CONTEXTS = (0, 128, 512, 2048, 8192, 32768, 131072, 1048576)


def step_cost(setup: Setup) -> StepCost:
    """The tables of a setup. Under a full pipeline a step is a round of its micro-batches, in which each
    sequence has its next token; prompts are dealt to all of them alike, and each passes all stages whole."""
    dp, stages = setup.split.dp, setup.micro_batches
    groups = dp * stages

    def round_s(decoding: float, context: float, prompt_tokens: float = 0.0, length: float = 0.0) -> float:
        share = stages if decoding < 2 else 1  # step_pass divides where sequences do
        one = step_pass(setup, decoding, context, prompt_tokens / share, length)
        return period(setup, one, max(decoding, prompt_tokens))

    def of_one(tokens: float, length: float = 0.0) -> float:
        load = Load(0.0, 0.0, tokens / stages, length, 1.0, setup.cache_bits)
        return period(setup, setup.forward(load), tokens)

    base, tokens, many = round_s(groups, 0), 256, 64
    bare = of_one(tokens)

    def attention(at: int) -> float:
        return max(of_one(tokens, 2 * CONTEXTS[at]) - bare, 0.0) / tokens if CONTEXTS[at] else 0.0

    def passing(at: int) -> float:
        return max(prompt_pass(setup, TOKENS[at]).seconds - of_one(TOKENS[at], TOKENS[at]), 0.0)

    flat = Points(lambda at: round_s(0, 0, TOKENS[at]))
    each_s = max(round_s(many, 0, 1) - round_s(0, 0, many + 1), 0.0) / many
    return StepCost(
        Curve(TOKENS, Points(lambda at: round_s(TOKENS[at], 0))),
        Curve(TOKENS, flat),
        Curve(CONTEXTS, Points(lambda at: max(round_s(groups, CONTEXTS[at]) - base, 0.0))),
        Curve(CONTEXTS, Points(attention)),
        each_s,
        Curve(TOKENS, Points(lambda at: max(of_one(TOKENS[at]) - flat[at], 0.0))),
        groups,
        dp,
        Curve(TOKENS, Points(passing)),
        front_s(setup),
    )
