"""Arguments of `swift sft`, `swift pt` and `swift rlhf` (swift/arguments, swift/trainers/arguments.py)."""

import re
from typing import Any

from ...errors import OomlessError, UnsupportedError
from ...run.training import Mesh, Method, Task, TrainingAsked
from ..deepspeed.configuration import Zero, beside, by_name, recipe_of
from ..entries import Entries
from ..trainer.accelerate import launcher
from ..trainer.configuration import colocated
from ..trainer.evaluation import note_evaluation

TASKS: dict[str, Task] = {"sft": "sft", "pt": "pretrain"}
OF_RLHF: dict[str, Task] = {
    "dpo": "dpo",
    "kto": "kto",
    "grpo": "grpo",
    "ppo": "ppo",
    "rm": "reward",
    "orpo": "dpo",
    "simpo": "dpo",
    "cpo": "dpo",
}
PAIRS_WITHOUT_REFERENCE = ("orpo", "simpo", "cpo")
"""Of `--rlhf_type`: chosen and rejected run as in DPO (TRL's CPO and ORPO trainers, concatenated_forward)."""
ATTENTION = {
    "flash_attn": "flash",
    "flash_attention_2": "flash",
    "flash_attention_3": "flash",
    "eager": "eager",
}
BATCH = 16
"""Sequences of a step that gradient accumulation fills up to, where nobody says how many."""
PRESETS = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
"""Names of its own DeepSpeed files (swift/config)."""
PARKED = {"optimizer": "offload_optimizer", "params": "offload_model"}
"""What waits on the host while the engine generates (rollout_mixin.py)."""
BITS = ("quant_bits", "quantization_bit")
USUAL_TARGETS = ("q_proj", "k_proj", "v_proj")
"""What DEFAULT and AUTO of 1.x and 2.x are of most models (swift/llm/utils/model.py, LoRATM)."""
LATENT_TARGETS = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
"""And of DeepSeek-V2 and what is made of it (LoRATM.deepseek2 of 2.2)."""
OF_CHUNKS = "CELOSS_PARALLEL_SIZE"
"""Variable of its environment: tokens of a chunk of the loss of divided sequences, of 3.5 on."""
WEIGHTS = frozenset({"agentflan", "alpha_umi", "hermes", "qwen", "react"})
"""Loss scales that are more than 0 and 1 (swift/loss_scale/config); `use_liger` of 3.0 to 3.2 took none."""
OWN_LOSSES = ("enable_dft_loss", "enable_channel_loss")
METHODS = ("tuner_type", "train_type", "sft_type")
"""Its name of today, of 3.x and of 2.x."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, where accelerate's file says how many."""
    model = _model(entries)
    task = task_of(entries)
    method = _method(entries)
    tower = entries.towers("freeze_vit", "freeze_aligner", counted=method == "full")
    start = launcher(entries)
    deep = _deep(entries) or start.deep
    fsdp = "fsdp2" if entries.has("fsdp") and entries.text("fsdp") else start.sharding
    asked = TrainingAsked(
        framework=entries.framework,
        task=task,
        method=method,
        mesh=Mesh(
            cp=entries.whole("sequence_parallel_size", default=1),
            pp=_dealt(entries, deep is not None or fsdp is not None),
        ),
        precision=recipe_of(deep, _precision(entries, deep is not None and method == "full")),
        sharding=deep.sharding if deep else fsdp,
        offload=deep.offload if deep else start.offload,
        trained_tower=tower or _beside_adapters(entries),
        max_pixels=max_pixels(entries),
        **_hpz(entries, deep),
    )
    if task == "ppo" and (
        reward := entries.text("reward_model")
    ):  # pipelines/train/rlhf.py: both begin as it
        entries.beside |= {"reward_model": reward, "value_model": reward}
    if task == "grpo":
        colocated(entries, usual_share=0.9)
        if parked := entries.away(PARKED):
            entries.beside["park"] = parked
        if entries.has("move_model_batches"):
            entries.beside["rollout_sync_batches"] = entries.whole("move_model_batches", default=1)
    asked = _load(entries, asked)
    if _splits(entries):
        note_evaluation(entries, asked, usual="steps", usual_batch=1)
    return model, adapters(entries, asked), start.num_ranks


def _splits(entries: Entries) -> bool:
    """Return whether some of the data is evaluated: what is named for it, or a part of what trains
    (data_args.py)."""
    if entries.has("val_dataset", "cached_val_dataset"):
        return True
    streams = entries.has("streaming") and entries.switch("streaming", default=False)
    usual = 0.01 if entries.habits("ms-swift").splits_data and not streams else 0.0
    return entries.number("split_dataset_ratio", "dataset_test_ratio", default=usual) > 0


