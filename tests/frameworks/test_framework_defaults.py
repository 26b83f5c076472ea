"""What frameworks do where nothing is said, by release; a command and a file of one run give one answer."""

from pathlib import Path
from typing import Any

import pytest

from oomless.api.training import train
from oomless.errors import OomlessError
from oomless.frameworks.defaults import resolved
from oomless.frameworks.training_file import read_training_file
from oomless.run.training import TrainingAsked, TrainingResolved
from oomless.units import GIB

BY_ACCELERATE = ("transformers", "peft", "trl", "axolotl", "llama-factory", "ms-swift")


def used(framework: str, version: str | None = None, **flags: str) -> TrainingResolved:
    """Return a question with the defaults of a framework's release."""
    asked = TrainingAsked(framework=framework, framework_version=version)._replace(**flags)  # type: ignore[arg-type]
    return resolved(asked)


@pytest.mark.parametrize(
    ("framework", "version", "precision"),
    [
        ("transformers", None, "bf16"),
        ("transformers", "4.57", "amp-bf16"),
        ("trl", None, "amp-bf16"),
        ("trl", "0.26.1", "bf16"),
        ("trl", "transformers 4.49, trl 0.15", "amp-bf16"),
        ("llama-factory", None, "amp-bf16"),
        ("axolotl", "transformers 4.50", "bf16"),
        ("ms-swift", None, "bf16"),
    ],
)
def test_types_of_full_training(framework: str, version: str | None, precision: str) -> None:
    assert used(framework, version).precision == precision


@pytest.mark.parametrize("framework", BY_ACCELERATE)
@pytest.mark.parametrize("sharding", ["fsdp1", "fsdp2", "hsdp"])
def test_accelerate_upcasts_what_fsdp_trains(framework: str, sharding: str) -> None:
    """Sixteen bytes a parameter; frozen weights of LoRA stay as they are."""
    assert used(framework, sharding=sharding).precision == "mixed-bf16"
    assert used(framework, sharding=sharding, precision="bf16").precision == "bf16"
    if framework != "trl":
        assert used(framework, sharding=sharding, method="lora").precision == "bf16"


def test_llama_recipes_checkpoints_and_trains_in_mixed_precision() -> None:
    """src/llama_recipes/configs/fsdp.py: mixed_precision, fsdp_activation_checkpointing, not pure_bf16."""
    for method in ("full", "lora"):
        found = used("llama-recipes", method=method)
        assert (found.sharding, found.precision, found.recompute) == ("fsdp1", "mixed-bf16", "full")


def test_types_of_adapters_bases() -> None:
    """TRL loads a model by name in F32, unless it is packed."""
    assert used("trl", method="lora").precision == "amp-bf16"
    assert used("trl", method="qlora").precision == "bf16"


def test_types_of_adapters_on_packed_weights() -> None:
    """TRL from 0.26 on casts them to bfloat16, where bitsandbytes packed the weights; FSDP trains in F32."""
    ways: tuple[dict[str, str], ...] = (
        {},
        {"quantization": "gptq-int4"},
        {"sharding": "fsdp2"},
        {"adapter_dtype": "float32"},
    )
    assert [used("trl", method="qlora", **way).adapter_dtype for way in ways] == [
        "bfloat16",
        *["float32"] * 3,
    ]
    assert used("trl", "0.26", method="qlora").adapter_dtype == "bfloat16"
    assert used("trl", "0.25", method="qlora").adapter_dtype == "float32"
    assert used("peft", method="qlora").adapter_dtype == "float32"


def test_steps_by_release() -> None:
    assert used("trl").recompute == used("trl", "0.22").recompute == "full"
    assert used("trl", "0.21").recompute == "none"
    assert used("trl").loss == "chunked"
    assert used("trl", "1.6").loss == used("trl", "transformers 4.55").loss == "plain"
    assert used("transformers", "transformers 5.1, torch 2.7").optimizer == "adamw"
    assert used("transformers", "transformers 5.1, torch 2.8").optimizer == "adamw-fused"


