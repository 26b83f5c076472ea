"""A command that starts training -> the question that it puts: the configuration file that it names and what
it changes in it, or what its flags say; and how many cards its launcher takes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from ..files import shown
from ..run.pasted_text import pasted_text
from ..run.shell_words import ASSIGNED, ShellCommand, commands_in, without_files
from ..run.text_files import flat, toml_of, yaml_of
from .ms_swift.megatron import NUM_RANKS
from .torchtune import own_configuration
from .trainer.accelerate import PREFIX
from .training_file import TrainingFile, question_of, values_of

WHERE = Path("--command")
"""What faults and notes call a command that is pasted."""
MOST_START_WORDS = 2


class Program(NamedTuple):
    """A program that trains, as its command begins."""

    framework: str
    begins: str
    """A pattern of its words; a group `task` says what is trained for."""
    deals: bool = False
    """Where nothing launches it, its one process deals layers over all cards that it sees."""
    counts: bool = False
    """Its arguments say sequences of all processes, so that it must know how many there are."""
    needs: tuple[str, ...] = ()
    """Flags without which a script of that name is another one."""


SCRIPT = r"(?:\S*/)?"
PROGRAMS = (
    Program("llama-factory", rf"{SCRIPT}(?:llamafactory-cli|lmf) train"),
    Program("llama-factory", rf"{SCRIPT}src/train(?:_bash)?\.py"),
    Program("llama-factory", rf"{SCRIPT}src/train_(?P<task>sft|pt|rm|dpo|ppo)\.py"),  # of mid-2023
    Program("axolotl", rf"{SCRIPT}axolotl train|-m axolotl\.cli\.train"),
    Program("torchtitan", rf"{SCRIPT}run_(?:llama_)?train\.sh|-m torchtitan\.train"),
    Program("torchtitan", rf"{SCRIPT}torchtitan/train\.py"),
    Program("torchtitan", r"\S+\.py", needs=("job.config_file",)),  # train.py of 2024, scripts around it
    # of a folder, before scripts of these names alone
    Program("ms-swift", rf"(?:-m )?{SCRIPT}swift[/.]cli[/.](?P<task>sft|pt|rlhf)(?:\.py)?", deals=True),
    Program("megatron-swift", rf"{SCRIPT}swift/cli/_megatron/(?P<task>sft|pt|rlhf)\.py", counts=True),
    Program("trl", rf"{SCRIPT}trl (?P<task>sft|dpo|kto|grpo|reward)"),
    Program("trl", r"-m (?:\w+\.)+(?P<task>sft|dpo|kto|grpo|reward)"),  # trl.scripts, open_r1
    Program("trl", rf"{SCRIPT}(?P<task>sft|dpo|kto|grpo|reward(?!_func))(?:_\w+)?\.py"),
    Program("ms-swift", rf"{SCRIPT}swift(?:\.cli\.main)? (?P<task>sft|pt|rlhf)", deals=True),
    Program("ms-swift", rf"{SCRIPT}(?:swift |llm_)(?P<task>sft|dpo|orpo|simpo)(?:\.py)?", deals=True),  # 1, 2
    Program("megatron-swift", rf"{SCRIPT}megatron (?P<task>sft|pt|rlhf)", counts=True),
    Program("transformers", rf"{SCRIPT}run_(?P<task>clm)\.py"),
    Program("transformers", rf"{SCRIPT}(?P<task>qlora)\.py", needs=("model_name_or_path",)),
    Program("openrlhf", r"(?:-m )?openrlhf\.cli\.train_(?P<task>sft|dpo|rm|ppo_ray|ppo)"),
    Program(
        "openrlhf", rf"{SCRIPT}train_(?P<task>sft|dpo|rm|ppo_ray|ppo)\.py", needs=("pretrain",)
    ),  # to 0.3
    Program("llama-recipes", rf"{SCRIPT}llama_finetuning\.py|-m llama_(?:recipes|cookbook)\.finetuning"),
    Program("llama-recipes", rf"{SCRIPT}finetuning\.py", needs=("model_name",)),
    Program(
        "torchtune",
        rf"{SCRIPT}(?P<task>(?:full|lora)_(?:finetune|dpo)_(?:single_device|distributed))(?:\.py)?",
    ),
    Program("verl", r"-m verl\.trainer\.(?P<task>main_ppo|fsdp_sft_trainer|sft_trainer)"),
    Program("verl", r"-m recipe\.dapo\.main_dapo"),  # ppo_trainer.yaml, and what is filtered
    Program("megatron-bridge", rf"{SCRIPT}train(?:_async)?\.py", needs=("hf-checkpoint",)),  # slime
)
OF_ACCELERATE = ("trl", "transformers", "llama-factory", "axolotl", "ms-swift")
"""Frameworks whose readers know what accelerate is told."""
ENGINE = r"deepspeed|zero_?stage|ds_config"
"""Names of arguments that say what DeepSpeed divides, or in which file that stands."""
NO_ENGINE = "deepspeed starts it, but no DeepSpeed file is named: nothing is divided unless --zero says so"
FILE_FLAGS = ("config", "job.config_file")
"""Flags that name a configuration file; a first word that ends like one does so too."""
ENDINGS = (".yaml", ".yml", ".toml", ".json")
NO_FILE = ("--command names no configuration file", "paste it whole, with its file")
OF_TRAINER = (
    ("model_name_or_path", "per_device_train_batch_size"),
    ("actor_model_name_or_path",),
    ("model_name_or_path", "zero_stage"),
    ("model_name_or_path", "source_max_len"),
    ("per_device_train_batch_size", "gradient_accumulation_steps"),  # its model is named beside it
)
"""Flags by which a script or module is known that parses the Trainer's arguments, DeepSpeed-Chat's or
QLoRA's."""
LAUNCHERS = ("torch.", "accelerate.", "deepspeed.")
"""Modules that start a script."""
ELSEWHERE = {
    r"\btune run\b": "torchtune",  # recipes that are not read
    r"\blitgpt (?:finetune|pretrain)": "litgpt",
    r"\bxtuner train\b": "xtuner",
    r"\bopenrlhf\.cli\b": "openrlhf",
    r"\bunsloth-cli\.py\b": "unsloth",
}
"""What starts other programs -> the framework to ask about."""
FLASH = re.compile(r"train_(?:mem|xformers)\.py$")
"""Scripts of FastChat and LLaVA that put flash attention, or xformers', in place of a model's own."""
MEGATRON = re.compile(r"\bpretrain_\w+\.py\b")
HINT = (
    "write it as `llamafactory-cli train FILE.yaml`, `axolotl train FILE.yml`, `trl sft --model_name_or_path "
    "...`, a script with the Trainer's arguments or Megatron-LM's; @FILE reads it from a file; --from FILE "
    "reads a configuration, --megatron-args FILE the arguments of Megatron-LM alone"
)
RANKS = ("nproc_per_node", "num_processes", "num_gpus", "NPROC_PER_NODE", "NGPU")
NODES = ("nnodes", "num_nodes", "num_machines", "NNODES")
PAIR = re.compile(r"\+{0,2}([A-Za-z_][\w.]*)")
"""The name of a pair; Hydra's pluses add what its files lack."""
EXPANDS = re.compile(r"PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF=\S*expandable_segments:True\S*", re.IGNORECASE)
OF_IMAGES = ("MAX_PIXELS", "IMAGE_MAX_TOKEN_NUM", "VIDEO_MAX_PIXELS", "VIDEO_MAX_TOKEN_NUM", "FPS_MAX_FRAMES")
OWN_VARIABLES = ("CELOSS_PARALLEL_SIZE", *OF_IMAGES, "NFRAMES")
"""Variables of ms-swift's environment that change memory."""
VISIBLE = re.compile(r"CUDA_VISIBLE_DEVICES=(\d+(?:,\d+)*)")


