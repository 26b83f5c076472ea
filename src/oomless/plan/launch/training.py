"""A training question -> what starts it: a torchrun command with its script, or a framework's own
configuration file."""

import json
from typing import Any

from ... import facts
from ...errors import UnsupportedError
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.training import TrainingAsked, resolved
from . import Launch
from .cluster import kubernetes_name, sky_name
from .emit import toml, yaml
from .megatron import megatron_arguments, runs
from .scripts import FSDP_SCRIPT, LORA_SCRIPT, TRAINER_SCRIPT
from .serving import hub_word

LAUNCHED = (
    "fsdp",
    "deepspeed",
    "torchtitan",
    "megatron-lm",
    "transformers",
    "peft",
    "axolotl",
    "llama-factory",
)
"""Frameworks whose files are written here."""


def launches(framework: str, model: Model) -> bool:
    """Whether a framework's launch file can say this model."""
    if framework == "megatron-lm":
        return runs(model)
    return framework != "torchtitan" or flavor(model) is not None


def flavor(model: Model) -> tuple[str, str] | None:
    """torchtitan's name of a model: a family and a size.

    >>> from ...model.load import load
    >>> flavor(load("deepseek-v3"))
    ('deepseek_v3', '671B')
    """
    return next(
        (
            (row["name"], row["flavor"])
            for row in facts.table("torchtitan_flavors")
            if row["model"] == model.name
        ),
        None,
    )


def training_launch(model: Model, word: str, asked: TrainingAsked, hardware: Hardware) -> Launch:
    """How a framework is started for a question."""
    hub = hub_word(model, word)
    match asked.framework:
        case "fsdp":
            script = FSDP_SCRIPT.format(**script_words(hub, asked))
            return with_cluster(model, Launch(torchrun(hardware, "train.py"), {"train.py": script}), hardware)
        case "torchtitan":
            command = torchrun(hardware, "-m torchtitan.train --job.config_file job.toml")
            toml_file = {"job.toml": titan_toml(model, hub, asked, hardware)}
            return with_cluster(model, Launch(command, toml_file, TITAN_NOTE), hardware)
        case "megatron-lm":
            arguments = megatron_arguments(model, asked, hardware.num_gpus)
            files = {"megatron.args": "\n".join(arguments) + "\n"}
            return with_cluster(
                model, Launch(torchrun(hardware, "pretrain_gpt.py $(cat megatron.args)"), files), hardware
            )
        case "deepspeed":
            files = {
                "ds.json": deepspeed_json(asked, hardware),
                "train.py": TRAINER_SCRIPT.format(**trainer_words(hub, asked, "ds.json")),
            }
            return with_cluster(model, Launch(torchrun(hardware, "train.py"), files), hardware)
        case "transformers" | "peft":
            script = TRAINER_SCRIPT if asked.method == "full" else LORA_SCRIPT
            files = {
                "accelerate.yaml": accelerate_yaml(asked, hardware),
                "train.py": script.format(**trainer_words(hub, asked, "")),
            }
            return Launch(f"accelerate launch --config_file accelerate.yaml{ranks(hardware)} train.py", files)
        case "axolotl":
            nodes = f" --launcher torchrun -- {node_words(hardware)}" if hardware.num_nodes > 1 else ""
            return Launch(f"axolotl train axolotl.yaml{nodes}", {"axolotl.yaml": axolotl_yaml(hub, asked)})
        case "llama-factory":
            files = {"llama_factory.yaml": llama_factory_yaml(hub, asked)}
            if asked.sharding in ("zero2", "zero3"):
                files["ds.json"] = deepspeed_json(asked, hardware, auto=True)
            several = (
                f"FORCE_TORCHRUN=1 NNODES={hardware.num_nodes} NODE_RANK=$NODE_RANK "
                "MASTER_ADDR=$HEAD MASTER_PORT=29500 "
            )
            start = (
                several if hardware.num_nodes > 1 else "FORCE_TORCHRUN=1 " if hardware.num_gpus > 1 else ""
            )
            return Launch(
                f"env {start}llamafactory-cli train llama_factory.yaml"
                if start
                else "llamafactory-cli train llama_factory.yaml",
                files,
            )
        case _:
            raise UnsupportedError(
                f"no launch file of {asked.framework} is known here", f"known are {', '.join(LAUNCHED)}"
            )


TITAN_NOTE = "job.toml is for torchtitan 0.2 (pip install 'torchtitan<0.3'): 0.3 reads no TOML"


