"""What slowed down an engineer who asked for trainings, plans and prices: flags, names, prices, texts."""

import inspect
import json
from pathlib import Path

import pytest

import oomless
from command import call
from oomless.claims import claim, claims

LLAMA = "deepseek-r1-distill-llama-8b"
TABLES = Path(__file__).parents[1] / "tables"


@pytest.mark.parametrize("checkpointing", [True, False])
def test_checkpoints_that_accelerate_makes_are_read_of_axolotl(tmp_path: Path, checkpointing: bool) -> None:
    path = tmp_path / "axolotl.yaml"
    path.write_text(
        f"base_model: {LLAMA}\nbf16: true\nsequence_len: 4096\nmicro_batch_size: 1\nfsdp_version: 2\n"
        f"fsdp_config:\n  activation_checkpointing: {str(checkpointing).lower()}\n"
    )
    found = oomless.train(None, "h100:8", from_file=str(path))
    assert found.request.recompute == ("full" if checkpointing else "none")


def test_how_tokens_are_drawn_is_no_note_about_memory(tmp_path: Path) -> None:
    """Of PPO's keys only the length of an answer matters; top_k and top_p were called memory."""
    path = tmp_path / "ppo.yaml"
    path.write_text(
        f"model_name_or_path: {LLAMA}\nstage: ppo\nfinetuning_type: lora\nreward_model: saves/rm\n"
        "cutoff_len: 1024\nmax_new_tokens: 512\ntop_k: 0\ntop_p: 0.9\n"
    )
    found = oomless.train(None, "h100:8", from_file=str(path))
    assert found.request.seq_len == 1536
    assert not any("top_" in note for note in found.warnings)


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--micro-batch 2 --task sft", "micro_batch", 2),
        ("--loss chunked --framework axolotl", "loss", "chunked"),
        ("--method lora --lora-rank 16 --lora-targets q_proj,v_proj", "lora_targets", ["q_proj", "v_proj"]),
    ],
)
def test_a_plan_takes_what_train_takes(flags: str, field: str, value: object) -> None:
    found = call("plan", LLAMA, *f"--for train --gpu h100:8 {flags} --json".split())
    rows = json.loads(found.out)["rows"]
    assert rows
    for row in rows:
        answer = json.loads(call(*row["estimate"], "--json").out)
        assert answer["request"][field] == value


@pytest.mark.parametrize("goal", ["--largest-model", "--longest-context"])
def test_goals_are_of_training_too(goal: str) -> None:
    model = [LLAMA] if goal == "--longest-context" else []
    found = call("plan", *model, *f"--for train --gpu h100:2 --method lora {goal}".split())
    assert found.code == 0
    assert "recompute" in found.out


def test_a_plan_for_2048_cards_is_found_from_one_card() -> None:
    """`--gpu h800 --max-gpus 2048` stopped at 128 cards, and experts were over at most eight ranks."""
    flags = "--for train --gpu h800 --max-gpus 2048 --global-batch 15360 --json".split()
    rows = json.loads(call("plan", "deepseek-v3", *flags).out)["rows"]
    assert max(row["num_gpus"] for row in rows) > 128
    assert max(row["layout"]["ep"] for row in rows) > 8


@pytest.mark.parametrize("gpu", ["rtx-4090:1", "rtx-3090:1"])
def test_cards_of_a_desk_have_a_rent_and_a_price(gpu: str) -> None:
    assert call("cost", "--gpu", gpu).code == 0


def test_a_price_that_nobody_knows_can_be_given() -> None:
    said = call("cost", "--gpu", "h800:1")
    assert said.code == 2
    assert "--rent-usd-per-hour" in said.err
    given = ("--rent-usd-per-hour", "2", "--buy-usd-per-gpu", "30000")
    assert call("cost", "--gpu", "h800:1", *given).code == 0


def test_a_table_that_a_test_scores_says_so() -> None:
    assert "post_training.csv is scored by a test" in call("validate", str(TABLES / "post_training.csv")).err


def test_claims_are_settled_with_their_figures() -> None:
    """Nine of 36 were "not settled", with notes of their authors; C07 had none."""
    for each in claims():
        assert each.evidence.verdict != "not settled"
        assert each.evidence.figures, each.id
    assert any("saving in all" in each.what for each in claim("C07").evidence.figures)


def test_an_answer_prints_as_its_text() -> None:
    """`print(answer)` was 25 kB of fields, and a step's time stood in JSON alone."""
    found = oomless.train("qwen3-8b", "h100", framework="peft", method="lora")
    assert str(found) == repr(found)
    assert str(found).startswith("fits: ")
    assert len(str(found)) < 3000
    speed, why = found.speed
    assert speed is not None
    assert speed.step_s.low < speed.step_s.value < speed.step_s.high
    assert not why


def test_commands_are_functions_and_a_plan_says_its_word() -> None:
    assert callable(oomless.trace)
    assert callable(oomless.cost)
    assert "for_" in inspect.signature(oomless.plan).parameters


@pytest.mark.parametrize("flags", ["--framework deepspeed --zero 3", "--task dpo", "--offload optimizer"])
def test_what_no_trace_follows_is_sent_to_the_formula(flags: str) -> None:
    """Nothing here runs DeepSpeed's engine or a second model: it is refused, with the way on."""
    found = call("trace", "smollm2-135m", *flags.split(), "--gpu", "h100:2")
    assert found.code == 4
    assert found.out == ""
    assert "(" not in found.err
    assert "oomless train" in found.err


def test_a_trace_beside_the_formula_shows_what_is_reserved() -> None:
    flags = "--framework transformers --seq-len 64 --against closed-form".split()
    found = call("trace", "smollm2-135m", *flags)
    assert "reserved" in found.out


def test_a_row_gives_the_command_behind_it() -> None:
    found = call("validate", str(TABLES / "training_fresh.csv"), "--replay", "fswift2-005")
    assert found.out.startswith("oomless train ")
