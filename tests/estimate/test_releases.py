"""What earlier releases did otherwise, beside published peaks to the byte
(foundation-model-stack/fms-acceleration, A100-80GB, 4,096 tokens)."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.estimate.training.training_estimate import TrainingEstimate
from oomless.frameworks.defaults import resolved
from oomless.ledger import chosen, sums
from oomless.run.training import TrainingAsked

RELEASES = "transformers 4.48.1, trl 0.13.0"
LORA: dict[str, Any] = {
    "framework": "trl",
    "framework_version": RELEASES,
    "precision": "bf16",  # its scripts load the model in 16 bit
    "lora_rank": 16,
    "lora_targets": "q_proj,k_proj,v_proj,o_proj",
    "recompute": "full",
    "attention": "flash",
    "seq_len": 4096,
    "packed": True,
}


def lora(model: str, cards: int, micro_batch: int, method: str = "lora", **other: Any) -> TrainingEstimate:
    asked = {**LORA, "micro_batch": micro_batch, "method": method, **other}
    if cards > 1:
        asked.setdefault("sharding", "fsdp1")
    if method == "qlora":
        asked["quantization"] = "nf4-dq"
    return train(model, f"a100-80gb:{cards}", **asked).estimate


@pytest.mark.parametrize(("micro_batch", "measured"), [(4, 26704571904), (8, 38742912512)])
def test_the_loss_of_4_48_copies_the_shifted_logits(micro_batch: int, measured: int) -> None:
    """Its names hold 14 bytes a logit until it returns; 4.50 shifts the labels."""
    then, now = (
        lora("mistral-7b", 1, micro_batch, framework_version=each) for each in (RELEASES, "transformers 4.50")
    )
    assert then.peaks.allocated_bytes == pytest.approx(measured, rel=0.001)
    assert (then.peaks.phase, now.peaks.phase) == ("forward", "backward")
    assert then.peaks.allocated_bytes - now.peaks.allocated_bytes == pytest.approx(
        2 * micro_batch * 4096 * 32000, rel=0.1
    )


def test_shifted_logits_of_one_sequence_are_no_copy() -> None:
    """torch's contiguous() gives back what lies in one piece: of [1, L, V] the first L - 1 rows do."""
    torch = pytest.importorskip("torch")
    one = torch.empty(1, 5, 7)
    assert one[..., :-1, :].contiguous().data_ptr() == one.data_ptr()
    then, now = (
        lora("mistral-7b", 1, 1, framework_version=each).peaks for each in (RELEASES, "transformers 4.50")
    )
    assert (then.phase, then.allocated_bytes) == (now.phase, now.allocated_bytes)


def test_trl_gives_up_whole_logits_release_by_release() -> None:
    """Bytes of a logit at the fullest moment of DPO: in the frozen forward, or, of 0.15 to 0.28, in the
    backward; from 1.15 on there are tiles. SFT has had chunks since 1.7."""

    def most(version: str, **asked: Any) -> int:
        asked = {**LORA, "framework_version": version, "method": "lora", **asked}
        found = train("llama-3.1-8b", "h100", **asked)
        lines = (found.after.peak.ledger if found.after else found.estimate.groups[0].ledger).lines
        return sum(line.bytes for line in lines if line.key.startswith("logits"))

    dpo = [
        most(f"trl {each}, transformers 5.0", task="dpo", seq_len=1024, micro_batch=1)
        for each in ("0.8", "0.11", "0.14", "0.28", "1.14", "1.15")
    ]
    logits = 2 * 1024 * 128256
    assert [round(each / logits) for each in dpo] == [20, 22, 16, 12, 18, 0]
    assert most("trl 1.7, transformers 5.0", micro_batch=2, loss="plain") > 4 * 2 * 4096 * 128256
    sft = [most(f"trl {each}, transformers 5.0", micro_batch=2) for each in ("1.6", "1.7", "1.13", "1.15")]
    assert [round(each / 2**30, 1) for each in sft] == [11.9, 2.7, 0.0, 0.0]