def torchrun(hardware: Hardware, what: str) -> str:
    """torchrun on one machine, or as each of several runs it: HEAD and NODE_RANK are its place among them."""
    if hardware.num_nodes == 1:
        return f"torchrun --standalone --nproc-per-node {hardware.num_gpus} {what}"
    return f"torchrun {node_words(hardware)} {what}"


def node_words(hardware: Hardware) -> str:
    rendezvous = "--rdzv-backend c10d --rdzv-endpoint $HEAD:29500"
    return (
        f"--nnodes {hardware.num_nodes} --node-rank $NODE_RANK --nproc-per-node "
        f"{hardware.per_node} {rendezvous}"
    )


def ranks(hardware: Hardware) -> str:
    """What accelerate's file cannot know of a machine."""
    return (
        " --machine_rank $NODE_RANK --main_process_ip $HEAD --main_process_port 29500"
        if hardware.num_nodes > 1
        else ""
    )


def with_cluster(model: Model, launch: Launch, hardware: Hardware) -> Launch:
    """The same command under Slurm, and under SkyPilot where it rents such cards."""
    files, sky = dict(launch.files), sky_name(hardware)
    name = kubernetes_name(model.name)
    if hardware.num_nodes > 1:
        files["train.sbatch"] = f"""#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={hardware.num_nodes}
#SBATCH --gpus-per-node={hardware.per_node}
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -euo pipefail
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export HEAD
srun bash -c 'NODE_RANK=$SLURM_NODEID; {launch.command}'
"""
    if sky:
        task: dict[str, Any] = {
            "name": name,
            "resources": {"accelerators": {sky: hardware.per_node}},
            "num_nodes": hardware.num_nodes,
            "workdir": ".",
            "run": 'HEAD=$(echo "$SKYPILOT_NODE_IPS" | head -n '
            f"1)\nNODE_RANK=$SKYPILOT_NODE_RANK\n{launch.command}\n",
        }
        files["sky.yaml"] = yaml(task)
    return launch._replace(files=files)


def script_words(hub: str, asked: TrainingAsked) -> dict[str, object]:
    """What a script is filled with."""
    chosen = resolved(asked)
    return {
        "hub": hub,
        "seq_len": asked.seq_len,
        "micro_batch": asked.micro_batch,
        "grad_accum": asked.grad_accum,
        "recompute": asked.recompute == "full",
        "foreach": "False" if "loop" in str(chosen.optimizer) else "None",
    }


def trainer_words(hub: str, asked: TrainingAsked, deepspeed: str) -> dict[str, object]:
    """What a script of transformers' Trainer is filled with."""
    modules = (
        '"all-linear"'
        if not asked.lora_targets or "all-linear" in asked.lora_targets
        else repr(list(asked.lora_targets))
    )
    return {
        **script_words(hub, asked),
        "recompute": asked.recompute == "full",
        "deepspeed": repr(deepspeed or None),
        "rank": asked.lora_rank,
        "modules": modules if asked.lora_targets else repr(list(resolved(asked).lora_targets)),
        "four_bit": asked.method == "qlora",
    }


def titan_toml(model: Model, hub: str, asked: TrainingAsked, hardware: Hardware) -> str:
    """torchtitan's job configuration (release 0.2)."""
    found = flavor(model)
    if found is None:
        raise UnsupportedError(
            f"torchtitan has no flavor of {model.name}", "use --framework fsdp or megatron-lm"
        )
    mesh = asked.mesh
    shards = hardware.num_gpus // (mesh.tp * mesh.pp * mesh.cp)
    mode = asked.recompute or "selective"
    tables: dict[str, dict[str, Any]] = {
        "job": {"dump_folder": "./outputs", "description": f"{hub}: planned by oomless"},
        "model": {
            "name": found[0],
            "flavor": found[1],
            "hf_assets_path": f"./assets/hf/{hub.rpartition('/')[2]}",
        },
        "optimizer": {"name": "AdamW", "lr": 1e-5, "implementation": "fused"},
        "training": {
            "local_batch_size": asked.micro_batch * (asked.grad_accum if mesh.pp > 1 else 1),
            "global_batch_size": asked.micro_batch * asked.grad_accum * shards,
            "seq_len": asked.seq_len,
            "steps": 100,
            "dataset": "c4",
        },
        "parallelism": {
            "data_parallel_replicate_degree": 1,
            "data_parallel_shard_degree": shards,
            "tensor_parallel_degree": mesh.tp,
            "pipeline_parallel_degree": mesh.pp,
            "context_parallel_degree": mesh.cp,
            "expert_parallel_degree": mesh.ep,
            "expert_tensor_parallel_degree": mesh.etp or 1,
        },
        "activation_checkpoint": {
            "mode": mode,
            **({"selective_ac_option": "op"} if mode == "selective" else {}),
        },
        "compile": {"enable": resolved(asked).kernels == "compiled", "components": ["model"]},
    }
    if mesh.pp > 1:
        tables["parallelism"] |= {
            "pipeline_parallel_schedule": "1F1B",
            "pipeline_parallel_microbatch_size": asked.micro_batch,
        }
    return toml(tables)


