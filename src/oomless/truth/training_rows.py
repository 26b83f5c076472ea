"""A measured training row -> the question that it answers. Only configuration columns are read, never a value
or a note.

What a row does not say is `incomplete`, what nothing here can predict is `unsupported`; both carry the name
of the reason.
"""

import re
from typing import NamedTuple

from .. import facts
from ..errors import UnsupportedError
from ..frameworks import framework
from ..frameworks.record import Framework
from ..frameworks.releases import on_day
from ..model.catalogue_names import catalogue_name
from ..model.families import build
from ..model.load import load
from ..model.model import Model
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.option_values import read
from ..run.options import by_flag
from ..run.training import Mesh, TrainingAsked
from ..run.training_question import training_question
from ..units import GB, GIB, MIB
from . import training_state_words as states
from . import training_words as words
from .tables import Incomplete


class TrainingQuestion(NamedTuple):
    model: Model
    asked: TrainingAsked
    hardware: Hardware
    rank: int | None
    """The pipeline rank that the row is of; None: what its framework's log shows."""
    beside: int
    """Frozen values beside the language model: an image encoder that is loaded and not used."""


STATES = "model_states"


class Named(NamedTuple):
    """A model whose name in the table is no name of the catalogue."""

    catalogue: str
    beside: int = 0


MODELS = {
    "DeepSeek-V3-16B (torchtitan flavour)": Named("deepseek-v2-lite"),
    "GPT-2 774M": Named("gpt2-large"),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": Named("smollm2-1.7b", 428_000_000),
    "LiquidAI/LFM2-VL-450M": Named("lfm2-350m", 93_000_000),
    "Ministral-3-3B VL": Named("ministral-3-3b"),
    "Nemotron-3-Nano": Named("nemotron-3-nano-30b-a3b"),
    "OpenGVLab/InternVL3_5-8B-HF": Named("qwen3-8b", 337_000_000),
    "InternVL3.5-4B": Named("qwen3-4b", 330_000_000),
    "axolotl-ai-co/gpt-oss-120b-dequantized": Named("gpt-oss-120b"),
    "ibm-granite/granite-4.0-tiny-preview": Named("granite-4.0-h-tiny"),
    "katanemo/Plano-Orchestrator-4B": Named("qwen3-4b"),
    "mistralai/Magistral-Small-2506": Named("devstral-small-2505"),
    "mistralai/Magistral-Small-2507": Named("devstral-small-2505"),
    "mistralai/Magistral-Small-2509": Named("mistral-small-3.2-24b"),
    "mistralai/Ministral-3-3B-Reasoning-2512": Named("ministral-3-3b"),
    "tiny-llama": Named("tinyllama-1.1b"),
}
"""Names of the table -> models of the same shapes; encoders by their publishers' counts (SigLIP 428M and 93M,
InternViT 304M)."""

SHAPES = {"minimind": "minimind2"}
"""Families whose shape stands in arch_if_not_public: "h768/L128" is 768 wide and 128 layers deep."""

GIB_AS_GB = ("OP:linear+cross_entropy",)
"""Models of rows whose source prints GiB and writes GB (max_memory_allocated / 1024**3 in its script)."""


def unit_factor(unit: str, model: str) -> int:
    """Bytes of a unit. "GB?" is what the table writes where a source says GB and may mean GiB; it is taken
    as GiB, as are MB of torch's counters.

    >>> unit_factor("GB?", ""), unit_factor("GB", "Llama-2-7B")
    (1073741824, 1000000000)
    """
    if unit == "GB" and model in GIB_AS_GB:
        return GIB
    known = {"bytes": 1, "GiB": GIB, "GB?": GIB, "GB": GB, "MiB": MIB, "MB": MIB}
    if unit not in known:
        raise Incomplete(f"unit {unit!r} is not known")
    return known[unit]


def model_of(row: dict[str, str]) -> tuple[Model, int]:
    """The model of a row, and values of an encoder beside it."""
    word = row["model"]
    if word in words.SAYS_NOTHING or word == "":
        raise Incomplete("the model is not given")
    family = word.split(" ")[0]
    shape = re.match(r"h(\d+)/L(\d+)", row["arch_if_not_public"])
    if family in SHAPES and shape:
        config = dict(facts.model_config(SHAPES[family]))
        config.update(hidden_size=int(shape[1]), num_hidden_layers=int(shape[2]))
        return build(config, word, f"{SHAPES[family]} as {word}"), 0
    named = MODELS.get(word)
    name = named.catalogue if named else catalogue_name(word)
    if name is None:
        raise UnsupportedError(f"model {word} is not in the catalogue")
    return load(name), named.beside if named else 0


