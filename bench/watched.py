"""Runs on this CPU beside what was predicted of them: 12 small models and methods, each watched for six
steps. `python -m bench.watched [NAME ...]`.

Weights, gradients and optimizer states are counted by the monitor's sampled step; the peak once more by
events of torch.profiler over a step of its own.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from oomless.ledger import Compared

BATCH, LENGTH, VOCABULARY = 2, 128, 2048
BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "use_cache": False,
}
EXPERTS = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 192}
LATENT = {
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 192,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}


class Case(NamedTuple):
    """A model and how it is trained."""

    family: str
    config: Mapping[str, Any] = MappingProxyType({})
    dtype: str = "float32"
    optimizer: str = "adamw"
    method: str = "full"
    recompute: bool = False


CASES = {
    "llama": Case("llama"),
    "llama tied": Case("llama", {"tie_word_embeddings": True}),
    "llama bf16": Case("llama", dtype="bfloat16"),
    "llama sgd": Case("llama", optimizer="sgd"),
    "llama recompute": Case("llama", recompute=True),
    "llama lora": Case("llama", method="lora"),
    "qwen2": Case("qwen2"),
    "qwen3 lora": Case("qwen3", {"head_dim": 64}, method="lora"),
    "qwen3_moe": Case("qwen3_moe", {**EXPERTS, "head_dim": 64}),
    "gemma3": Case("gemma3_text", {"head_dim": 64, "tie_word_embeddings": True}),
    "deepseek_v2": Case("deepseek_v2", {**LATENT, "topk_method": "greedy"}),
    "deepseek_v3 recompute": Case("deepseek_v3", LATENT, recompute=True),
}


def built(case: Case) -> tuple[Any, Any]:
    """The model and its optimizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(case.family, **{**BASE, **case.config})
    build: Any = AutoModelForCausalLM.from_config
    model = build(config).to(getattr(torch, case.dtype)).train()
    if case.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if case.method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
    trained = [each for each in model.parameters() if each.requires_grad]
    if case.optimizer == "sgd":
        return model, torch.optim.SGD(trained, lr=1e-3)
    return model, torch.optim.AdamW(trained, lr=1e-4, foreach=False)


def step_of(model: Any, optimizer: Any) -> Callable[[], None]:
    """One training step."""
    import torch

    def step() -> None:
        ids = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def profiled_peak(model: Any, optimizer: Any, step: Callable[[], None]) -> int:
    """Bytes held before a step and the highest sum of the events of torch.profiler in it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    held = {}
    states = [each for state in optimizer.state.values() for each in state.values()]
    for tensor in (*model.parameters(), *model.buffers(), *states):
        if torch.is_tensor(tensor):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [each for each in profiler.profiler.kineto_results.events() if each.name() == "[memory]"]
    now = highest = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return sum(held.values()) + highest


class Result(NamedTuple):
    """What was predicted and watched of one case."""

    rows: dict[str, Compared]
    profiled_bytes: int

    @property
    def peak(self) -> tuple[float, float]:
        """(predicted, measured) bytes."""
        total = self.rows["total"]
        return total.predicted or 0.0, total.measured or 0.0

    def over(self, key: str) -> int:
        """Bytes of a category that were measured beyond what was predicted."""
        found = self.rows.get(key)
        return int((found.measured or 0) - (found.predicted or 0)) if found else 0


def result(case: Case, folder: str) -> Result:
    """Run a case under the monitor, and one step more under torch.profiler."""
    from oomless.api.monitored import show
    from oomless.monitor import watch

    model, optimizer = built(case)
    step = step_of(model, optimizer)
    with watch(model, optimizer, run=folder, every=2):
        for _ in range(6):
            step()
    rank = show(folder).worst
    assert rank.rows, rank.problem
    return Result({each.key: each for each in rank.rows}, profiled_peak(model, optimizer, step))


def row(name: str, found: Result) -> str:
    """A line of the table."""
    predicted, measured = found.peak
    steady = "".join(f"{found.over(key):>12,}" for key in ("weights", "optimizer"))
    beside = f"{predicted / measured - 1:>11.1%}{measured / found.profiled_bytes - 1:>13.2%}"
    return f"{name:<24}{steady}{measured / 1e6:>10.2f}{beside}"


def main() -> None:
    """Print a row a case."""
    import torch

    torch.set_num_threads(1)
    heads = f"{'weights':>12}{'optimizer':>12}{'peak MB':>10}{'predicted':>11}{'to profiler':>13}"
    print(f"{'measured - predicted, B':<24}{heads}")
    for name in sys.argv[1:] or CASES:
        folder = tempfile.mkdtemp(prefix="oomless-bench-")
        print(row(name, result(CASES[name], folder)), flush=True)


if __name__ == "__main__":
    main()
