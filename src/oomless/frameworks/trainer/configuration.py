"""Arguments of transformers' Trainer, and of TRL's trainers, which add their own to them
(transformers/training_args.py; trl/trainer/model_config.py, sft_config.py, dpo_config.py, grpo_config.py)."""

from ...errors import UnsupportedError
from ...run.training import ENGINE_SHARE, Mesh, Method, Recompute, Task, TrainingAsked
from ..deepspeed.configuration import beside, recipe_of
from ..entries import Entries
from . import chat, qlora
from .accelerate import Launcher, by_trainer, launcher
from .evaluation import note_evaluation

TASKS: dict[str, Task] = {
    "sft": "sft",
    "dpo": "dpo",
    "kto": "kto",
    "grpo": "grpo",
    "reward": "reward",
    "clm": "pretrain",
}
"""What a program trains for -> our word."""
MODELS = ("model_name_or_path", "model_name", "model_id")
LENGTHS = ("max_length", "max_seq_length", "max_seq_len", "model_max_length", "block_size")
LOW_RANK = "low_rank_training"
"""A key of LongLoRA's fine-tune.py and supervised-fine-tune.py: adapters of rank 8 beside attention, and the
embeddings trained; they compute layers again whatever is said."""
ADAPTERS = ("use_peft", "use_lora", "lora_enable", LOW_RANK)
RANKS = ("lora_r", "lora_rank", "lora_dim")
FOUR_BITS = ("load_in_4bit", "q_lora", "use_4bit", "use_qlora")
"""Switches by which TRL, FastChat, open-instruct and others pack frozen matrices."""
TWICE = ("use_bnb_nested_quant", "bnb_4bit_use_double_quant", "double_quant")
SAVES_EMBEDDINGS = "llm_type"
"""A key of MiniCPM-V's finetune.py, which since July 2024 trains embed_tokens, resampler and tower as a whole
beside adapters of rank 64."""
OF_QWEN = ("use_lora", "lazy_preprocess")
"""Keys of the finetune.py of Qwen, Qwen-VL and InternLM-XComposer (LoraArguments): adapters of rank 64 beside
all matrices, and Qwen's ends trained too where neither its name says chat nor its weights are packed."""
TRAINS_TOWER = ("tune_mm_vision", "tune_vision", "unfreeze_mm_vision_tower")
FREEZES_TOWER = ("freeze_vision_modules", "freeze_vision_tower", "freeze_backbone")
"""Switches of Qwen-VL, MiniCPM-V and LLaVA-NeXT, and of VLM-R1, Qwen-VL-Series-Finetune and InternVL."""
PARTS = "mm_tunable_parts"
"""What LLaVA-NeXT trains, by name."""
OF_QWEN_VL = ("tune_mm_llm", "tune_mm_mlp", "tune_mm_vision")
"""Switches of Qwen-VL's train_qwen.py, which runs flash attention whatever is said."""
QWEN_PIXELS = 28 * 28 * 576
FROZEN_BY_ITSELF = ("vision_tower", "tune_mm_llm", "tune_mm_mlp")
"""Keys of LLaVA and Qwen-VL (qwenvl/train/argument.py), whose towers stay frozen where nobody says more."""
USUAL_TARGETS = ("q_proj", "v_proj")
"""What PEFT gives adapters to in most families where nobody says (peft/utils/constants.py)."""
FLASH = ("use_flash_attn",)
ATTENTION = {"flash_attention_2": "flash", "flash_attention_3": "flash", "eager": "eager"}


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, where accelerate's file says how many."""
    if entries.has(*chat.KEYS) and entries.framework == "transformers":
        return chat.read(entries)
    if entries.framework == "transformers" and qlora.is_said(entries):
        return qlora.read(entries)
    model = entries.text(*MODELS)
    task = TASKS[entries.text("task", default="sft") or "sft"]
    method = _method(entries)
    start = launcher(entries)
    deep = beside(entries, "deepspeed") or start.deep
    fsdp, away = by_trainer(entries)
    asked = TrainingAsked(
        framework="peft" if method != "full" and entries.framework == "transformers" else entries.framework,
        task=task,
        method=method,
        mesh=Mesh(),
        precision=recipe_of(deep, _precision(entries, start, deep is not None and method == "full")),
        sharding=deep.sharding if deep else fsdp or start.sharding,
        offload=deep.offload if deep else away if fsdp else start.offload,
        trained_tower=_tower(entries, method),
        max_pixels=_pixels(entries),
        **(deep.settings if deep else {}),
    )
    if task == "grpo":
        colocated(entries)
        asked = asked._replace(query_len=entries.whole("max_prompt_length", default=512))
    asked = _load(entries, asked, start)
    note_evaluation(entries, asked)
    return model, _adapters(entries, asked), start.num_ranks


