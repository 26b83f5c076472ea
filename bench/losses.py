"""What packed activations, sparsity and compressed gradients do to a loss, over seeds:
`python -m bench.losses [activations] [sparsity] [gradients]`.

A transformer of two layers learns the bytes of the shipped sample text; what is judged is its last tenth.
Each row is a mean over SEEDS seeds, its standard deviation, and the difference from the first row, seed by
seed, with the t of a paired test: below 2.78 in magnitude (4 degrees of freedom, two-sided, 5 %) no
difference is seen.
"""

import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from oomless.compress.backward.saved import activations
from oomless.compress.calibration.sample import sample
from oomless.compress.calibration.solve import Moments
from oomless.compress.codecs.pruned import Pruned, kept_of_four
from oomless.compress.sparsity.dynamic import DynamicSparse
from oomless.compress.sparsity.masks import linear_weights, masked
from oomless.compress.sparsity.prune import by_sparsegpt, by_wanda

SEEDS, STEPS, TUNING, BATCH, LENGTH, WIDTH, LAYERS = 5, 300, 100, 16, 64, 96, 2
DENSITY = 0.2
BYTES = torch.tensor(list(sample().encode()))
CUT = len(BYTES) * 9 // 10
Net = Any


class Layer(torch.nn.Module):
    """Attention and feed-forward of linear layers alone, which masks know."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden: Any) -> Any:
        shape = (*hidden.shape[:2], 3, 4, WIDTH // 4)
        q, k, v = self.qkv(self.norms[0](hidden)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + self.out(mixed.transpose(1, 2).flatten(2))
        return hidden + self.down(functional.gelu(self.up(self.norms[1](hidden))))


class Network(torch.nn.Module):
    """Bytes to the next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = torch.nn.Embedding(256, WIDTH), torch.nn.Embedding(LENGTH, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.lm_head = torch.nn.Linear(WIDTH, 256)

    def forward(self, ids: Any) -> Any:
        hidden = self.embedding(ids) + self.place.weight[: ids.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden)
        return self.lm_head(hidden)


def batch(part: Any, seed: int, size: int = BATCH) -> Any:
    """Sequences from random places of a part of the text."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, len(part) - LENGTH - 1, (size,), generator=generator)
    return torch.stack([part[place : place + LENGTH + 1] for place in places.tolist()])


def loss_of(model: Net, sequences: Any) -> Any:
    return functional.cross_entropy(model(sequences[:, :-1]).flatten(0, 1), sequences[:, 1:].flatten())


def held_out(model: Net) -> float:
    """Loss on the last tenth of the text."""
    with torch.no_grad():
        return float(loss_of(model, batch(BYTES[CUT:], 10**6, 128)))


def new(seed: int) -> tuple[Net, Any]:
    torch.manual_seed(seed)
    model = Network()
    return model, torch.optim.AdamW(model.parameters(), lr=2e-3)


def train(
    model: Net, optimizer: Any, seed: int, steps: int = STEPS, kept: Callable[[], Any] = nullcontext,
    step: Callable[[], Any] | None = None, first: int = 0,
) -> float:  # fmt: skip
    """Train; return the CPU seconds of all steps."""
    began = time.process_time()
    for number in range(first, first + steps):
        optimizer.zero_grad()
        with kept():
            loss_of(model, batch(BYTES[:CUT], 10_000 * seed + number)).backward()
        (step or optimizer.step)()
    return time.process_time() - began


def table(title: str, rows: dict[str, list[float]], more: dict[str, str] | None = None) -> None:
    """Print rows of losses beside the first."""
    print(f"{title:<34}{'loss':>12}{'sd':>12}{'beside the first':>18}{'t':>7}")
    first = next(iter(rows.values()))
    for name, found in rows.items():
        apart = [one - other for one, other in zip(found, first, strict=True)]
        spread = statistics.stdev(apart) / len(apart) ** 0.5
        t = f"{statistics.mean(apart) / spread:+.1f}" if spread else "-"
        line = f"{name:<34}{statistics.mean(found):>12.4f}{statistics.stdev(found):>12.4f}"
        print(f"{line}{statistics.mean(apart):>+18.4f}{t:>7}{(more or {}).get(name, '')}")
    print(flush=True)


def activations_table() -> None:
    """Plain steps beside steps whose activations are packed: loss, share of the bytes, CPU."""
    ways: dict[str, dict[str, Any]] = {"plain": {}, "8 bits": {"bits": 8}, "4 bits": {"bits": 4}}
    losses: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(SEEDS):
        for name, words in ways.items():
            model, optimizer = new(seed)
            kept = (lambda words=words: activations(**words)) if words else nullcontext
            cpu[name].append(train(model, optimizer, seed, kept=kept))
            losses[name].append(held_out(model))
    more = {
        name: f"   {statistics.median(a / b for a, b in zip(cpu[name], cpu['plain'], strict=True)):.2f} x CPU"
        for name in ways
    }
    for name, words in ways.items():
        for dtype in (torch.float32, torch.bfloat16) if words else ():
            with activations(**words) as seen:
                loss_of(new(0)[0].to(dtype), batch(BYTES[:CUT], 0)).backward()
            more[name] += f", {str(dtype).removeprefix('torch.')} kept {seen.ratio:.4f}"
    table(f"activations, {STEPS} steps", losses, more)


def moments_of(model: Net) -> dict[str, Moments]:
    """Second moments of what each linear layer is fed with."""
    found: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, fed, out, name=name: found.setdefault(name, []).append(
                fed[0].detach().flatten(0, -2)
            )
        )
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        for number in range(8):
            model(batch(BYTES[:CUT], 10**7 + number)[:, :-1])
    for handle in handles:
        handle.remove()
    rows = {name: torch.cat(each).numpy() for name, each in found.items()}
    return {name: Moments([each]) for name, each in rows.items()}


def prune(model: Net, method: str) -> None:
    """Set two of each four neighbours of every linear weight to zero."""
    moments = moments_of(model)
    solvers: dict[str, Any] = {"Wanda": by_wanda, "SparseGPT": by_sparsegpt}
    with torch.no_grad():
        for name, weight in linear_weights(model):
            values = weight.numpy().copy()
            if method in solvers:
                values = solvers[method](Pruned("F32"), values, moments[name], None).values
            else:
                values = np.where(kept_of_four(np.abs(values)), values, np.float32(0))
            weight.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def sparsity_table() -> None:
    """2:4 in one shot and after tuning; a mask that moves, at equal steps."""
    after: dict[str, list[float]] = {"dense, as many steps more": []}
    shot: dict[str, list[float]] = {"dense": []}
    moving: dict[str, list[float]] = {"dense": [], "RigL": [], "SET": [], "RigL 2:4": []}
    for seed in range(SEEDS):
        model, optimizer = new(seed)
        train(model, optimizer, seed)
        shot["dense"].append(held_out(model))
        moving["dense"].append(shot["dense"][-1])
        for method in ("", "magnitude", "Wanda", "SparseGPT"):
            mine = copy.deepcopy(model)
            if method:
                prune(mine, method)
                shot.setdefault(f"2:4 by {method}", []).append(held_out(mine))
            tuner = torch.optim.AdamW(mine.parameters(), lr=1e-3)
            with masked(mine, tuner) if method else nullcontext():
                train(mine, tuner, seed, TUNING, first=STEPS)
            name = f"2:4 by {method}" if method else "dense, as many steps more"
            after.setdefault(name, []).append(held_out(mine))
        for name, rule, pattern in (
            ("RigL", "rigl", None),
            ("SET", "set", None),
            ("RigL 2:4", "rigl", (2, 4)),
        ):
            model, optimizer = new(seed)
            words: dict[str, Any] = {"every": 20, "until": STEPS * 3 // 4, "pattern": pattern, "seed": seed}
            sparse = DynamicSparse(model, optimizer, DENSITY, rule, **words)  # type: ignore[arg-type]
            train(model, optimizer, seed, step=sparse.step)
            moving[name].append(held_out(model))
    table(f"2:4 in one shot, after {STEPS} steps", shot)
    table(f"2:4 and {TUNING} masked steps", after)
    table(f"{DENSITY:.0%} of the weights, {STEPS} steps", moving)


def gradients_table() -> None:
    """Each hook on four real processes: loss, and what a rank says that it sends."""
    script = Path(__file__).parents[1] / "tests" / "compress" / "gradient_ranks.py"
    print(f"{'gradients, 4 ranks, 120 steps':<34}{'first':>8}{'last':>8}{'bytes a step and rank':>24}")
    for way in ("plain", "fp16", "int8", "powersgd", "dgc"):
        with tempfile.TemporaryDirectory() as folder:
            ranks = [
                subprocess.Popen([sys.executable, script, str(rank), way, folder], stdout=subprocess.PIPE)
                for rank in range(4)
            ]
            outputs = [rank.communicate()[0] for rank in ranks]
        found = json.loads(outputs[0].splitlines()[-1])
        sent = f"{found['counted']:,.0f}" if found["counted"] else "-"
        print(f"{way:<34}{found['first']:>8.4f}{found['last']:>8.4f}{sent:>24}", flush=True)


def main() -> None:
    """Print the tables that are asked for."""
    torch.set_num_threads(1)
    tables = {"activations": activations_table, "sparsity": sparsity_table, "gradients": gradients_table}
    for name in [word for word in tables if word in sys.argv] or tables:
        tables[name]()


if __name__ == "__main__":
    main()