def test_torchtitan_is_eager_and_keeps_its_weights_in_f32() -> None:
    assert used("torchtitan").kernels == "eager"
    narrow = used("torchtitan", precision="fp8")
    assert (narrow.precision, narrow.products) == ("mixed-bf16", "fp8")
    assert used("megatron-lm", precision="fp8").precision == "fp8"


FILES = {
    "axolotl": "base_model: deepseek-ai/deepseek-llm-7b-base\nsequence_len: 4096\nmicro_batch_size: 1\n"
    "bf16: true\n",
    "llama-factory": "model_name_or_path: deepseek-ai/deepseek-llm-7b-base\nfinetuning_type: full\n"
    "bf16: true\ncutoff_len: 4096\nper_device_train_batch_size: 1\n",
}


@pytest.mark.parametrize("framework", FILES)
@pytest.mark.parametrize("sharded", [False, True])
def test_a_command_and_a_file_are_one_answer(tmp_path: Path, framework: str, sharded: bool) -> None:
    path = tmp_path / "run.yaml"
    ways = {
        "axolotl": "fsdp_version: 2\nfsdp_config:\n  offload_params: false\n  state_dict_type: FULL\n",
        "llama-factory": "deepspeed: ds_z3_config.json\n",
    }
    path.write_text(FILES[framework] + (ways[framework] if sharded else ""))
    by_file = train("deepseek-llm-7b", "h100:8", from_file=str(path))
    sharding = {"axolotl": "fsdp2", "llama-factory": "zero3"}[framework] if sharded else None
    by_flags = train(
        "deepseek-llm-7b", "h100:8", framework=framework, task="sft", seq_len=4096, sharding=sharding
    )
    assert by_file.request.precision == by_flags.request.precision
    assert by_file.groups[0].states == by_flags.groups[0].states


