"""What watching costs: CPU seconds a step, plain and watched in turn in one process, with the null pair
(plain against plain) beside, and what the hooks took by the thread's own clock, which other work on
the machine does not move. `python -m bench.monitor [MODEL ...] [--always | --sampled]`."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

PAIRS = 24
CYCLE, EVERY = 8, 100
"""One step in so many is sampled: here, and in a run."""


def tiny() -> tuple[Any, Any, Callable[[], Any]]:
    """6 layers of 192: about 2,000 operators in 200 ms a step."""
    return language_model(num_layers=6, hidden=192, vocabulary=1024, batch=6, length=128)


def coder() -> tuple[Any, Any, Callable[[], Any]]:
    """4 layers in the shape of deepseek-coder-1.3b."""
    return language_model(num_layers=4, hidden=2048, vocabulary=32256, batch=1, length=64, intermediate=5504)


def experts() -> tuple[Any, Any, Callable[[], Any]]:
    """4 layers of 16 experts, 2 chosen."""
    return language_model(num_layers=4, hidden=128, vocabulary=1024, batch=4, length=64, experts=16)


MODELS = {"tiny": tiny, "1.3B, 4 layers": coder, "experts": experts}
STEPS = {"tiny": 6, "1.3B, 4 layers": 1, "experts": 6}
"""Of a block."""


def language_model(
    num_layers: int,
    hidden: int,
    vocabulary: int,
    batch: int,
    length: int,
    intermediate: int = 0,
    experts: int = 0,
) -> tuple[Any, Any, Callable[[], Any]]:
    """A model of transformers, its optimizer and its batches."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate or 4 * hidden,
        "num_hidden_layers": num_layers,
        "num_attention_heads": hidden // 64 * 2 if hidden < 2048 else 16,
        "num_key_value_heads": hidden // 64 * 2 if hidden < 2048 else 16,
        "use_cache": False,
    }
    if experts:
        shape |= {"num_local_experts": experts, "num_experts_per_tok": 2}
    config = AutoConfig.for_model("mixtral" if experts else "llama", **shape)
    model = AutoModelForCausalLM.from_config(config).train()  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=False)
    return model, optimizer, lambda: torch.randint(0, vocabulary, (batch, length))


def step(model: Any, optimizer: Any, ids: Any) -> float:
    """One training step; return its loss."""
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def block_s(num: int, run: Callable[[], Any]) -> float:
    """CPU seconds of so many steps."""
    start = time.process_time()
    for _ in range(num):
        run()
    return time.process_time() - start


def watched(model: Any, optimizer: Any, every: int) -> Any:
    """The monitor, writing into a folder that nobody keeps; 0: no step is sampled."""
    from oomless.monitor import watch

    return watch(model, optimizer, run=tempfile.mkdtemp(prefix="oomless-bench-"), every=every)


def clocked(guard: Any) -> list[float]:
    """Seconds of each call into the monitor from here on, by the thread's clock; all of them pass its
    guard."""
    call, taken, depth = guard.call, list[float](), [0]

    def timed(*arguments: Any) -> Any:
        depth[0] += 1
        start = time.thread_time()
        try:
            return call(*arguments)
        finally:
            depth[0] -= 1
            if not depth[0]:
                taken.append(time.thread_time() - start)

    guard.call = timed
    return taken


def always_on(run: Callable[[], None], model: Any, optimizer: Any, num: int) -> str:
    """The row of the tier that is always on."""
    null, ratios, plain_s, hooks_s = [], [], [], []
    for _ in range(PAIRS):
        first = block_s(num, run)
        with watched(model, optimizer, 0) as watch:
            run()
            taken = clocked(watch.guard)
            with_it = block_s(num, run)
            hooks_s.append(sum(taken) / num)
        second = block_s(num, run)
        null.append(second / first)
        ratios.append(2 * with_it / (first + second))
        plain_s.append(first / num)
    plain, hooks = statistics.median(plain_s), statistics.median(hooks_s)
    return f"{spread(null):<24}{spread(ratios):<24}{1000 * plain:>8.1f}{hooks / plain:>20.3%}"


def sampled(run: Callable[[], None], model: Any, optimizer: Any) -> str:
    """The row of a sampled step: how many plain steps it lasts, and what a sample costs of a run in which one
    step in a hundred is sampled: the step at whose end it begins, its own, and the one after, beyond plain
    ones."""
    kinds: dict[str, list[float]] = {"plain": [], "before": [], "sampled": [], "after": []}
    with watched(model, optimizer, CYCLE) as watch:
        for _ in range(2 * CYCLE):  # past the first samples, which read sources
            run()
        while len(kinds["after"]) < PAIRS // 2:
            one, waits = watch.sampler.running, watch.sampler.waiting is not None
            cost_s = block_s(1, run)
            begins = watch.sampler.running and not one
            kinds["sampled" if one else "after" if waits else "before" if begins else "plain"].append(cost_s)
    plain = statistics.median(kinds["plain"])
    parts = {kind: statistics.median(found) / plain - 1 for kind, found in kinds.items()}
    of_all = (parts["before"] + parts["sampled"] + parts["after"]) / EVERY
    shown = ", ".join(f"{kind} {100 * parts[kind]:+.1f} %" for kind in ("before", "sampled", "after"))
    one = [each / plain for each in kinds["sampled"]]
    return f"{spread(one):<24}{100 * of_all:>6.3f} %   ({shown}; plain {spread_of(kinds['plain'], plain)})"


def spread_of(found: list[float], middle: float) -> str:
    """The quartiles around a median."""
    low, _, high = statistics.quantiles([each / middle for each in found], n=4)
    return f"{low:.3f} to {high:.3f}"


def main() -> None:
    """Print a row a model and tier."""
    import torch

    torch.set_num_threads(1)
    words = [each for each in sys.argv[1:] if not each.startswith("--")]
    only = [each for each in sys.argv[1:] if each.startswith("--")]
    for name in words or list(MODELS):
        model, optimizer, batch = MODELS[name]()

        def run(model: Any = model, optimizer: Any = optimizer, batch: Any = batch) -> None:
            step(model, optimizer, batch())

        for _ in range(3):
            run()
        print(f"{name}, {PAIRS} pairs of {STEPS[name]} steps, CPU seconds, one thread")
        if "--sampled" not in only:
            print(f"  {'null: plain / plain':<24}{'watched / plain':<24}ms a plain step   hooks / plain")
            print(f"  {always_on(run, model, optimizer, STEPS[name])}", flush=True)
        if "--always" not in only:
            print(f"  {'sampled / plain':<24}of all time, at one in {EVERY}")
            print(f"  {sampled(run, model, optimizer)}", flush=True)


def spread(values: list[float]) -> str:
    """Median and extremes."""
    return f"{statistics.median(values):.4f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
