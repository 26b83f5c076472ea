"""The time of any step of continuous batching from a few passes: tables over tokens and context, so that a
step costs microseconds."""

from bisect import bisect_right
from typing import NamedTuple

from .load import ForwardPass, Load
from .serving import decode_pass, step_pass
from .setup import Setup


class Curve(NamedTuple):
    """A function known at some points, straight between them and beyond the last."""

    at: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, x: float) -> float:
        index = min(max(bisect_right(self.at, x) - 1, 0), len(self.at) - 2)
        left, right = self.at[index], self.at[index + 1]
        return self.values[index] + (self.values[index + 1] - self.values[index]) * (x - left) / (
            right - left
        )


class StepCost(NamedTuple):
    """Seconds of a step with `decoding` sequences and some tokens of prompts.

    Without prompts: decodes(decoding) + decoding x cache(mean context). With them, launched as prompts are:
    prompts(decoding + prompt tokens) + decoding x (cache(mean context) + each) + prompt attention. Within a
    pass everything but attention depends on the number of tokens alone; attention is linear in the tokens,
    and in the context piece by piece.
    """

    decodes: Curve
    """A pass of so many sequences without context."""
    prompts: Curve
    """A pass of so many tokens of prompts without context."""
    cache: Curve
    """What one sequence adds by its context."""
    attention: Curve
    """What a token of a prompt adds by the tokens before it."""
    each_s: float
    """What a sequence adds beside its token: its row of the head, its sampling."""

    def step_s(self, decoding: int, context: float, prompt_tokens: int = 0, before: float = 0.0) -> float:
        """`context`: tokens of all decoding sequences together; `before`: mean tokens before those of the
        prompts."""
        read = decoding * self.cache(context / decoding) if decoding else 0.0
        if not prompt_tokens:
            return self.decodes(decoding) + read
        seconds = self.prompts(decoding + prompt_tokens) + prompt_tokens * self.attention(before)
        return seconds + read + decoding * self.each_s


TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
CONTEXTS = (0, 128, 512, 2048, 8192, 32768, 131072, 1048576)


def step_cost(setup: Setup) -> StepCost:
    """The tables of a setup. With pipeline stages, a step is what a full pipeline gives: the time of its
    slowest stage."""

    def seconds(one: ForwardPass) -> float:
        return one.stage_s if setup.split.pp > 1 and setup.split.overlaps_stages else one.seconds

    dp = setup.split.dp
    flat = [seconds(_flat(setup, tokens)) for tokens in TOKENS]
    decodes = [seconds(decode_pass(setup, tokens, 0)) for tokens in TOKENS]
    base = seconds(decode_pass(setup, dp, 0))
    cache = [max(seconds(decode_pass(setup, dp, context)) - base, 0.0) / dp for context in CONTEXTS]
    tokens = 256
    attention = [
        max(seconds(step_pass(setup, 0, 0, tokens, 2 * before)) - flat[8], 0.0) / tokens if before else 0.0
        for before in CONTEXTS
    ]
    many = 64
    each_s = max(seconds(step_pass(setup, many, 0, 1)) - seconds(_flat(setup, many + 1)), 0.0) / many
    return StepCost(
        Curve(TOKENS, tuple(decodes)),
        Curve(TOKENS, tuple(flat)),
        Curve(CONTEXTS, tuple(cache)),
        Curve(CONTEXTS, tuple(attention)),
        each_s,
    )


def _flat(setup: Setup, tokens: float) -> ForwardPass:
    """A pass of prompt tokens that attend to nothing."""
    return setup.forward(Load(prompt_tokens=tokens, cache_bits=setup.cache_bits))