def read_training_command(text: str, version: str | None = None) -> TrainingFile:
    """Return the question that a pasted command puts; `version`: the releases that it starts.

    >>> found = read_training_command(
    ...     "torchrun --nproc_per_node 4 -m trl.scripts.sft --model_name_or_path Qwen/Qwen3-8B --use_peft"
    ... )
    >>> found.framework, found.model, found.training.method, found.training.lora_rank, found.num_gpus
    ('trl', 'Qwen/Qwen3-8B', 'lora', 16, 4)
    """
    text, files = without_files(pasted_text(text, "give a script that starts training"))
    for command in commands_in(text):
        if (found := _program(command)) is not None:
            program, task, before, words = found
            return _question(program, task, before, _said(words), files, version)
    start = repr(shown(" ".join(text[:999].split()), 60))
    other = next((told for pattern, told in ELSEWHERE.items() if re.search(pattern, text)), None)
    if other is not None:
        hint = f"its words are not read: ask by flags, with --framework {other}"
        raise UsageError(f"--command: {start} starts another program", hint, "command")
    raise UsageError(f"--command: {start} trains nothing that is known here", HINT, "command")


def megatron_script(text: str) -> tuple[str, int | None] | None:
    """Return the text of a command or script that starts Megatron-LM, and the cards that it takes; None: it
    starts something else.

    >>> megatron_script("torchrun --nproc_per_node 8 --nnodes 2 pretrain_gpt.py --num-layers 32")[1]
    16
    >>> megatron_script("trl sft --model_name_or_path m") is None
    True
    """
    if not MEGATRON.search(whole := pasted_text(text, "give a script that starts training")):
        return None
    commands = commands_in(without_files(whole)[0])
    if any(_program(command) for command in commands):
        return None
    for command in commands:
        at = next((at for at, word in enumerate(command.words) if MEGATRON.search(word)), None)
        if at is not None:
            return whole, _num_cards([*command.before, *command.words[:at]])
    return whole, None