@pytest.mark.parametrize(("micro_batch", "measured"), [(4, 20669338112), (8, 37002646016)])
def test_trl_put_norms_of_packed_models_into_f32(micro_batch: int, measured: int) -> None:
    """The residual stream follows: every kept input has 4 bytes a value. A model that PEFT took as it was has
    2."""
    found = lora("mistral-7b", 1, micro_batch, "qlora")
    assert found.peaks.allocated_bytes == pytest.approx(measured, rel=0.002)
    as_it_was = lora("mistral-7b", 1, micro_batch, "qlora", framework="peft")
    if micro_batch == 4:
        assert as_it_was.peaks.allocated_bytes == pytest.approx(16373838336, rel=0.003)
    kept = 2 * 32 * micro_batch * 4096 * 4096
    assert found.peaks.allocated_bytes - as_it_was.peaks.allocated_bytes == pytest.approx(kept, rel=0.01)
    newest = lora("mistral-7b", 1, micro_batch, "qlora", framework_version="transformers 4.57, trl 0.27")
    assert newest.peaks.allocated_bytes < as_it_was.peaks.allocated_bytes


@pytest.mark.parametrize(
    ("model", "method", "micro_batch", "measured"),
    [
        ("mistral-7b", "lora", 2, 15144870400),
        ("mistral-7b", "lora", 4, 21959827968),
        ("mistral-7b", "qlora", 2, 9424594432),
        ("mistral-7b", "qlora", 4, 15970067968),
        ("llama-2-70b", "qlora", 2, 46685287936),
    ],
)
def test_fsdp1_holds_inputs_of_frozen_layers_under_reentrant_checkpoints(
    model: str, method: str, micro_batch: int, measured: int
) -> None:
    """Two hidden states a layer, and one gathered layer: 17 to 33 % more than what is kept for the backward
    alone would give."""
    found = lora(model, 2, micro_batch, method)
    assert found.peaks.allocated_bytes == pytest.approx(measured, rel=0.02)
    assert found.peaks.phase == "backward"
    assert any("which FSDP1 holds" in line.formula for line in found.ledger.lines)
    later = lora(model, 2, micro_batch, method, framework_version="transformers 5.0, trl 0.13")
    assert not any("which FSDP1 holds" in line.formula for line in later.ledger.lines)


@pytest.mark.parametrize("framework", ["llama-factory", "axolotl", "ms-swift", "trl"])
def test_who_asks_for_reentrant_checkpoints_has_them_in_every_release(framework: str) -> None:
    """LLaMA-Factory's use_reentrant_gc and Axolotl's gradient_checkpointing_kwargs are true unless said."""
    asked: dict[str, Any] = {"framework": framework, "sharding": "fsdp1", "recompute": "full", "seq_len": 512}
    found = train("mistral-7b", "a100-80gb:2", method="qlora", **asked)
    holds = any("which FSDP1 holds" in line.formula for line in found.ledger.lines)
    assert holds == (framework != "trl")


@pytest.mark.parametrize(("cards", "micro_batch", "measured"), [(1, 4, 42794268160), (2, 2, 21129981952)])
def test_experts_of_transformers_4_are_packed_one_by_one(cards: int, micro_batch: int, measured: int) -> None:
    """Mixtral under QLoRA; transformers 5 stacks its experts, and bitsandbytes leaves the stacks in 16
    bit."""
    found = lora("mixtral-8x7b", cards, micro_batch, "qlora")
    assert found.peaks.allocated_bytes == pytest.approx(measured, rel=0.05)
    assert not any("stacked experts" in each for each in found.warnings)
    stacked = lora("mixtral-8x7b", cards, micro_batch, "qlora", framework_version="transformers 5.0")
    assert stacked.peaks.allocated_bytes > 2 * measured
    assert any("stacked experts" in each for each in stacked.warnings)


def test_adamw_was_foreach_until_4_54() -> None:
    """Full fine-tuning of Mistral-7B in bfloat16: weights, moments, gradients, and once more the square
    roots: 72,434,837,504 bytes."""
    full: dict[str, Any] = {
        "framework": "transformers",
        "precision": "bf16",
        "recompute": "full",
        "micro_batch": 4,
        "seq_len": 4096,
    }
    then, now = (
        train("mistral-7b", "a100-80gb", framework_version=each, **full) for each in ("4.48.1", "4.54")
    )
    assert then.peaks.allocated_bytes == pytest.approx(72434837504, rel=0.001)
    assert (then.request.optimizer, now.request.optimizer) == ("adamw", "adamw-fused")
    held = max(line.high_bytes for line in then.ledger.lines if line.category == "fragmentation")
    assert then.peaks.allocated_bytes + held > 72434837504 + 5 * 2**30  # nvidia-smi showed 7.5 GiB more