def _model(entries: Entries) -> str | None:
    model = entries.text("model", "model_id_or_path")
    if not model and (kind := entries.text("model_type")):  # of 1.x and 2.x: qwen1half-7b-chat
        model = kind.replace("half", ".5").replace("_", ".")
    return model


def _dealt(entries: Entries, sharded: bool) -> int:
    """Return over how many cards layers are dealt: over all that one process sees (device_map = auto), which
    what shards refuses (sft_args.py, _init_deepspeed and _init_fsdp)."""
    cards = entries.whole("cards_of_a_process", default=1) if entries.has("cards_of_a_process") else 1
    if cards > 1 and sharded:
        raise OomlessError(
            f"{entries.path}: one process sees {cards} cards, where neither DeepSpeed nor FSDP starts",
            f"put NPROC_PER_NODE={cards} before it",
        )
    if cards > 1:
        entries.note(
            f"one process sees {cards} cards: layers are dealt over them (device_map), as --pp counts"
        )
    return cards


def task_of(entries: Entries) -> Task:
    """Return what is trained for."""
    word = entries.text("task", default="sft") or "sft"
    if word in TASKS:
        return TASKS[word]
    kind = word if word in OF_RLHF else entries.text("rlhf_type", default="dpo") or "dpo"
    if kind not in OF_RLHF:
        raise UnsupportedError(
            f"{entries.path}: rlhf_type is {kind}, which is not modelled",
            "dpo, kto, grpo, ppo, rm and orpo are",
        )
    if kind in PAIRS_WITHOUT_REFERENCE:
        entries.beside["reference_model"] = "none"
    return OF_RLHF[kind]


def _method(entries: Entries) -> Method:
    kind = entries.text(*METHODS, default="lora") or "lora"
    if kind not in ("full", "lora") and not _beside_adapters(entries):
        raise UnsupportedError(
            f"{entries.path}: tuner_type is {kind}, which is not modelled", "full, lora and lora_llm are"
        )
    return "full" if kind == "full" else "qlora" if _bits(entries) else "lora"


def _beside_adapters(entries: Entries) -> bool | None:
    """Return whether a tower is trained whole beside adapters of the language model: LoRALLMTuner of 4.0 on,
    a plugin of its examples before."""
    kind = entries.text(*METHODS, default="lora")
    plugin = str(entries.values.get("external_plugins", ""))
    return kind == "lora_llm" or (kind == "custom" and "lora_llm_full_vit" in plugin) or None


TOKEN_SIDES = {"qwen2": 28}
"""Pixels of a side of a token of Qwen2-VL and 2.5-VL; 32 from Qwen3-VL on."""


