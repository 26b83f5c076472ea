"""A workload: requests with arrival times and lengths, drawn from distributions or read from a CSV file."""

from math import log
from random import Random
from typing import NamedTuple

from ..errors import OomlessError, UsageError
from ..files import read_whole_text, shown
from ..limits import MOST_REQUESTS, WORKLOAD, parse_csv
from .batching import Request
from .steady import steady

COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
MAX_LENGTH = 100_000_000
MAX_TIME_S = 10**9
MAX_RATE = 10**6
"""Requests a second; below 1 / MAX_TIME_S, two never come."""


class Lengths(NamedTuple):
    """A distribution of lengths: one value, evenly between two, or log-normal around a mean."""

    low: int
    high: int
    sigma: float = 0.0
    """Standard deviation of the logarithm; 0: even."""

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def draw(self, random: Random) -> int:
        """One length."""
        if self.sigma:
            return max(round(random.lognormvariate(log(self.mean) - self.sigma**2 / 2, self.sigma)), 1)
        return self.low if self.low == self.high else random.randint(self.low, self.high)


def parse_lengths(text: str, option: str) -> Lengths:
    """512: always; 128-4096: evenly between; 800~0.7 or 800,0.7: log-normal, mean 800, standard deviation of
    the logarithm 0.7.

    >>> parse_lengths("128-4096", "--input-len").mean, parse_lengths("800,0.7", "--input-len").sigma
    (2112.0, 0.7)
    """
    first, between, last = text.strip().partition("-")
    mean, around, sigma = text.strip().replace(",", "~", 1).partition("~")
    try:
        ends = (mean, mean) if around else (first, last if between else first)
        found = Lengths(int(ends[0]), int(ends[1]), float(sigma) if around else 0.0)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no length",
            "write 512, 128-4096 (evenly between), or 800~0.7 (log-normal: mean, spread)",
        ) from None
    if not (1 <= found.low <= found.high <= MAX_LENGTH and 0 <= found.sigma <= 4):
        raise UsageError(
            f"{option} {text!r} is out of range",
            f"lengths go from 1 to {MAX_LENGTH:,}, the smaller first; spreads to 4",
        )
    return found


def poisson(rate_per_s: float, count: int, prompts: Lengths, outputs: Lengths, seed: int) -> list[Request]:
    """`count` requests whose arrivals have nothing to do with each other: exponential gaps of mean 1 / rate.

    >>> len(poisson(2.0, 5, Lengths(10, 10), Lengths(5, 5), 0))
    5
    """
    if not 1 / MAX_TIME_S <= rate_per_s <= MAX_RATE:
        raise UsageError(
            f"--arrival-rate is {rate_per_s}", f"it is requests a second: {1 / MAX_TIME_S:g} to {MAX_RATE:,}"
        )
    if not 1 <= count <= MOST_REQUESTS:
        raise UsageError(f"--requests is {count}", f"it must be between 1 and {MOST_REQUESTS:,}")
    random, now = Random(seed), 0.0
    found = []
    for _ in range(count):
        now += steady(random.expovariate(rate_per_s))
        found.append(Request(now, prompts.draw(random), outputs.draw(random)))
    return found


def read_workload(path: str) -> list[Request]:
    """Return the requests of a CSV file with the columns arrival_s, prompt_tokens, output_tokens."""
    hint = f"give a CSV file with the columns {', '.join(COLUMNS)}"
    text = read_whole_text(path, WORKLOAD.num_bytes, hint)
    rows = parse_csv(text, path, WORKLOAD, COLUMNS)
    found = [_request(f"{path}: line {number}", row) for number, row in rows]
    if not found:
        raise OomlessError(f"{path}: no requests", f"one row a request; {hint}")
    return found


def _request(where: str, row: dict[str, str]) -> Request:
    try:
        arrival = float(row["arrival_s"])
        prompt, output = int(row["prompt_tokens"]), int(row["output_tokens"])
    except ValueError:
        raise OomlessError(
            f"{where}: {', '.join(shown(row[name]) for name in COLUMNS)} are no numbers",
            "seconds, whole tokens, whole tokens",
        ) from None
    if not 0 <= arrival <= MAX_TIME_S:
        raise OomlessError(
            f"{where}: arrives at {arrival} s", f"times are seconds from the start: 0 to {MAX_TIME_S:,}"
        )
    if not (1 <= prompt <= MAX_LENGTH and 1 <= output <= MAX_LENGTH):
        raise OomlessError(
            f"{where}: {prompt} and {output} tokens", f"prompts and outputs have 1 to {MAX_LENGTH:,} tokens"
        )
    return Request(arrival, prompt, output)
