"""What misled an engineer who asked for trainings: sentences, notes and formulas of an answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call
from oomless.api.training import train
from oomless.api.training_answer import TrainingAnswer
from oomless.claims import claim


def said(answer: TrainingAnswer, words: str) -> bool:
    return any(words in note for note in answer.warnings)


def test_a_pipeline_runs_a_micro_batch_for_each_stage() -> None:
    """One micro-batch in eight stages kept a fifth of what the training would."""
    asked: dict[str, Any] = {"framework": "megatron-lm", "tp": 4, "pp": 8, "sequence_parallel": True}
    found = train("llama-3.1-70b", "h100:8x8", **asked)
    assert found.ledger == train("llama-3.1-70b", "h100:8x8", **asked, grad_accum=8).ledger
    assert said(found, "8 micro-batches of a step, one for each stage")


@pytest.mark.parametrize(
    ("model", "length", "notes"), [("deepseek-coder-33b", 32768, 1), ("qwen3-8b", 4096, 0)]
)
def test_lengths_beyond_the_positions_are_named(model: str, length: int, notes: int) -> None:
    found = train(model, "h100:8", framework="fsdp", sharding="fsdp2", seq_len=length)
    assert said(found, "it needs another rotary base or scaling") == bool(notes)


@pytest.mark.parametrize(
    ("framework", "width"), [("peft", 4), ("trl", 2), ("torchtune", 2), ("llama-factory", 4)]
)
def test_formulas_of_adapters_say_their_width(framework: str, width: int) -> None:
    """The answer of F32 adapters said 2 B."""
    found = train("qwen3-8b", "h100", framework=framework, method="qlora", seq_len=512)
    line = next(line for line in found.ledger.lines if line.key == "weights.trained")
    values, _, rest = line.formula.partition(" values x ")
    assert line.bytes == int(values.replace(",", "")) * width
    assert rest == f"{width} B"


def test_the_reason_why_nothing_fits_is_not_what_lies_between_steps() -> None:
    """47 of 79 GiB lie between steps; foreach's copies in the step are the rest."""
    flags = "--gpu h100:8 --framework fsdp --fsdp --seq-len 32768".split()
    found = call("train", "deepseek-coder-33b", *flags)
    assert found.code == 3
    assert "between steps 46.64 GiB" in found.out
    assert "no micro-batch and no length fits: what a step holds at any length is too much" in found.out


def test_an_engine_of_rollouts_gets_no_flag_that_nobody_passed() -> None:
    """SGLang has no --gpu-memory-utilization, and was refused for it."""
    asked: dict[str, Any] = {"framework": "verl", "task": "grpo", "seq_len": 1024, "rollout_engine": "sglang"}
    found = train("deepseek-r1-distill-qwen-1.5b", "h100", **asked)
    assert found.after is not None
    assert found.after.moments[-1].name == "generate"


def test_plan_finds_what_train_finds_with_narrow_states() -> None:
    """The least of a search was twelve bytes a parameter; 8-bit Adam in bfloat16 has six."""
    flags = "--for train --precision bf16 --optimizer adamw-8bit --gpu a100-80gb:1 --framework transformers"
    found = call("plan", "deepseek-r1-distill-llama-8b", *flags.split(), "--json")
    assert found.code == 0
    assert json.loads(found.out)["rows"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "freeze_language_model: true",
            "freeze_language_model = true is not understood and may change memory",
        ),
        ("freeze_vision_tower: false", "the vision tower is trained too"),
        ("freeze_multi_modal_projector: false", "freeze_multi_modal_projector = false: gradients and states"),
        ("freeze_vision_tower: true", ""),
    ],
)
def test_what_a_file_freezes_is_named_unless_it_is_counted_so(tmp_path: Path, entry: str, told: str) -> None:
    """LLaMA-Factory freezes tower and projector by itself (hparams/finetuning_args.py)."""
    path = tmp_path / "vl.yaml"
    path.write_text(f"model_name_or_path: qwen2.5-vl-7b\nstage: sft\nfinetuning_type: full\n{entry}\n")
    found = train(None, "h100:8", from_file=str(path))
    assert said(found, told or "freeze_vision_tower") == bool(told)


@pytest.mark.parametrize("framework", ["transformers", "trl", "llama-factory", "torchtitan", "megatron-lm"])
def test_a_framework_without_pipelines_is_told_from_one_with(framework: str) -> None:
    found = train("qwen3-8b", "h100:8", framework=framework, pp=2, method="full", seq_len=512)
    alone = framework not in ("torchtitan", "megatron-lm")
    assert said(found, f"{framework} starts no pipeline by itself") == alone


def test_sentences_of_claims_say_what_their_figures_say() -> None:
    """32,000 was the upper end of quotes up to 40,000; a 32 GB module stood below that was not listed."""
    quotes = [each.value for each in claim("C29").evidence.figures if each.unit.startswith("USD")]
    assert f"{min(quotes):,.0f} to {max(quotes):,.0f};" in claim("C29").evidence.because
    assert "below" not in claim("C28").evidence.because
    assert claim("C35").evidence.verdict == "holds"
    assert any(each.what.startswith("less at the peak") for each in claim("C23").evidence.figures)
    shares = [each for each in claim("C03").evidence.figures if "share" in each.what]
    assert {each.unit for each in shares} == {"%"}
    peaks = {each.what: each.value for each in claim("C12").evidence.figures}
    assert peaks["ZeRO-3, AdamW in F32 (16 B a parameter): peak a card"] < 62
    assert peaks["ZeRO-3, F32 optimizer on the host: states a card"] < 8


