"""Questions of the frozen answers, as an address puts them."""

from pathlib import Path
from random import Random

from oomless.run.options import by_flag
from oomless.web.question import ASKED

ANSWERS = Path(__file__).parents[1] / "surface" / "answers.txt"
NO_ADDRESS = {"--front", "--from", "--megatron-args", "--strict", "--compare"}


def drawn(count: int, seed: str) -> list[list[str]]:
    """Return some of the frozen questions: words of the command line."""
    lines = [line.partition(" -> ")[0] for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    questions = [line.split() for line in lines]
    fit = [words for words in questions if words[0] in ASKED and NO_ADDRESS.isdisjoint(words)]
    return Random(seed).sample(fit, count)


def pairs_of(words: list[str]) -> list[tuple[str, str]]:
    """Return the words of a command line behind its name as names and texts of an address."""
    known, rest, found = by_flag(words[0]), iter(words[1:]), list[tuple[str, str]]()
    for word in rest:
        if not word.startswith("-"):
            found.append(("model", word))
            continue
        flag, has_value, text = word.partition("=")
        if not has_value:
            text = "" if known[flag].kind == "switch" else next(rest)
        found.append((flag.lstrip("-"), text))
    return found
