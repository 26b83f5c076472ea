"""Configuration files of training frameworks: what is read, what is taken by default, what is named, and what
is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import call
from oomless import facts
from oomless.api.training import train
from oomless.errors import OomlessError, UnsupportedError
from oomless.frameworks.defaults import resolved
from oomless.frameworks.training_file import TrainingFile, read_training_file
from oomless.model.load import load
from oomless.run.training import Mesh, TrainingAsked
from oomless.units import GIB

TITAN = """
[model]
name = "deepseek_v3"
flavor = "671B"
[training]
local_batch_size = 8
seq_len = 4096
[parallelism]
data_parallel_shard_degree = 64
tensor_parallel_degree = 8
pipeline_parallel_degree = 4
pipeline_parallel_schedule = "Interleaved1F1B"
expert_parallel_degree = 32
[activation_checkpoint]
mode = "full"
[compile]
enable = true
components = ["loss"]
[metrics]
log_freq = 10
[attention_magic]
size = 3
"""
DEEPSPEED = {
    "train_batch_size": 128,
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 4,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu", "pin_memory": True}},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto"}},
}
AXOLOTL = """
base_model: deepseek-ai/deepseek-llm-7b-base
load_in_4bit: true
adapter: qlora
sequence_len: 2048
sample_packing: true
lora_r: 32
lora_target_linear: true
micro_batch_size: 2
gradient_accumulation_steps: 4
optimizer: paged_adamw_8bit
bf16: auto
fp16:
gradient_checkpointing: true
flash_attention: true
wandb_project:
deepspeed: zero2.json
"""
FACTORY = """
model_name_or_path: deepseek-ai/DeepSeek-V2-Lite
stage: dpo
finetuning_type: full
cutoff_len: 4096
per_device_train_batch_size: 1
bf16: true
learning_rate: 1.0e-5
"""


def read(folder: Path, name: str, text: str) -> TrainingFile:
    (folder / name).write_text(text)
    return read_training_file(folder / name)


def test_torchtitan(tmp_path: Path) -> None:
    found = read(tmp_path, "job.toml", TITAN)
    asked = found.training
    assert (found.model, found.num_gpus, asked.framework) == ("deepseek-v3", 2048, "torchtitan")
    assert asked.mesh == Mesh(64, 8, 4, 1, 32, 1, True, 2, "interleaved", 0)
    assert (asked.micro_batch, asked.grad_accum, asked.seq_len) == (1, 8, 4096)
    assert (asked.recompute, asked.loss, asked.kernels, asked.precision) == (
        "full",
        "compiled",
        "eager",
        "mixed-bf16",
    )
    assert "optimizer.name = AdamW" in found.defaults
    assert "training.seq_len = 4096" in found.read
    assert found.warnings == ("attention_magic.size = 3 is not understood and may change memory",)


def test_norms_of_early_torchtitan_are_fused(tmp_path: Path) -> None:
    """models/norms.py to February 2025 (train_configs/llama2_13b.toml of June 2024)."""
    words = TITAN.replace('"671B"', '"671B"\nnorm_type = "fused_rmsnorm"')
    assert read(tmp_path, "job.toml", words).training.kernels == "fused-norms"
    compiled = words.replace('["loss"]', '["model"]')
    assert read(tmp_path, "job.toml", compiled).training.kernels == "compiled"


def test_deepspeed(tmp_path: Path) -> None:
    found = read(tmp_path, "ds.json", json.dumps(DEEPSPEED))
    asked = found.training
    assert (found.model, found.num_gpus) == (None, 16)
    assert (asked.sharding, asked.offload, asked.precision) == ("zero3", ("optimizer",), "deepspeed-bf16")
    assert (asked.micro_batch, asked.grad_accum, asked.optimizer) == (2, 4, "adam-fused")
    assert not found.warnings


def test_axolotl_with_a_deepspeed_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "zero2.json").write_text(
        json.dumps({"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}})
    )
    found = read(tmp_path, "run.yaml", AXOLOTL)
    asked = found.training
    assert (found.model, asked.method, asked.sharding) == (
        "deepseek-ai/deepseek-llm-7b-base",
        "qlora",
        "zero2",
    )
    assert (asked.lora_rank, asked.lora_targets, asked.optimizer) == (32, ("all-linear",), "paged-adamw-8bit")
    assert (asked.recompute, asked.attention, asked.packed, asked.seq_len) == ("full", "flash", True, 2048)
    assert any(each.startswith("zero2.json: ") for each in found.read)
    assert not found.warnings


@pytest.mark.parametrize(
    ("lines", "version", "products"),
    [
        ("", None, "fused"),
        ("lora_mlp_kernel: false\n", None, "apart"),
        ("trust_remote_code: true\n", None, "apart"),
        ("rl: dpo\n", None, "apart"),
        ("load_in_8bit: true\nadapter: lora\n", None, "apart"),
        ("lora_dropout: 0.05\n", "transformers 5.0", "apart"),
        ("lora_dropout: 0\n", "transformers 5.0", "fused"),
        ("lora_dropout: 0\n", "transformers 4.50", "apart"),
        ("lora_mlp_kernel: true\n", "transformers 4.50", "fused"),
    ],
)
def test_axolotl_runs_a_matrix_and_its_adapter_as_one_function(
    tmp_path: Path, lines: str, version: str | None, products: str
) -> None:
    """Pull request 3800 measured 20.76 GiB of Llama-3.2-1B with 131,072 tokens; apart they take 34."""
    path = tmp_path / "lora.yaml"
    adapter = "" if "adapter" in lines else "adapter: lora\n"
    path.write_text(
        "base_model: meta-llama/Llama-3.2-1B\nlora_r: 16\nlora_target_linear: true\nsequence_len: 131072\n"
        f"sample_packing: true\ngradient_checkpointing: true\nflash_attention: true\n{adapter}{lines}"
    )
    found = train(None, "rtx-5090", from_file=str(path), framework_version=version)
    assert found.request.adapter_products == products
    assert not any("not understood" in warning for warning in found.warnings)


def test_tiles_of_feed_forwards_are_read(tmp_path: Path) -> None:
    """As many as are said; by the release's rule where none are, and none where nothing is."""
    said = {"": None, "tiled_mlp: true\n": 0, "tiled_mlp: true\ntiled_mlp_num_shards: 8\n": 8}
    for lines, tiles in said.items():
        assert read(tmp_path, "a.yaml", AXOLOTL + lines).training.tiled_mlp == tiles


