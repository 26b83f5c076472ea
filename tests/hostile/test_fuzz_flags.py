"""Combinations of flags of every command: an answer or an error that was meant, and JSON that is JSON.

OOMLESS_FUZZ_FLAGS=N tries N (the slow run: 100,000), OOMLESS_FUZZ_SEED=N those of one seed again.
"""

import json
import os
import random
import time
from itertools import pairwise

import click
import pytest

from budget import TooSlow, budget
from command import Answer, call
from good_questions import GOOD, VALUES
from mutations import NUMBERS, TEXTS
from oomless import facts
from oomless.cli.app import app

SHARES = {
    "infer": 900,
    "train": 500,
    "speed": 250,
    "cost": 200,
    "plan": 20,
    "models": 40,
    "gpus": 40,
    "engines": 20,
    "claims": 10,
    "reconcile": 20,
}
"""What of a hundred thousand each command gets. The others start programs, write, or answer about this
machine."""
QUICK = {
    **SHARES,
    "infer": 300,
    "train": 150,
    "speed": 300,
    "cost": 920,
    "models": 120,
    "gpus": 120,
    "reconcile": 40,
}
"""Combinations in `make test`, two thousand together: the dearer a question, the fewer."""
SLOW = int(os.environ.get("OOMLESS_FUZZ_FLAGS", "100000"))
SEED = int(os.environ.get("OOMLESS_FUZZ_SEED", "0"))
MODELS = [
    *(row["name"] for row in facts.table("catalogue") if row["name"].startswith("deepseek")),
    *"gpt-oss-20b qwen2.5-vl-7b mixtral-8x7b llama-3.1-8b gemma-3-4b kimi-k2 glm-4.5-air jamba-mini".split(),
    *("deepseek-v33", "org/never-read", ".", "nowhere/", "\ud800", "-", "a" * 400),
]
GPUS = (
    "h200:8 h100:8x2 a100-80gb:4 rtx-4090 t4:2 b200:8 mi300x:8 gaudi3:8 80GiB:8 1MiB h200:64 ascend-910b:8 "
    "m3-ultra cpu l40s:2 gb200:4 h200:8x8 v100-32gb:8 80GB 0 -1 h200:0 h200:999999 8x2 h100+a100"
).split()
LEAVES = {"--debug", "--help", "-h", "--write", "--plot", "--html", "--save", "--svg", "--chrome", "--export"}
"""Flags that write files or only print help."""
MOST_CPU_S = 12.0
"""A plan, on a busy machine; nothing else comes near."""