def test_the_first_page_shows_every_row_of_training_and_what_was_blind() -> None:
    """It showed those of confidence A alone: 0.2 % off."""
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert "--confidence" not in page
    assert "| train, blind " in page


@pytest.mark.parametrize(("tp", "pp", "gpu", "passes"), [(2, 1, "h100:8", 1), (4, 8, "h100:8x8", 8)])
def test_activations_of_megatron_can_be_reckoned_again(tp: int, pp: int, gpu: str, passes: int) -> None:
    """The formula was the name of a file."""
    found = train("llama-3.1-70b" if pp > 1 else "llama-3.1-8b", gpu, framework="megatron-lm", tp=tp, pp=pp)
    line = next(line for line in found.ledger.lines if line.key == "activations.kept")
    count, _, rest = line.formula.partition(" x ")
    assert int(count) == passes
    assert abs(line.bytes - passes * int(rest.split(" B ")[0].replace(",", ""))) < passes


def test_moments_of_projections_can_be_reckoned_again() -> None:
    found = train("qwen2.5-7b", "h100:8", framework="fsdp", optimizer="galore")
    line = next(line for line in found.ledger.lines if line.key == "optimizer.moments")
    values = line.formula.partition(": ")[2].partition(" values")[0].replace(",", "")
    assert line.bytes == 4 * int(values)


def test_a_machine_that_is_sold_again_pays_back_in_no_month() -> None:
    """It paid back in month 0.0; a table of 48 months ended at 36."""
    found = call("cost", "--gpu", "a100-80gb:8", "--resale", "0.5", "--months", "48").out
    assert "costs less from the first day, as it can be sold" in found
    assert "saved by month 48" in found


@pytest.mark.parametrize("framework", ["torchtitan", "megatron-bridge"])
def test_a_plan_says_that_no_file_can_say_it(framework: str) -> None:
    """Nothing held the step, or the engine did not run it: a 7B in FSDP on eight cards."""
    flags = f"--for train --gpu h100:8 --framework {framework}".split()
    found = call("plan", "deepseek-r1-distill-qwen-7b", *flags).out
    assert "nothing that a launch file can say holds the step" in found
    assert "no launch file can say it" in found


@pytest.mark.parametrize(("sharding", "least"), [("zero2", 8), ("fsdp1", 4), ("fsdp2", 0)])
def test_adafactor_of_flat_pieces_is_not_factored(sharding: str, least: int) -> None:
    """A partition of ZeRO has one dimension: its second moment is whole, beside F32 copies."""
    found = train("qwen3-8b", "h100:8", framework="transformers", sharding=sharding, optimizer="adafactor")
    each = found.ledger.by_category().get("optimizer", 0) * 8 / found.model.num_parameters
    assert least <= each < least + 0.1


def test_13b_trains_on_one_v100_with_its_optimizer_on_the_host() -> None:
    """ZeRO-Offload's own example did not fit: its gradients stayed on the card."""
    asked: dict[str, Any] = {
        "zero": 2,
        "offload": "optimizer",
        "precision": "deepspeed-fp16",
        "seq_len": 1024,
    }
    found = train("llama-2-13b", "v100", framework="deepspeed", recompute="full", **asked)
    assert found.verdict == "fits"
    assert "gradients" not in found.ledger.by_category()
    assert found.ram_bytes >= 16 * found.model.num_parameters


def test_modules_that_are_recomputed_keep_less() -> None:
    """layernorm and moe_act kept as much as nothing, mla_up_proj more."""
    kept = {}
    for module in ("core_attn", "layernorm", "moe_act", "mla_up_proj"):
        asked: dict[str, Any] = {"recompute": "selective", "recompute_modules": module, "ep": 8}
        found = train("deepseek-v2-lite", "h100:8", framework="megatron-lm", **asked)
        kept[module] = found.ledger.by_category()["activations"]
    assert max(kept["layernorm"], kept["moe_act"], kept["mla_up_proj"]) < 0.96 * kept["core_attn"]


def test_a_plan_is_no_slower_than_what_train_finds() -> None:
    """It kept the least recomputation that fits and small batches: a third of the speed."""
    flags = "--for train --gpu h100:8x2 --framework fsdp --global-batch 64".split()
    planned = json.loads(call("plan", "deepseek-r1-distill-llama-8b", *flags, "--json").out)["rows"][0]
    asked: dict[str, Any] = {"micro_batch": 4, "grad_accum": 1, "recompute": "full", "sharding": "fsdp2"}
    found = train("deepseek-r1-distill-llama-8b", "h100:8x2", framework="fsdp", seq_len=4096, **asked)
    speed = found.speed[0]
    assert speed is not None
    assert planned["tokens_per_s"]["value"] >= speed.tokens_per_s.value


def test_a_plan_for_any_card_meets_cards_without_a_peak() -> None:
    """A card of which no BF16 rate is known was divided by."""
    assert call("plan", "deepseek-coder-1.3b", *"--for train --method lora".split()).code == 0


def test_zero_2_of_one_card_stays_deepspeeds() -> None:
    """It became none, without a word."""
    assert train("qwen3-8b", "h200", framework="deepspeed", zero=2).request.sharding == "zero2"
