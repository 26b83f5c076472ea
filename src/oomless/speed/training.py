"""How fast will it train? A model, a training question and hardware -> step time, tokens a second, share of
the peak."""

from math import log, prod
from typing import NamedTuple

from ..errors import OomlessError, UsageError
from ..estimate.training.estimate import TrainingEstimate
from ..model.feedforward import MoE
from ..model.model import Model
from ..run.hardware import Hardware
from ..run.training import Mesh, Recipe, TrainingAsked, TrainingResolved, optimizer, recipe, resolved
from .band import Evidence, bound, figure
from .banded import Figure, Part
from .collectives import all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from .efficiency import value
from .machine import Machine, machines_of
from .network import Network, network


class TrainingSpeed(NamedTuple):
    """The answer for one optimizer step of the whole machine."""

    step_s: Figure
    tokens_per_s: Figure
    """Of all cards."""
    mfu: Figure
    """Model operations (3 x forward, recomputation not counted) over the peak of all cards in the matrices'
    type."""
    tokens_per_step: int
    model_flops: float
    """Operations of the model in a step, recomputation not counted."""
    peak_flops_per_s: float
    parts: tuple[Part, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return {
            "step_s": self.step_s.to_json(),
            "tokens_per_s": self.tokens_per_s.to_json(),
            "mfu": self.mfu.to_json(),
            "tokens_per_step": self.tokens_per_step,
            "model_flops": self.model_flops,
            "parts": [part._asdict() for part in self.parts],
            "warnings": list(self.warnings),
        }


def training_speed(model: Model, asked: TrainingAsked, hardware: Hardware) -> TrainingSpeed:
    """The speed of a step. Every rank is taken for equal but for the pipeline's stages, which divide the
    layers evenly.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> seven = TrainingAsked(framework="torchtitan", micro_batch=1, seq_len=4096)
    >>> 0.2 < training_speed(load("deepseek-llm-7b"), seven, parse_gpu("h100:8")).mfu.value < 0.6
    True
    """
    chosen = resolved(asked, model.max_positions)
    length = chosen.seq_len
    mesh = _filled(chosen.mesh, hardware)
    machine = machines_of(hardware)[0]
    net = network(model, None)
    states = recipe(chosen.precision)
    work = Work(model, chosen, mesh, hardware, machine, net, states, length)
    tokens = chosen.micro_batch * length * chosen.grad_accum * mesh.dp
    parts = work.parts()
    step_s = sum(part.seconds for part in parts)
    flops = 3 * work.forward_flops(tokens) if chosen.method == "full" else 2 * work.forward_flops(tokens)
    peak = machine.peak(work.kind) * hardware_ranks(mesh)
    step = figure(
        step_s, "train", Evidence(machine.device, "train", nodes=mesh.num_ranks > hardware.per_node)
    )
    warnings: tuple[str, ...] = ()
    if machine.device == "other":
        least_s = (flops + work.forward_flops(tokens) * (chosen.recompute == "full")) / peak
        step = bound(least_s)
        parts = (
            Part(
                "matrix units",
                least_s,
                f"{flops:.4g} operations at the full rate of all cards",
                "hardware.csv",
            ),
        )
        warnings = (
            f"no training was measured on cards like {machine.name}: the figures are what "
            "its matrix units allow at best",
        )
    return TrainingSpeed(
        step, step.over(tokens), step.over(flops / peak), tokens, flops, peak, parts, warnings
    )


def speed_of_estimate(estimate: TrainingEstimate) -> tuple[TrainingSpeed | None, str]:
    """(the speed of an estimate's step, why there is none): of what fits, and of a policy that trains alone.

    >>> from ..estimate.training.estimate import estimate_training
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> speed_of_estimate(
    ...     estimate_training(load("deepseek-v3"), TrainingResolved(framework="fsdp"), parse_gpu("h100:8"))
    ... )[1]
    'it does not fit'
    """
    if estimate.verdict == "does_not_fit":
        return None, "it does not fit"
    if estimate.after is not None:
        return None, "models beside the policy take their own time, which was not measured"
    try:
        return training_speed(
            estimate.model, estimate.request._replace(mesh=estimate.mesh), estimate.hardware
        ), ""
    except OomlessError as error:
        return None, error.message


def hardware_ranks(mesh: Mesh) -> int:
    """Cards that take part."""
    return mesh.num_ranks


def _filled(mesh: Mesh, hardware: Hardware) -> Mesh:
    """The mesh with its data-parallel size: what the cards leave."""
    inner = mesh.tp * mesh.pp * mesh.cp
    if mesh.dp:
        if mesh.num_ranks > hardware.num_gpus:
            raise UsageError(
                f"the mesh needs {mesh.num_ranks} cards, --gpu gives {hardware.num_gpus}",
                "ask for more cards or smaller sizes",
            )
        return mesh
    if hardware.num_gpus % inner:
        raise UsageError(
            f"tp x pp x cp = {inner} does not divide {hardware.num_gpus} cards",
            "choose sizes that divide them",
        )
    return mesh._replace(dp=hardware.num_gpus // inner)


class Work(NamedTuple):
    """A step, taken apart."""

    model: Model
    asked: TrainingResolved
    mesh: Mesh
    hardware: Hardware
    machine: Machine
    net: Network
    states: Recipe
    length: int

    @property
    def kind(self) -> str:
        """The type of the matrix products."""
        if "fp8" in self.states.name and dict(self.machine.flops_per_s).get("fp8"):
            return "fp8"
        return (
            "bf16" if self.states.compute == 2 else "fp32"
        )  # torch multiplies FP32 in FP32 unless it is told otherwise

    @property
    def conditions(self) -> frozenset[str]:
        return frozenset(
            (self.kind, self.machine.architecture.split(" ")[0].lower(), self.asked.kernels or "")
        )

    def forward_flops(self, tokens: float) -> float:
        """Operations of a forward pass: two a value of every matrix that a token passes, and attention over
        half of the sequence."""
        attention = sum(
            cache.num_layers
            * cache.prefill_flops
            * (min(cache.limit, self.length / 2) if cache.limit else self.length / 2)
            for cache in self.net.caches
        )
        return tokens * (2 * self.net.active_params + attention)

    def seconds_of(self, flops: float) -> float:
        return (
            flops
            / self.machine.peak(self.kind)
            / value("matrix", self.machine.device, "train", self.conditions)
        )

    def parts(self) -> tuple[Part, ...]:
        """Compute, exposed communication, bubble and optimizer of a step on one rank."""
        asked, mesh = self.asked, self.mesh
        tokens = asked.micro_batch * self.length / mesh.cp
        share = 1 / (mesh.tp * mesh.pp)
        forward = self.forward_flops(tokens) * share
        backward = forward * (2 if asked.method == "full" else 1)
        again = self._recomputed(forward)
        imbalance = asked.expert_imbalance if self.net.experts else 1.0
        compute_s = [self.seconds_of(flops) * imbalance for flops in (forward, backward, again)]
        bandwidth = self.machine.bytes_per_s * value("weights", self.machine.device)
        layers = self.net.num_layers / mesh.pp
        passes = value("train_passes", "", "", self.conditions)
        moved = (
            layers
            * passes
            * tokens
            * self.net.hidden
            * self.states.compute
            / (mesh.tp if mesh.sequence_parallel else 1)
        )
        moved_s = moved / bandwidth * (1 + again / (forward + backward))
        inside_s = self._inside(tokens, layers, again > 0)
        micro_s = sum(compute_s) + moved_s + inside_s
        bubble_s = self._bubble(micro_s, compute_s)
        gather_total, reduce_total, words = self._data_parallel()
        backward_s = compute_s[1] + compute_s[2]
        overlap = value("overlap", "train")
        hidden_s = min(gather_total, overlap * asked.grad_accum * (compute_s[0] + backward_s)) + min(
            reduce_total, overlap * backward_s * (asked.grad_accum if self._gathers_each else 1)
        )
        exposed_s = gather_total + reduce_total - hidden_s * (1 - value("contention", "train"))
        waiting_s = asked.grad_accum * micro_s * value("jitter", "train") * (2 * log(mesh.num_ranks)) ** 0.5
        optimizer_s = self._optimizer()
        n = asked.grad_accum
        found = (
            Part(
                "forward",
                compute_s[0] * n,
                f"{n} x {forward:.4g} operations / (peak x share reached)",
                "speed.csv: matrix train",
            ),
            Part("backward", compute_s[1] * n, f"{n} x {backward:.4g} operations", "speed.csv: matrix train"),
            Part(
                "recomputation", compute_s[2] * n, f"{n} x {again:.4g} operations", "speed.csv: matrix train"
            ),
            Part(
                "elementwise",
                moved_s * n,
                f"{n} x {moved:.4g} B / bandwidth: {passes:g} passes a layer",
                "speed.csv: train_passes",
            ),
            Part(
                "tensor, context and expert parallelism",
                inside_s * n,
                f"{n} micro-batches, not hidden",
                "speed/collectives.py",
            ),
            Part(
                "pipeline bubble",
                bubble_s,
                f"{mesh.schedule}, {mesh.pp} stages, {n} micro-batches",
                "speed/training.py",
            ),
            Part("data parallelism, not hidden", exposed_s, words, "speed/collectives.py"),
            Part(
                "waiting for the slowest",
                waiting_s,
                f"{mesh.num_ranks} ranks: jitter x sqrt(2 ln ranks)",
                "speed.csv: jitter",
            ),
            Part("optimizer", optimizer_s, "states read and written once", "recipes.csv, optimizers.csv"),
            Part(
                "host",
                value("host", self.machine.device, "train"),
                "data, logging, launches that nothing hides",
                "speed.csv: host",
            ),
        )
        return tuple(part for part in found if part.seconds > 0)

    def _recomputed(self, forward: float) -> float:
        """Operations that the backward pass does again: the layers of full recomputation, attention alone of
        selective."""
        asked = self.asked
        head = (
            2
            * self.net.head.params
            * asked.micro_batch
            * self.length
            / self.mesh.cp
            / self.mesh.tp
            / self.mesh.pp
        )
        match asked.recompute:
            case "full":
                some = (
                    min(asked.recompute_num_layers or self.net.num_layers, self.net.num_layers)
                    / self.net.num_layers
                )
                return max(forward - head, 0) * some
            case "selective":
                matrices = (
                    2
                    * self.net.active_params
                    * asked.micro_batch
                    * self.length
                    / self.mesh.cp
                    / self.mesh.tp
                    / self.mesh.pp
                )
                return max(forward - matrices, 0)
        return 0.0

    def _inside(self, tokens: float, layers: float, again: bool) -> float:
        """Seconds of the collectives within a layer: forward, backward and, where it is computed again, once
        more."""
        mesh, per_node = self.mesh, self.hardware.per_node
        message = tokens * self.net.hidden * self.states.compute
        total = 0.0
        if mesh.tp > 1:
            total += (
                (6 if again else 4) * layers * all_reduce_s(fabric(self.machine, mesh.tp, per_node), message)
            )
        moe = sum(isinstance(layer.ffn, MoE) for layer in self.model.layers) / mesh.pp
        if mesh.ep > 1 and moe:
            active = self.net.experts[0].num_active
            sent = message * active / (mesh.tp if mesh.sequence_parallel else 1)
            total += (6 if again else 4) * moe * all_to_all_s(fabric(self.machine, mesh.ep, per_node), sent)
        if mesh.cp > 1:
            keys = (
                sum(cache.num_layers * cache.read for cache in self.net.caches)
                / mesh.pp
                / mesh.tp
                * tokens
                * self.states.compute
            )
            total += (
                max(
                    3 * gather_s(fabric(self.machine, mesh.cp, max(per_node // mesh.tp, 1)), keys * mesh.cp)
                    - 0.0,
                    0.0,
                )
                / 3
            )
        if mesh.pp > 1:
            line = fabric(self.machine, mesh.pp, 1 if mesh.tp * mesh.cp >= per_node else per_node)
            total += 2 * send_s(line, message / mesh.tp) * mesh.virtual_stages
        return total

    def _bubble(self, micro_s: float, compute_s: list[float]) -> float:
        """Idle seconds of a stage: (stages - 1) micro-batches, divided by the chunks of an interleaved
        schedule.

        Zero-bubble schedules fill it with weight gradients: a third of it stays (zb1p), nearly nothing (zbv,
        dualpipe).
        """
        idle = (self.mesh.pp - 1) * micro_s
        match self.mesh.schedule:
            case "interleaved":
                return idle / self.mesh.virtual_stages
            case "zb1p":
                return idle / 3
            case "zbv" | "dualpipe" | "dualpipev":
                return idle / 6
        return idle

    @property
    def _gathers_each(self) -> bool:
        """Whether weights are gathered for each micro-batch."""
        return self.asked.sharding in ("zero3", "fsdp1", "fsdp2", "hsdp", "megatron_fsdp")

    def _data_parallel(self) -> tuple[float, float, str]:
        """(seconds of gathering weights, seconds of reducing gradients, in words) of a step, before anything
        is hidden."""
        mesh, asked = self.mesh, self.asked
        ranks = mesh.dp * mesh.cp
        if ranks <= 1:
            return 0.0, 0.0, "one data-parallel rank"
        here = max(self.hardware.per_node // (mesh.tp * mesh.pp), 1)
        group = fabric(self.machine, min(mesh.shard_size or ranks, ranks), here)
        held = self._held_params()
        weights, gradients = held * self.states.compute, self._trained(held) * max(self.states.gradient, 2)
        if self._gathers_each:
            times = 2 * asked.grad_accum
            reduce_s = asked.grad_accum * gather_s(group, gradients)
            if mesh.shard_size and mesh.shard_size < ranks:
                reduce_s += all_reduce_s(
                    fabric(self.machine, ranks // mesh.shard_size, 1), gradients / mesh.shard_size
                )
            return (
                times * gather_s(group, weights),
                reduce_s,
                f"{times} gathers of {weights:.4g} B, {asked.grad_accum} reductions",
            )
        if asked.sharding in ("zero1", "zero2", "distopt"):
            return (
                gather_s(group, weights),
                gather_s(group, gradients),
                f"one gather of {weights:.4g} B, one reduction of {gradients:.4g} B",
            )
        return 0.0, all_reduce_s(group, gradients), f"one all-reduce of {gradients:.4g} B over {ranks}"

    def _held_params(self) -> float:
        """Parameters of a rank before data-parallel sharding."""
        mesh = self.mesh
        experts = sum(
            prod((each.num_layers, each.num_experts)) * each.params_each for each in self.net.experts
        )
        rest = self.model.num_parameters - experts
        return rest / mesh.tp / mesh.pp + experts / mesh.pp / max(mesh.ep, mesh.tp)

    def _trained(self, held: float) -> float:
        """Parameters of them that get gradients: all, or adapters of the asked rank on the matrices of a
        layer."""
        if self.asked.method == "full":
            return held
        rank = self.asked.lora_rank
        per_layer = 4 if self.asked.lora_targets != ("all-linear",) else 7
        return self.net.num_layers * per_layer * 2 * rank * self.net.hidden / self.mesh.tp / self.mesh.pp

    def _optimizer(self) -> float:
        """Seconds of the optimizer: gradient, master copy and moments read, master, moments and weight
        written; or over PCIe."""
        asked = self.asked
        trained = self._trained(self._held_params())
        if asked.sharding in (
            "zero1",
            "zero2",
            "zero3",
            "fsdp1",
            "fsdp2",
            "hsdp",
            "distopt",
            "megatron_fsdp",
        ):
            trained /= min(self.mesh.shard_size or self.mesh.dp * self.mesh.cp, self.mesh.dp * self.mesh.cp)
        used = optimizer(asked.optimizer)
        moment = used.moment_bits / 8 if used.moment_bits else self.states.moment
        each = (
            self.states.gradient + 2 * (self.states.master + used.moments * moment) + 2 * self.states.weight
        )
        rate = self.machine.bytes_per_s * value("weights", self.machine.device)
        if "optimizer" in asked.offload:
            rate = (self.machine.pcie_bytes_per_s or rate) * value("wire", "pcie")
        return trained * each / rate
