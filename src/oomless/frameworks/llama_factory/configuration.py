"""LLaMA-Factory's YAML (src/llamafactory/hparams; Trainer arguments of transformers), and what Megatron-Core
trains of it (USE_MCA: train/mca/workflow.py, mcore_adapter), counted as Megatron-Bridge trains."""

from ...errors import OomlessError, UnsupportedError
from ...run.training import Mesh, Method, Task, TrainingAsked
from ..deepspeed.configuration import Zero, beside, recipe_of
from ..entries import Entries
from ..ms_swift.megatron import computed_again, mesh_of
from ..trainer.accelerate import Launcher, by_trainer, launcher
from ..trainer.evaluation import note_evaluation

STAGES: dict[str, Task] = {
    "pt": "pretrain",
    "sft": "sft",
    "rm": "reward",
    "dpo": "dpo",
    "orpo": "dpo",
    "kto": "kto",
    "ppo": "ppo",
}
"""`stage` -> our word; orpo was one before it was a `pref_loss` of dpo (train/orpo of April 2024)."""
PAIRS_WITHOUT_REFERENCE = ("orpo", "simpo")
NOT_MODELLED = ("use_llama_pro", "mixture_of_depths", "shift_attn")
ATTENTION = {"fa2": "flash", "fa3": "flash", "disabled": "eager", "sdpa": "auto"}
HALVES = ("max_source_length", "max_target_length")
"""Lengths of question and answer before there was cutoff_len (mid-2023)."""
SHARED = "sequence_parallel_size"
"""Ranks that divide a sequence in 360-LLaMA-Factory, which pads it to cutoff_len (data/loader.py,
sequence_parallel_decorator)."""
UNSLOTH = "unsloth"
"""use_unsloth runs adapters through that framework."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, where accelerate's file says how many."""
    model = entries.text("model_name_or_path")
    task = _task(entries)
    method, layers = _method(entries)
    for word in NOT_MODELLED:
        entries.refuse((word,), "it changes what is trained or kept and is not modelled")
    counted = method == "full" and not entries.has(*MARKS)
    tower = entries.towers("freeze_vision_tower", "freeze_multi_modal_projector", counted=counted)
    if entries.has(*MARKS):
        return model, by_megatron(entries, task, method), None
    start = launcher(entries)
    deep = beside(entries, "deepspeed") or start.deep
    pure = entries.switch("pure_bf16", default=False)
    precision = recipe_of(deep, _precision(entries, method, pure, deep, start))
    targets = entries.words("lora_target") if method != "full" else ()
    unsloth = entries.switch("use_unsloth", default=False)
    fsdp, away = by_trainer(entries)
    asked = TrainingAsked(
        framework=UNSLOTH if unsloth and method != "full" else entries.framework,
        task=task,
        method=method,
        mesh=Mesh(),
        precision=precision,
        trained_layers=layers,
        trained_tower=tower,
        max_pixels=_pixels(entries),
        sharding=deep.sharding if deep else fsdp or start.sharding,
        offload=deep.offload if deep else away if fsdp else start.offload,
        adapter_dtype=None if method == "full" else "bfloat16" if pure else "float32",
        **(deep.settings if deep else {}),
    )
    asked = _load(entries, asked, unsloth)
    if entries.number("val_size", default=0) or entries.has("eval_dataset"):
        note_evaluation(entries, asked)
    asked = _own_optimizer(entries, _lora(entries, asked, targets))
    if (layers or 0) < 0 and asked.recompute is None:  # trainable layers alone run again (of 0.9.1 on,
        # model_utils/checkpointing.py, get_custom_gradient_checkpointing_func)
        asked = asked._replace(recompute="full", recompute_num_layers=-(layers or 0))
    if entries.switch("use_unsloth_gc", default=False):
        asked = asked._replace(offload=(*asked.offload, "activations"))
    return model, asked, start.num_ranks


def _pixels(entries: Entries) -> int | None:
    """Return the most pixels of an image; image_resolution of 0.9.0 and 0.9.1 is a side."""
    side = entries.pixels("image_resolution") or 0
    return side**2 or entries.pixels("image_max_pixels")


COUNTED_RANK = 128
"""The rank of projections that is counted; LLaMA-Factory's own default is 16."""


