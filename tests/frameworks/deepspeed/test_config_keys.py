"""Every key of DeepSpeed's configuration (www.deepspeed.ai/docs/config-json, runtime/zero/config.py and
offload_config.py, runtime/precision_config.py of 0.19) is read, named in a note, or changes no memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from oomless.errors import OomlessError
from oomless.frameworks.training_file import TrainingFile, read_training_file

BASE: dict[str, Any] = {
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 3},
    "train_micro_batch_size_per_gpu": 1,
}
ZERO = "zero_optimization."
READ: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": 8,
    "optimizer.type": "Lion",
    "optimizer.params.torch_adam": True,
    "bf16.enabled": False,
    "sequence_parallel_size": 2,
    "tensor_parallel.autotp_size": 2,
    "activation_checkpointing.partition_activations": True,
    "activation_checkpointing.cpu_checkpointing": True,
    "data_types.grad_accum_dtype": "fp32",
    ZERO + "stage": 2,
    ZERO + "overlap_comm": False,
    ZERO + "reduce_bucket_size": 2e8,
    ZERO + "stage3_prefetch_bucket_size": 0,
    ZERO + "stage3_max_live_parameters": 1e8,
    ZERO + "stage3_max_reuse_distance": 1e8,
    ZERO + "sub_group_size": 1e8,
    ZERO + "zero_hpz_partition_size": 8,
    ZERO + "cpu_offload": True,
    ZERO + "cpu_offload_param": True,
    ZERO + "offload_param.device": "cpu",
    ZERO + "offload_optimizer.device": "cpu",
}
"""Keys that change the question."""
NAMED: dict[str, Any] = {
    "communication_data_type": "fp32",
    "seq_parallel_communication_data_type": "fp32",
    "sparse_gradients": True,
    "amp.enabled": True,
    "torch_autocast.enabled": True,
    "fp16.fp16_master_weights_and_grads": True,
    "bf16.bf16_master_weights_and_grads": True,
    "bf16.bf16_optimizer_states": True,
    "optimizer.params.fp32_optimizer_states": False,
    "activation_checkpointing.contiguous_memory_optimization": True,
    "activation_checkpointing.number_checkpoints": 4,
    "aio.use_gds": True,
    "compile.deepcompile": True,
    "compile.passes": ["autosp"],
    "compile.offload_activation": True,
    "compression_training.layer_reduction.enabled": True,
    "compression_training.weight_quantization.shared_parameters.enabled": True,
    "curriculum_learning.enabled": True,
    "data_efficiency.data_routing.random_ltd.enabled": True,
    "data_efficiency.data_sampling.curriculum_learning.enabled": True,
    "eigenvalue.enabled": True,
    "expert_parallel.enabled": True,
    "expert_parallel.autoep_size": 8,
    "hybrid_engine.enabled": True,
    "pipeline.activation_checkpoint_interval": 1,
    "progressive_layer_drop.enabled": True,
    "sparse_attention.mode": "fixed",
    "tensor_parallel.partition_config.use_default_specs": True,
    ZERO + "contiguous_gradients": False,
    ZERO + "leaf_module.classes": ["Block"],
    ZERO + "memory_efficient_linear": False,
    ZERO + "mics_shard_size": 4,
    ZERO + "model_persistence_threshold": 1000,
    ZERO + "offload_optimizer.pipeline_read": True,
    ZERO + "offload_optimizer.pipeline_write": True,
    ZERO + "offload_optimizer.ratio": 0.5,
    ZERO + "offload_optimizer.super_offload": True,
    ZERO + "save_muon_momentum_buffer_in_memory": True,
    ZERO + "stage3_allgather_sequential": True,
    ZERO + "stage3_module_granularity_threshold": 1000,
    ZERO + "stage3_param_persistence_threshold": 1e6,
    ZERO + "stage3_use_all_reduce_for_fetch_params": True,
    ZERO + "zenflow.topk_ratio": 0.1,
    ZERO + "zero_quantized_gradients": True,
    ZERO + "zero_quantized_nontrainable_weights": True,
    ZERO + "zero_quantized_weights": True,
    ZERO + "zeropp_loco_param.err_beta": 0.8,
}
"""Keys that change memory and are not counted."""
NOTHING: dict[str, Any] = {
    "aio.block_size": 262144,
    "aio.overlap_events": True,
    "aio.queue_depth": 32,
    "aio.single_submit": True,
    "aio.thread_count": 2,
    "activation_checkpointing.profile": True,
    "activation_checkpointing.synchronize_checkpoint_boundary": True,
    "bf16.check_grad_overflow": True,
    "bf16.immediate_grad_update": True,
    "checkpoint.load_universal": True,
    "checkpoint.parallel_write.pipeline_stage": True,
    "checkpoint.tag_validation": "Warn",
    "checkpoint.use_node_local_storage": True,
    "comms_logger.enabled": True,
    "csv_monitor.enabled": True,
    "data_efficiency.enabled": True,
    "data_efficiency.seed": 1234,
    "data_efficiency.data_routing.enabled": True,
    "data_efficiency.data_sampling.num_workers": 2,
    "dump_state": True,
    "flops_profiler.enabled": True,
    "flops_profiler.profile_step": 1,
    "fp16.auto_cast": True,
    "fp16.consecutive_hysteresis": True,
    "fp16.hysteresis": 2,
    "fp16.initial_scale_power": 16,
    "fp16.loss_scale": 0,
    "fp16.loss_scale_window": 1000,
    "fp16.min_loss_scale": 1,
    "gradient_allreduce_op": "mean",
    "gradient_clipping": 1.0,
    "gradient_predivide_factor": 1.0,
    "optimizer.params.betas": [0.9, 0.95],
    "optimizer.params.lr": 1e-5,
    "prescale_gradients": True,
    "scheduler.params.warmup_num_steps": 100,
    "scheduler.type": "WarmupLR",
    "steps_per_print": 10,
    "tensorboard.enabled": True,
    "wall_clock_breakdown": True,
    "wandb.enabled": True,
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": True,
    ZERO + "allgather_bucket_size": 5e8,
    ZERO + "allgather_partitions": True,
    ZERO + "contiguous_gradients": True,
    ZERO + "elastic_checkpoint": True,
    ZERO + "enable_sanity_checks": True,
    ZERO + "ignore_unused_parameters": True,
    ZERO + "load_from_fp32_weights": True,
    ZERO + "log_trace_cache_warnings": True,
    ZERO + "memory_efficient_linear": True,
    ZERO + "mics_hierarchical_params_gather": True,
    ZERO + "mics_shard_size": -1,
    ZERO + "offload_optimizer.cpuadam_cores_perc": 0.8,
    ZERO + "offload_optimizer.fast_init": True,
    ZERO + "offload_optimizer.ratio": 1.0,
    ZERO + "override_module_apply": True,
    ZERO + "pipeline_loading_checkpoint": True,
    ZERO + "reduce_scatter": True,
    ZERO + "round_robin_gradients": True,
    ZERO + "stage3_gather_16bit_weights_on_model_save": True,
    ZERO + "stage3_module_granularity_threshold": 0,
    ZERO + "stage3_param_persistence_threshold": 1e5,
    ZERO + "use_multi_rank_bucket_allreduce": True,
    ZERO + "zero_hpz_partition_size": 1,
}
"""Keys and values that leave memory as it is."""
ONLY_BESIDE_A_DISK = ("buffer_count", "buffer_size", "max_in_cpu", "nvme_path", "pin_memory")


def with_key(folder: Path, key: str, value: Any) -> TrainingFile:
    """The question of a file with one key more."""
    values = json.loads(json.dumps(BASE))
    place = values
    *outer, last = key.split(".")
    for name in outer:
        place = place.setdefault(name, {})
    place[last] = value
    path = folder / "ds.json"
    path.write_text(json.dumps(values))
    return read_training_file(path)


@pytest.fixture
def usual(tmp_path: Path) -> TrainingFile:
    return with_key(tmp_path, "bf16.enabled", True)


@pytest.mark.parametrize("key", READ)
def test_a_key_is_read(tmp_path: Path, usual: TrainingFile, key: str) -> None:
    found = with_key(tmp_path, key, READ[key])
    assert found.training != usual.training
    assert any(each.startswith(f"{key} = ") for each in found.read)


@pytest.mark.parametrize("key", NAMED)
def test_a_key_that_is_not_counted_is_named(tmp_path: Path, usual: TrainingFile, key: str) -> None:
    found = with_key(tmp_path, key, NAMED[key])
    assert found.training == usual.training
    assert any(key.removeprefix(ZERO) in each for each in found.warnings), found.warnings


@pytest.mark.parametrize("key", NOTHING)
def test_a_key_that_changes_no_memory_is_passed_over(tmp_path: Path, usual: TrainingFile, key: str) -> None:
    found = with_key(tmp_path, key, NOTHING[key])
    assert found.training == usual.training
    assert not found.warnings


@pytest.mark.parametrize("key", [*READ, *NAMED])
def test_auto_is_said_or_the_default(tmp_path: Path, usual: TrainingFile, key: str) -> None:
    """A trainer fills in "auto"; alone, a file counts as if the key were missing, and says so where the key
    is one that is read."""
    found = with_key(tmp_path, key, "auto")
    if key != ZERO + "stage":
        assert found.training == usual.training
    if key in READ:
        assert any(key.removeprefix(ZERO) in each for each in found.warnings)


def test_two_halves_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="both enabled"):
        with_key(tmp_path, "fp16.enabled", True)


def test_buffers_of_a_disk_are_named_with_it(tmp_path: Path) -> None:
    """Their keys mean something beside a disk alone, which has a note of its own."""
    for block in ("offload_param", "offload_optimizer"):
        found = with_key(tmp_path, f"{ZERO}{block}.device", "nvme")
        assert any("nvme" in each for each in found.warnings)
        for name in ONLY_BESIDE_A_DISK:
            assert not with_key(tmp_path, f"{ZERO}{block}.{name}", 1).warnings