@pytest.mark.parametrize("word", ["true", "false"])
def test_how_checkpoints_run_again_is_read(tmp_path: Path, word: str) -> None:
    """FSDP1 holds the inputs of frozen layers under reentrant ones."""
    texts = (
        AXOLOTL + f"gradient_checkpointing_kwargs:\n  use_reentrant: {word}\n",
        f"model_name_or_path: m\nstage: sft\nfinetuning_type: lora\nuse_reentrant_gc: {word}\n",
    )
    for text in texts:
        assert read(tmp_path, "a.yaml", text).training.use_reentrant == (word == "true")
    assert read(tmp_path, "a.yaml", AXOLOTL).training.use_reentrant is None
    wrapped = AXOLOTL.replace("gradient_checkpointing: true\n", "") + (
        "fsdp_version: 1\nfsdp_config:\n  activation_checkpointing: true\n"
    )
    asked = read(tmp_path, "a.yaml", wrapped).training
    assert (asked.recompute, asked.use_reentrant) == ("full", False)


def test_code_of_a_model_that_recomputes_nothing(tmp_path: Path) -> None:
    """LLaMA-Factory warns and goes on: six A100 ran out of memory with Phi-2 (its issue 2023)."""
    asked = read(tmp_path, "a.yaml", FACTORY).training
    old = asked._replace(framework_version="transformers 4.36")
    of = [resolved(old, family=family) for family in ("phi", "llama")]
    assert [(each.recompute, each.attention) for each in of] == [("none", "eager"), ("full", "auto")]
    assert resolved(asked, family="phi").recompute == "full"
    assert resolved(asked, family="kimi_vl").recompute == "none"


