"""What Metal may take of a Mac's one memory: logs say it in decimal or binary MB."""

import pytest

import oomless
from command import call
from oomless.run.hardware import parse_gpu
from oomless.units import GIB, MB, MIB


@pytest.mark.parametrize(
    ("gpu", "logged_bytes"),
    [
        ("m4-16gb", 10_922.67 * MIB),
        ("m2-max-32gb", 21_845.34 * MIB),
        ("m4-max-36gb", 28_991.03 * MB),  # the log does not say 36 GB: inferred (facts/gpu_shares.csv)
        ("m2-max-96gb", 73_728 * MIB),
        ("m5-24gb", 19_069.67 * MB),  # macOS 26 gives more, and no M5 has an older one
        ("m5-32gb", 26_800.60 * MB),
    ],
)
def test_the_default_share_is_what_metal_prints(gpu: str, logged_bytes: float) -> None:
    assert parse_gpu(gpu).card.memory_bytes == pytest.approx(logged_bytes, rel=1e-6)


@pytest.mark.parametrize(
    ("gpu", "logged_bytes"),
    [
        ("m4-16gb", 12_713.12 * MB),
        ("m4-pro-48gb", 40_200.90 * MB),
        ("m3-max-64gb", 55_662.79 * MB),
        ("m4-max-128gb", 115_448.73 * MB),
        ("m3-ultra-512gb", 498_216.21 * MB),
    ],
)
def test_macos_26_may_give_more_than_the_share(gpu: str, logged_bytes: float) -> None:
    assert parse_gpu(gpu).card.at_most.memory_bytes == pytest.approx(logged_bytes, rel=1e-5)


@pytest.mark.parametrize(("build", "verdict"), [("2026-04", "tight"), ("2025-04", "does not fit")])
def test_a_build_before_macos_26_has_the_older_share(build: str, verdict: str) -> None:
    found = call(
        *("infer", "qwen3-14b", "--quantization", "q4_k_m", "--gpu", "m4-16gb", "--engine", "llamacpp"),
        *("--engine-version", build, "-ngl", "99", "--context", "16384", "-np", "1"),
    )
    assert found.out.startswith(verdict)


def test_a_size_that_nobody_named_is_said() -> None:
    card = parse_gpu("m3-ultra").card
    assert card.shared_bytes == 96 * GIB
    assert "m3-ultra-512gb" in card.memory_source
    assert "iogpu.wired_limit_mb" in card.memory_source


def test_an_answer_says_what_the_share_is_and_who_sets_it() -> None:
    found = call(
        "infer", "qwen3-8b", "--gpu", "m3-ultra", "--quantization", "q8_0", "--max-model-len", "8192"
    )
    assert "iogpu.wired_limit_mb" in found.out
    assert "write m3-ultra-512gb" in found.out


def test_what_macos_26_gives_more_is_room_and_nothing_taken() -> None:
    """The low end of 18 GiB on a Mac of 512 was -62: the larger share was taken off what is there."""
    found = oomless.infer("qwen3-30b-a3b", "m3-ultra-512gb", engine="llamacpp", max_model_len=16384)
    ledger = found.ledger
    assert ledger.low_bytes >= sum(line.low_bytes for line in ledger.lines)
    assert ledger.low_bytes <= ledger.total_bytes
    tight = oomless.infer("deepseek-r1", "m3-ultra-512gb", quantization="q5_k_m", max_model_len=8192)
    assert (tight.verdict, tight.ledger.low_bytes) == ("tight", tight.ledger.capacity_bytes)
