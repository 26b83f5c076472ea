"""A training question -> what starts it: a torchrun command with its script, or a framework's own
configuration file."""

from typing import Any, assert_never

from ... import facts
from ...errors import UnsupportedError
from ...estimate.training.checks import micro_batches
from ...frameworks import framework as record
from ...frameworks import names
from ...frameworks.defaults import resolved
from ...frameworks.record import Framework, LaunchFiles
from ...model.fused_modules import as_modules
from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import TrainingAsked, TrainingResolved
from . import Code, FileText, Launch
from .cluster import FIND_HEAD, kubernetes_name, sky_name
from .documents import toml, yaml
from .framework_files import (
    accelerate_yaml,
    axolotl_yaml,
    deepspeed_json,
    factory_data,
    llama_factory_yaml,
    trl_yaml,
)
from .megatron import megatron_arguments, runs, unsaid
from .optimizers import USUAL, SaidOptimizer, said_loss, said_optimizer
from .scripts import FSDP, FSDP_HEAD, LORA, LORA_HEAD, TRAINER, TRAINER_HEAD, Value, python
from .serving import hub_word, last_part
from .shell import command, lines, place, script
from .types import FileTypes, types_of


def launches(framework: str, model: Model) -> bool:
    """Whether a framework's launch file can say this model."""
    kind = record(framework).launch
    if kind == "megatron_args":
        return runs(model)
    return kind != "titan_toml" or flavor(model) is not None


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
    """Return how a framework is started for a question; refused where its files cannot say the optimizer."""
    steps = said_optimizer(asked)
    asked = asked._replace(grad_accum=micro_batches(asked, asked.mesh), lora_targets=targets_of(model, asked))
    hub = place(hub_word(model, word))
    types = types_of(asked, hardware)
    framework, need = with_packages(model, asked, steps)
    match framework.launch:
        case "fsdp_script":
            files = {"train.py": fsdp_script(hub, asked, types)}
            launch = Launch(torchrun(hardware, "train.py"), files, need)
            return with_cluster(model, launch, hardware, framework)
        case "titan_toml":
            start = torchrun(hardware, "-m", "torchtitan.train", "--job.config_file", "job.toml")
            files = {"job.toml": titan_toml(model, hub, asked, hardware, types)}
            return with_cluster(model, Launch(start, files, TITAN_NOTE), hardware, framework)
        case "megatron_args":
            arguments = megatron_arguments(model, asked, hardware.num_gpus, types)
            files = {"megatron.args": FileText("".join(f"{each}\n" for each in arguments))}
            start = torchrun(hardware, "pretrain_gpt.py", Code("$(cat megatron.args)"))
            if hardware.card.vendor == "NVIDIA" and hardware.card.capability < MANY_CONNECTIONS:
                start = command("env", "CUDA_DEVICE_MAX_CONNECTIONS=1", start)
            return with_cluster(model, Launch(start, files, megatron_note(model, need)), hardware, framework)
        case "zero_script":
            files = {
                "ds.json": deepspeed_json(asked, hardware, types),
                "train.py": trainer_script(hub, asked, types, "ds.json"),
            }
            launch = Launch(torchrun(hardware, "train.py"), files, need)
            return with_cluster(model, launch, hardware, framework)
        case "accelerate_script":
            return accelerate_launch(hub, asked, hardware, types)._replace(note=need)
        case "trl_yaml":
            return trl_launch(hub, asked, hardware, types)._replace(note=need)
        case "axolotl_yaml":
            several = (
                ("--launcher", "torchrun", "--", *node_words(hardware)) if hardware.num_nodes > 1 else ()
            )
            start = command(asked.framework, "train", "axolotl.yaml", *several)
            return Launch(start, {"axolotl.yaml": axolotl_yaml(hub, asked, types)}, need)
        case "factory_yaml":
            files = {"llama_factory.yaml": llama_factory_yaml(hub, asked, types)}
            if asked.sharding in ("zero2", "zero3"):
                files["ds.json"] = deepspeed_json(asked, hardware, types, auto=True)
            if asked.task == "dpo":
                files["dataset_info.json"] = factory_data()
            return Launch(
                command(
                    *llama_factory_variables(hardware), "llamafactory-cli", "train", "llama_factory.yaml"
                ),
                files,
                need,
            )
        case None:
            raise UnsupportedError(
                f"no launch file of {asked.framework} is known here", f"known are {', '.join(launched())}"
            )
        case never:
            assert_never(never)


