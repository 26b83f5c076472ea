"""Another model that drafts beside the one that is served: its weights, its rows in the pool, its release."""

import json
from typing import Any

import pytest

import oomless
from oomless.engines.command_line import read_command
from oomless.engines.rank import Stage
from oomless.engines.vllm.budget import budget_lines
from oomless.errors import UnsupportedError, UsageError
from oomless.ledger import Ledger
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.speed.serving import ServingSpeed

SMALL = "qwen2.5-7b-instruct"
DRAFT = json.dumps({"model": SMALL, "num_speculative_tokens": 5})


def asked(**flags: Any) -> Any:
    return oomless.infer("qwen2.5-32b-instruct", "h200", context=4096, **flags)


def weights(ledger: Ledger) -> int:
    return sum(line.bytes for line in ledger.lines if line.category == "weights")


@pytest.mark.parametrize("quantization", [None, "awq", "fp8"])
def test_a_draft_has_its_own_type_and_a_row_of_each_of_its_layers(quantization: str | None) -> None:
    alone, both = (asked(quantization=quantization, speculation=word) for word in (None, DRAFT))
    small = load(SMALL)
    added = weights(both.ledger) - weights(alone.ledger)
    assert added == pytest.approx(2 * small.num_parameters, rel=0.01)
    rows = both.kv_cache.bytes_per_token - alone.kv_cache.bytes_per_token
    assert rows == 28 * 2 * 4 * 128 * 2
    assert both.kv_cache.max_tokens < alone.kv_cache.max_tokens


def test_before_0_8_the_budget_did_not_know_the_draft() -> None:
    """vllm#14067: its weights came on top of what the utilisation allows."""
    old, new = (asked(engine_version=version, speculation=DRAFT) for version in ("0.7.3", "0.8.5"))
    beside = [line for line in old.ledger.lines if line.key == "weights.draft"]
    assert [line.bytes for line in beside] == [2 * load(SMALL).num_parameters]
    assert not [line for line in new.ledger.lines if line.key == "weights.draft"]
    tight = {
        version: asked(engine_version=version, speculation=DRAFT, gpu_memory_utilization=0.97)
        for version in ("0.7.3", "0.8.5")
    }
    assert tight["0.7.3"].verdict == "does_not_fit"
    assert tight["0.8.5"].verdict == "fits"


@pytest.mark.parametrize(
    "command",
    [
        f"vllm serve m --speculative-config '{DRAFT}'",
        f"vllm serve m --speculative-model {SMALL} --num-speculative-tokens 5",
        "python -m sglang.launch_server --model-path m --speculative-algorithm STANDALONE "
        f"--speculative-draft-model-path {SMALL} --speculative-num-steps 5",
    ],
)
def test_commands_name_the_model_that_drafts(command: str) -> None:
    found = read_command(command).flags["speculation"]
    assert (found.drafter, found.tokens) == (SMALL, 5)


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(UsageError, match="names no model"):
        asked(speculation='{"method": "draft_model"}')
    with pytest.raises(UnsupportedError, match="drafts is not known"):
        oomless.infer("qwen2.5-32b-instruct", "h200", engine="llamacpp", speculation=DRAFT)
    with pytest.raises(UnsupportedError, match="medusa"):
        asked(speculation='{"method": "medusa", "model": "org/head"}')


def test_drafting_takes_the_time_of_the_model_that_drafts() -> None:
    """Its weights are read for each token: a fifth of its target's for each of five, and 2.5 hold."""
    plain = oomless.speed("qwen2.5-32b-instruct", "h200")
    drafted = oomless.speed(
        "qwen2.5-32b-instruct", "h200", speculation=DRAFT[:-1] + ', "accepted_length": 2.5}'
    )
    assert isinstance(plain.speed, ServingSpeed)
    assert isinstance(drafted.speed, ServingSpeed)
    part = next(part for part in drafted.speed.decode_parts if part.what == "drafts")
    assert part.seconds > plain.speed.tpot_s.value * 5 / 6


@pytest.mark.parametrize(
    ("version", "method", "widths", "charged"),
    [
        ("0.26.0", "mtp", 5, False),
        ("0.27.1", "mtp", 5, True),
        ("0.29.0", "mtp", 4, True),
        ("0.29.0", "dspark", 1, True),
    ],
)
def test_inputs_of_a_draft_are_charged_from_0_27_on(
    version: str, method: str, widths: int, charged: bool
) -> None:
    """mem_utils.py of 0.27 charges what was made before loading; V4's MTP keeps four streams of each token's
    states, and of the first runner its embedding."""
    model, cards = load("deepseek-v4-flash-0731"), parse_gpu("h200:4")
    tokens = 8192
    said = Resolved(
        engine_version=version,
        max_num_batched_tokens=tokens,
        max_model_len=65536,
        max_num_seqs=64,
        layout=Layout(tp=4),
        kv_cache_dtype="fp8_ds_mla",
        dtype="bfloat16",
        speculation=Speculation(method),
    )
    found = budget_lines(model, said, cards, Stage(0, 1, 0, 43))
    line = next(each for each in (*found.charged, *found.beside) if each.what == "inputs of the draft")
    assert line.bytes == widths * tokens * 4096 * 2
    assert (line in found.charged) is charged


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-ai/DeepSeek-V3"])
def test_a_model_that_drafts_for_itself_loads_its_own_layers_alone(name: str) -> None:
    """vLLM reads the config of such a draft as that of its MTP layers (config/speculative.py,
    hf_config_override); 74 GiB too much were counted on a rank."""
    said = json.dumps({"model": name, "num_speculative_tokens": 1})
    own, itself = (
        oomless.infer("deepseek-v3", "h200:8", tp=8, speculation=word)
        for word in ('{"method": "mtp", "num_speculative_tokens": 1}', said)
    )
    assert itself.ledger == own.ledger
    assert itself.kv_cache == own.kv_cache


def test_v4_drafts_in_sglang_before_its_draft_was_loaded_first() -> None:
    """A job's log of 0.5.12 on H200: weights of 125.43 GB, and -4.05 GB left for the pool."""
    said: dict[str, Any] = {"engine": "sglang", "engine_version": "0.5.12", "tp": 8}
    found = oomless.infer(
        "deepseek-v4-pro", "h200:8", mem_fraction_static=0.88, speculation=Speculation("EAGLE", 3), **said
    )
    assert found.verdict == "does_not_fit"
    assert any(line.key == "weights.draft" for line in found.ledger.lines)
