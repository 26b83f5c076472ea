"""Will it train? One question in, one complete answer out, under the flags' names as keywords."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, faults_of
from ..estimate.training.megatron import device_of, estimate_megatron
from ..estimate.training.training_estimate import Companions, TrainingEstimate
from ..estimate.training.whole_step import estimate_step
from ..facts.options import DEFAULT_ENGINE
from ..files import need_path, read_whole_text
from ..frameworks.megatron.args import read_arguments
from ..frameworks.megatron.environment import device_from
from ..frameworks.megatron.source import environment, read_text
from ..limits import ARGUMENTS
from ..model.catalogue_names import catalogue_name
from ..model.checkpoint_names import form_in_name, shape_within
from ..model.load import load
from ..model.model import Model
from ..run.cards import Hardware
from ..run.hardware import parse_gpu, with_count
from ..run.options import given
from ..run.training import ENGINE_SHARE
from ..run.training_question import BESIDE, WAYS, training_question
from .training_answer import Origin, TrainingAnswer

if TYPE_CHECKING:
    from ..frameworks.training_file import TrainingFile

OTHERS = ("reward_model", "value_model")
"""Models beside the policy, by keyword."""
REFERENCES = {"same": True, "none": False}


def companions_of(stands: dict[str, Any], offline: bool) -> Companions | None:
    """Return the models and the engine beside the policy; None: nothing was said of any."""
    if not stands:
        return None
    other = stands.get("rollout_gpu")
    generates = other or not {"rollout_sleep", "rollout_gpu_memory_utilization"}.isdisjoint(stands)
    return Companions(
        REFERENCES[stands["reference_model"]] if "reference_model" in stands else None,
        load(stands["reward_model"], offline=offline) if "reward_model" in stands else None,
        load(stands["value_model"], offline=offline) if "value_model" in stands else None,
        stands.get("rollout_engine") or (DEFAULT_ENGINE if generates else None),
        stands.get("rollout_gpu_memory_utilization", ENGINE_SHARE),
        stands.get("rollout_sleep"),
        parse_gpu(other) if other else None,
        stands.get("rollout_sync_batches", 1),
        stands.get("rollout_tp", 0),
        stands.get("park", ()),
        stands.get("score_tokens", 0),
        stands.get("value_method"),
        stands.get("value_recompute"),
    )


def train(
    model: str | Model | None = None,
    gpu: str | Hardware | None = None,
    *,
    from_file: str | None = None,
    command: str | None = None,
    megatron_args: str | None = None,
    world_size: int | None = None,
    offline: bool = False,
    revision: str | None = None,
    adjust: Callable[[TrainingEstimate], TrainingEstimate] | None = None,
    **flags: Any,
) -> TrainingAnswer:
    """Return whether `model`, or the run of a configuration file, of a command that starts one or of a file
    of Megatron-LM arguments, trains on `gpu`. The flags are those of `oomless train`; `adjust` puts what this
    very machine was seen to hold in place of the tables'.

    >>> answer = train(
    ...     "deepseek-coder-1.3b",
    ...     "a100-80gb",
    ...     precision="bf16",
    ...     optimizer="adamw",
    ...     micro_batch=4,
    ...     seq_len=2048,
    ... )
    >>> answer.verdict, answer.peaks.phase
    ('fits', 'backward')
    """
    need_one_source(model, from_file, command, megatron_args)
    if megatron_args is not None:
        return train_megatron(megatron_args, gpu, world_size=world_size, **flags)
    if command is not None and (script := script_of(command, model)) is not None:
        gpu = None if gpu is None else with_count(gpu, script[1])
        return train_megatron("--command", gpu, script=script[0], **flags)
    file, origin = None, from_file or "--command"
    if from_file is not None or command is not None:
        file, model = file_read(from_file, command, model, flags.get("framework_version"), offline)
        gpu = file.gpu if gpu is None else with_count(gpu, file.num_gpus)
    if model is None or gpu is None:
        raise UsageError(
            f"{'model' if model is None else 'gpu'} is missing", "train('deepseek-v2-lite', 'a100-80gb')"
        )
    words = model if isinstance(model, str) else "", gpu if isinstance(gpu, str) else ""
    notes: tuple[str, ...] = ()
    if isinstance(model, str) and file is None and revision is None:
        model, flags, notes = by_its_name(model, flags, offline)
    found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    stands = dict(file.beside) if file else {}
    values = given("train", flags)
    need_division(file, values)
    stands |= {name: value for name in BESIDE if (value := values.pop(name, None)) not in (None, False)}
    with faults_of(origin, (*values, "model", "gpu")) if file else nullcontext():
        asked = training_question(hardware.num_gpus, values, file.training if file else None)
        estimate = estimate_step(found, asked, hardware, companions_of(stands, offline))
    estimate = estimate._replace(beside=tuple(stands.items()))
    estimate = adjust(estimate) if adjust is not None else estimate
    if file is None:
        return TrainingAnswer(estimate, *words, (*estimate.warnings, *notes))
    return of_file(file, origin, estimate, words)


def need_division(file: "TrainingFile | None", values: dict[str, Any]) -> None:
    """Refuse a file whose DeepSpeed file is nowhere, where no flag says how ranks divide states."""
    said = any(values.get(name) not in (None, False) for name in WAYS)
    if file is not None and file.missing is not None and not said:
        raise file.missing


def need_one_source(
    model: str | Model | None, from_file: str | None, command: str | None, megatron_args: str | None
) -> None:
    """Refuse a run that is said twice, and what is no path."""
    for name, path in (("from_file", from_file), ("megatron_args", megatron_args)):
        if path is not None:
            need_path(path, name)
    if megatron_args is not None and model is not None:
        raise UsageError("a model and megatron_args say the same thing", "give one of them")
    said = {"from": from_file, "command": command, "megatron-args": megatron_args}
    first, *more = [*(name for name, each in said.items() if each is not None), ""]
    if more[:-1]:
        raise UsageError(f"--{first} and --{more[0]} say the same thing", "give one of them", more[0])


def script_of(command: str, model: str | Model | None) -> tuple[str, int | None] | None:
    """Return the text of a command that starts Megatron-LM, whose arguments say the model, and the cards that
    it takes; None: it starts something else."""
    from ..frameworks.training_command import megatron_script

    script = megatron_script(command)
    if script is not None and model is not None:
        raise UsageError("a model and Megatron-LM's arguments say the same thing", "give one of them")
    return script


def file_read(
    from_file: str | None,
    command: str | None,
    model: str | Model | None,
    version: str | None = None,
    offline: bool = False,
) -> "tuple[TrainingFile, str | Model | None]":
    """Return a framework's file, or a command that starts a run, as a question, and the model: the one that
    is given, or the file's, by its name of the catalogue where it has one."""
    if command is not None:
        from ..frameworks.training_command import read_training_command

        file = read_training_command(command, version)
    else:
        from ..frameworks.training_file import read_training_file

        with faults_of(str(from_file)):
            file = read_training_file(Path(str(from_file)), version)
    said, notes = file.model, list[str]()
    others = dict[str, str]()
    for name in OTHERS:
        if of := file.beside.get(name):
            others[name], more = trained_model(of, offline)
            notes += more if others[name] != catalogue_name(of) else ()
    file = file._replace(beside={**file.beside, **others}, warnings=(*file.warnings, *notes))
    if model is None and said is None:
        raise UsageError("MODEL is missing", f"{from_file or '--command'} names no model: give one beside it")
    if said is None:
        return file, model
    if file.training.method == "lora" and (packed := packed_as(said)):
        note = f"{said} is packed: its adapters stand on {packed}"
        file = file._replace(
            training=file.training._replace(method="qlora", quantization=packed),
            warnings=(*file.warnings, note),
        )
    if model is not None:
        return file, model
    name, more = trained_model(said, offline)
    return file._replace(warnings=(*file.warnings, *more)), name