def deepspeed_json(asked: TrainingAsked, hardware: Hardware, auto: bool = False) -> str:
    """DeepSpeed's configuration; `auto` leaves the batch to the trainer around it."""
    mesh = asked.mesh
    dp = hardware.num_gpus // (mesh.tp * mesh.pp * mesh.cp)
    stage = {"zero1": 1, "zero2": 2, "zero3": 3}.get(asked.sharding or "zero2", 0)
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if "optimizer" in asked.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if "params" in asked.offload:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
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
    return (
        json.dumps(
            {**batch, "bf16": {"enabled": True}, "zero_optimization": zero, "gradient_clipping": 1.0},
            indent=2,
        )
        + "\n"
    )


def accelerate_yaml(asked: TrainingAsked, hardware: Hardware) -> str:
    """Accelerate's configuration: one process a card, FSDP2 where states are sharded."""
    sharded = asked.sharding in ("fsdp1", "fsdp2")
    kind = "FSDP" if sharded else "MULTI_GPU" if hardware.num_gpus > 1 else "NO"
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "mixed_precision": "bf16",
        "num_machines": hardware.num_nodes,
        "num_processes": hardware.num_gpus,
        "use_cpu": False,
    }
    if sharded:
        config["fsdp_config"] = {
            "fsdp_version": 2 if asked.sharding == "fsdp2" else 1,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True if asked.sharding == "fsdp2" else "FULL_SHARD",
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_activation_checkpointing": asked.recompute == "full",
            "fsdp_offload_params": "params" in asked.offload,
            "fsdp_cpu_ram_efficient_loading": True,
        }
    return yaml(config)


def axolotl_yaml(hub: str, asked: TrainingAsked) -> str:
    """Axolotl's configuration."""
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
    config |= {
        "datasets": [{"path": "tatsu-lab/alpaca", "type": "alpaca"}],
        "sequence_len": asked.seq_len,
        "pad_to_sequence_len": True,
        "micro_batch_size": asked.micro_batch,
        "gradient_accumulation_steps": asked.grad_accum,
        "gradient_checkpointing": asked.recompute == "full",
        "optimizer": "adamw_torch_fused",
        "learning_rate": 1e-5,
        "num_epochs": 1,
        "bf16": True,
        "output_dir": "./outputs",
    }
    if asked.sharding in ("fsdp1", "fsdp2"):
        config |= {
            "fsdp_version": 2 if asked.sharding == "fsdp2" else 1,
            "fsdp_config": {
                "offload_params": "params" in asked.offload,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "reshard_after_forward": True,
            },
        }
    return yaml(config)


def llama_factory_yaml(hub: str, asked: TrainingAsked) -> str:
    """LLaMA-Factory's configuration."""
    config: dict[str, Any] = {
        "model_name_or_path": hub,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full" if asked.method == "full" else "lora",
    }
    if asked.method != "full":
        config |= {
            "lora_rank": asked.lora_rank,
            "lora_target": "all" if not asked.lora_targets else ",".join(asked.lora_targets),
        }
    if asked.method == "qlora":
        config["quantization_bit"] = 4
    if asked.sharding in ("zero2", "zero3"):
        config["deepspeed"] = "ds.json"
    elif asked.method == "full" and resolved(asked).precision == "bf16":
        config["pure_bf16"] = True
    config |= {
        "dataset": "alpaca_en_demo",
        "template": "default",
        "cutoff_len": asked.seq_len,
        "per_device_train_batch_size": asked.micro_batch,
        "gradient_accumulation_steps": asked.grad_accum,
        "disable_gradient_checkpointing": asked.recompute != "full",
        "learning_rate": 1e-5,
        "num_train_epochs": 1,
        "bf16": True,
        "output_dir": "./outputs",
    }
    return yaml(config)
