"""The configuration files that DeepSpeed, Accelerate, axolotl and LLaMA-Factory read of a training question."""

from typing import Any

from ...errors import UnsupportedError
from ...frameworks import framework as record
from ...frameworks.defaults import resolved
from ...run.cards import Hardware
from ...run.training import TrainingAsked
from . import FileText
from .documents import json_text, yaml
from .optimizers import said_optimizer
from .types import SHORT, FileTypes


def deepspeed_json(
    asked: TrainingAsked, hardware: Hardware, types: FileTypes, auto: bool = False
) -> FileText:
    """Return DeepSpeed's configuration; `auto` leaves the batch to the trainer around it, and the buckets of
    ZeRO-3 follow the hidden size where that trainer has them do so."""
    mesh = asked.mesh
    dp = hardware.num_gpus // (mesh.tp * mesh.pp * mesh.cp)
    stage = {"zero1": 1, "zero2": 2, "zero3": 3}.get(asked.sharding or "zero2", 0)
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": stage == 3, "contiguous_gradients": True}
    if "optimizer" in asked.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if "params" in asked.offload:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        if record(asked.framework).zero_by_hidden_size:
            zero |= {"reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}
    batch = (
        {
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "train_batch_size": "auto",
        }
        if auto
        else {
            "train_micro_batch_size_per_gpu": asked.micro_batch,
            "gradient_accumulation_steps": asked.grad_accum,
            "train_batch_size": asked.micro_batch * asked.grad_accum * dp,
        }
    )
    enabled = {name: {"enabled": True} for name in types.switches}
    steps = said_optimizer(asked)
    own = {"type": steps.word, "params": {"lr": "auto", "weight_decay": "auto"}}
    settings = {
        "zero_optimization": zero,
        "gradient_clipping": 1.0,
        **({"optimizer": own} if steps.own else {}),
    }
    return json_text({**batch, **enabled, **settings})


def accelerate_yaml(asked: TrainingAsked, hardware: Hardware, types: FileTypes) -> FileText:
    """Return Accelerate's configuration: one process a card, FSDP2 where states are sharded."""
    sharded = asked.sharding in ("fsdp1", "fsdp2")
    kind = "FSDP" if sharded else "MULTI_GPU" if hardware.num_gpus > 1 else "NO"
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "mixed_precision": SHORT.get(types.arithmetic, "no"),
        "num_machines": hardware.num_nodes,
        "num_processes": hardware.num_gpus,
        "use_cpu": False,
    }
    way = "SHARD_GRAD_OP" if asked.keep_gathered else "FULL_SHARD"
    if sharded:
        config["fsdp_config"] = {
            "fsdp_version": 2 if asked.sharding == "fsdp2" else 1,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": not asked.keep_gathered if asked.sharding == "fsdp2" else way,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_activation_checkpointing": asked.recompute == "full",
            "fsdp_offload_params": "params" in asked.offload,
            "fsdp_cpu_ram_efficient_loading": True,
        }
    return yaml(config)


def axolotl_yaml(hub: str, asked: TrainingAsked, types: FileTypes) -> FileText:
    """Return Axolotl's configuration."""
    config: dict[str, Any] = {"base_model": hub}
    if asked.method != "full":
        config |= {
            "adapter": asked.method,
            "load_in_4bit": asked.method == "qlora",
            "lora_r": asked.lora_rank,
        }
        config |= {"lora_alpha": 2 * asked.lora_rank, "lora_dropout": 0.0}
        named = [name for name in asked.lora_targets if name != "all-linear"]
        config |= {"lora_target_modules": named} if named else {"lora_target_linear": True}
    pairs = {"path": "Intel/orca_dpo_pairs", "split": "train", "type": "chatml.intel"}
    compares = asked.task == "dpo"
    config |= {
        **({"rl": "dpo"} if compares else {}),
        "datasets": [pairs if compares else {"path": "tatsu-lab/alpaca", "type": "alpaca"}],
        "sequence_len": asked.seq_len,
        **({} if compares else {"pad_to_sequence_len": True}),
        "micro_batch_size": asked.micro_batch,
        "gradient_accumulation_steps": asked.grad_accum,
        "gradient_checkpointing": asked.recompute == "full",
        "optimizer": said_optimizer(asked).word,
        "learning_rate": 1e-5,
        "num_epochs": 1,
        **(types.switches or {"bf16": False}),
        "output_dir": "./outputs",
    }
    if asked.loss == "fused":
        config["plugins"] = ["axolotl.integrations.liger.LigerPlugin"]
        config |= dict.fromkeys(LIGER, True)
    elif asked.loss == "cut":
        if not types.switches:
            raise UnsupportedError("cut cross-entropy is of 16 bits", "use --precision bf16")
        config["plugins"] = ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]
    elif asked.loss == "chunked":
        config["chunked_cross_entropy"] = True
    if asked.sharding in ("fsdp1", "fsdp2"):
        config |= {
            "fsdp_version": 2 if asked.sharding == "fsdp2" else 1,
            "fsdp_config": {
                "offload_params": "params" in asked.offload,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "reshard_after_forward": not asked.keep_gathered,
            },
        }
    return yaml(config)