def _own_optimizer(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question with the optimizer of a file that asks for one of LLaMA-Factory's own
    (train/trainer_utils.py, create_custom_optimizer). BAdam trains one layer at a time, with F32 copies of
    its states; the other layers are frozen."""
    for name in ("galore", "apollo"):
        if entries.switch(f"use_{name}", default=False):
            return _projected(entries, asked, name)
    if entries.switch("use_badam", default=False):
        if (mode := entries.text("badam_mode", default="layer")) != "layer":
            raise UnsupportedError(f"{entries.path}: badam_mode is {mode}, which is not modelled", "layer is")
        return asked._replace(trained_layers=1, precision="badam-bf16")
    for name, own in (("use_adam_mini", "adam-mini"), ("use_muon", "muon")):
        if entries.switch(name, default=False):
            return asked._replace(optimizer=own)
    return asked


def _projected(entries: Entries, asked: TrainingAsked, name: str) -> TrainingAsked:
    """Return the question with moments of projections, and gradients that each layer applies as they come if
    it is told so."""
    rank = entries.whole(f"{name}_rank", default=16)
    if rank > COUNTED_RANK:
        raise UnsupportedError(
            f"{entries.path}: {name}_rank is {rank}, and moments are counted for {COUNTED_RANK}",
            "take a smaller one",
        )
    if rank < COUNTED_RANK:
        entries.note(f"{name}_rank = {rank}: moments are counted for rank {COUNTED_RANK}, which is more")
    eight = name == "galore" and (asked.optimizer or "").endswith("8bit")
    return asked._replace(
        optimizer=f"{name}-8bit" if eight else name,
        optimizer_in_backward=entries.switch(f"{name}_layerwise", default=False),
    )


def _task(entries: Entries) -> Task:
    """Return what is trained for; ORPO and SimPO run pairs as DPO does (train/dpo/trainer.py,
    concatenated_forward) without a reference model."""
    stage = entries.text("stage", "task", default="sft") or "sft"
    if stage not in STAGES:
        raise OomlessError(f"{entries.path}: stage is {stage}", f"it is one of {', '.join(STAGES)}")
    loss = entries.text("pref_loss", default="sigmoid")
    if stage == "orpo" or (stage == "dpo" and loss in PAIRS_WITHOUT_REFERENCE):
        entries.beside["reference_model"] = "none"
    return STAGES[stage]


def _method(entries: Entries) -> tuple[Method, int | None]:
    """Return the method, and how many of the last layers, or first ones, are trained where all else is
    frozen."""
    kind = entries.text("finetuning_type", default="lora") or "lora"
    if kind == "freeze":
        return "full", _frozen_beside(entries)
    if kind not in ("full", "lora"):
        raise UnsupportedError(
            f"{entries.path}: finetuning_type is {kind}, which is not modelled", "full, freeze and lora are"
        )
    bits = entries.whole("quantization_bit", default=0) if entries.has("quantization_bit") else 0
    if bits not in (0, 4, 8):
        raise OomlessError(f"{entries.path}: quantization_bit is {bits}", "it is 4 or 8")
    return "full" if kind == "full" else "qlora" if bits else "lora", None


def _frozen_beside(entries: Entries) -> int:
    """Return how many of the last layers are trained, or of the first ones, below zero (model/adapter.py,
    _setup_freeze_tuning)."""
    return int(entries.text("freeze_trainable_layers", default="2") or 2)


def _precision(
    entries: Entries, method: Method, pure: bool, deep: Zero | None, start: Launcher
) -> str | None:
    """Return the recipe: LLaMA-Factory's own (None) of bf16; pure_bf16 casts nothing to F32, and what the
    launcher's FSDP divides may be loaded so. What accelerate is told counts where the Trainer is told
    nothing (transformers/training_args.py)."""
    mixed = start.mixed_precision
    fp16 = entries.switch("fp16", default=mixed == "fp16")
    bf16 = entries.switch("bf16", default=mixed == "bf16" and not fp16)
    if method == "lora" and start.sharding and entries.habits("llamafactory").loads_wide:
        return "amp-fp16" if fp16 else "amp-bf16"
    if method != "full" or pure:
        return "fp16" if fp16 else "bf16"
    if deep is not None:
        return "deepspeed-fp16" if fp16 else None
    return "amp-fp16" if fp16 else None if bf16 or entries.has("fsdp") else "fp32"


def _load(entries: Entries, asked: TrainingAsked, unsloth: bool) -> TrainingAsked:
    """Return the question with optimizer, batch, recomputation and kernels."""
    optimizer = entries.optimizer("optim", default="") if entries.has("optim") else None
    micro_batch = entries.whole("per_device_train_batch_size", default=8)
    grad_accum = entries.whole("gradient_accumulation_steps", default=1)
    workers = entries.whole("dataloader_num_workers", default=0)
    kept = entries.switch("disable_gradient_checkpointing", default=False)
    again = "use_reentrant_gc"
    attention = entries.text("flash_attn", default="auto") or "auto"
    if asked.task == "ppo":
        kind = entries.text("reward_model_type", default="lora")  # adapters on the policy's weights
        if entries.text("reward_model") and kind == "full":
            entries.note("a reward model of its own is counted with --reward-model alone")
    liger = entries.switch("enable_liger_kernel", default=False)
    fused = liger and asked.task in ("pretrain", "sft")  # model_utils/liger_kernel.py
    return asked._replace(
        loss="fused" if fused else asked.loss,
        mesh=Mesh(cp=entries.whole(SHARED, default=1) if entries.has(SHARED) else 1),
        optimizer=optimizer,
        micro_batch=micro_batch,
        seq_len=_length(entries, asked.task),
        grad_accum=grad_accum,
        data_workers=workers,
        recompute="none" if kept else None,
        use_reentrant=None if kept or again not in entries.values else entries.switch(again, default=True),
        attention=ATTENTION.get(attention),
        kernels="liger" if liger else None if unsloth else "eager",
    )


def _length(entries: Entries, task: Task) -> int | None:
    """Return the tokens of a sample; None: nobody says, and it goes by the release. An update of PPO runs
    over a query and its answer (train/ppo/trainer.py)."""
    if entries.has(*HALVES):
        return sum(entries.whole(name, default=512) for name in HALVES)
    if task == "ppo":
        return entries.whole("cutoff_len", default=2048) + entries.whole("max_new_tokens", default=1024)
    return entries.whole("cutoff_len", default=0) or None


def _lora(entries: Entries, asked: TrainingAsked, targets: tuple[str, ...]) -> TrainingAsked:
    """Return the question with rank, targets and storage of frozen weights, and whether documents are
    packed."""
    rank = entries.whole("lora_rank", default=8)
    everything = asked.method != "full" and (not targets or targets == ("all",))
    plain = asked.method == "qlora" and not entries.switch("double_quantization", default=True)
    eight = entries.has("quantization_bit") and entries.whole("quantization_bit", default=0) == 8
    ends = {"embed_tokens", "lm_head"} & set(entries.words("additional_target"))
    filled = asked.task == "pretrain" or asked.mesh.cp > 1
    return asked._replace(
        adapter="dora" if entries.switch("use_dora", default=False) and asked.method != "full" else "lora",
        lora_rank=rank,
        lora_targets=("all-linear",) if everything else targets,
        quantization="int8" if eight and asked.method == "qlora" else "nf4" if plain else None,
        trained_ends=bool(ends),
        packed=entries.switch("packing", "neat_packing", default=filled),
    )


MARKS = (
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "expert_model_parallel_size",
    "context_parallel_size",
    "use_distributed_optimizer",
)
"""Entries of mcore_adapter's arguments, which the Trainer has not."""
COUNTED = "megatron-bridge"


def by_megatron(entries: Entries, task: Task, method: Method) -> TrainingAsked:
    """Return the question. Samples are padded to the length where experts are divided (train/mca/workflow.py,
    pad_to_max)."""
    entries.like = "megatron-swift"
    entries.note(f"Megatron-Core trains it through mcore_adapter, which is counted as {COUNTED}")
    mesh = mesh_of(entries)
    divided = entries.switch("use_distributed_optimizer", default=False)
    asked = TrainingAsked(
        framework=COUNTED,
        task=task,
        method=method,
        mesh=mesh,
        sharding="distopt" if divided else "ddp",
        micro_batch=entries.whole("per_device_train_batch_size", default=8),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        seq_len=entries.whole("cutoff_len", default=2048),
        data_workers=entries.whole("dataloader_num_workers", default=0),
        packed=entries.switch("packing", "neat_packing", default=task == "pretrain") or mesh.ep > 1,
    )
    return computed_again(entries, asked, "none")