def accelerate_launch(hub: str, asked: TrainingAsked, hardware: Hardware, types: FileTypes) -> Launch:
    """Return a script of transformers' Trainer under accelerate, with its file."""
    files = {
        "accelerate.yaml": accelerate_yaml(asked, hardware, types),
        "train.py": trainer_script(hub, asked, types),
    }
    start = command("accelerate", "launch", "--config_file", "accelerate.yaml", *ranks(hardware))
    return Launch(command(start, "train.py"), files)


def trl_launch(hub: str, asked: TrainingAsked, hardware: Hardware, types: FileTypes) -> Launch:
    """Return TRL's own command, which hands accelerate its file."""
    program = "dpo" if asked.task == "dpo" else "sft"
    files = {
        "accelerate.yaml": accelerate_yaml(asked, hardware, types),
        f"{program}.yaml": trl_yaml(hub, asked, types),
    }
    words = ("--config", f"{program}.yaml", "--accelerate_config", "accelerate.yaml", *ranks(hardware))
    return Launch(command(asked.framework, program, *words), files)


def with_packages(model: Model, asked: TrainingAsked, steps: SaidOptimizer) -> tuple[Framework, str]:
    """Return the framework, whose setup installs what loss and optimizer need, and a note of that."""
    framework, said = record(asked.framework), said_loss(asked.framework, model, asked.loss, asked.task)
    if said is None:
        raise UnsupportedError(
            f"no launch file of {asked.framework} says --loss {asked.loss} of {model.name}"
        )
    needs = ((said.package, "loss"), (steps.package, "optimizer"))
    installs = [(package, what) for package, what in needs if package]
    setup = (*framework.setup, *(("pip", "install", package) for package, _ in installs))
    notes = (f"pip install '{package}': its {what} needs it" for package, what in installs)
    return framework._replace(setup=setup), "; ".join(notes)


def launched() -> list[str]:
    """Return the frameworks whose files are written here."""
    return [name for name in names() if record(name).launch]


def takes_any(*kinds: LaunchFiles) -> str:
    """Return a hint that names the frameworks with such files."""
    return f"use --framework {' or '.join(name for name in names() if record(name).launch in kinds)}"


MANY_CONNECTIONS = 10.0
"""From this compute capability on Megatron overlaps without CUDA_DEVICE_MAX_CONNECTIONS=1, which it asserts
below (megatron/training/arguments.py, validate_args)."""
MEGATRON_NOTE = (
    "convert the weights into checkpoint (tools/checkpoint): without them the run begins at random"
)


def megatron_note(model: Model, need: str) -> str:
    """Return what must be there before, and what no argument of ours says."""
    first = f"{need}; {MEGATRON_NOTE}" if need else MEGATRON_NOTE
    return f"{first}; add as its config.json has them: {', '.join(unsaid(model))}"


TITAN_NOTE = "job.toml is for torchtitan 0.2 (pip install 'torchtitan<0.3'): 0.3 reads no TOML"


def llama_factory_variables(hardware: Hardware) -> tuple[str, ...]:
    """Return what LLaMA-Factory's launcher is told of the machines, before its name."""
    if hardware.num_gpus == 1:
        return ()
    if hardware.num_nodes == 1:
        return ("env", "FORCE_TORCHRUN=1")
    rank = (Code("NODE_RANK=$NODE_RANK"), Code("MASTER_ADDR=$HEAD"), "MASTER_PORT=29500")
    return ("env", "FORCE_TORCHRUN=1", f"NNODES={hardware.num_nodes}", *rank)