@pytest.mark.parametrize(
    ("release", "family", "kernel"),
    [
        ("4.36", "mistral", "eager"),
        ("4.37", "mistral", "auto"),
        ("4.44", "phi3", "eager"),
        ("4.44", "gemma2", "auto"),
        ("4.47", "gemma2", "eager"),
        (None, "bloom", "eager"),
        (None, "gpt_neox", "auto"),
    ],
)
def test_releases_without_fused_attention_of_a_family(release: str | None, family: str, kernel: str) -> None:
    asked = TrainingAsked(framework="transformers", framework_version=release)
    assert resolved(asked, family=family).attention == kernel


def test_llama_factory_casts_trained_weights(tmp_path: Path) -> None:
    full = read(tmp_path, "full.yaml", FACTORY).training
    assert (full.task, resolved(full).recompute, full.micro_batch) == ("dpo", "full", 1)
    assert resolved(full).precision == "amp-bf16"
    assert read(tmp_path, "pure.yaml", FACTORY + "pure_bf16: true\n").training.precision == "bf16"
    sharded = read(tmp_path, "sharded.yaml", FACTORY + "deepspeed: ds_z3_config.json\n")
    used = resolved(sharded.training)
    assert (used.precision, used.sharding) == ("deepspeed-bf16", "zero3")
    assert "its name says ZeRO 3" in sharded.warnings[0]


def test_value_model_of_llama_factory_is_a_head(tmp_path: Path) -> None:
    """Its PPO has a head on the policy and an adapter as reward model: neither is another model's weights. An
    update runs over a query and its answer."""
    path = tmp_path / "ppo.yaml"
    path.write_text(
        "model_name_or_path: llama-3-8b\nstage: ppo\nreward_model: saves/reward\nlora_target: all\n"
        "cutoff_len: 1024\nmax_new_tokens: 512\ntop_k: 0\ntop_p: 0.9\nper_device_train_batch_size: 1\n"
    )
    found = train(None, "a100-80gb", from_file=str(path))
    assert found.request.seq_len == 1536
    assert not any("not understood" in warning for warning in found.warnings)
    assert found.after is not None
    assert {line.owner for line in found.after.peak.ledger.lines} == {"policy", "process"}


def test_llama_factory_reads_galore(tmp_path: Path) -> None:
    """use_galore was refused, with the advice to leave it out, which is all of AdamW."""
    path = tmp_path / "galore.yaml"
    lines = "model_name_or_path: llama-3-8b\nfinetuning_type: full\npure_bf16: true\nuse_galore: true\n"
    path.write_text(f"{lines}galore_layerwise: true\ngalore_rank: 128\noptim: adamw_8bit\n")
    asked = read_training_file(path).training
    assert (asked.optimizer, asked.optimizer_in_backward) == ("galore-8bit", True)
    path.write_text(f"{lines}galore_rank: 1024\n")
    with pytest.raises(UnsupportedError, match="galore_rank is 1024"):
        read_training_file(path)


@pytest.mark.parametrize(
    ("lines", "optimizer", "layers", "optimizer_gib"),
    [
        ("finetuning_type: full\nuse_apollo: true\napollo_rank: 128\n", "apollo", None, 4.99),
        ("finetuning_type: full\nuse_adam_mini: true\n", "adam-mini", None, 14.96),
        ("finetuning_type: full\nuse_muon: true\n", "muon", None, 16.92),
        ("finetuning_type: full\nuse_badam: true\nbadam_switch_interval: 50\n", "adamw-fused", 1, 2.44),
        ("finetuning_type: freeze\n", "adamw-fused", 2, 1.63),
    ],
)
def test_llama_factory_reads_what_trains_less(
    tmp_path: Path, lines: str, optimizer: str, layers: int | None, optimizer_gib: float
) -> None:
    """All were refused, with the advice to leave them out, which is all of AdamW; use_muon was not
    understood, and AdamW counted."""
    path = tmp_path / "less.yaml"
    path.write_text(f"model_name_or_path: llama-3.1-8b\npure_bf16: true\n{lines}")
    found = train(None, "h100", from_file=str(path))
    assert (found.request.optimizer, found.request.trained_layers) == (optimizer, layers)
    assert round(found.ledger.by_category()["optimizer"] / GIB, 2) == optimizer_gib
    assert not any("not understood" in warning for warning in found.warnings)