def test_norms_of_torchtitan_keep_their_input_alone_since_torch_2_9() -> None:
    """nn.RMSNorm is one kernel: two norms of each of 32 layers keep no F32 copy of 4,096 tokens."""
    asked: dict[str, Any] = {"recompute": "none", "seq_len": 4096, "packed": True}
    then, now = (
        train("llama-3.1-8b", "h100:8", framework="torchtitan", framework_version=each, **asked).estimate
        for each in ("torchtitan 2025-08-01", "0.2.0")
    )
    kept = [
        next(line.bytes for line in each.groups[0].ledger.lines if line.key == "activations.kept")
        for each in (then, now)
    ]
    assert kept[0] - kept[1] == pytest.approx(32 * 2 * 4 * 4096 * 4096, rel=0.01)


@pytest.mark.parametrize(
    ("release", "attention"), [("0.5.0", "auto"), ("0.5.2", "eager"), ("0.6.3", "eager"), ("0.7.0", "auto")]
)
def test_llama_factory_asked_for_eager_attention_in_the_spring_of_2024(release: str, attention: str) -> None:
    """model/patcher.py of 0.5.2 to 0.6.3; before, transformers chose, and flash_attn is asked for by name."""
    asked = TrainingAsked(
        framework="llama-factory", framework_version=f"transformers 4.38, llamafactory {release}"
    )
    assert resolved(asked, 4096, "llama").attention == attention
    assert resolved(asked._replace(attention="flash"), 4096, "llama").attention == "flash"


def test_ms_swift_loaded_the_whole_model_on_each_card_that_fsdp2_divides() -> None:
    """ms-swift's pull request 9980: Qwen2.5-72B ran out of memory on 16 cards, and ran with it."""
    asked: dict[str, Any] = {"framework": "ms-swift", "method": "lora", "sharding": "fsdp2"}
    asked |= {"recompute": "full", "seq_len": 512}

    def found(version: str) -> TrainingEstimate:
        return train("qwen2.5-72b", "a100-80gb:16", **asked, framework_version=version).estimate

    then = found("ms-swift 4.2.0")
    assert (then.verdict, then.peaks.phase) == ("does_not_fit", "load")
    for version in ("ms-swift 3.11.3", "ms-swift 4.6.0"):
        assert found(version).verdict != "does_not_fit"


def test_a_release_changes_nothing_elsewhere() -> None:
    found = train("mistral-7b", "a100-80gb", framework="torchtune", framework_version="0.6", seq_len=512)
    assert any(each.startswith("--framework-version changes nothing") for each in found.warnings)


def test_a_script_of_ones_own_may_have_prepared_the_packed_model() -> None:
    """Llama-2-13B, 2 x 8,192 tokens, own loop (universal-llm-trainer): 38 GiB, where 20 are estimated for a
    model that is taken as it is."""
    asked: dict[str, Any] = {
        "method": "qlora",
        "recompute": "full",
        "micro_batch": 2,
        "seq_len": 8192,
        "lora_targets": "q_proj,k_proj,v_proj",
    }
    found, other = (train("llama-2-13b", "24GiB", framework=each, **asked) for each in ("peft", "axolotl"))
    assert found.verdict == "tight"
    large = train("llama-2-13b", "a100-80gb", framework="peft", **asked)  # whose caches stay
    assert sum(line.high_bytes for line in large.ledger.lines) > 35 * 2**30
    assert not any(line.key == "activations.norms" for line in other.ledger.lines)


