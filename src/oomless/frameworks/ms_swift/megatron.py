"""Arguments of `megatron sft`, `megatron pt` and `megatron rlhf`, which train with Megatron-Core
(swift/megatron/arguments/megatron_args.py)."""

from ...errors import UnsupportedError
from ...run.training import Mesh, Method, Task, TrainingAsked
from ...run.training_question import micro_batches
from ..entries import Entries
from ..trainer.configuration import colocated
from .configuration import METHODS, PARKED, adapters, length_of, max_pixels, task_of

NUM_RANKS = "num_ranks"
"""The entry of the processes that its launcher starts."""
BATCH = 16
"""Sequences of a step where nobody says how many."""
LOSSES = {"native": "vocab-parallel-fused", "te": "vocab-parallel-te"}
"""Where loss and logits are fused, by who does it."""
PRODUCTS = {
    "linear_qkv": ("q_proj", "k_proj", "v_proj"),
    "linear_proj": ("o_proj",),
    "linear_fc1": ("gate_proj", "up_proj"),
    "linear_fc2": ("down_proj",),
    "linear_q_proj": ("q_proj",),
    "linear_q_down_proj": ("q_a_proj",),
    "linear_q_up_proj": ("q_b_proj",),
    "linear_kv_down_proj": ("kv_a_proj_with_mqa",),
    "linear_kv_up_proj": ("kv_b_proj",),
}
"""Products of Megatron-Core -> the matrices that they are in a checkpoint."""
NARROW = {
    (True, True): "megatron-bf16-narrow",
    (True, False): "megatron-bf16-remainders",
    (False, True): "bf16-moments",
}
"""Gradients in bfloat16, moments in bfloat16 -> the recipe of states."""
FP8 = {"mxfp8": "mxfp8"}
"""Recipe of scales -> products; all others count as FP8 with one scale a matrix."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, which the launcher says."""
    entries.like = "ms-swift"
    entries.refuse(("fp4_format",), "training in FP4 is not modelled")
    task = _task(entries)
    method = _method(entries)
    tower = entries.towers("freeze_vit", "freeze_aligner", counted=method == "full")
    micro_batch = entries.whole("micro_batch_size", default=1)
    packed = entries.switch("packing", default=False)
    flat = entries.switch("padding_free", default=True) or packed
    answer = entries.whole("max_completion_length", default=512) if task == "grpo" else 0
    length = length_of(entries, task, packed, answer)
    mesh = mesh_of(entries)
    asked = TrainingAsked(
        framework=entries.framework,
        task=task,
        method=method,
        mesh=mesh,
        precision=precision_of(entries),
        optimizer=entries.optimizer("optimizer", default="adam"),
        sharding="megatron_fsdp" if entries.switch("use_megatron_fsdp", default=False) else "distopt",
        offload=away_of(entries),
        micro_batch=micro_batch,
        grad_accum=_accumulated(entries, mesh, micro_batch),
        seq_len=length,
        query_len=length - answer if length and answer and not flat else None,
        data_workers=entries.whole("dataloader_num_workers", default=4),
        loss=_loss(entries),
        products=_products(entries),
        packed=flat,
        mtp_layers=entries.whole("mtp_num_layers", default=0),
        trained_tower=tower,
        max_pixels=max_pixels(entries),
    )
    if task == "grpo":
        colocated(entries, usual_share=0.9)
        if parked := entries.away(PARKED):
            entries.beside["park"] = parked
    asked = adapters(entries, computed_again(entries, asked, "selective"))
    targets = tuple(part for name in asked.lora_targets for part in PRODUCTS.get(name, (name,)))
    made = (entries.text("load") or "").removesuffix("-mcore")  # as `swift export --to_mcore` calls it
    return entries.text("model") or made or None, asked._replace(lora_targets=targets), None


