"""One question, one answer: the first setting of tune, asked of infer and of speed, gives the same
numbers."""

import json
import shlex
from random import Random

import pytest

import oomless
from command import call
from oomless.errors import OomlessError
from oomless.run.serving import Asked
from oomless.speed.band import Figure

MODELS = (
    "deepseek-r1 deepseek-v3.2 deepseek-v2-lite qwen3-8b qwen3-30b-a3b gpt-oss-20b deepseek-v4-flash".split()
)
CARDS = "h20:8 h200:8 h200:4 h100:2 a100-80gb:8 rtx-4090:2 b200:8 mi300x:8".split()


def words(seed: int) -> list[str]:
    random = Random(seed)
    engine = random.choice(("vllm", "vllm", "sglang", "trtllm", "llamacpp"))
    return [
        random.choice(MODELS),
        "--gpu",
        random.choice(CARDS),
        "--engine",
        engine,
        "--context",
        random.choice(("2048", "8192", "32768")),
        "--concurrency",
        random.choice(("1", "4") if engine == "llamacpp" else ("1", "12", "64", "300")),
    ]


@pytest.mark.parametrize("seed", range(24))
def test_infer_and_speed_say_what_tune_says(seed: int) -> None:
    found = call("tune", *words(seed), "--json")
    if not found.out:
        assert found.code in (2, 4)
        return
    rows = json.loads(found.out)["rows"]
    for row in rows[:2]:
        inferred = json.loads(call(*row["estimate"], "--json").out)
        served = json.loads(call(*row["speed"], "--json").out)
        for name in ("verdict", "starts", "at_once", "headroom_bytes"):
            assert inferred[name] == row[name], (name, shlex.join(row["estimate"]))
            assert served[name] == row[name], (name, shlex.join(row["speed"]))
        assert inferred["request"]["layout"] == row["layout"] == served["layout"]
        for name in ("tokens_per_s", "ttft_s", "tpot_s"):
            assert served[name] == row[name], (name, shlex.join(row["speed"]))


def test_the_pasted_launch_of_the_first_setting_asks_the_same() -> None:
    """What tune prints for the shell, pasted into infer."""
    first = oomless.tune("deepseek-v3.2", "h200:8", context=32768, concurrency=64).rows[0]
    answer = call(
        "infer", "--gpu", "h200:8", "--command", first.planned.launch.command,
        "--context", "32768", "--concurrency", "64", "--json",
    )  # fmt: skip
    assert json.loads(answer.out)["headroom_bytes"] == first.row.estimate.headroom_bytes


def test_no_setting_of_the_same_space_is_better_in_the_words_of_infer() -> None:
    """The defaults of the engine are a setting of the space: tune is never behind them."""
    for model, gpu in (("deepseek-r1", "h200:8"), ("qwen3-8b", "rtx-4090:2"), ("deepseek-v3.2", "b200:8")):
        try:
            best = oomless.tune(model, gpu, context=8192, concurrency=32).rows[0]
            plain = oomless.speed(
                model, gpu, max_model_len=8192, input_len="7168", output_len="1024", concurrency=32
            )
        except OomlessError:
            continue
        assert best.row.asked != Asked()
        if plain.serving.verdict == "fits":
            assert best.row.speed is not None
            plain_rate = plain.speed.tokens_per_s
            assert isinstance(plain_rate, Figure)
            assert best.row.speed.tokens_per_s.value >= plain_rate.value / 1.03