def colocated(entries: Entries, usual_share: float = ENGINE_SHARE) -> None:
    """Note the engine that generates on the training cards, as is usual since TRL 1.0 and ms-swift 3.5, or
    nothing of it on these (MIGRATION.md; rlhf_args.py)."""
    if not entries.switch("use_vllm", default=False):
        return
    usual = "server" if entries.has("vllm_server_host", "vllm_server_base_url") else "colocate"
    if entries.text("vllm_mode", default=usual) != "colocate":
        entries.beside["rollout_gpu_memory_utilization"] = 0.0
        entries.note("vllm_mode = server: the engine runs on cards of its own; count them by --rollout-gpu")
        return
    entries.beside["rollout_engine"] = "vllm"
    entries.beside["rollout_gpu_memory_utilization"] = entries.number(
        "vllm_gpu_memory_utilization", default=usual_share
    )
    entries.beside["rollout_tp"] = entries.whole(
        "vllm_tensor_parallel_size", "tensor_parallel_size", default=1
    )
    sleeps = entries.has("sleep_level") and entries.whole("sleep_level", default=0) > 0
    if sleeps or entries.switch("vllm_enable_sleep_mode", default=False):
        entries.beside["rollout_sleep"] = True


def _pixels(entries: Entries) -> int | None:
    """Return the most pixels of an image; that of Qwen-VL's script is 576 tokens (qwenvl/train/argument.py).

    VLM-R1's, R1-V's and Qwen-VL-Series-Finetune's are what the processor lets through."""
    usual = QWEN_PIXELS if entries.has(*OF_QWEN_VL) else None
    return entries.pixels("max_pixels", "image_max_pixels") or usual


def _tower(entries: Entries, method: Method) -> bool | None:
    """Return whether a vision tower is trained; None: no key of a script says so. PEFT freezes what no
    switch frees again."""
    if entries.has(PARTS):
        return "mm_vision_tower" in entries.words(PARTS)
    if entries.has(*TRAINS_TOWER):
        return entries.switch(*TRAINS_TOWER, default=False)
    if entries.has(*FREEZES_TOWER):
        freed = not entries.switch(*FREEZES_TOWER, default=False)
        return freed if method == "full" else None
    return False if entries.has(*FROZEN_BY_ITSELF) else None


def _method(entries: Entries) -> Method:
    adapters = _any(entries, ADAPTERS) or entries.has(*RANKS)
    bits = _bits(entries)
    if bits and not adapters:
        raise UnsupportedError(
            f"{entries.path}: a model in 4 or 8 bits is not trained without adapters",
            "add --use_peft, or leave load_in_4bit and load_in_8bit out",
        )
    return "full" if not adapters else "qlora" if bits else "lora"


def _any(entries: Entries, names: tuple[str, ...]) -> bool:
    return any([entries.switch(name, default=False) for name in names if entries.has(name)])


def _bits(entries: Entries) -> int:
    """Return the bits that frozen matrices are packed in; 0: they are not."""
    said = entries.whole("bits", default=0) if entries.has("bits") else 0
    eight = entries.has("load_in_8bit") and entries.switch("load_in_8bit", default=False)
    return 4 if said == 4 or _any(entries, FOUR_BITS) else 8 if said == 8 or eight else 0


