"""What a caching allocator cannot give back where models take turns: `python -m bench.several_models`.

A policy, a frozen reference, a reward model and a trained critic run on tensors without data as trainers run
them: tokens are generated with a cache that grows, answers are scored, what was scored waits, the policy and
the critic are updated; or pairs are compared with the reference. Lengths vary from batch to batch. Printed:
what lies still between steps, what comes and goes, and over it what is reserved without a limit and the
smallest device that runs all steps. Rows of kept_share with `several` in facts/engines.csv are
the envelope; those of DeepSpeed were recorded of its own engine.
"""

import random
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

from oomless.api.trace import source_of
from oomless.recording.allocator import Allocator
from oomless.recording.block import Block
from oomless.recording.recording import Recording, curve
from oomless.recording.replay import replay, smallest_capacity
from oomless.run.tracing import Prompt, Tracing
from oomless.run.training import Mesh, TrainingResolved
from oomless.trace.build import build_model, build_optimizer, stepping
from oomless.trace.models import materialized
from oomless.trace.ranks.parallel import fully_shard
from oomless.trace.ranks.sharded import axes_of, fake_world, without_propagation
from oomless.trace.recorder import Recorder
from oomless.trace.region import fake_mode, prepare, running
from oomless.units import GIB

STEPS = 3


class Case(NamedTuple):
    """A run of several models."""

    model: str
    task: str = "ppo"
    beside: str = ""
    """Model of critic and reward; empty: the policy's."""
    method: Literal["full", "lora"] = "full"
    recompute: Literal["none", "full"] = "full"
    precision: str = "bf16"
    optimizer: str = "adamw"
    dp: int = 1
    batch: int = 4
    tokens: int = 1024
    turns: int = 4
    """Micro-batches of a step."""
    decoded: int = 32
    """Tokens that the policy generates by itself; 0: an engine elsewhere."""
    varied: bool = True
    wide: bool = False
    """Whether all logits are in F32 at once."""


class Models:
    """The models of a run on one rank."""

    def __init__(self, case: Case) -> None:
        import torch

        self.torch, self.case = torch, case
        asked = TrainingResolved(
            precision=case.precision,
            optimizer=case.optimizer,
            method=case.method,
            recompute=case.recompute,
            lora_targets=("all-linear",),
            lora_rank=16,
            micro_batch=case.batch,
            seq_len=case.tokens,
            sharding="fsdp2" if case.dp > 1 else "none",
        )
        self.asked = asked
        self.mesh = Mesh(dp=case.dp)
        self.axes = axes_of(self.mesh) if case.dp > 1 else None
        frozen = asked._replace(recompute="none", method="full", precision="bf16")
        self.policy = self.built(case.model, asked)
        self.reference = self.reward = self.critic = None
        if case.task in ("dpo", "ppo", "grpo") and case.method == "full":
            self.reference = self.built(case.model, frozen, False)
        if case.task == "ppo":
            self.critic = self.built(case.beside or case.model, asked, head=1)
            self.reward = self.built(case.beside or case.model, frozen, False, head=1)

    def built(self, name: str, asked: TrainingResolved, trained: bool = True, head: int = 0) -> Any:
        model = build_model(source_of(name, True, None), asked, None)
        if head:
            with self.torch.device("meta"):
                base = model.get_base_model() if hasattr(model, "get_base_model") else model
                base.lm_head = self.torch.nn.Linear(
                    base.lm_head.in_features, head, bias=False, dtype=base.lm_head.weight.dtype
                )
                base.config.tie_word_embeddings = False
        if not trained:
            model.requires_grad_(False)
            model.eval()
        if self.axes is not None:
            fully_shard(model, self.axes["dp"], self.axes["outer"], asked)
        return model

    def all(self) -> list[Any]:
        return [each for each in (self.policy, self.reference, self.reward, self.critic) if each is not None]


def log_probs(torch: Any, logits: Any, ids: Any, wide: bool) -> Any:
    """Log-probabilities of tokens: of all logits in F32, or a sequence at a time (TRL's
    selective_log_softmax)."""
    if wide:
        return torch.gather(logits.float().log_softmax(-1), 2, ids.unsqueeze(-1)).squeeze(-1)
    found = []
    for row, own in zip(logits, ids, strict=True):
        found.append(row.log_softmax(-1).gather(-1, own.unsqueeze(-1)).squeeze(-1))
    return torch.stack(found)