def _program(command: ShellCommand) -> tuple[Program, str, list[str], list[str]] | None:
    """Return (program, what it trains for, words before it, words behind it); None: the command starts none
    of them."""
    words = list(command.words)
    last = {_flag(word): at for at, word in enumerate(words) if word.startswith("--")}
    for first, word in enumerate(words):
        begin = " ".join(words[first : first + MOST_START_WORDS])
        for program in PROGRAMS:
            match = re.match(rf"(?:{program.begins})(?=\s|$)", begin)
            if match and _has(last, first, program.needs):
                task = match.groupdict().get("task") or ""
                before = [*command.before, *words[:first]]
                return program, task, before, words[first + len(match.group().split()) :]
        module = words[first - 1 : first] == ["-m"] and not word.startswith(LAUNCHERS)
        if (module or word.endswith(".py")) and any(_has(last, first, flags) for flags in OF_TRAINER):
            told = ["--use_flash_attn"] if FLASH.search(word) else []
            before = [*command.before, *words[:first]]
            started = before[:-1] if module else before
            return Program("transformers", ""), "", started, [*words[first + 1 :], *told]
    return None


def _has(last: dict[str, int], first: int, flags: tuple[str, ...]) -> bool:
    """Whether all flags stand behind a word; `last`: where each stands last."""
    return all(last.get(name, -1) > first for name in flags)


def _flag(word: str) -> str:
    return word[2:].partition("=")[0]


class Behind(NamedTuple):
    """The words behind a program."""

    values: dict[str, Any]
    file: str | None