def test_frozen_layers_keep_nothing_and_stay_as_they_were_loaded(tmp_path: Path) -> None:
    """Of a model in autocast what is trained alone is F32 (model/adapter.py, cast_trainable_params_to_fp32);
    the backward pass never comes to layers below."""
    path = tmp_path / "freeze.yaml"
    lines = "model_name_or_path: llama-3.1-8b\nbf16: true\ndisable_gradient_checkpointing: true\n"
    path.write_text(f"{lines}finetuning_type: freeze\n")
    some = train(None, "h100", from_file=str(path))
    path.write_text(f"{lines}finetuning_type: full\n")
    every = train(None, "h200:1", from_file=str(path))
    layer = 218_112_000
    assert some.ledger.by_category()["weights"] == 2 * (some.model.num_parameters + 2 * layer)
    assert some.ledger.by_category()["activations"] < every.ledger.by_category()["activations"] / 8


@pytest.mark.parametrize(
    "row", facts.table("torchtitan_flavors"), ids=lambda row: f"{row['name']}-{row['flavor']}"
)
def test_flavours_are_models_of_the_catalogue(row: dict[str, str]) -> None:
    assert load(row["model"]).num_parameters


BAD: dict[str, tuple[str, str, int, str]] = {
    "wrong type": (
        "x.toml",
        '[training]\nseq_len = "long"\n',
        1,
        "training.seq_len is long, which is no whole number",
    ),
    "negative": ("x.toml", "[training]\nseq_len = -5\n", 2, "--seq-len is -5"),
    "huge": ("x.json", '{"train_batch_size": 1e300}', 1, "train_batch_size"),
    "flavour": (
        "x.toml",
        '[model]\nname = "llama3"\nflavor = "9B"\n[training]\nseq_len = 1\n',
        1,
        "llama3 9B",
    ),
    "stage": ("x.json", '{"zero_optimization": {"stage": 7}}', 1, "zero_optimization.stage is 7"),
    "batches": (
        "x.json",
        '{"train_batch_size": 10, "train_micro_batch_size_per_gpu": 4, "zero_optimization": {"stage": 1}}',
        1,
        "train_batch_size 10 is no multiple of 4 x 1",
    ),
    "optimizer": ("x.yaml", "base_model: a/b\noptimizer: apollo\n", 4, "optimizer 'apollo' is not known"),
    "freezing": ("x.yaml", "base_model: a/b\nunfrozen_parameters: [lm_head]\n", 4, "unfrozen_parameters"),
    "kind": ("x.yaml", "model_name_or_path: a/b\nfinetuning_type: oft\n", 4, "finetuning_type is oft"),
    "new trainer": (
        "x.yaml",
        "model: a/b\nmicro_batch_size: 2\ncutoff_len: 2048\ndist_config: {name: fsdp2}\n",
        4,
        "USE_V1",
    ),
    "reward": ("x.yaml", "base_model: a/b\nrl: ebft\n", 4, "rl is ebft"),
    "broken TOML": ("x.toml", "[training\n", 1, "not valid TOML"),
    "broken YAML": ("x.yaml", "a: [\n", 1, "not valid YAML"),
    "broken JSON": ("x.json", "{", 1, "not valid JSON"),
    "list": ("x.yaml", "- 1\n", 1, "this is a list"),
    "empty": ("x.yaml", "# nothing\n", 1, "the file is empty"),
    "strange": (
        "x.yaml",
        "colour: red\n",
        1,
        "not a file of torchtitan, DeepSpeed, Axolotl or LLaMA-Factory",
    ),
    "ending": ("x.txt", "", 1, "its name ends in none of"),
    "bomb": (
        "x.yaml",
        "a: &a [1]\n" + "b: [" + "*a, " * 40 + "1]\nbase_model: x\n",
        1,
        "more than 16 aliases",
    ),
    "deep": ("x.yaml", "base_model: " + "[" * 500 + "]" * 500, 1, "nested too deeply"),
    "deep JSON": ("x.json", '{"zero_optimization":' * 500 + "1" + "}" * 500, 1, "nested too deeply"),
    "object": ("x.yaml", "base_model: !!python/object/apply:os.system ['true']\n", 1, "not valid YAML"),
    "large": ("x.yaml", "base_model: x\n#" + "x" * 300_000, 1, "more than 204,800 bytes"),
    "no section": ("x.json", '{"zero_optimization": "3"}', 1, "zero_optimization is no object"),
    "bytes": ("x.toml", "\x00", 1, "not valid TOML"),
    "escape": ("x.yaml", "base_model: a/b\ndeepspeed: ../../etc/passwd\n", 1, "is not beside it"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, tmp_path: Path) -> None:
    file, text, code, message = BAD[name]
    with pytest.raises(OomlessError) as caught:
        raise read(tmp_path, file, text).missing or AssertionError
    assert caught.value.code == code
    assert message in caught.value.message
    assert caught.value.hint


def test_flags_beside_a_file_stand_for_a_deepspeed_file_that_is_missing(tmp_path: Path) -> None:
    """An issue shows the command, whose ds_config.json nobody has, and says its stage."""
    path = tmp_path / "x.yaml"
    path.write_text("base_model: Qwen/Qwen3-8B\ndeepspeed: ds_config.json\n", encoding="utf-8")
    asked = ("train", "--from", str(path), "--gpu", "h100:4", "--offline")
    assert "is not beside it" in call(*asked).err
    found = call(*asked, "--zero", "2")
    assert "zero2" in found.out
    assert "what else than --zero and --offload it says is open" in found.out


WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
)
NAMES = st.sampled_from(
    [
        "zero_optimization",
        "stage",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "bf16",
        "enabled",
        "optimizer",
        "type",
        "x",
    ]
)