def words_of(name: str, chance: random.Random) -> list[str]:
    """One combination: a good question, mostly, with up to six flags more, some of them not sensible."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    options = [each for each in command.params if isinstance(each, click.Option)]
    options = [each for each in options if not LEAVES & set(each.opts)]
    if name in GOOD and chance.random() < 0.75:
        words = [word for word in chance.choice(GOOD[name]) if word != "--json"]
    else:
        words = [name]
        for each in command.params:
            if isinstance(each, click.Argument) and chance.random() < 0.95:
                words.append(chance.choice(MODELS))
        if any("--gpu" in each.opts for each in options):
            words += ["--gpu", chance.choice(GPUS)]
    known = {flag for each in options for flag in each.opts}
    for flag, value in borrowed(words, chance):
        if flag in known and flag not in words:
            words += [flag, value if chance.random() < 0.8 else chance.choice([*NUMBERS, *TEXTS[4:]])]
    for each in chance.sample(options, min(len(options), chance.choice((0, 0, 0, 1, 1, 1, 2, 6)))):
        flag = chance.choice(each.opts)
        if "--gpu" in each.opts and "--gpu" in words:
            words[words.index("--gpu") + 1] = chance.choice(GPUS)
        elif each.is_flag:
            words.append(flag)
        elif flag not in words:
            words += [flag, value_of(each, chance)]
    if any("--offline" in each.opts for each in options) and "--offline" not in words:
        words.append("--offline")
    if chance.random() < 0.5 and "--json" not in words and any("--json" in each.opts for each in options):
        words.append("--json")
    return words


def borrowed(words: list[str], chance: random.Random) -> list[tuple[str, str]]:
    """Flags with values of another good question about the same engine or framework."""
    own = [word for flag, word in pairwise(words) if flag in ("--engine", "--framework")]
    other = chance.choice(GOOD.get(words[0], [[]]))
    if own != [word for flag, word in pairwise(other) if flag in ("--engine", "--framework")]:
        return []
    pairs = [(flag, value) for flag, value in pairwise(other) if flag[:1] == "-" and value[:1] != "-"]
    return chance.sample(pairs, min(len(pairs), 3))


def value_of(option: click.Option, chance: random.Random) -> str:
    """A value of a flag."""
    known = [value for flag in option.opts for value in VALUES.get(flag, ())]
    if known and chance.random() < 0.55:
        return chance.choice(known)
    if isinstance(option.type, click.Choice) and chance.random() < 0.85:
        return str(chance.choice(list(option.type.choices)))
    what = chance.random()
    if what < 0.4:
        return str(chance.choice((1, 2, 4, 8, 16, 64, 128, 512, 4096, 8192, 32768, 163840)))
    if what < 0.5:
        return str(round(chance.random(), 3))
    if what < 0.7:
        return chance.choice(NUMBERS)
    if what < 0.85:
        return chance.choice(TEXTS).replace("\x00", "")
    return chance.choice([*GPUS, *"fp8 auto bf16 int4 awq vllm sglang llamacpp mtp ttft=2s q4_k_m".split()])


def fault_of(words: list[str], answer: Answer) -> str:
    """What is wrong with an answer; "" if nothing is."""
    if answer.code not in (0, 1, 2, 3, 4, 5):
        return f"code {answer.code}"
    if "internal error" in answer.err or "Traceback" in answer.err:
        return answer.err[:300]
    if answer.code not in (0, 3) and answer.out:
        return f"code {answer.code} after output {answer.out[:80]!r}"
    if answer.code in (0, 3) and not answer.out:
        return "no answer"
    if answer.code in (0, 3) and "--json" in words and not {"--help", "-h"} & set(words):
        try:
            json.loads(answer.out, parse_constant=lambda word: pytest.fail(word))
        except ValueError as error:
            return f"no JSON: {error}"
    if len(answer.err) > 5_000:
        return f"an error of {len(answer.err):,} characters"
    return ""


def faults_of(name: str, count: int, seed: int) -> list[str]:
    found: list[str] = []
    for number in range(count):
        words = words_of(name, random.Random(f"{name} {seed} {number}"))
        try:
            with budget(MOST_CPU_S):
                fault = fault_of(words, call(*words))
        except TooSlow as error:
            fault = str(error)
        if fault:
            found.append(f"seed {seed}, {number}: oomless {' '.join(map(ascii, words))}: {fault}")
            if len(found) > 9:
                break
    return found


@pytest.mark.parametrize("name", SHARES)
def test_two_thousand_combinations_of_flags(name: str) -> None:
    assert sum(QUICK.values()) == 2_000
    assert faults_of(name, QUICK[name], SEED) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_a_hundred_thousand_combinations_of_flags(name: str) -> None:
    seed, count = SEED or time.time_ns() % 10**9, SLOW * SHARES[name] // sum(SHARES.values())
    print(f"{name}: {count:,} combinations of seed {seed}")
    assert faults_of(name, count, seed) == []


FOUND = {
    "layers over a million cards": ("infer kimi-k2 --gpu h200:999999 -ts 1,30 --engine ik-llamacpp", 2),
    "a rent of next to nothing": ("cost --gpu l40s:4 --tokens-per-s 1000 --rent-usd-per-hour 1e-320", 2),
    "a sequence of two tokens": ("infer deepseek-v3.2 --gpu 80GB --max-model-len 2 --offline", 3),
    "a name that no system takes": (f"reconcile {'a' * 400} --gpu h100", 1),
}
"""What the slow run found: by its cause, the question and its exit code."""


@pytest.mark.parametrize("found", FOUND)
def test_what_the_slow_run_found(found: str) -> None:
    words, code = FOUND[found]
    with budget(2.0):
        answer = call(*words.split())
    assert answer.code == code
    assert fault_of(words.split(), answer) == ""
