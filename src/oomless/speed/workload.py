"""A workload: requests with arrival times and lengths, drawn from distributions or read from a CSV file."""

import csv
from math import isfinite, log
from random import Random
from typing import NamedTuple

from ..errors import OomlessError, UsageError
from ..model.local_file import need_regular
from .batching import Request

COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
MAX_REQUESTS = 10_000_000
MAX_LENGTH = 100_000_000
MAX_FILE_BYTES = 1 << 30


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
    """512: always; 128-4096: evenly between; 800~0.7: log-normal, mean 800, standard deviation of the
    logarithm 0.7.

    >>> parse_lengths("128-4096", "--input-len").mean, parse_lengths("800~0.7", "--input-len").sigma
    (2112.0, 0.7)
    """
    first, between, last = text.strip().partition("-")
    mean, around, sigma = text.strip().partition("~")
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
    if not (isfinite(rate_per_s) and rate_per_s > 0):
        raise UsageError(f"--arrival-rate is {rate_per_s}", "it is requests a second: above 0")
    if not 1 <= count <= MAX_REQUESTS:
        raise UsageError(f"--requests is {count}", f"it must be between 1 and {MAX_REQUESTS:,}")
    random, now = Random(seed), 0.0
    found = []
    for _ in range(count):
        now += random.expovariate(rate_per_s)
        found.append(Request(now, prompts.draw(random), outputs.draw(random)))
    return found


def read_workload(path: str) -> list[Request]:
    """The requests of a CSV file with the columns arrival_s, prompt_tokens, output_tokens."""
    from os import stat

    need_regular(path, f"give a CSV file with the columns {', '.join(COLUMNS)}")
    try:
        if stat(path).st_size > MAX_FILE_BYTES:
            raise OomlessError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes", "take a part of the workload")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise OomlessError(
                    f"{path}: columns missing: {', '.join(sorted(missing))}",
                    f"a workload has {', '.join(COLUMNS)}",
                )
            found = [_request(path, number, row) for number, row in enumerate(reader, 2)]
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise OomlessError(f"{path}: not a CSV text in UTF-8 ({error})", "export it as CSV") from None
    if not found:
        raise OomlessError(f"{path}: no requests", "one row a request")
    if len(found) > MAX_REQUESTS:
        raise OomlessError(f"{path}: {len(found):,} requests", f"at most {MAX_REQUESTS:,} at a time")
    return found


def _request(path: str, number: int, row: dict[str, str | None]) -> Request:
    where = f"{path}: line {number}"
    if None in row:  # the key that csv gives to cells without a column
        raise OomlessError(f"{where} has more cells than the header", "check the commas")
    try:
        arrival = float(row["arrival_s"] or "")
        prompt, output = int(row["prompt_tokens"] or ""), int(row["output_tokens"] or "")
    except ValueError:
        raise OomlessError(
            f"{where}: {[row[name] for name in COLUMNS]} are no numbers",
            "seconds, whole tokens, whole tokens",
        ) from None
    if not (isfinite(arrival) and arrival >= 0):
        raise OomlessError(f"{where}: arrives at {arrival} s", "times are seconds from the start: 0 or more")
    if not (1 <= prompt <= MAX_LENGTH and 1 <= output <= MAX_LENGTH):
        raise OomlessError(
            f"{where}: {prompt} and {output} tokens", f"prompts and outputs have 1 to {MAX_LENGTH:,} tokens"
        )
    return Request(arrival, prompt, output)