def of_file(
    file: "TrainingFile", path: str, estimate: TrainingEstimate, words: tuple[str, str]
) -> TrainingAnswer:
    """Return the answer to a file's question, with what the file left open or says of other cards."""
    warnings, num_gpus = (*file.warnings, *estimate.warnings), estimate.hardware.num_gpus
    if file.num_gpus and file.num_gpus != num_gpus:
        told = "command" if path == "--command" else "file"
        warnings = (f"the {told} is for {file.num_gpus} cards, --gpu gives {num_gpus}", *warnings)
    asked = estimate.request
    if estimate.verdict != "fits" and not asked.packed and asked.task != "pretrain":
        note = f"every sample is counted with {asked.seq_len:,} tokens, the most that is admitted"
        warnings = (*warnings, f"{note}: say --seq-len where they are shorter")
    origin = Origin(path, file.framework, file.read, file.defaults) if file.read else None
    return TrainingAnswer(estimate, *words, warnings, origin)


def train_megatron(
    path: str,
    gpu: str | Hardware | None = None,
    *,
    script: str | None = None,
    world_size: int | None = None,
    expandable_segments: bool = False,
    reserve: str | None = None,
    **others: Any,
) -> TrainingAnswer:
    """Will the Megatron-LM run whose arguments are in a file train on `gpu`? Without cards: as many H100 as
    the run has ranks.

    The file has a shell line, the JSON of a run, or YAML of key: value. `script`: what it would hold, where
    it was pasted; `path` then names what says it.
    """
    if others:
        name, said = min(others), path if script else "--megatron-args"
        raise UsageError(
            f"--{name.replace('_', '-')} and {said} say the same thing", "write it into the arguments"
        )
    text = script or read_whole_text(path, ARGUMENTS.num_bytes, "give the file with the arguments alone")
    with faults_of(path):
        given, env = environment(read_text(text, path))
    hardware = parse_gpu(gpu) if isinstance(gpu, str) else gpu
    if world_size is not None and not 1 <= world_size <= MAX_RANKS:
        raise UsageError(f"--world-size is {world_size}", f"it is 1 to {MAX_RANKS}")
    ranks = world_size or (None if "world-size" in given or hardware is None else hardware.num_gpus)
    with faults_of(path):
        run = read_arguments(given, ranks)
    assumed = hardware is None
    hardware = hardware or parse_gpu(f"h100:{run.world_size}")
    device = device_from(device_of(hardware).generation, env)
    device = device._replace(expandable=device.expandable or expandable_segments)
    estimate = estimate_megatron(run, hardware, device, reserve)
    notes = ("no --gpu was given: H100 with 80 GB are taken",) if assumed else ()
    word = gpu if isinstance(gpu, str) else ""
    return TrainingAnswer(estimate, path, word, (*estimate.warnings, *notes))