def _precision(entries: Entries, start: Launcher, by_zero: bool) -> str | None:
    """Return the recipe: that of the framework (None) in bf16; a model that is loaded in 16 bits stays so."""
    fp16 = entries.switch("fp16", default=start.mixed_precision == "fp16")
    bf16 = entries.switch("bf16", default=not fp16 and start.mixed_precision != "no")
    kind = entries.text("dtype", "torch_dtype") or ""
    if by_zero:  # the engine casts what was loaded
        return "deepspeed-fp16" if fp16 else None
    if kind.removeprefix("torch.") in ("bfloat16", "bf16"):
        return "bf16"
    return "amp-fp16" if fp16 else None if bf16 else "fp32"


def _load(entries: Entries, asked: TrainingAsked, start: Launcher) -> TrainingAsked:
    """Return the question with optimizer, batch, length, recomputation and kernels."""
    own: Recompute | None = (
        None if entries.framework == "trl" else "none"
    )  # TRL's default goes by its release
    if entries.has("gradient_checkpointing"):
        own = "full" if entries.switch("gradient_checkpointing", default=False) else "none"
    if entries.has(LOW_RANK):
        own = "full"
    attention = entries.text("attn_implementation", default="auto") or "auto"
    if _any(entries, FLASH) or entries.has(*OF_QWEN_VL):
        attention = "flash_attention_2"
    liger = entries.switch("use_liger_kernel", "use_liger", default=False)
    return asked._replace(
        optimizer=entries.optimizer("optim", default="") if entries.has("optim") else None,
        micro_batch=_micro_batch(entries, asked.task),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        seq_len=_length(entries, asked.task),
        data_workers=entries.whole("dataloader_num_workers", default=0),
        recompute="full" if start.recompute else own,
        attention=None if attention == "auto" else ATTENTION.get(attention, "auto"),
        kernels="liger" if liger else None,
        loss="fused" if liger and asked.task in ("pretrain", "sft") else None,
        packed=entries.switch("packing", default=False),
    )


def _micro_batch(entries: Entries, task: Task) -> int:
    """Return the sequences that run at once: GRPO's are answers, which early TRL counted by their prompt."""
    micro_batch = entries.whole("per_device_train_batch_size", default=8)
    if task == "grpo" and entries.habits("trl").batch_of_prompts:
        return micro_batch * entries.whole("num_generations", default=8)
    return micro_batch


def _length(entries: Entries, task: Task) -> int:
    """Return the tokens of a sample; of one that is generated, those of prompt and answer."""
    if task == "grpo":
        prompt = entries.whole("max_prompt_length", default=512)
        return prompt + entries.whole("max_completion_length", default=256)
    if entries.framework == "transformers" and task == "sft" and not entries.has(*LENGTHS):
        entries.note("no length of a sample is said, and the script's own is not known: say --seq-len")
    return entries.whole(*LENGTHS, default=1024)


def _adapters(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    if asked.method == "full":
        return asked
    targets = entries.words("lora_target_modules", "lora_target", "trainable")  # of Chinese-LLaMA-Alpaca
    everything = targets in (("all-linear",), ("all",))
    eight = _bits(entries) == 8
    double = _any(entries, TWICE)
    modules = set(entries.words("lora_modules_to_save", "modules_to_save", "trainable_params"))
    if entries.has(LOW_RANK):
        targets, modules = tuple(f"{each}_proj" for each in "qkvo"), modules | {"embed_tokens"}
    if whole := entries.has(SAVES_EMBEDDINGS):
        modules.add("embed_tokens")
        entries.note(
            "its embeddings are trained whole, and its tower and resampler, for which the head is counted"
        )
    if qwen := not whole and all(entries.has(name) for name in OF_QWEN):
        targets = targets or ("all-linear",)
        name = (entries.text(*MODELS) or "").lower()
        if asked.method == "lora" and "qwen" in name and "chat" not in name:
            modules.add("lm_head")
    return asked._replace(
        lora_rank=entries.whole(*RANKS, default=64 if whole or qwen else 8 if entries.has(LOW_RANK) else 16),
        lora_targets=("all-linear",) if everything else targets or USUAL_TARGETS,
        quantization="int8" if eight else None if asked.method == "lora" or double else "nf4",
        trained_ends=bool({"embed_tokens", "lm_head"} & modules),
    )
