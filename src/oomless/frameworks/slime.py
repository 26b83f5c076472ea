"""slime: the words of its commands; Megatron-Bridge stands for its actors."""

from ..run.training import Task, TrainingAsked
from .entries import Entries
from .megatron import RECORDS as MEGATRON
from .ms_swift.megatron import away_of, computed_again, mesh_of, precision_of

LOSSES: dict[str, Task] = {"sft_loss": "sft"}
PARKED = ("optimizer", "params", "gradients")
"""What leaves the cards while an engine generates on them (backends/megatron_utils/actor.py, sleep: its
allocator pauses)."""
SHARE = 0.88
"""Share of a card that SGLang takes by itself, about."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks of the actor. Samples are always packed; the reference and the
    weights of the rollout stand in host memory, and come in the place of the actor's
    (backends/megatron_utils/actor.py, TensorBackuper)."""
    entries.like = "megatron-swift"
    cards = entries.whole("actor_num_nodes", default=1) * entries.whole("actor_num_gpus_per_node", default=8)
    estimator = entries.text("advantage_estimator", default="grpo")
    task = LOSSES.get(entries.text("loss_type") or "", "ppo" if estimator == "ppo" else "grpo")
    mesh = mesh_of(entries)
    length = entries.whole("rollout_max_context_len", default=0) or (
        entries.whole("rollout_max_prompt_len", default=0)
        + entries.whole("rollout_max_response_len", default=0)
    )
    batch, tokens = entries.whole("micro_batch_size", default=1), 0
    if entries.switch("use_dynamic_batch_size", default=False):
        batch, tokens = 1, entries.whole("max_tokens_per_gpu", default=0) * mesh.cp
    asked = TrainingAsked(
        framework=entries.framework,
        task=task,
        method="full",
        mesh=mesh,
        precision=precision_of(entries),
        sharding="distopt",
        offload=away_of(entries),
        micro_batch=batch,
        seq_len=max(tokens, length) or None,
        loss="vocab-parallel-fused" if task == "sft" else "vocab-parallel-sampled-0.3",
        packed=True,
    )
    if task != "sft":
        _beside(entries, max(entries.whole("log_probs_max_tokens_per_gpu", default=0) * mesh.cp, length))
    return entries.text("hf_checkpoint"), computed_again(entries, asked, "none"), cards


def _beside(entries: Entries, scored: int) -> None:
    """Say what stands beside the actor; `scored`: tokens that are scored at a time where they are more."""
    beside = entries.beside
    beside["reference_model"] = "none"
    if scored and entries.has("log_probs_max_tokens_per_gpu"):
        beside["score_tokens"] = scored
    if not entries.switch("colocate", default=False):
        entries.note("the engines that generate have cards of their own, which are not counted")
        return
    beside["rollout_engine"] = "sglang"
    beside["rollout_gpu_memory_utilization"] = entries.number("sglang_mem_fraction_static", default=SHARE)
    beside["rollout_tp"] = entries.whole("rollout_num_gpus_per_engine", default=1)
    beside["rollout_sleep"] = True
    beside["park"] = PARKED


RECORDS = {"megatron-bridge": MEGATRON["megatron-bridge"]._replace(reads=read)}