MAX_RANKS = 1_000_000


PACKED = {
    "gptq": "gptq-int4",
    "awq": "gptq-int4",
    "w4a16": "gptq-int4",
    "w8a16": "gptq-int8",
    "bitsandbytes": "nf4-dq",
}
"""How matrices of a checkpoint in a form are held under adapters: transformers trains adapters on what these
pack (quantizers/quantizer_gptq.py, quantizer_awq.py, quantizer_bnb_4bit.py: is_trainable)."""


def trained_model(word: str, offline: bool) -> tuple[str, tuple[str, ...]]:
    """Return (MODEL, notes) of a model's word in a training file: a hub id stays one where a hub answers.

    >>> trained_model("deepseek-ai/DeepSeek-V3", offline=True)
    ('deepseek-v3', ('deepseek-ai/DeepSeek-V3 is deepseek-v3 of the catalogue; give MODEL to read the hub',))
    """
    if word.startswith((".", "/", "~")):
        from .pasted import from_path

        return from_path(word)[0], ()
    known = catalogue_name(word)
    if known is not None:
        note = f"{word} is {known} of the catalogue; give MODEL to read the hub"
        return known, (note,) if known != word else ()
    shape = shape_within(word) if "/" in word else ""
    if shape:
        from ..model.hub import is_silent

        if is_silent(word, offline, None):
            return shape, (f"no hub answers: {word} is read by its name as {shape} of the catalogue",)
    return word, ()


def by_its_name(
    model: str, flags: dict[str, Any], offline: bool
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return MODEL, flags and notes of a name that stands alone, as of one that a command says: adapters
    stand on a packed checkpoint as it is, and where no hub answers, a repository is what its name says."""
    from ..engines.command_line import is_path
    from ..model.load import is_local

    if is_path(model) or is_local(model):
        return model, flags, ()
    packed, known = packed_as(model), catalogue_name(model)
    if packed and flags.get("method") in ("lora", "qlora"):
        of_name = {"quantization": packed, **flags, "method": "qlora"}
    elif known or form_in_name(model):
        return model, flags, ()
    else:
        of_name = flags
    found, notes = (model, ()) if known else trained_model(model, offline)
    if found == model and not known:
        return model, flags, ()
    if flags.get("method") != of_name.get("method"):
        notes = (*notes, f"{model} is packed: its adapters stand on {packed}")
    return found, of_name, notes


def packed_as(word: str) -> str | None:
    """Return the form in which adapters stand on a checkpoint whose name says that it is packed; None: they
    stand on 16 bit.

    >>> packed_as("Qwen/Qwen1.5-72B-Chat-GPTQ-Int4"), packed_as("unsloth/Qwen3-8B-bnb-4bit"), packed_as("a/b")
    ('gptq-int4', 'nf4-dq', None)
    """
    return PACKED.get(form_in_name(word.rstrip("/").rpartition("/")[2]))