def generated(models: Models, recorder: Recorder, ids: Any, step: int) -> None:
    """A prefill, and a cache that is made anew with each token, as transformers' DynamicCache does."""
    torch, policy = models.torch, models.policy
    with torch.no_grad(), recorder.during("decode", step):
        cache = policy(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        fresh = cache.layers[0].keys[:, :, :1].clone()
        for _ in range(models.case.decoded):
            for layer in cache.layers:
                layer.keys = torch.cat([layer.keys, fresh], -2)
                layer.values = torch.cat([layer.values, fresh], -2)


def run(case: Case) -> Recording:
    """The recording of a run."""
    recorder, chance = Recorder(), random.Random(case.tokens)
    with ExitStack() as stack:
        if case.dp > 1:
            stack.enter_context(fake_world(0, case.dp))
            stack.enter_context(without_propagation(recorder))
        models = Models(case)
        fake = fake_mode()
        for model in models.all():
            prepare(recorder, materialized(model, fake, tie=case.dp == 1))
        asked = Tracing("train", models.asked, Prompt(), mesh=models.mesh)
        with running(recorder, models.policy, asked, fake, {}, None):
            trained = [each for each in (models.policy, models.critic) if each is not None]
            optimizers = [build_optimizer(each, models.asked, False) for each in trained]
            region = stepping(models.asked).region
            vocabulary = models.policy.config.vocab_size
            for step in range(STEPS):
                lengths = [
                    int(case.tokens * chance.uniform(0.3, 1)) if case.varied else case.tokens
                    for _ in range(case.turns)
                ]
                if case.task in ("dpo", "sft"):
                    compare(models, recorder, lengths, optimizers, region, step, vocabulary)
                else:
                    reinforce(models, recorder, lengths, optimizers, region, step, vocabulary)
            recorder.ended = True
        return recorder.recording({})


def batch_of(models: Models, length: int, vocabulary: int) -> Any:
    return models.torch.randint(0, vocabulary, (models.case.batch, length))


def stepped(optimizers: list[Any]) -> None:
    for each in optimizers:
        each.step()
        each.zero_grad(set_to_none=True)


def compare(
    models: Models,
    recorder: Recorder,
    lengths: list[int],
    optimizers: list[Any],
    region: Any,
    step: int,
    vocabulary: int,
) -> None:
    """Pairs: the policy's forward, the reference's, the backward (TRL's DPOTrainer)."""
    torch, case = models.torch, models.case
    for length in lengths:
        ids = batch_of(models, length, vocabulary)
        with recorder.during("forward", step), region():
            mine = log_probs(torch, models.policy(input_ids=ids, use_cache=False).logits, ids, case.wide)
            with torch.no_grad():
                other = mine.detach()
                if models.reference is not None:
                    logits = models.reference(input_ids=ids, use_cache=False).logits
                    other = log_probs(torch, logits, ids, case.wide)
                    del logits
            loss = torch.nn.functional.logsigmoid((mine - other).sum(-1)).mean()
        with recorder.during("backward", step):
            loss.backward()
        del mine, other, loss
    with recorder.during("optimizer", step):
        stepped(optimizers)


def reinforce(
    models: Models,
    recorder: Recorder,
    lengths: list[int],
    optimizers: list[Any],
    region: Any,
    step: int,
    vocabulary: int,
) -> None:
    """Generate, score, update: what was scored waits for the update."""
    torch, case = models.torch, models.case
    waiting = []
    for length in lengths:
        ids = batch_of(models, length, vocabulary)
        if case.decoded:
            generated(models, recorder, ids[:, : length // 2], step)
        with torch.no_grad(), recorder.during("prefill", step), region():
            scored = [ids]
            for model in (models.policy, models.reference):
                if model is not None:
                    logits = model(input_ids=ids, use_cache=False).logits
                    scored.append(log_probs(torch, logits, ids, case.wide))
                    del logits
            for model in (models.reward, models.critic):
                if model is not None:
                    scored.append(model(input_ids=ids, use_cache=False).logits.squeeze(-1).float())
            waiting.append(scored)
    for scored in waiting:
        ids, old = scored[0], scored[1]
        with recorder.during("forward", step), region():
            mine = log_probs(torch, models.policy(input_ids=ids, use_cache=False).logits, ids, case.wide)
            loss = -(mine - old).exp().mean()
        with recorder.during("backward", step):
            loss.backward()
        del mine, loss
        if models.critic is not None:
            with recorder.during("forward", step), region():
                values = models.critic(input_ids=ids, use_cache=False).logits.squeeze(-1).float()
                loss = (values - scored[-1]).square().mean()
            with recorder.during("backward", step):
                loss.backward()
            del values, loss
    with recorder.during("optimizer", step):
        stepped(optimizers)


def pinned(found: Recording) -> int:
    """What stays reserved beyond what is allocated when a cache is emptied before the last step."""
    allocator, blocks = Allocator(), dict[int, Block]()
    for event in found.events[: found.since]:
        if event >= 0:
            blocks[event] = allocator.allocate(found.tensors.sizes[event])
        else:
            allocator.free(blocks.pop(~event))
    allocator.empty_cache()
    return allocator.reserved - allocator.allocated


def printed(case: Case, found: Recording) -> None:
    """One line of the table."""
    sizes, alive = found.tensors.sizes, curve(found)
    peak, steady = max(alive), alive[found.since - 1]
    passing = peak - steady
    free_run = replay(found.events, sizes)
    least = smallest_capacity(found.events, sizes, known=free_run)
    moments: dict[str, int] = {}
    for each in found.phases:
        if each.step == STEPS - 1:
            most = max(alive[each.first_event : each.end_event], default=0) - steady
            moments[each.name] = max(moments.get(each.name, 0), most)
    print(
        f"{case.task:5}{case.model:20} {case.method:5} {case.recompute:5} {case.precision:10} dp {case.dp} "
        f"{case.turns} x {case.batch} x {case.tokens:,}{' wide' if case.wide else ''}: "
        f"still {steady / GIB:.2f}, passing {passing / GIB:.2f} GiB, "
        f"reserved {(free_run.peak_reserved - steady) / passing:.2f}, "
        f"least {(least - steady) / passing:.3f} (+{(least - peak) / GIB:.2f} GiB), "
        f"pinned {pinned(found) / GIB:.2f} GiB; "
        + ", ".join(f"{name} {most / GIB:.2f}" for name, most in moments.items()),
        flush=True,
    )


CASES = (
    Case("qwen2.5-0.5b", "ppo", decoded=64, turns=3),
    Case("qwen2.5-0.5b", "ppo", decoded=0, turns=3, recompute="none", precision="amp-bf16"),
    Case("qwen2.5-1.5b", "ppo", beside="qwen2.5-0.5b", decoded=0, turns=3),
    Case("llama-3-8b", "ppo", method="lora", decoded=0, batch=2, turns=3),
    Case("qwen2.5-0.5b", "grpo", decoded=64, batch=8, turns=3, recompute="none"),
    Case("qwen2.5-0.5b", "dpo", batch=8, turns=3, wide=True),
    Case("deepseek-coder-1.3b", "dpo", tokens=2048),
    Case("qwen2.5-0.5b", "ppo", decoded=0, turns=3, dp=8),
    Case("qwen2.5-1.5b", "ppo", decoded=0, batch=8, turns=3, dp=8, precision="mixed-bf16"),
    Case("llama-3-8b", "ppo", decoded=0, turns=2, dp=8, precision="mixed-bf16"),
    Case("qwen2.5-3b", "grpo", decoded=0, batch=8, turns=3, dp=8, precision="mixed-bf16", recompute="none"),
    Case("qwen2.5-1.5b", "dpo", turns=3, dp=8, precision="mixed-bf16"),
    Case("qwen2.5-7b", "dpo", turns=3, dp=8, precision="mixed-bf16"),
    Case("qwen2.5-7b", "dpo", turns=3, dp=8, precision="mixed-bf16", varied=False),
    Case("qwen2.5-7b", "dpo", turns=1, dp=8, precision="mixed-bf16"),
)

if __name__ == "__main__":
    for each in CASES:
        printed(each, run(each))
