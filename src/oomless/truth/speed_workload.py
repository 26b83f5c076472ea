"""The requests that a row's page sent: how many, how many in flight, and how their lengths scatter around the
means that the row states."""

import re
from random import Random
from typing import NamedTuple

from ..speed.batching import Request
from ..speed.workload import Lengths


class Sent(NamedTuple):
    """Requests of a run that ends."""

    num: int
    in_flight: int
    """Kept going by the client until none is left."""
    spread: str
    """uniform, sharegpt, answers, reasoning or equal: how lengths scatter."""


COUNT = re.compile(r"(\d+) (?:prompts|requests)\b")
AT_ONCE = re.compile(r"(\d+) prompts at once")


def sent(row: dict[str, str], given: str) -> Sent | None:
    """Return what was sent; None where a row does not say how many requests there were.

    >>> sent({"setting": "uniformly random lengths; 80 prompts"}, "16")
    Sent(num=80, in_flight=16, spread='uniform')
    """
    setting = row.get("setting", "")
    at_once, counted = AT_ONCE.fullmatch(given), COUNT.search(setting)
    if "MLPerf Offline" in setting and (data := MLPERF.get(row["model"])):
        a_rank = A_RANK.search(setting)
        ranks = int(row["n_gpus"]) if a_rank else 1
        return Sent(data, int(a_rank[1]) * ranks if a_rank else MOST, "reasoning")
    spread = next((spread for words, spread in SPREADS.items() if words in setting), "equal")
    if at_once:
        return Sent(int(at_once[1]), int(at_once[1]), spread)
    if counted and given.isdecimal() and int(counted[1]) >= int(given) > 1:
        return Sent(int(counted[1]), int(given), spread)
    return None


MLPERF = {"DeepSeek-R1": 4388}
"""Samples of MLPerf's data whose answers are so unequal that the longest outlast all others; a run of shorter
answers is long against its tail (mlcommons/inference, language/deepseek-r1)."""
A_RANK = re.compile(r"max (\d+) a rank")
MOST = 2048
"""In flight where nothing is said: max_batch_size of TensorRT-LLM."""
SPREADS = {
    "uniformly random lengths": "uniform",
    "ShareGPT": "sharegpt",
    "mean output length": "answers",
}
SIGMA_CHAT, SIGMA_ANSWER, SIGMA_REASONING = 1.0, 0.25, 0.9
"""Standard deviations of the logarithm of lengths: of ShareGPT's prompts and answers (its means are 1.6 times
its medians), of answers of which most reach a limit, and of reasoning about exercises; assumed."""
LONGEST_TIMES = 6
"""Limits of generation cut the longest answers: 20,000 tokens of a mean of 3,700 in MLPerf."""
SEED = 0


def requests_of(sent: Sent, input_len: int, output_len: int) -> list[Request]:
    """Return the requests, all there at the start, with the stated means.

    >>> drawn = requests_of(Sent(80, 16, "uniform"), 500, 500)
    >>> round(sum(one.output_tokens for one in drawn) / 80)
    500
    """
    random = Random(SEED)
    wide = {"sharegpt": SIGMA_CHAT, "reasoning": SIGMA_REASONING}.get(sent.spread, 0.0)
    prompts = _lengths(random, sent, input_len, wide)
    answers = _lengths(random, sent, output_len, wide or SIGMA_ANSWER)
    return [Request(0.0, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _lengths(random: Random, sent: Sent, mean: int, sigma: float) -> list[int]:
    match sent.spread:
        case "uniform":
            lengths = Lengths(1, 2 * mean - 1)
        case "sharegpt" | "answers" | "reasoning" if sigma:
            lengths = Lengths(mean, mean, sigma)
        case _:
            return [mean] * sent.num
    drawn = [min(lengths.draw(random), LONGEST_TIMES * mean) for _ in range(sent.num)]
    scale = mean * sent.num / sum(drawn)
    return [max(round(one * scale), 1) for one in drawn]