@given(st.recursive(WORDS, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=12))
@settings(max_examples=150, deadline=None)
def test_any_json_is_answered_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return
    path = tmp_path_factory.mktemp("files") / "ds.json"
    path.write_text(text)
    try:
        read_training_file(path)
    except OomlessError as error:
        assert error.message


def test_the_command_lists_both(tmp_path: Path) -> None:
    """A file that names its model needs no MODEL; flags beside it win; JSON has what was read and what was
    taken."""
    path = tmp_path / "job.yaml"
    path.write_text(FACTORY)
    answer = call(
        "train", "--from", str(path), "--gpu", "h100:8", "--seq-len", "1024", "--zero", "3", "--json"
    )
    found = json.loads(answer.out)
    assert found["request"]["seq_len"] == 1024
    assert found["request"]["sharding"] == "zero3"
    assert found["file"]["framework"] == "llama-factory"
    assert "cutoff_len = 4096" in found["file"]["read"]
    assert "lora_rank = 8" in found["file"]["defaults"]
    assert found["communication"][0]["sent_bytes"] > 0
    shown = call("train", "--from", str(path), "--gpu", "h100:8").out
    assert "it leaves out, so llama-factory takes:" in shown
    assert "a rank sends in a step: dp" in shown


def test_a_file_without_a_model_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(DEEPSPEED))
    missing = call("train", "--from", str(path), "--gpu", "h100:16")
    assert missing.code == 2
    assert "names no model" in missing.err
    given_one = call("train", "deepseek-llm-7b", "--from", str(path), "--gpu", "h100:8")
    assert given_one.code in (0, 3)
    assert "the file is for 16 cards, --gpu gives 8" in given_one.out
    without_number = call("train", "deepseek-llm-7b", "--from", str(path), "--gpu", "h100")
    assert "(16 x H100 80GB SXM5" in without_number.out  # not one card, which fits nothing


