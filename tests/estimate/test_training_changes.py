"""What train offers where a run does not fit: one flag, else the fewest together, else more cards; each fits
when it is asked for."""

from typing import Any

import pytest

import oomless
from command import call
from oomless.run.option_values import read
from oomless.run.options import by_flag


def asked_with(words: str) -> dict[str, Any]:
    """The keywords of a change; `on N cards` is its own."""
    known, found, parts = by_flag("train"), dict[str, Any](), words.split()
    while parts:
        word = parts.pop(0)
        if word == "on":
            found["cards"], parts = int(parts[0]), parts[2:]
        elif known[word].kind == "switch":
            found[known[word].field] = True
        else:
            found[known[word].field] = read(known[word], parts.pop(0), word)
    return found


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("codellama-7b", "a10", {"framework": "trl", "method": "lora", "micro_batch": 16, "optimizer": "sgd"}),
    ("mistral-7b", "a100-40gb:4", {"framework": "deepspeed", "zero": 2, "micro_batch": 4, "seq_len": 2048}),
    ("mistral-7b", "a100-40gb:4", {"framework": "deepspeed", "zero": 2, "recompute": "full"}),
    ("qwen2.5-32b", "h100:4", {"framework": "transformers", "zero": 3, "recompute": "none"}),
    ("qwen3-8b", "rtx-4090", {"framework": "llama-factory", "method": "full", "micro_batch": 4}),
    ("olmo-2-7b", "v100-sxm2-32gb:4", {"framework": "axolotl", "zero": 2, "precision": "amp-fp16"}),
]


@pytest.mark.parametrize(("model", "gpu", "asked"), ASKED)
def test_what_is_offered_fits_with_the_headroom_that_is_said(
    model: str, gpu: str, asked: dict[str, Any]
) -> None:
    """Of random runs that did not fit nearly two thirds were offered nothing: no single flag was enough."""
    found = oomless.train(model, gpu, **asked)
    assert found.verdict == "does_not_fit"
    assert found.changes
    for each in found.changes:
        more = asked_with(each.flags)
        cards = more.pop("cards", None)
        there = f"{gpu.partition(':')[0]}:{cards}" if cards else gpu
        if {"zero", "fsdp"} & more.keys():
            asked = {name: value for name, value in asked.items() if name not in ("zero", "fsdp")}
        if "method" in more:  # which comes with an optimizer and a precision of its own
            asked = {name: value for name, value in asked.items() if name not in ("optimizer", "precision")}
        again = oomless.train(model, there, **{**asked, **more})
        assert (again.verdict, again.headroom_bytes) == ("fits", each.headroom_bytes), each.flags


def test_more_cards_of_a_deepspeed_run_are_divided_by_zero() -> None:
    """`--fsdp on 8 cards` was offered to a DeepSpeed run with `--zero 2`, beside which it is refused."""
    found = oomless.train("mistral-7b", "a100-40gb:4", framework="deepspeed", zero=3, recompute="full")
    wide = [each.flags for each in found.changes if " on " in each.flags]
    assert wide == ["--zero 3 on 8 cards"]


def test_where_nothing_helps_plan_is_named() -> None:
    found = call("train", "deepseek-v3", "--gpu", "rtx-4090")
    assert "would fit" not in found.out
    assert "oomless plan MODEL --for train" in found.out


def test_states_go_to_the_host_as_the_engine_does_it() -> None:
    """Trainers were told --offload optimizer, which none of them has without DeepSpeed."""
    alone = oomless.train("qwen2.5-7b", "a100-80gb", framework="transformers")
    assert "--zero 2 --offload optimizer" in {each.flags for each in alone.changes}
    cut = oomless.train("llama-3.1-70b", "rtx-4090:2", framework="fsdp-qlora", method="qlora", seq_len=2048)
    assert "--offload params,optimizer" in {each.flags for each in cut.changes}
    paged = oomless.train("qwen2.5-7b", "rtx-4090", framework="transformers", optimizer="paged-adamw")
    assert not any("--offload" in each.flags for each in paged.changes)
