"""Bad questions about training: what, where, what to do; the right code; nothing on stdout; no traceback."""

import pytest

from command import run

BAD = {
    "no model": (["--gpu", "h100"], 2, "MODEL is missing"),
    "no cards": (["deepseek-v3"], 2, "--gpu is missing"),
    "unknown model": (["deepseek-v33", "--gpu", "h100"], 2, "deepseek-v3"),
    "heads": (
        ["deepseek-v3", "--gpu", "h100:24", "--tp", "3"],
        2,
        "--tp 3 does not divide the 128 attention heads",
    ),
    "stages": (
        ["deepseek-coder-1.3b", "--gpu", "h100:32", "--pp", "32"],
        2,
        "--pp 32 x 1 chunks is more than the 24 layers",
    ),
    "experts": (
        ["deepseek-v2-lite", "--gpu", "h100:6", "--ep", "6"],
        2,
        "--ep 6 does not divide the 64 experts",
    ),
    "experts of none": (["llama-3.1-8b", "--gpu", "h100:8", "--ep", "8"], 2, "has no routed experts"),
    "targets": (
        ["deepseek-v3", "--gpu", "h100", "--method", "lora", "--lora-targets", "qproj"],
        2,
        "names no matrix of deepseek-v3",
    ),
    "batch": (["deepseek-coder-1.3b", "--gpu", "h100", "--micro-batch", "0"], 2, "--micro-batch is 0"),
    "length": (["deepseek-coder-1.3b", "--gpu", "h100", "--seq-len", "-4"], 2, "--seq-len is -4"),
    "a slip": (
        ["llama-2-7b", "--gpu", "h100", "--seq-len", "8000000"],
        2,
        "is far beyond the 4096 positions",
    ),
    "BF16": (
        ["deepseek-coder-1.3b", "--gpu", "v100-32gb", "--precision", "bf16"],
        4,
        "has no BF16 and --precision is bf16",
    ),
    "FP8": (
        ["deepseek-coder-1.3b", "--gpu", "a100-80gb", "--precision", "fp8"],
        4,
        "has no FP8 and --precision is fp8",
    ),
    "two ways": (
        ["deepseek-coder-1.3b", "--gpu", "h100:8", "--zero", "2", "--fsdp"],
        2,
        "--zero and --fsdp say the same thing",
    ),
    "stage 4": (["deepseek-coder-1.3b", "--gpu", "h100:8", "--zero", "4"], 2, "--zero is 4"),
    "global batch": (
        ["deepseek-coder-1.3b", "--gpu", "h100:8", "--global-batch", "12"],
        2,
        "--global-batch 12 is no multiple of 8 ranks",
    ),
    "world": (
        ["deepseek-coder-1.3b", "--gpu", "h100:8", "--tp", "2", "--pp", "3"],
        2,
        "which does not divide 8 cards",
    ),
    "framework": (["deepseek-coder-1.3b", "--gpu", "h100", "--framework", "torchtitn"], 2, "torchtitan"),
    "optimizer": (["deepseek-coder-1.3b", "--gpu", "h100", "--optimizer", "adamv"], 2, "adam"),
    "precision": (["deepseek-coder-1.3b", "--gpu", "h100", "--precision", "bf17"], 2, "bf16"),
    "what it cannot": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--framework", "torchtitan", "--method", "lora"],
        4,
        "--method lora of",
    ),
    "context parallel": (
        ["deepseek-coder-1.3b", "--gpu", "h100:3", "--cp", "3", "--seq-len", "4096"],
        2,
        "--cp 3 does not divide --seq-len 4096",
    ),
    "offload": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--offload", "weights"],
        2,
        "it is optimizer or params",
    ),
    "a count beyond all machines": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--micro-batch", "9" * 20],
        2,
        "it must be between 1 and 1,000,000",
    ),
    "no optimizer": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--optimizer", ""],
        2,
        "--optimizer is followed by an empty argument",
    ),
    "modules": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--recompute", "selective", "--recompute-modules", "mpl"],
        2,
        "--recompute-modules is 'mpl'",
    ),
    "fewer than no layers": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--recompute-num-layers", "-1"],
        2,
        "--recompute-num-layers is -1",
    ),
    "shard size": (
        ["deepseek-coder-1.3b", "--gpu", "h100:8", "--sharding", "hsdp", "--shard-size", "3"],
        2,
        "--shard-size 3 does not divide the 8 data-parallel ranks",
    ),
    "experts' tensor parallel size": (
        ["deepseek-v2-lite", "--gpu", "h100:8", "--etp", "3"],
        2,
        "--ep 1 x 3 does not divide the 8 ranks",
    ),
    "a share of five cards": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--task", "grpo", "--rollout-gpu-memory-utilization", "5"],
        2,
        "--rollout-gpu-memory-utilization is 5.0",
    ),
    "a word of a list": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--task", "grop"],
        2,
        "`oomless train --help` lists all",
    ),
    "compare with no flag": (
        ["deepseek-coder-1.3b", "--gpu", "h100", "--compare", "json=1,2"],
        2,
        "'json' is no flag",
    ),
    "category": (["deepseek-coder-1.3b", "--gpu", "h100", "--explain", "weight"], 2, "weights"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_question_is_answered(case: str) -> None:
    words, code, text = BAD[case]
    answer = run("train", *words)
    assert answer.code == code, answer.err
    assert text in answer.err
    assert not answer.out
    assert "Traceback" not in answer.err


def test_what_changes_nothing_is_said() -> None:
    """A flag that was given and cannot count is named: the reader thought that it would."""
    words = (
        "--lora-rank 64 --quantization nf4 --recompute-num-layers 4 --shard-size 2 "
        "--sequence-parallel --schedule gpipe"
    ).split()
    answer = run("train", "deepseek-coder-1.3b", "--gpu", "h200:8", *words)
    for name in (word for word in words if word.startswith("--")):
        assert f"{name} changes nothing" in answer.out, answer.out
    assert (
        "changes nothing"
        not in run(
            "train", "deepseek-coder-1.3b", "--gpu", "h200:8", "--method", "lora", "--lora-rank", "64"
        ).out
    )


def test_a_share_alone_asks_for_an_engine() -> None:
    """Who says how much of the card the engine takes has one: it was left out of the answer unless it was
    named as well."""
    answer = run(
        "train",
        "deepseek-coder-1.3b",
        "--gpu",
        "h200",
        "--task",
        "grpo",
        "--rollout-gpu-memory-utilization",
        "0.5",
    )
    assert "generate" in answer.out


def test_a_pasted_command_is_told_where_its_files_go() -> None:
    answer = run("train", "--gpu", "h100:8", "--command", "torchrun train.py --deepspeed zero3.json")
    assert answer.code == 2
    assert "--from" in answer.err
    assert "--megatron-args" in answer.err


def test_a_length_may_be_far_beyond_the_positions() -> None:
    """EasyContext trains Llama-2 at 700,000 tokens, which was refused as a slip."""
    asked = ("llama-2-7b", "--gpu", "a100-80gb:8", "--fsdp", "--cp", "8", "--seq-len", "700000")
    assert run("train", *asked).code in (0, 3)