def test_losses_that_a_file_switches_on(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(FILES["llama-factory"] + "enable_liger_kernel: true\n")
    assert read_training_file(path).training.loss == "fused"
    path.write_text(FILES["llama-factory"] + "enable_liger_kernel: true\nstage: dpo\n")
    assert read_training_file(path).training.loss is None
    path.write_text(
        FILES["axolotl"] + "plugins:\n  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin\n"
    )
    found = read_training_file(path)
    assert (found.training.loss, found.warnings) == ("cut", ())
    cut = train("llama-3.1-8b", "h100:8", from_file=str(path))
    path.write_text(
        FILES["axolotl"]
        + "plugins:\n  - axolotl.integrations.liger.LigerPlugin\nliger_fused_linear_cross_entropy: true\n"
    )
    found = read_training_file(path)
    assert (found.training.loss, found.warnings) == ("fused", ())
    liger = train("llama-3.1-8b", "h100:8", from_file=str(path))
    # the head's gradient is made in the loss: 128,256 x 4,096 in F32
    assert liger.ledgers[0].total_bytes > cut.ledgers[0].total_bytes
    path.write_text(FILES["axolotl"] + "plugins:\n  - axolotl.integrations.spectrum.SpectrumPlugin\n")
    assert "spectrum" in read_training_file(path).warnings[0]


def test_a_file_of_trl_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "sft.yaml"
    path.write_text("model_name_or_path: Qwen/Qwen3-8B\nuse_peft: true\nload_in_4bit: true\nlora_r: 32\n")
    with pytest.raises(OomlessError, match="a file of TRL"):
        read_training_file(path)


@pytest.mark.parametrize("module", ["moe_act", "shared_experts"])
def test_modules_of_megatron_are_megatrons(module: str) -> None:
    """moe_act is the activation inside of the experts, not the experts."""
    modules = TrainingAsked(recompute="selective", recompute_modules=(module,))
    with pytest.raises(OomlessError, match=module):
        resolved(modules._replace(framework="fsdp"))
    assert resolved(modules._replace(framework="megatron-lm")).recompute_modules == (module,)


def test_eight_bits_are_eight_bits(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(FILES["llama-factory"].replace("full", "lora") + "quantization_bit: 8\n")
    asked = read_training_file(path).training
    assert (asked.method, asked.quantization) == ("qlora", "int8")


@pytest.mark.parametrize("key", ["freeze_language_model", "image_min_pixels", "reward_model"])
def test_keys_that_may_change_memory_are_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(FILES["llama-factory"] + f"{key}: 1\n")
    assert any(key in warning for warning in read_training_file(path).warnings)


@pytest.mark.parametrize("framework", ["peft", "trl", "llama-factory", "axolotl", "ms-swift", "unsloth"])
def test_a_card_without_bfloat16_trains_in_float16_where_nobody_says(framework: str) -> None:
    """QLoRA on a free T4: the commonest first question; torchtune, which has no float16, is refused."""
    answer = train("mistral-7b", "t4", framework=framework, method="qlora", seq_len=512)
    assert answer.request.precision.endswith("fp16")
    assert any("no BF16" in note for note in answer.warnings)


@pytest.mark.parametrize("asked", [{}, {"precision": "amp-fp16"}])
@pytest.mark.parametrize("framework", ["transformers", "trl", "llama-factory", "axolotl", "ms-swift"])
def test_float16_is_gathered_where_fsdp_divides_float32(framework: str, asked: dict[str, Any]) -> None:
    """accelerate, set_mixed_precision: a policy of FSDP's own stands for the autocast."""
    answer = train("llama-3.1-8b", "v100:8", framework=framework, sharding="fsdp1", **asked)
    assert answer.request.precision == "mixed-fp16"


def test_post_training_frameworks_are_names() -> None:
    """prime-rl fills fully sharded F32 weights under BF16 and checkpoints; NeMo-RL's are F32 for adapters
    too; a program of one trainer is that trainer (NeMo 2.0: Megatron-Bridge)."""
    found = [used(name, method=method) for name in ("prime-rl", "nemo-rl") for method in ("full", "lora")]
    assert {each.sharding for each in found} == {"fsdp2"}
    assert {each.precision for each in found} == {"mixed-bf16"}
    assert used("prime-rl").recompute == "full"
    answer = train("qwen2.5-7b", "h100:8", framework="nemo", seq_len=512, tp=4)
    assert answer.request.framework == "megatron-bridge"


def test_a_file_of_llama_factory_asks_for_dora(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(FILES["llama-factory"].replace("full", "lora") + "use_dora: true\n")
    assert read_training_file(path).training.adapter == "dora"


def test_tensor_parallelism_of_torchtitan_cuts_sequences_too() -> None:
    """torchtitan's parallelize.py shards norms and residuals along the sequence whenever it cuts a layer:
    qwen3-32b with 32 x 4,096 tokens on FSDP 4 x TP 8 held 70.8 GiB (pull request 1690)."""
    asked: dict[str, Any] = {"tp": 8, "seq_len": 4096, "micro_batch": 32, "recompute": "full"}
    answer = train("qwen3-32b", "h200:8x4", framework="torchtitan", **asked)
    assert answer.request.mesh.sequence_parallel
    assert not used("torchtitan").mesh.sequence_parallel
    assert answer.peaks.reserved_bytes < 80 * GIB


@pytest.mark.parametrize(("release", "wide"), [("1.10", True), ("1.13", False)])
def test_accelerate_put_frozen_weights_into_float32_under_fsdp2(release: str, *, wide: bool) -> None:
    """accelerate#3844: adapters took more memory under FSDP2 than under FSDP1."""
    found = [
        used("ms-swift", f"accelerate {release}", method="lora", sharding=each).precision
        for each in ("fsdp2", "fsdp1")
    ]
    assert found == ["mixed-bf16" if wide else "bf16", "bf16"]


@pytest.mark.parametrize(("release", "wide"), [("0.7.1", False), ("0.8.0", True), ("0.9.3", False)])
def test_llama_factory_loaded_frozen_weights_in_float32_under_fsdp(release: str, *, wide: bool) -> None:
    """Its 0.8.0 to 0.9.2 gave transformers no dtype: twice the weights that adapters leave alone."""
    found = [
        used("llama-factory", f"llamafactory {release}", method=method, sharding=sharding).precision
        for method, sharding in (("lora", "fsdp1"), ("lora", "ddp"), ("qlora", "fsdp1"))
    ]
    assert found == ["mixed-bf16" if wide else "bf16", "bf16", "bf16"]
