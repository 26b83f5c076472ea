# mypy: ignore-errors
# Its types are torch's, which not every machine that checks types has.
"""What one rank does in the real checks: single collectives, and training steps. Run by ranks.py; nothing
here is imported by tests."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from estimate.ranks import sent_bytes


def count(act: Callable[[], object]) -> int:
    """Bytes that this rank sends while it acts; two bare barriers of some hundred bytes are among them."""
    dist.barrier()
    before = sent_bytes()
    act()
    dist.barrier()
    return sent_bytes() - before


def collectives(rank: int, world: int, numel: int) -> dict[str, int]:
    """Bytes that gloo sends for each collective of `numel` F32."""
    whole, part = torch.ones(numel), torch.ones(numel // world)
    return {
        "all-reduce": count(lambda: dist.all_reduce(whole)),
        "all-gather": count(lambda: dist.all_gather_into_tensor(whole, part)),
        "reduce-scatter": count(lambda: dist.reduce_scatter_tensor(part, whole)),
        "all-to-all": count(lambda: dist.all_to_all_single(torch.empty(numel), whole)),
    }


def llama(config: dict[str, Any]) -> nn.Module:
    """A network of transformers, initialised alike on every rank."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model: nn.Module = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="sdpa", use_cache=False))
    return model


def batch(config: dict[str, Any], micro_batch: int, seq_len: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, config["vocab_size"], (micro_batch, seq_len))


def step(model: nn.Module, ids: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step as trainers take it."""
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def second_step(model: nn.Module, ids: torch.Tensor) -> int:
    """Bytes that one rank sends in the second step: the first one sets buckets and buffers up."""
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    step(model, ids, optimizer)
    return count(lambda: step(model, ids, optimizer))


def ddp(rank: int, world: int, config: dict[str, Any], micro_batch: int, seq_len: int) -> int:
    from torch.nn.parallel import DistributedDataParallel

    return second_step(DistributedDataParallel(llama(config)), batch(config, micro_batch, seq_len))


def shard(model: Any) -> None:
    """FSDP2 as its tutorial has it: a unit for each layer, the rest is the root."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def fsdp2(
    rank: int, world: int, config: dict[str, Any], micro_batch: int, seq_len: int, checkpoint: bool = False
) -> int:
    model: Any = llama(config)
    if checkpoint:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    shard(model)
    return second_step(model, batch(config, micro_batch, seq_len))


def cut(model: Any, world: int, apart: bool) -> None:
    """Tensor parallelism in one dimension with DTensor, logits gathered; `apart`: each module takes plain
    tensors, as transformers does."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (world,))
    plan: dict[str, Any] = {
        "model.embed_tokens": RowwiseParallel(input_layouts=Replicate()),
        "lm_head": ColwiseParallel(output_layouts=Replicate()),
    }
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
        plan[f"model.layers.*.{name}"] = ColwiseParallel()
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        plan[f"model.layers.*.{name}"] = RowwiseParallel()
    if not apart:
        whole = Replicate()
        hidden = {"hidden_states": whole}
        plan["model.layers.*.self_attn"] = PrepareModuleInput(
            input_kwarg_layouts=hidden, desired_input_kwarg_layouts=hidden
        )
        plan["model.layers.*.mlp"] = PrepareModuleInput(
            input_layouts=(whole,), desired_input_layouts=(whole,)
        )
    parallelize_module(model, mesh, plan)


def tp(
    rank: int,
    world: int,
    config: dict[str, Any],
    micro_batch: int,
    seq_len: int,
    checkpoint: bool = False,
    apart: bool = False,
) -> int:
    model: Any = llama(config)
    if checkpoint:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    cut(model, world, apart)
    return second_step(model, batch(config, micro_batch, seq_len))


class Summa(torch.autograd.Function):
    """A product in two dimensions: both operands are broadcast along rows and columns of ranks, the output
    stays where it is."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, grid: "Grid") -> torch.Tensor:
        ctx.save_for_backward(a, b)
        ctx.grid = grid
        out = a.new_zeros(a.shape[0], b.shape[1])
        for turn in range(grid.q):
            out += grid.along_row(a, turn) @ grid.along_column(b, turn)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (grad,), (a, b), grid = grads, ctx.saved_tensors, ctx.grid
        of_a, of_b = torch.empty_like(a), torch.empty_like(b)
        for turn in range(grid.q):
            grid.sum_row(grad @ grid.along_column(b, turn).T, turn, of_a)
            grid.sum_column(grid.along_row(a, turn).T @ grad, turn, of_b)
        return of_a, of_b, None


