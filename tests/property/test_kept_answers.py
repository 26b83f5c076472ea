"""Law: an answer is the same whatever was asked before it.

What rules keep from answer to answer is known by what they were asked for. A rule that reads one more field
of a question than it names there gives one question's answer to another; one that adds to what is kept
changes the next answer. So a question is asked beside one that differs in one flag, and again with nothing
kept.
"""

import gc
import random
import sys
from collections.abc import Callable, Iterator
from functools import cache

import click
import pytest

from command import call
from good_questions import GOOD, VALUES
from oomless.cli.app import app
from oomless.facts.options import DEFAULT_ENGINE
from oomless.kept import Kept
from oomless.run.options import by_flag, engines_of

TRIES = 12
"""To find a question whose engine knows a flag."""


def forget() -> None:
    """Nothing is kept but facts and models, which follow from files alone."""
    for clear in what_is_kept():
        clear()


@cache
def what_is_kept() -> tuple[Callable[[], None], ...]:
    """What each store of answers is emptied by, once all modules are loaded that answer."""
    for name in ("infer", "speed"):
        for words in GOOD[name][:: len(GOOD[name]) // 40]:
            call(*words)
    stores = [each.clear for each in gc.get_objects() if type(each) is Kept]
    rooms = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("oomless.") and name.split(".")[1] not in ("facts", "model", "report", "cli")
    ]
    clears = [getattr(value, "cache_clear", None) for room in rooms for value in vars(room).values()]
    return (*stores, *(each for each in clears if callable(each)))


def changes(name: str) -> list[tuple[str, str | None]]:
    """What can be added to a question of a command: flags, with a value where they take one."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    found: list[tuple[str, str | None]] = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.name in ("help", "as_json", "debug", "plot"):
            continue
        flag = max(option.opts, key=len)
        if option.is_flag:
            found.append((flag, None))
        elif isinstance(option.type, click.Choice):
            found += [(flag, str(value)) for value in option.type.choices]
        else:
            found += [(flag, value) for value in sorted(set(VALUES.get(flag, ())))]
    return found


def engine_in(words: list[str]) -> str:
    """The engine that a question names."""
    return words[words.index("--engine") + 1] if "--engine" in words else DEFAULT_ENGINE


def knows(name: str, engine: str, flag: str) -> bool:
    """Whether an engine has a flag of a command."""
    option = by_flag(name).get(flag)
    return option is None or not engines_of(option) or engine in engines_of(option)


def beside(words: list[str], flag: str, value: str | None) -> list[str]:
    """The same question with one flag more, or with another value of it."""
    if flag not in words:
        return [*words, flag, *([] if value is None else [value])]
    at = words.index(flag) + 1
    return [*words[:at], value, *words[at + 1 :]] if value is not None else words


def asked(name: str, seed: int, apart_from: str) -> Iterator[tuple[list[str], list[str], str]]:
    """Pairs of good questions that differ in one flag, each with what the second is answered alone; none of
    the flags of another command, which asks the same of them."""
    chance = random.Random(f"{name} {seed}")
    flags: dict[str, list[str | None]] = {}
    known = {flag for flag, _ in changes(apart_from)} if apart_from else set()
    for flag, value in changes(name):
        if flag not in known:
            flags.setdefault(flag, []).append(value)
    for flag, values in sorted(flags.items()):
        questions = [words for words in GOOD[name] if knows(name, engine_in(words), flag)]
        for _ in range(TRIES if questions else 0):  # no speed of KTransformers is answered
            words = [*chance.choice(questions), "--json", "--offline"]
            changed = beside(words, flag, chance.choice(values))
            forget()
            if alone := call(*changed).out:
                yield words, changed, alone
                break


@pytest.mark.parametrize(
    ("name", "seed", "apart_from", "at_least"),
    [
        ("infer", 0, "", 25),
        ("speed", 0, "infer", 5),
        pytest.param("infer", 1, "", 25, marks=pytest.mark.slow),
        pytest.param("speed", 1, "", 25, marks=pytest.mark.slow),
    ],
)
def test_a_question_has_one_answer_whatever_was_asked_before(
    name: str, seed: int, apart_from: str, at_least: int
) -> None:
    num_answered = 0
    for plain, changed, alone in asked(name, seed, apart_from):
        forget()
        first = call(*plain).out
        assert call(*changed).out == alone, changed
        assert call(*plain).out == first, plain
        num_answered += 1
    assert num_answered >= at_least


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_what_decides_weights_is_named_whole(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of weights that reads a field which `of_weights` leaves out would see none of it."""
    questions = [[*words, "--json"] for words in GOOD["infer"] if engine_in(words) == engine]
    asked = random.Random(1).sample(questions, 120)
    named = [call(*words).out for words in asked]
    monkeypatch.setattr(f"oomless.engines.{engine}.weights.of_weights", lambda whole: whole)
    for words, answer in zip(asked, named, strict=True):
        assert call(*words).out == answer, words
    forget()