def max_pixels(entries: Entries) -> int | None:
    """Return the most pixels of an image: of its processor, or of the template; from Qwen3-VL on tokens are
    said (swift/model/models/qwen.py, compat_qwen_vl_utils; template_args.py). A video whose frames are
    limited counts as an image of as many tokens: two frames have those of one."""
    name = (_model(entries) or "").lower()
    area = next((side for family, side in TOKEN_SIDES.items() if family in name), 32) ** 2
    image, frame = (
        (entries.pixels(f"{of}MAX_TOKEN_NUM") or 0) * area or entries.pixels(f"{of}MAX_PIXELS") or 0
        for of in ("IMAGE_", "VIDEO_")
    )
    image = image or entries.pixels("MAX_PIXELS", "max_pixels") or 0
    frames = entries.pixels("FPS_MAX_FRAMES", "NFRAMES") or 0
    return max(image, frame * frames // 2) or None


def _bits(entries: Entries) -> int:
    """Return the bits that frozen matrices are packed in; 0: they are not."""
    return next((entries.whole(name, default=0) for name in BITS if entries.has(name)), 0)


def _deep(entries: Entries) -> Zero | None:
    word = entries.text("deepspeed") if entries.has("deepspeed") else None
    return by_name(word) if word in PRESETS else beside(entries, "deepspeed")


def _hpz(entries: Entries, deep: Zero | None) -> dict[str, Any]:
    found = dict(deep.settings) if deep else {}
    if entries.has("zero_hpz_partition_size"):
        found["hpz_partition_size"] = entries.whole("zero_hpz_partition_size", default=1)
    return found


def _precision(entries: Entries, by_zero: bool) -> str | None:
    """Return the recipe: that of the framework (None) for a model in bfloat16, which most configs name."""
    kind = (entries.text("torch_dtype", "dtype", default="bfloat16") or "bfloat16").lower()
    if kind in ("bfloat16", "bf16", "auto"):
        return None
    return "deepspeed-fp16" if by_zero else "amp-fp16" if kind in ("float32", "fp32") else "fp16"


def _load(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question with optimizer, batch, length, recomputation and kernels."""
    micro_batch = entries.whole("per_device_train_batch_size", "batch_size", default=1)
    again = entries.switch("gradient_checkpointing", default=True)
    liger = entries.switch("use_liger_kernel", "use_liger", default=False)
    packed = entries.switch("packing", default=False)
    flat = entries.switch("padding_free", default=False) or packed
    answer = entries.whole("max_completion_length", default=512) if asked.task in ("grpo", "ppo") else 0
    length = length_of(entries, asked.task, packed, answer)
    return asked._replace(
        optimizer=_optimizer(entries),
        micro_batch=micro_batch,
        grad_accum=entries.whole(
            "gradient_accumulation_steps", default=max(-(-BATCH // max(micro_batch, 1)), 1)
        ),
        seq_len=length,
        query_len=max(length - answer, 1) if length and asked.task == "grpo" and not flat else None,
        data_workers=entries.whole("dataloader_num_workers", default=0),
        recompute="full" if again else "none",
        attention=_attention(entries),
        kernels="liger" if liger else None,
        loss=_loss(entries, asked, liger),
        packed=flat,
    )


def _loss(entries: Entries, asked: TrainingAsked, liger: bool) -> str | None:
    """Return the loss; None: the plain one of the release. Liger's makes no logits, unless labels are taken
    from the model: where a sequence is divided, which has a loss of its own that may run in chunks, and where
    tokens are weighed (seq2seq_trainer.py, compute_loss; trainers/utils.py, per_token_loss_func_sp)."""
    if "orpo" in (entries.text("task"), entries.text("rlhf_type")):
        return "orpo"
    if asked.task not in ("pretrain", "sft"):
        return None
    if asked.mesh.cp > 1:
        chunked = "chunked-half-0" if (asked.sharding or "").startswith("zero") else "chunked"
        return chunked if entries.has(OF_CHUNKS) else None
    scales = {*(entries.text("loss_scale", default="default") or "").split("+")}
    weighed = scales & WEIGHTS and not entries.has("use_liger")
    own = [entries.switch(name, default=False) for name in OWN_LOSSES if entries.has(name)]
    smoothed = entries.has("label_smoothing_factor") and entries.number("label_smoothing_factor", default=0)
    return "fused" if liger and not (weighed or any(own) or smoothed) else None


def _optimizer(entries: Entries) -> str | None:
    """Return the optimizer; None: that of the release of transformers (1.x and 2.x had a default of their
    own, swift/llm/utils/argument.py)."""
    if entries.has("optim") or entries.has("sft_type"):
        return entries.optimizer("optim", default="adamw_torch")
    return None


def _attention(entries: Entries) -> str | None:
    if entries.has("use_flash_attn"):  # of 1.x and 2.x
        return "flash" if entries.switch("use_flash_attn", default=False) else "eager"
    said = entries.text("attn_impl", default="auto") or "auto"
    return None if said == "auto" else ATTENTION.get(said, "auto")


def length_of(entries: Entries, task: Task, packed: bool, answer: int) -> int | None:
    """Return the tokens of a sample, with those of an answer where one is generated; None: nobody says, and
    the model's own length bounds it. A pack of pairs has room for both halves of each (template/base.py:
    lengths of chosen and rejected are added)."""
    if not entries.has("max_length") and not entries.has("sft_type"):
        entries.note("max_length is not set: samples may be as long as the model admits; say --seq-len")
        return None
    length = entries.whole("max_length", default=2048)  # that of 2.x
    if packed and task in ("dpo", "kto", "reward"):
        return -(-length // 2)
    if answer:
        length += answer
        whole = entries.whole("vllm_max_model_len", default=0) if entries.has("vllm_max_model_len") else 0
        length = min(length, whole or length)
    return length


def adapters(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question with rank, targets and packing of what adapters stand on."""
    if asked.method == "full":
        return asked
    targets = entries.words("target_modules", "lora_target_modules")
    if targets in (("DEFAULT",), ("AUTO",)) or (not targets and entries.has("sft_type")):
        latent = re.search(r"deepseek-(coder-)?v2", (_model(entries) or "").lower())
        targets = LATENT_TARGETS if latent else USUAL_TARGETS
    everything = not targets or targets in (("all-linear",), ("ALL",))
    return asked._replace(
        lora_rank=entries.whole("lora_rank", default=8),
        lora_targets=("all-linear",) if everything else targets,
        quantization=_packing(entries) if asked.method == "qlora" else None,
        trained_ends=bool({"embed_tokens", "lm_head"} & {*entries.words("modules_to_save")}),
    )


def _packing(entries: Entries) -> str | None:
    if _bits(entries) == 8:
        return "int8"
    return None if entries.switch("bnb_4bit_use_double_quant", default=True) else "nf4"