def question(row: dict[str, str], quantity: str = "") -> TrainingQuestion:
    """The question of a row of truth/training.csv. What lies between steps needs neither batch nor length.

    >>> blank = (
    ...     "arch_if_not_public optimizer grad_accum attention_impl pp_schedule lora gpu framework_version"
    ... )
    >>> row = dict.fromkeys(blank.split(), "")
    >>> row |= {
    ...     "framework": "torchtune",
    ...     "model": "Llama-3.2-3B",
    ...     "precision": "bf16",
    ...     "seq_len": "4096",
    ...     "micro_batch": "2",
    ... }
    >>> row |= dict.fromkeys(("dp", "tp", "pp", "cp", "ep"), "1")
    >>> row |= {"recompute": "full", "loss_impl": "chunked", "sp": "n", "setting": "compile"}
    >>> row |= dict.fromkeys(("zero_stage_or_fsdp", "offload"), "none")
    >>> found = question(row)
    >>> found.model.name, found.asked.seq_len, found.asked.kernels
    ('llama-3.2-3b', 4096, 'compiled')
    """
    of = framework(words.framework_of(row["framework"]))
    setting = words.setting(row["setting"])
    model, beside = model_of(row)
    mesh = mesh_of(row)
    if quantity == STATES and not (row["micro_batch"] and row["seq_len"]):
        row = {**row, "micro_batch": "1", "seq_len": "512"}
    micro_batch, grad_accum = batches(row, mesh, of.rows.grad_accum)
    length = words.length(row["seq_len"], mesh.dp * mesh.cp, micro_batch * grad_accum)
    again = words.recompute(row["recompute"], len(model.layers))
    asked = trained(row, of)._replace(
        framework_version=version_of(row, of),
        mesh=mesh,
        micro_batch=micro_batch,
        seq_len=length.tokens,
        grad_accum=grad_accum,
        sharding=states.sharding(row["zero_stage_or_fsdp"], of.name),  # type: ignore[arg-type]
        keep_gathered=row["zero_stage_or_fsdp"] in ("FSDP1 ZeRO-2", "FSDP2 ZeRO-2"),
        recompute=again.how,  # type: ignore[arg-type]
        recompute_modules=again.modules,
        recompute_every=again.every,
        attention=words.attention(row["attention_impl"]),
        loss=loss_of(row, setting, of),
        kernels=words.kernels(row["loss_impl"], setting) or of.rows.kernels,
        offload=tuple(dict.fromkeys((*states.offload(row["offload"]), *setting.offload))),
        expandable_segments=setting.expandable_segments,
        packed=not length.most,
    )
    asked = asked._replace(task="sft" if length.most else asked.task)
    if (asked.quantization or "").startswith("gptq"):
        asked = as_it_runs_packed(asked, of)
    hardware = parse_gpu(f"{words.card_name(row['gpu'])}:{max(1, mesh.num_ranks)}")
    if asked.method != "full" and hardware.card.lacks_bf16:
        asked = asked._replace(precision=None)
    return TrainingQuestion(model, asked, hardware, setting.rank, beside)


def as_it_runs_packed(asked: TrainingAsked, of: Framework) -> TrainingAsked:
    """Return the question with the flags under which the framework's rows run models that GPTQ has packed.

    >>> found = as_it_runs_packed(TrainingAsked(), framework("transformers-2023"))
    >>> found.sharding, found.precision, found.reduce_bucket_size
    ('zero2', 'deepspeed-fp16', 200000000)
    """
    known = by_flag("train")
    options = {known[f"--{name}"]: text for name, text in of.rows.packed.items()}
    said = {option.field: read(option, text, option.flag) for option, text in options.items()}
    return training_question(0, said, asked)