def torchrun(hardware: Hardware, *what: str) -> Code:
    """Return torchrun on one machine, or as each of several runs it: HEAD and NODE_RANK are its place among
    them."""
    if hardware.num_nodes == 1:
        return command("torchrun", "--standalone", "--nproc-per-node", str(hardware.num_gpus), *what)
    return command("torchrun", *node_words(hardware), *what)


def node_words(hardware: Hardware) -> tuple[str, ...]:
    """Return torchrun's words about several machines."""
    machine = ("--nnodes", str(hardware.num_nodes), "--node-rank", Code("$NODE_RANK"))
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", Code("$HEAD:29500"))
    return (*machine, "--nproc-per-node", str(hardware.per_node), *meeting)


def ranks(hardware: Hardware) -> tuple[str, ...]:
    """Return what accelerate's file cannot know of a machine."""
    if hardware.num_nodes == 1:
        return ()
    head = ("--main_process_ip", Code("$HEAD"), "--main_process_port", "29500")
    return ("--machine_rank", Code("$NODE_RANK"), *head)


def with_cluster(model: Model, launch: Launch, hardware: Hardware, framework: Framework) -> Launch:
    """Return the same command under Slurm, and under SkyPilot where it rents such cards, whose machines are
    set up first."""
    files, sky = dict(launch.files), sky_name(hardware)
    name = kubernetes_name(model.name)
    if hardware.num_nodes > 1:
        files["train.sbatch"] = script(
            "/bin/bash",
            Code(f"#SBATCH --job-name={name}"),
            Code(f"#SBATCH --nodes={hardware.num_nodes}"),
            Code(f"#SBATCH --gpus-per-node={hardware.per_node}"),
            Code("#SBATCH --ntasks-per-node=1"),
            Code("#SBATCH --exclusive"),
            Code("set -euo pipefail"),
            FIND_HEAD,
            command("srun", "bash", "-c", f"NODE_RANK=$SLURM_NODEID; {launch.command}"),
        )
    if sky:
        task: dict[str, Any] = {
            "name": name,
            "resources": {"accelerators": {sky: hardware.per_node}},
            "num_nodes": hardware.num_nodes,
            "workdir": ".",
            "setup": lines(*(command(*each) for each in framework.setup), Code("")),
            "run": lines(
                Code('HEAD=$(echo "$SKYPILOT_NODE_IPS" | sed -n 1p)'),
                Code("NODE_RANK=$SKYPILOT_NODE_RANK"),
                launch.command,
                Code(""),
            ),
        }
        files["sky.yaml"] = yaml(task)
    return launch._replace(files=files)


def script_values(hub: str, asked: TrainingAsked, types: FileTypes) -> dict[str, Value]:
    """Return what a script is told: names and their values."""
    return {
        "ARITHMETIC": types.arithmetic,
        "NAME": hub,
        "SEQ_LEN": asked.seq_len,
        "MICRO_BATCH": asked.micro_batch,
        "GRAD_ACCUM": asked.grad_accum,
        # accelerate's file says it where FSDP shards: twice is an error
        "RECOMPUTE": asked.recompute == "full" and not by_accelerate(asked),
        "STEPS": 100,
    }


def by_accelerate(asked: TrainingAsked) -> bool:
    """Return whether accelerate's FSDP plugin wraps layers in checkpoints."""
    by_its_file = record(asked.framework).launch in ("accelerate_script", "trl_yaml")
    return by_its_file and asked.sharding in ("fsdp1", "fsdp2")


def fsdp_script(hub: str, asked: TrainingAsked, types: FileTypes) -> FileText:
    """Return FSDP's script, which is told beside that how many ranks share a copy of the states, 0 for all."""
    shards = asked.mesh.shard_size if asked.sharding == "hsdp" else 0
    steps = said_optimizer(asked)
    said: dict[str, Value] = {"OPTIMIZER": steps.word.split()[0], "SETTINGS": steps.settings}
    said |= {"WEIGHTS": types.weights, "SHARD_SIZE": shards, "KEEP_GATHERED": asked.keep_gathered}
    return python(FSDP_HEAD, script_values(hub, asked, types) | said, FSDP)


