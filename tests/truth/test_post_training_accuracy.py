"""Fine-tuning and preference learning beside published peaks (tests/tables/post_training.csv), found and
scored before a rule was changed.

Blind, supervised and preference rows of ColossalChat had 8 % in the median and 18 % at p90; the F32 copies of
gradients that its optimizer makes were missing. Then its DPO and KTO rows with a reference, 6 to 24 % low:
the frozen forward runs while the policy's activations and logits wait, fills a cache of keys and values
(use_cache of the config), and the loop's names keep F32 logits until the next step; after that rule those
seven rows have 1 %. Its PPO rows and TRL's issues leave settings out: no answer may lie below what was
measured there by much.
"""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.estimate.training.reserved import allocated_lines
from oomless.units import GIB, MIB
from tables.score import TABLES, Budget, check_errors, records

UNITS = {"MB": MIB, "MiB": MIB, "GB?": GIB}
"""ColossalChat divides torch's counter by 2^20 and writes MB."""
LEARNING = Budget(median=0.085, p90=0.18)


def rows() -> list[dict[str, str]]:
    return records(TABLES / "post_training.csv")


def asked(row: dict[str, str], **more: Any) -> Any:
    given: dict[str, Any] = more | {name: int(row[name]) for name in ("dp", "tp", "micro_batch", "seq_len")}
    given |= {name: row[name] for name in ("framework", "task", "method", "recompute", "attention")}
    given |= {name: row[name] for name in ("precision", "optimizer", "offload") if row[name]}
    if row["sharding"] != "none":
        given["sharding"] = row["sharding"]
    if row["lora_rank"]:
        given["lora_rank"] = int(row["lora_rank"])
    if row["reference"]:
        given["reference_model"] = row["reference"]
    if row["task"] == "ppo":
        given["reward_model"] = row["model"]
    return train(row["model"], f"{row['gpu']}:{given['dp'] * given['tp']}", **given)


def error(row: dict[str, str]) -> float:
    found = asked(row)
    ledgers = [found.ledger] if found.after is None else [each.ledger for each in found.after.moments]
    counted = allocated_lines if row["quantity"] == "peak_allocated" else (lambda ledger: ledger.lines)
    most = max(sum(line.bytes for line in counted(ledger)) for ledger in ledgers)
    return float(most / (float(row["value"]) * UNITS[row["unit"]]) - 1)


def test_supervised_and_preference_learning() -> None:
    mine = [row for row in rows() if row["framework"] == "colossalai" and row["task"] != "ppo"]
    assert len(mine) == 24
    check_errors([abs(error(row)) for row in mine], LEARNING)


def test_preference_learning_is_not_told_to_fit_where_it_does_not() -> None:
    """One row is a known miss, 8.6 % low since an offloaded step no longer counts for more than it holds: KTO
    with two sequences a rank, whose twin with four is within 1 %."""
    errors = {
        row["id"]: error(row)
        for row in rows()
        if row["framework"] == "colossalai" and row["task"] in ("dpo", "kto")
    }
    assert len(errors) == 17
    assert errors.pop("post-021") >= -0.09
    assert min(errors.values()) >= -0.05


@pytest.mark.parametrize("task", ["ppo", "grpo"])
def test_reinforcement_learning_is_not_told_to_fit_where_it_does_not(task: str) -> None:
    errors = [error(row) for row in rows() if row["task"] == task]
    assert errors
    assert min(errors) >= 0


def test_a_prompt_has_no_logits() -> None:
    """TRL's two GRPO rows: with logits of 3,072 tokens for 1,024 of an answer, tensors alone were more than
    what nvidia-smi had."""
    for row in rows():
        if row["task"] == "grpo":
            found = asked(row, query_len=2048, framework_version="trl 0.17")
            tensors = sum(line.bytes for line in allocated_lines(found.ledger))
            assert 0.8 < tensors / (float(row["value"]) * MIB) < 1