class Grid:
    """q x q ranks with a group for each row and each column."""

    def __init__(self, rank: int, world: int) -> None:
        self.q = int(world**0.5)
        self.row, self.column = divmod(rank, self.q)
        rows = [dist.new_group([i * self.q + j for j in range(self.q)]) for i in range(self.q)]
        columns = [dist.new_group([i * self.q + j for i in range(self.q)]) for j in range(self.q)]
        self.of_row, self.of_column = rows[self.row], columns[self.column]

    def along_row(self, mine: torch.Tensor, turn: int) -> torch.Tensor:
        got = mine.clone() if turn == self.column else torch.empty_like(mine)
        dist.broadcast(got, self.row * self.q + turn, self.of_row)
        return got

    def along_column(self, mine: torch.Tensor, turn: int) -> torch.Tensor:
        got = mine.clone() if turn == self.row else torch.empty_like(mine)
        dist.broadcast(got, turn * self.q + self.column, self.of_column)
        return got

    def sum_row(self, part: torch.Tensor, turn: int, into: torch.Tensor) -> None:
        dist.reduce(part, self.row * self.q + turn, group=self.of_row)
        if turn == self.column:
            into.copy_(part)

    def sum_column(self, part: torch.Tensor, turn: int, into: torch.Tensor) -> None:
        dist.reduce(part, turn * self.q + self.column, group=self.of_column)
        if turn == self.row:
            into.copy_(part)


def dimensions(rank: int, world: int, hidden: int, tokens: int) -> dict[str, Any]:
    """Bytes of h -> 4h -> h forward and backward in one and in two dimensions, and how far the two gradients
    of weights are apart."""
    torch.manual_seed(0)
    x, up, down = (
        torch.randn(tokens, hidden),
        torch.randn(hidden, 4 * hidden) * 0.02,
        torch.randn(4 * hidden, hidden) * 0.02,
    )
    grid = Grid(rank, world)

    def blocks(whole: torch.Tensor) -> torch.Tensor:
        return whole.chunk(grid.q, 0)[grid.row].chunk(grid.q, 1)[grid.column].clone().requires_grad_()

    parts = [blocks(each) for each in (x, up, down)]
    two = count(
        lambda: (
            Summa.apply(torch.relu(Summa.apply(parts[0], parts[1], grid)), parts[2], grid).sum().backward()
        )
    )
    mine = [
        x.clone().requires_grad_(),
        up.chunk(world, 1)[rank].clone().requires_grad_(),
        down.chunk(world, 0)[rank].clone().requires_grad_(),
    ]

    def one_dimension() -> None:
        out = torch.relu(mine[0] @ mine[1]) @ mine[2]
        dist.all_reduce(out.detach())
        out.sum().backward()
        dist.all_reduce(mine[0].grad)

    one = count(one_dimension)
    assert mine[0].grad is not None
    apart = (blocks(mine[0].grad).detach() - parts[0].grad).abs().max()
    return {"one": one, "two": two, "apart": float(apart)}


class Chunk(nn.Module):
    """Layers of a pipeline chunk, with embedding and head where they belong."""

    def __init__(self, model: Any, layers: range, first: bool, last: bool) -> None:
        super().__init__()
        self.embed = model.model.embed_tokens if first else None
        self.layers = nn.ModuleList(model.model.layers[index] for index in layers)
        self.rotary = model.model.rotary_emb
        self.norm, self.head = (model.model.norm, model.lm_head) if last else (None, None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.embed is not None:
            x = self.embed(x)
        places = torch.arange(x.shape[1]).unsqueeze(0)
        angles = self.rotary(x, places)
        for layer in self.layers:
            x = layer(x, position_embeddings=angles)
        return self.head(self.norm(x)) if self.head is not None and self.norm is not None else x


def pipe(
    rank: int, world: int, config: dict[str, Any], schedule: str, virtual: int, micro_batches: int
) -> Any:
    """A schedule of torch.distributed.pipelining, and this rank's chunks."""
    from torch.distributed import pipelining

    model = llama(config)
    chunks, num = world * virtual, config["num_hidden_layers"]
    size = num // chunks
    held = [
        Chunk(model, range(index * size, (index + 1) * size), index == 0, index == chunks - 1)
        for index in range(rank, chunks, world)
    ]
    mine = [
        pipelining.PipelineStage(chunk, index, chunks, torch.device("cpu"))
        for chunk, index in zip(held, range(rank, chunks, world), strict=True)
    ]

    def loss(out: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(out.flatten(0, 1).float(), ids.flatten())

    kinds: dict[str, Any] = {
        "gpipe": pipelining.ScheduleGPipe,
        "1f1b": pipelining.Schedule1F1B,
        "interleaved": pipelining.ScheduleInterleaved1F1B,
    }
    return kinds[schedule](mine if schedule == "interleaved" else mine[0], micro_batches, loss_fn=loss), held


def run_pipe(schedule: Any, rank: int, world: int, ids: torch.Tensor) -> None:
    """One flush: the first rank is given ids, the last one labels."""
    arguments = (ids,) if rank == 0 else ()
    schedule.step(*arguments, return_outputs=False, **({"target": ids} if rank == world - 1 else {}))


def pp(
    rank: int,
    world: int,
    config: dict[str, Any],
    schedule: str,
    virtual: int,
    micro_batches: int,
    micro_batch: int,
    seq_len: int,
) -> int:
    made, _ = pipe(rank, world, config, schedule, virtual, micro_batches)
    ids = batch(config, micro_batches * micro_batch, seq_len)
    run_pipe(made, rank, world, ids)
    return count(lambda: run_pipe(made, rank, world, ids))