def targets_of(model: Model, asked: TrainingAsked) -> tuple[str, ...]:
    """Return the matrices with adapters as the model's own code names them; (): the framework's choice."""
    named = asked.lora_targets or (resolved(asked).lora_targets if asked.method != "full" else ())
    return as_modules(model.family, named) if "all-linear" not in named else asked.lora_targets


def trainer_script(
    hub: str, asked: TrainingAsked, types: FileTypes, deepspeed: str | None = None
) -> FileText:
    """Return a script of transformers' Trainer: of all weights, or of adapters."""
    values = script_values(hub, asked, types) | {"DEEPSPEED": deepspeed, "LIGER": asked.loss == "fused"}
    steps = said_optimizer(asked)
    values["OPTIM"] = USUAL if steps.own else steps.word
    if asked.method == "full":
        return python(TRAINER_HEAD, values | {"WEIGHTS": types.weights}, TRAINER)
    modules = list(asked.lora_targets or resolved(asked).lora_targets)
    adapter: dict[str, Value] = {
        "RANK": asked.lora_rank,
        "MODULES": "all-linear" if "all-linear" in modules else modules,
        "FOUR_BIT": asked.method == "qlora",
    }
    return python(LORA_HEAD, values | adapter, LORA)


def titan_toml(
    model: Model, hub: str, asked: TrainingAsked, hardware: Hardware, types: FileTypes
) -> FileText:
    """Return torchtitan's job configuration (release 0.2)."""
    if types.arithmetic == "float16":
        raise UnsupportedError("torchtitan trains in bfloat16 or float32", takes_any("fsdp_script"))
    found = flavor(model)
    if found is None:
        raise UnsupportedError(
            f"torchtitan has no flavor of {model.name}", takes_any("fsdp_script", "megatron_args")
        )
    mesh = asked.mesh
    ranks_of_data = hardware.num_gpus // (mesh.tp * mesh.pp * mesh.cp)
    shards = max(1, mesh.shard_size // mesh.cp) if asked.sharding == "hsdp" else ranks_of_data
    mode = asked.recompute or "selective"
    name, implementation = said_optimizer(asked).word.split()
    tables: dict[str, dict[str, Any]] = {
        "job": {"dump_folder": "./outputs", "description": hub + ": planned by oomless"},
        "model": {
            "name": found[0],
            "flavor": found[1],
            "hf_assets_path": "./assets/hf/" + last_part(hub),
        },
        "optimizer": {"name": name, "lr": 1e-5, "implementation": implementation},
        "training": {
            "local_batch_size": asked.micro_batch * (asked.grad_accum if mesh.pp > 1 else 1),
            "global_batch_size": asked.micro_batch * asked.grad_accum * ranks_of_data,
            "seq_len": asked.seq_len,
            "steps": 100,
            "dataset": "c4",
            **({} if types.arithmetic == "bfloat16" else {"mixed_precision_param": types.arithmetic}),
        },
        "parallelism": {
            "data_parallel_replicate_degree": ranks_of_data // shards,
            "data_parallel_shard_degree": shards,
            "tensor_parallel_degree": mesh.tp,
            "pipeline_parallel_degree": mesh.pp,
            "context_parallel_degree": mesh.cp,
            "expert_parallel_degree": mesh.ep,
            "expert_tensor_parallel_degree": mesh.etp or 1,
            **({"fsdp_reshard_after_forward": "never"} if asked.keep_gathered else {}),
        },
        "activation_checkpoint": {
            "mode": mode,
            **({"selective_ac_option": "op"} if mode == "selective" else {}),
        },
        "compile": compiled(resolved(asked)),
    }
    if mesh.pp > 1:
        tables["parallelism"] |= {
            "pipeline_parallel_schedule": "1F1B",
            "pipeline_parallel_microbatch_size": asked.micro_batch,
        }
    return toml(tables)


def compiled(request: TrainingResolved) -> dict[str, Any]:
    """Return what torch.compile does: layers, the loss, or nothing."""
    parts = {"model": request.kernels, "loss": request.loss}
    chosen = [part for part, kind in parts.items() if kind == "compiled"]
    return {"enable": bool(chosen), "components": chosen or ["model"]}