def trained(row: dict[str, str], of: Framework) -> TrainingAsked:
    """Return what a row trains, in which types: method, recipe, optimizer, adapters. Rows with adapters are
    of fine-tuning."""
    precision = states.precision(row["precision"], of.name)
    adapter = states.adapter(row["lora"])
    if adapter is None and (precision.quantization or "lora" in row["precision"].lower()):
        adapter = states.RowAdapter("lora", 0, (), False)
    optimizer = states.optimizer(row["optimizer"])
    asked = TrainingAsked(
        framework=of.name,
        precision=precision.recipe or None,
        optimizer=optimizer.name or ("adamw" if row["framework"] == "PyTorch" else None),
        optimizer_in_backward=optimizer.in_backward,
        quantization=of.rows.nf4 if precision.quantization == "nf4" else precision.quantization,
        products=precision.products or None,
        mtp_layers=words.setting(row["setting"]).mtp_layers,
        packed_experts=of.rows.packs_experts and precision.quantization is not None,
    )
    if adapter is None:
        return asked._replace(lora_rank=of.rows.lora_rank)
    return asked._replace(
        precision=None if of.megatron_core else asked.precision,  # words of adapters are of frozen weights
        task="sft",
        method="qlora" if precision.quantization else "lora",
        adapter="lora-fa" if row["optimizer"] == "lora-fa" else adapter.kind,  # an optimizer's rule
        lora_rank=adapter.rank or of.rows.lora_rank,
        lora_targets=adapter.targets,
        trained_ends=adapter.ends,
        adapter_products="fused" if words.setting(row["setting"]).fused_adapters else None,
    )


def version_of(row: dict[str, str], of: Framework) -> str | None:
    """The release: where a framework that runs another package does not name that one's, the newest one of
    the row's day."""
    said = row["framework_version"]
    if not of.packages or row["framework"] == "PyTorch" or "HEAD" in said:
        return said or None
    return on_day(of.name, of.packages, said, row.get("date") or "")


def loss_of(row: dict[str, str], setting: words.RunSetting, of: Framework) -> str | None:
    """The loss; torchtitan's plain one is what it was on the day of the row, and what fuses Megatron's.

    >>> row = dict.fromkeys(("framework", "framework_version", "precision"), "")
    >>> row |= {"loss_impl": "plain", "date": "2024-03-26"}
    >>> titan, compiled = framework("torchtitan"), words.setting("compile")
    >>> loss_of(row, compiled, titan), loss_of(row | {"date": "2025-06"}, compiled, titan)
    ('plain-2024-05', 'compiled')
    >>> row = dict.fromkeys(row, "") | {"loss_impl": "fused (Megatron)", "date": "2026-03-25"}
    >>> loss_of(row, compiled, framework("megatron-swift"))
    'vocab-parallel-te'
    """
    found = words.loss(row["loss_impl"])
    if found == "fused" and of.megatron_core:  # by what, the release decides
        by_release = of.habits(version_of(row, of)).loss or ""
        return by_release if by_release.startswith("vocab-parallel-") else "vocab-parallel-fused"
    if found != "plain":
        return found
    if of.rows.half_loss and row["precision"].startswith("GPTQ"):
        return of.rows.half_loss
    if not of.rows.compiles_loss:
        return found
    earlier = of.habits(version_of(row, of)).loss
    return earlier or ("compiled" if setting.compiled else "plain")


def mesh_of(row: dict[str, str]) -> Mesh:
    """The parallel sizes; a pipeline without a schedule is 1F1B."""
    sizes = {}
    for name in ("dp", "tp", "pp", "cp", "ep"):
        if not row[name].isdecimal():
            raise Incomplete(f"{name} is not given")
        sizes[name] = int(row[name])
    schedule = words.schedule(row["pp_schedule"]) if sizes["pp"] > 1 else words.Schedule("1f1b", 1)
    mesh = Mesh(
        sequence_parallel=row["sp"] == "y", virtual_stages=schedule.virtual_stages, schedule=schedule.name
    )
    return mesh._replace(dp=sizes["dp"], tp=sizes["tp"], pp=sizes["pp"], cp=sizes["cp"], ep=sizes["ep"])


def batches(row: dict[str, str], mesh: Mesh, unsaid: int = 1) -> tuple[int, int]:
    """(sequences of a micro-batch, micro-batches of a step). A local batch of a pipeline is split into as
    many as it has stages. `unsaid`: micro-batches where a row gives none.

    >>> base = {"grad_accum": "", "micro_batch": "32 local batch split in PP microbatches"}
    >>> (
    ...     batches(base, Mesh(pp=8)),
    ...     batches({"grad_accum": "", "micro_batch": "4 (pp microbatch; local batch 32)"}, Mesh(pp=2)),
    ... )
    ((4, 8), (4, 8))
    """
    word = row["micro_batch"]
    number = words.count(word, "micro_batch")
    accumulated = int(row["grad_accum"]) if row["grad_accum"].isdecimal() else unsaid
    if found := re.search(r"local batch (\d+)\)", word):
        return number, max(1, int(found[1]) // number)
    if "local batch" in word:
        return max(1, number // mesh.pp), min(number, mesh.pp)
    if mesh.pp > 1 and accumulated == 1:
        accumulated = 2 * mesh.pp  # enough to fill the pipeline
    return number, accumulated