def trl_yaml(hub: str, asked: TrainingAsked, types: FileTypes) -> FileText:
    """Return what `trl sft` or `trl dpo` reads; accelerate's file says what of it is wrapped in
    checkpoints."""
    wrapped = asked.sharding in ("fsdp1", "fsdp2")
    config: dict[str, Any] = {"model_name_or_path": hub, "dtype": types.weights}
    if asked.method != "full":
        named = [name for name in asked.lora_targets if name != "all-linear"]
        config |= {"use_peft": True, "lora_r": asked.lora_rank, "lora_alpha": 2 * asked.lora_rank}
        config["lora_target_modules"] = named or "all-linear"
    if asked.method == "qlora":
        config |= {"load_in_4bit": True, "use_bnb_nested_quant": True}
    data: dict[str, Any] = {"dataset_name": "trl-lib/ultrafeedback_binarized"}
    if asked.task != "dpo":
        data = {"dataset_name": "trl-lib/Capybara", "packing": True, "packing_strategy": "wrapped"}
    config |= {
        **data,
        "max_length": asked.seq_len,
        "per_device_train_batch_size": asked.micro_batch,
        "gradient_accumulation_steps": asked.grad_accum,
        "gradient_checkpointing": asked.recompute == "full" and not wrapped,
        "optim": said_optimizer(asked).word,
        "learning_rate": 1e-5,
        "num_train_epochs": 1,
        **(types.switches or {"bf16": False}),
        "output_dir": "./outputs",
    }
    return yaml(config)


PAIRS = "pairs"


def factory_data() -> FileText:
    """Return the dataset_info.json that LLaMA-Factory needs for pairs: of a name of the hub alone it takes
    single answers (data/parser.py, get_dataset_list)."""
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    pairs = {"hf_hub_url": "llamafactory/DPO-En-Zh-20k", "subset": "en", "ranking": True}
    return json_text({PAIRS: {**pairs, "formatting": "sharegpt", "columns": columns}})


LIGER = ("liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_fused_linear_cross_entropy")


def llama_factory_yaml(hub: str, asked: TrainingAsked, types: FileTypes) -> FileText:
    """Return LLaMA-Factory's configuration, whose word for all linear matrices is `all`."""
    everything = not asked.lora_targets or "all-linear" in asked.lora_targets
    config: dict[str, Any] = {
        "model_name_or_path": hub,
        "stage": "dpo" if asked.task == "dpo" else "sft",
        "do_train": True,
        "finetuning_type": "full" if asked.method == "full" else "lora",
    }
    if asked.method != "full":
        config |= {
            "lora_rank": asked.lora_rank,
            "lora_target": "all" if everything else ",".join(asked.lora_targets),
        }
    if asked.method == "qlora":
        config["quantization_bit"] = 4
    if asked.sharding in ("zero2", "zero3"):
        config["deepspeed"] = "ds.json"
    elif asked.method == "full" and resolved(asked).precision == "bf16":
        config["pure_bf16"] = True
    config |= {
        "dataset": PAIRS if asked.task == "dpo" else "tatsu-lab/alpaca",
        "dataset_dir": "." if asked.task == "dpo" else "ONLINE",  # of the hub: no dataset_info.json beside it
        "template": "default",
        "cutoff_len": asked.seq_len,
        "per_device_train_batch_size": asked.micro_batch,
        "gradient_accumulation_steps": asked.grad_accum,
        "disable_gradient_checkpointing": asked.recompute != "full",
        **({"enable_liger_kernel": True} if asked.loss == "fused" else {}),
        **({"optim": said_optimizer(asked).word} if asked.optimizer else {}),
        "learning_rate": 1e-5,
        "num_train_epochs": 1,
        **(types.switches or {"bf16": False}),
        "output_dir": "./outputs",
    }
    return yaml(config)