def _task(entries: Entries) -> Task:
    kind = entries.text("task_type", default="causal_lm")
    if kind not in ("causal_lm", "seq_cls"):
        raise UnsupportedError(
            f"{entries.path}: task_type is {kind}, which is not modelled", "causal_lm and seq_cls are"
        )
    return "reward" if kind == "seq_cls" else task_of(entries)


def mesh_of(entries: Entries) -> Mesh:
    """Return the ranks that arguments of Megatron-Core say."""
    tp = entries.whole("tensor_model_parallel_size", default=1)
    ep = entries.whole("expert_model_parallel_size", default=1)
    chunks = 1
    if entries.has("virtual_pipeline_model_parallel_size"):
        chunks = entries.whole("virtual_pipeline_model_parallel_size", default=1)
    return Mesh(
        tp=tp,
        pp=entries.whole("pipeline_model_parallel_size", default=1),
        cp=entries.whole("context_parallel_size", default=1),
        ep=ep,
        etp=entries.whole("expert_tensor_parallel_size", default=1) if ep > 1 else 0,
        sequence_parallel=entries.switch("sequence_parallel", default=False) and tp > 1,
        virtual_stages=chunks,
        schedule="interleaved" if chunks > 1 else "1f1b",
    )


def _accumulated(entries: Entries, mesh: Mesh, micro_batch: int) -> int:
    batch = entries.whole("global_batch_size", default=BATCH)
    if not entries.has(NUM_RANKS):
        entries.note("global_batch_size needs the number of cards to become micro-batches: give --grad-accum")
        return 1
    return micro_batches(batch, micro_batch, mesh, entries.whole(NUM_RANKS, default=1))


def _method(entries: Entries) -> Method:
    kind = entries.text(*METHODS, default="full")
    if kind not in ("full", "lora"):
        raise UnsupportedError(
            f"{entries.path}: tuner_type is {kind}, which is not modelled", "full and lora are"
        )
    return "full" if kind == "full" else "lora"


def precision_of(entries: Entries) -> str | None:
    """Return the recipe of states: that of the framework (None), or of its optimizer for narrow states."""
    if not entries.switch("use_precision_aware_optimizer", default=False):
        return None
    narrow = [entries.text(name, default="fp32") == "bf16" for name in ("main_grads_dtype", "exp_avg_dtype")]
    return NARROW.get((narrow[0], narrow[1]))


def away_of(entries: Entries) -> tuple[str, ...]:
    if not entries.switch("optimizer_cpu_offload", default=False):
        return ()
    share = entries.number("optimizer_offload_fraction", default=1.0)
    if share < 1:
        entries.note(f"optimizer_offload_fraction = {share:g}: all states are counted on the host")
    return ("optimizer",) if share else ()


def _loss(entries: Entries) -> str:
    """Return the loss; whether it is fused and by what where nobody says, the release decides."""
    usual = entries.habits("ms-swift").loss
    fused = entries.switch("cross_entropy_loss_fusion", default=usual != "vocab-parallel")
    own = "te" if usual == LOSSES["te"] else "native"
    by = entries.text("cross_entropy_fusion_impl", default=own) or own
    return LOSSES.get(by, LOSSES["native"]) if fused else "vocab-parallel"


def _products(entries: Entries) -> str | None:
    if not entries.has("fp8_format"):
        return None
    entries.text("fp8_format")
    return FP8.get(entries.text("fp8_recipe", default="delayed") or "", "fp8")


def computed_again(entries: Entries, asked: TrainingAsked, usual: str) -> TrainingAsked:
    """Return the question with what is computed again; of what is selected, the scores of attention where
    nobody says more."""
    match entries.text("recompute_granularity", default=usual):
        case "selective":
            modules = entries.words("recompute_modules") or ("core_attn",)
            return asked._replace(recompute="selective", recompute_modules=modules)
        case "full":
            layers = entries.whole("recompute_num_layers", default=1)
            asked = asked._replace(recompute="full")
            if entries.text("recompute_method") == "block":
                return asked._replace(recompute_num_layers=layers)
            return asked._replace(recompute_every=layers)
    return asked._replace(recompute="none")