def _said(words: list[str]) -> Behind:
    """Return flags and pairs by name, as `--learning_rate 1e-5`, `--a=b`, `a.b=c`; several values are a list.

    >>> _said(["x.yaml", "lora_rank=8", "--bf16", "--lora_target_modules", "q_proj", "v_proj"]).values
    {'lora_rank': 8, 'bf16': True, 'lora_target_modules': ['q_proj', 'v_proj']}
    """
    values: dict[str, Any] = {}
    file, name = None, ""
    for word in words:
        key, has_value, value = word.partition("=")
        if word.startswith("--"):
            name = key[2:].replace("-", "_")
            values[name] = _scalar(value) if has_value else True
            name = "" if has_value else name
        elif has_value and (pair := PAIR.fullmatch(key)):
            values[pair[1]], name = _scalar(value), ""
        elif name:
            old, new = values[name], _scalar(word)
            values[name] = new if old is True else [*old, new] if isinstance(old, list) else [old, new]
        elif file is None and word.endswith(ENDINGS):
            file = word
    for named in [values.pop(flag) for flag in FILE_FLAGS if flag in values]:
        if not isinstance(named, str):
            raise UsageError(*NO_FILE, "command")
        file = named
    return Behind(values, file)


def _scalar(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if re.fullmatch(r"-?\d{1,18}", word):
        return int(word)
    return float(word) if re.fullmatch(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", word) else word


def _question(
    program: Program,
    task: str,
    before: list[str],
    said: Behind,
    files: Mapping[str, str],
    version: str | None,
) -> TrainingFile:
    file = said.file
    if program.framework == "torchtitan":
        set_before = (match for word in before if (match := ASSIGNED.fullmatch(word)))
        file = file or next((match[2] for match in set_before if match[1] == "CONFIG_FILE"), None)
    if file is None and not said.values:
        raise UsageError(*NO_FILE, "command")
    values: dict[str, Any] = {}
    path = WHERE
    if file is not None:
        path = Path(file)
        own = own_configuration(file) if program.framework == "torchtune" else None
        values = own or (_of_text(files[file], path) if file in files else values_of(path))
    values = flat(values, path) | said.values
    if program.framework in OF_ACCELERATE and "accelerate" in before:
        launched = _said(before[before.index("accelerate") + 1 :]).values
        values |= {PREFIX + name: value for name, value in launched.items()}
    values |= {"task": task} if task else {}
    if program.deals or program.counts:
        values |= {name: value for name, value in _said(before).values.items() if name in OWN_VARIABLES}
    if program.deals and (seen := _num_visible(before)) and _num_processes(before) is None:
        values["cards_of_a_process"] = seen
    if program.counts and (processes := _num_processes(before)):
        values[NUM_RANKS] = processes
    found = question_of(program.framework, values, path, version)
    asked = found.training
    if any(EXPANDS.fullmatch(word) for word in before):
        asked = asked._replace(expandable_segments=True)
    engine = program.framework == "openrlhf" or any(re.search(ENGINE, name) for name in values)
    alone = "deepspeed" in before and not engine
    return found._replace(
        training=asked,
        num_gpus=found.num_gpus or _num_cards(before),
        warnings=(*found.warnings, *([NO_ENGINE] if alone else [])),
    )


def _of_text(text: str, path: Path) -> dict[str, Any]:
    """Return the entries of a file that the pasted script itself writes."""
    reads = toml_of if path.suffix == ".toml" else yaml_of
    return reads(text.encode(), path)


def _num_cards(before: list[str]) -> int | None:
    """Return the cards that a launcher takes: processes of all nodes, or what is left visible.

    >>> _num_cards(["torchrun", "--nnodes=2", "--nproc_per_node", "8"]), _num_cards(["python"])
    (16, None)
    """
    return _num_processes(before) or _num_visible(before)


def _num_processes(before: list[str]) -> int | None:
    said = _said(before).values
    each: int | None = next((said[name] for name in RANKS if isinstance(said.get(name), int)), None)
    nodes: int = next((said[name] for name in NODES if isinstance(said.get(name), int)), 1)
    return each and each * (1 if "num_processes" in said else nodes)


def _num_visible(before: list[str]) -> int | None:
    visible = (match[1] for word in before if (match := VISIBLE.fullmatch(word)))
    return next((seen.count(",") + 1 for seen in visible), None)