@pytest.mark.parametrize(
    ("release", "stage", "is_cut"),
    [("0.7.2", 2, False), ("0.7.2", 3, True), ("0.7.3", 2, True), ("0.7.1", 1, True)],
)
def test_the_reference_of_trl_0_7_2_switched_zero_off_for_the_policy(
    release: str, stage: int, is_cut: bool
) -> None:
    """It wrote stage 0 into the configuration of both engines (trl pull request 957, LLaMA-Factory #1383):
    whole masters and moments on each card, and a note that says so."""
    for framework in ("trl", "llama-factory"):
        found = train(
            "llama-2-7b",
            "a100-80gb:8",
            framework=framework,
            framework_version=f"trl {release}",
            task="dpo",
            zero=stage,
            recompute="full",
            seq_len=1024,
        )
        optimizer = found.ledger.by_category()["optimizer"]
        assert (optimizer < 12 * 6_738_415_616 // 4) == is_cut
        assert any("runs without ZeRO" in note for note in found.warnings) != is_cut


def test_a_release_of_another_package_is_named() -> None:
    """Unsloth pins its transformers, so that its own release says what ran."""
    asked: dict[str, Any] = {"framework": "unsloth", "method": "qlora"}
    found = train("qwen3-8b", "rtx-4090", framework_version="transformers 4.57", **asked)
    assert "--framework-version changes nothing: unsloth goes by releases of unsloth" in found.warnings
    assert not any(
        "changes" in note
        for note in train("qwen3-8b", "rtx-4090", framework_version="2025.9", **asked).warnings
    )


@pytest.mark.parametrize(("release", "stay"), [("4.28", False), ("4.31", True), ("4.32", False)])
def test_weights_of_before_fsdp_stay_with_a_first_optimizer(release: str, stay: bool) -> None:
    """The Trainer of 4.30 and 4.31 makes an optimizer before accelerate divides the model; the scheduler
    holds it: stanford_alpaca issue 278 ran with 4.28 and ran out of memory with 4.31."""
    asked: dict[str, Any] = {"sharding": "fsdp1", "seq_len": 512}

    def kept(method: str) -> int:
        version = f"transformers {release}"
        found = train("llama-7b", "a100-80gb:4", method=method, framework_version=version, **asked).estimate
        return sum(each.bytes for each in found.ledger.lines if each.key == "weights.layers")

    assert kept("full") == 6_738_415_616 * 4 * stay
    assert (0 < kept("lora") < 2**25) == stay


@pytest.mark.parametrize(
    ("method", "adapter_dtype", "measured"), [("full", None, 44004763136), ("lora", "bfloat16", 15119590912)]
)
def test_layers_of_4_40_keep_cosines_and_sines(method: str, adapter_dtype: str | None, measured: int) -> None:
    """torch_mem_alloc_in_bytes between steps (fms-acceleration, refs/a100_80gb.csv of July 2024): beside the
    states of Mistral 7B lie 512 MiB of 32 layers, and 17 MB of inputs and workspaces."""
    held, later = (
        lora(
            "mistral-7b", 1, 4, method, optimizer="adamw", adapter_dtype=adapter_dtype, framework_version=each
        )
        for each in ("transformers 4.40, trl 0.8", "transformers 4.44, trl 0.8")
    )

    def states(found: TrainingEstimate) -> int:
        return sum(each.bytes for each in found.ledger.lines if each.category in ("weights", "optimizer"))

    assert states(held) - states(later) == 2**29
    assert 0 < measured - states(held) < 2**25


def test_a_longer_sequence_and_a_later_scaling() -> None:
    def tables(model: str, seq_len: int) -> int:
        version = "transformers 4.37"
        lines = lora(model, 1, 1, seq_len=seq_len, framework_version=version).ledger.lines
        return sum(each.bytes for each in lines if each.key == "weights.rotary_tables")

    assert tables("llama-2-7b", 16384) == 4 * tables("llama-2-7b", 2048) == 32 * 2 * 16384 * 128 * 2
    assert tables("llama-3.1-8b", 2048) == 0  # no release of that day reads its scaling


@pytest.mark.parametrize(
    ("releases", "optimizer", "lists"),
    [
        ("transformers 4.31, torch 2.0", "adamw-hf", 0),
        ("transformers 4.33, torch 2.0", "adamw-torch-2.0", 2),
        ("transformers 4.35, torch 2.1", "adamw", 1),
    ],
)
def test_the_trainers_optimizer_goes_by_release(releases: str, optimizer: str, lists: int) -> None:
    """What its step makes beside the states: one tensor's square root, two lists of all values, or one. The
    flat parameters of FSDP1 are none of the types that foreach knows before torch 2.1."""
    step = {}
    for sharding in ("none", "fsdp1"):
        found = train(
            "llama-2-7b",
            "h200:1" if sharding == "none" else "a100-80gb:2",
            framework="transformers",
            framework_version=releases,
            sharding=sharding,
        ).estimate
        assert found.request.optimizer == optimizer
        (phase,) = [each for each in found.groups[0].phases if each.name == "optimizer"]
        made = sum(part.bytes for part in phase.parts if part.key == "temporaries.optimizer_step")
        step[sharding] = made / found.groups[0].states.one_moment
    assert step["none"] == pytest.approx(lists, abs=0.1)
    assert step["fsdp1"] == pytest.approx(lists if optimizer == "adamw" else 0, abs=0.1)


def test_fsdp_of_2023_keeps_gradients_whole_between_its_steps() -> None:
    """transformers/trainer.py of 4.28: all micro-batches but the last run under no_sync, which FSDP1 has."""
    asked: dict[str, Any] = {"framework": "transformers-2023", "method": "full", "sharding": "fsdp1"}
    found = train("llama-7b", "a100-80gb:4", grad_accum=16, **asked).estimate
    assert sums(chosen(found.ledger.lines, ("gradients.trained",)))[0] == 2 * 6738415616


def test_scripts_of_deepspeed_run_bloom_with_scores() -> None:
    """modeling_bloom.py has no kernel of torch's in any release."""
    assert train("bloom-7b1", "a100-80gb", framework="deepspeed").estimate.request.attention == "eager"


def test_a_reward_model_of_llama_factory_makes_logits_too() -> None:
    """AutoModelForCausalLMWithValueHead runs the head of words beside its own: 2 and 4 B a logit."""
    asked: dict[str, Any] = {"task": "reward", "method": "lora", "precision": "bf16", "recompute": "full"}
    peaks = []
    for framework in ("peft", "llama-factory"):
        found = train("llama-3-8b", "h200", framework=framework, seq_len=4096, **asked).estimate
        peaks.append(
            next(each for each in found.groups[0].phases if each.moment == "in the loss").total_bytes
        )
    assert peaks[1] - peaks[0] == pytest.approx(2 * 4096 * 128256 * 6, rel=0.05)


def test_llama_factory_puts_a_model_into_float32_before_deepspeed_takes_it() -> None:
    """13B on cards of 40 GB, the optimizer on the host: 48.5 GiB are loaded, of which a step needs half."""
    asked: dict[str, Any] = {"framework": "llama-factory", "method": "full", "offload": "optimizer"}
    asked |= {"seq_len": 1024, "micro_batch": 1}

    def found(version: str, **other: str) -> TrainingEstimate:
        return train("llama-2-13b", "a100-40gb:8", **(asked | other), framework_version=version).estimate

    then, now = (found(f"llamafactory {each}", sharding="zero2") for each in ("0.5.3", "0.6.0"))
    assert (then.verdict, now.verdict, now.peaks.phase) == ("fits", "tight", "load")
    assert now.peaks.allocated_bytes == 4 * 13_015_864_320
    assert found("llamafactory 0.6.0", sharding="zero3").peaks.phase != "load"


def test_llama_factory_put_a_whole_model_onto_a_card_under_fsdp() -> None:
    """0.6.0 to 0.7.1 (LlamaFactory issue 3106, Mixtral on 46 GB); packed matrices go to the host."""
    asked: dict[str, Any] = {"framework": "llama-factory", "sharding": "fsdp1", "offload": "params"}

    def found(version: str, method: str) -> TrainingEstimate:
        asked["framework_version"] = f"transformers 4.39, llamafactory {version}"
        return train("mixtral-8x7b", "l40s:8", method=method, precision="fp16", **asked).estimate

    asked_of = (("0.6.1", "lora"), ("0.6.1", "qlora"), ("0.5.3", "lora"), ("0.8.0", "lora"))
    assert [found(*each).peaks.phase == "load" for each in asked_of] == [True, False, False, False]


@pytest.mark.parametrize(
    ("day", "packer", "micro_batch", "verdict"),
    [
        ("2023-12-23", "0.41.0", 4, "fits"),
        ("2024-01-04", "0.41.0", 4, "does_not_fit"),
        ("2024-01-04", "0.41.0", 1, "fits"),
        ("2024-01-04", "0.43.2", 4, "fits"),
        ("2024-01-24", "0.41.0", 4, "fits"),
    ],
)
def test_contexts_of_bitsandbytes_hold_what_plain_checkpoints_give_up(
    day: str, packer: str, micro_batch: int, verdict: str
) -> None:
    """Mixtral, 8,192 tokens, one A100-80GB (transformers issue 28339): four sequences, one in January."""
    asked: dict[str, Any] = {"micro_batch": micro_batch, "lora_targets": "all-linear", "seq_len": 8192}
    asked |= {"framework": "axolotl", "method": "qlora", "lora_rank": 32, "optimizer": "adamw-8bit"}
    asked |= {"packed": True, "recompute": "full", "attention": "flash"}
    releases = f"transformers 4.37, bitsandbytes {packer}, axolotl {day}"
    found = train("mixtral-8x7b", "a100-80gb", framework_version=releases, **asked)
    assert found.estimate.verdict == verdict
