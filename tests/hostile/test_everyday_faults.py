"""Questions that anybody may ask, and configs that nobody publishes: never an internal error."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oomless
from command import call
from hostile_input import CODER, MEGATRON, within, written
from oomless import facts
from oomless.errors import OomlessError


@pytest.mark.parametrize("layout", ["--tp 4 --pp 16", "--tp 2 --pp 16", "--tp 1 --pp 22"])
@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4.1-flash"])
def test_a_stage_that_keeps_nothing_a_token(model: str, layout: str) -> None:
    answer = within("infer", model, "--gpu", "h200:8x8", "--engine", "sglang", *layout.split(), "--json")
    assert answer.code in (0, 3), answer.err
    assert 0 < json.loads(answer.out)["kv_cache"]["max_tokens"] < 1 << 40


@pytest.mark.slow
def test_a_plan_over_64_cards() -> None:
    assert within("plan", "deepseek-v4-flash", "--max-gpus", "64", cpu_s=60).code == 0


@pytest.mark.slow
def test_a_plan_for_training_ends() -> None:
    """It took 31 s of processor time, hostile in nothing."""
    assert within("plan", "deepseek-v2-lite", "--for", "train", "--json", cpu_s=20).code == 0


@pytest.mark.parametrize("gpu", ["gaudi3:8", "80GiB:8", "m3-ultra"])
def test_prices_of_a_card_that_has_none(gpu: str) -> None:
    answer = within("cost", "--gpu", gpu, "--list-prices")
    assert answer.code in (0, 2)


@pytest.mark.parametrize("command", ["infer", "speed"])
@pytest.mark.parametrize("flags", ["--max-num-seqs 10000", "--parallel 4096 --max-model-len 16"])
def test_more_slots_than_cells(command: str, flags: str) -> None:
    question: tuple[str, ...] = (command, "deepseek-coder-1.3b", "--gpu", "b200:8", "--engine", "llamacpp")
    if command == "speed":
        question += ("--input-len", "8", "--output-len", "8")
    answer = within(*question, *flags.split())
    assert answer.code in (0, 2, 3), "more cards may hold more cells"
    assert answer.code != 2 or "slots share a cache of" in answer.err
    assert within(*question, "--max-num-seqs", "8192").code in (0, 3)


@pytest.mark.parametrize("block", ["1", "16", "64", "128", "256"])
@pytest.mark.parametrize("version", ["0.21.0", "0.25.0", "0.33.0"])
def test_blocks_of_any_size(version: str, block: str) -> None:
    """Pages of V4's windows that fit into no page of its compressed rows were a StopIteration."""
    words = f"infer deepseek-v4-flash --gpu gh200:2 --engine-version {version} --block-size {block}"
    assert within(*words.split()).code in (0, 3, 4)


@pytest.mark.parametrize("version", ["0.21.0", "0.23.0", "0.25.0"])
def test_a_cache_type_that_came_later(version: str) -> None:
    words = f"infer deepseek-v3.2 --gpu b200:8 --kv-cache-dtype nvfp4_ds_mla --engine-version {version}"
    assert within(*words.split()).code in (0, 2, 3, 4)


@pytest.mark.parametrize(
    ("family", "place", "value", "words"),
    [
        ("mistral3", "patch_size", 1 << 27, "infer {} --gpu a100-80gb:4"),
        ("qwen3_vl_moe", "num_heads", 1 << 31, "train {} --gpu h200:8 --method qlora"),
    ],
)
def test_a_vision_tower_that_cannot_be(
    family: str, place: str, value: int, words: str, tmp_path: Path
) -> None:
    configs = (facts.model_config(row["name"]) for row in facts.table("catalogue"))
    config = next(each for each in configs if each["model_type"] == family)
    config["vision_config"][place] = value
    answer = within(*words.format(written(tmp_path, "config.json", config)).split())
    assert answer.code == 1, answer.err


@pytest.mark.parametrize("layers", [12, 48])
def test_no_line_of_a_megatron_run_is_below_zero(layers: int, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", MEGATRON.replace("--num-layers 12", f"--num-layers {layers}"))
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8", "--json")
    for rank in json.loads(answer.out)["ranks"]:
        assert not [line for line in rank["lines"] if min(line["bytes"], line["low_bytes"]) < 0]


WRONG: tuple[Any, ...] = (0, -1, 1.5, True, [], {}, "\0", "\ud800", b"x", object(), float("nan"))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: type(each).__name__)
def test_wrong_values_of_the_python_interface(wrong: Any, tmp_path: Path) -> None:
    log = written(
        tmp_path, "a.log", "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB"
    )
    asks: tuple[Callable[[], object], ...] = (
        lambda: oomless.train("deepseek-v2-lite", "h100:8", from_file=wrong),
        lambda: oomless.train(megatron_args=wrong, world_size=8),
        lambda: oomless.infer("org/model", "h200", revision=wrong, offline=True),
        lambda: oomless.infer("deepseek-v2-lite", wrong),
        lambda: oomless.infer(wrong, "h200"),
        lambda: oomless.load(wrong),
        lambda: oomless.reconcile(wrong),
        lambda: oomless.reconcile(log, gpu=wrong),
        lambda: oomless.reconcile(log, model=wrong),
    )
    for ask in asks:
        with pytest.raises(OomlessError):
            ask()


def test_questions_about_many_models_keep_nothing(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(120):
        file = written(tmp_path, "config.json", {**CODER, "hidden_size": 2048 + 32 * number})
        assert call("speed", file, "--gpu", "h200", "--json").code in (0, 1, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000