def test_axolotl_reads_the_engine_beside_its_policy(tmp_path: Path) -> None:
    """`trl:` was not understood: the run fitted without its vLLM, which takes 32 GiB of a card."""
    path = tmp_path / "grpo.yaml"
    path.write_text(
        "base_model: Qwen/Qwen2.5-7B-Instruct\nrl: grpo\nsequence_len: 1024\ngradient_checkpointing: true\n"
        "bf16: true\ntrl:\n  use_vllm: true\n  vllm_mode: colocate\n  max_completion_length: 512\n"
        "  num_generations: 8\n  beta: 0.001\nvllm:\n  gpu_memory_utilization: 0.4\n"
    )
    found = train(None, "h100:8", from_file=str(path))
    assert found.after is not None
    engine = found.after.moments[-1].ledger.by_owner()["engine"]
    assert 31 * GIB < engine < 33 * GIB
    assert (found.request.seq_len, found.request.query_len) == (1536, 1024)
    assert not any("not understood" in warning for warning in found.warnings)


def test_axolotl_deals_experts_over_ranks_and_keeps_copies(tmp_path: Path) -> None:
    """expert_parallel_size x dp_shard_size ranks hold one copy (utils/distributed.py,
    _get_parallel_config_kwargs); experts are divided over dp_shard_size alone."""
    path = tmp_path / "ep.yaml"
    lines = (
        "base_model: Qwen/Qwen3-30B-A3B\nbf16: true\nfsdp_version: 2\nfsdp_config:\n  offload_params: false\n"
    )
    path.write_text(f"{lines}expert_parallel_size: 4\ndp_shard_size: 2\n")
    eight, sixteen = (train(None, gpu, from_file=str(path)) for gpu in ("h100:8", "h100:8x2"))
    assert not any("not understood" in warning for warning in eight.warnings)
    assert eight.mesh.ep == 4
    assert eight.ledger.by_category()["weights"] == sixteen.ledger.by_category()["weights"]
    path.write_text(f"{lines}expert_parallel_size: 4\n")
    whole = train(None, "h100:8", from_file=str(path))
    assert whole.ledger.by_category()["weights"] == eight.ledger.by_category()["weights"]


def test_a_file_of_llama_factory_that_megatron_trains_divides_the_model(tmp_path: Path) -> None:
    """Its examples/megatron/qwen3_moe_full.yaml says 8 x 78 GB."""
    text = """
model_name_or_path: Qwen/Qwen3-30B-A3B-Instruct-2507
stage: sft
finetuning_type: full
cutoff_len: 4096
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
bf16: true
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 4
expert_model_parallel_size: 2
use_distributed_optimizer: true
bias_activation_fusion: true
recompute_granularity: full
"""
    found = read(tmp_path, "x.yaml", text)
    asked = found.training
    assert (found.framework, asked.framework, asked.sharding) == (
        "llama-factory",
        "megatron-bridge",
        "distopt",
    )
    assert (asked.mesh.pp, asked.mesh.ep, asked.packed, asked.recompute) == (4, 2, True, "full")
    assert not any("is not understood" in note for note in found.warnings)
    answer = train(from_file=str(tmp_path / "x.yaml"), gpu="a100-80gb:8")
    assert 74 < answer.peaks.device_bytes / GIB < 79


@pytest.mark.parametrize(("layers", "again"), [(8, None), (-8, 8)])
def test_llama_factory_runs_again_the_layers_that_it_trains(
    tmp_path: Path, layers: int, again: int | None
) -> None:
    """Of a number below zero the first layers are trained, and the frozen ones behind keep what a backward
    reads (LLaMA-Factory 8436: 8 runs on four H100, -8 does not)."""
    text = f"""
model_name_or_path: Qwen/Qwen2.5-14B-Instruct
stage: pt
finetuning_type: freeze
freeze_trainable_layers: {layers}
deepspeed: ds_z3_config.json
cutoff_len: 8192
per_device_train_batch_size: 1
flash_attn: fa2
bf16: true
"""
    asked = read(tmp_path, "x.yaml", text).training
    assert (asked.trained_layers, asked.recompute_num_layers) == (layers, again)
    answer = train(from_file=str(tmp_path / "x.yaml"), gpu="h100:4")
    assert answer.verdict == ("fits" if layers > 0 else "tight")
    activations = sum(line.bytes for line in answer.ledger.lines if line.category == "activations")
    assert (activations > 40 * GIB) == (layers < 0)
