"""When steps are sampled, and how: one whose every allocation is read with its place, and the next for its
frees alone, so that what outlives a whole step is seen."""

import gc
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from ..ledger import Category
from ..recording.held_tensors import held_cache, held_gradients, held_states, held_weights, tensors_in
from .allocations import EventReader, touched
from .holders import young_tensors
from .profiler import AllocatorEvents
from .sample import AddressClaim, Assembly, HeldStorage, Sample, Survivor, storages
from .suspects import LEAST_BYTES, ends_of

EVERY = 100
MOST_SHARE = 0.005
"""Of the run's time, that looking may cost where nobody said how often to look."""
LONGEST_STEP_S = 120.0
"""A sampled step that takes longer is let go: its events would fill the host."""


class SamplingPlan:
    """Which steps are sampled: the first two, and then one in every N, which grows where looking is dear.
    Nothing with an N of 0."""

    def __init__(self, every: int | None) -> None:
        self.given = every
        self.every = every or EVERY
        self.next = 0
        self.count = 0

    def due(self, step: int) -> bool:
        """Return whether a sample begins at this step."""
        return self.given != 0 and step >= self.next

    def took(self, step: int, cost_s: float, step_s: float) -> None:
        """Note what a sample cost that ended with this step, and choose the next. Its place moves a little,
        so that it does not keep time with something of the run's own."""
        self.count += 1
        if self.count == 1:
            self.next = step
            return
        if self.given is None and step_s > 0:
            self.every = max(EVERY, int(cost_s / (MOST_SHARE * step_s)) + 1)
        turn = self.count - 1
        self.next = max(turn * self.every + turn % min(7, self.every), step + 2)

    def again(self, step: int) -> None:
        """A sample was lost: try soon."""
        self.next = step + 2


class Taken(NamedTuple):
    """A sample and what it cost."""

    sample: Sample
    cost_s: float
    num_events: int
    is_whole: bool


class Sampler:
    """Listens to the allocator during sampled steps, and notes whose memory is whose. What it does meanwhile
    is short: its own Python calls are heard too."""

    def __init__(
        self, model: Any, device: Any, optimizers: Callable[[], list[Any]], every: int | None
    ) -> None:
        self.model, self.device, self.optimizers = weakref.ref(model), device, optimizers
        self.events = AllocatorEvents()
        self.tensor = self.events.torch.Tensor
        self.num_states = 0
        self.plan = SamplingPlan(every)
        self.ends: dict[int, Callable[[], bool]] = {}
        """Whether the memory at an address is free by now, of survivors that Python shows."""
        self.waiting: Sample | None = None
        """A sample whose step is over and the frees of the next not yet."""
        self.claims: dict[str, AddressClaim] = {}
        self.blocks: list[tuple[int, str]] = []
        self.base: list[HeldStorage] = []
        self.parameters: list[tuple[Any, str]] = []
        """Weak references to the parameters that are trained, with their modules."""
        self.names: dict[int, str] = {}
        self.logits_sizes: frozenset[int] = frozenset()
        self.cost_s = 0.0
        self.vocabulary = vocabulary_of(model)
        self.lost = ""
        """Why the last sample came to nothing."""

    @property
    def running(self) -> bool:
        """Return whether a step is sampled now, with all its places."""
        return self.events.running and self.waiting is None

    def begin(self, step: int) -> None:
        """Start a sample, unless somebody else's profiler runs."""
        model = self.model()
        if model is None or not self.events.is_free():
            self.plan.again(step)
            return
        start = time.perf_counter()
        self.claims, self.blocks, self.logits_sizes, self.lost = {}, [], frozenset(), ""
        self.names = {id(module): name for name, module in model.named_modules()}
        self.parameters = [
            (weakref.ref(parameter), name.rpartition(".")[0])
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        optimizers = self.optimizers()
        self.num_states = sum(len(optimizer.state) for optimizer in optimizers)
        states = [held for optimizer in optimizers for held, _ in held_states(model, optimizer)]
        self.base = storages([*held_weights(model), *held_gradients(model), *states])
        self.events.start(True)
        self.cost_s = time.perf_counter() - start

    def phase(self, name: str) -> None:
        """A phase begins."""
        self.events.mark(f"phase {name}")

    def claim(self, places: list[tuple[int, Category, str]], is_all_gradients: bool = False) -> None:
        """From now on it is known whose this memory is."""
        text = f"held {len(self.claims)}"
        self.claims[text] = AddressClaim(places, is_all_gradients)
        self.events.mark(text)

    def inputs(self, arguments: Any, named: Any) -> None:
        """The model is called with these."""
        tensors = [*tensors_in(list(arguments)), *tensors_in(dict(named))]
        self.claim([(self.address(each), "inputs", "") for each in tensors if not each.requires_grad])
        self.gradients()

    def output(self, output: Any) -> None:
        """The model returned this: logits among it, and a cache."""
        cache = getattr(output, "past_key_values", None)
        if cache is not None:
            self.claim([(self.address(held.tensor), "kv_cache", "") for held in held_cache(cache)])
        found = dict(output) if hasattr(output, "keys") else output
        self.logits_sizes |= {
            tensor.numel() * width
            for tensor in tensors_in(found if isinstance(found, (list, tuple, dict)) else [found])
            if tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary
            for width in (tensor.element_size(), 4)
        }

    def block(self, name: str) -> None:
        """A block's forward begins: nodes of autograd made from here on are its."""
        self.blocks.append((self.events.torch.autograd._get_sequence_nr(), name))

    def gradients(self) -> None:
        """What lies in `.grad` now are all gradients that there are."""
        places: list[tuple[int, Category, str]] = []
        for reference, module in self.parameters:
            parameter = reference()
            gradient = None if parameter is None else parameter.grad
            if gradient is not None:
                places.append((self.address(gradient), "gradients", module))
        self.claim(places, True)

    def states(self) -> None:
        """What optimizers keep now, if they keep more than when the sample began."""
        optimizers = self.optimizers()
        num_states = sum([len(optimizer.state) for optimizer in optimizers])
        if num_states == self.num_states:
            return
        self.num_states = num_states
        homes = {id(reference()): module for reference, module in self.parameters}
        places: list[tuple[int, Category, str]] = []
        for optimizer in optimizers:
            for parameter, states in optimizer.state.items():
                module = homes.get(id(parameter), "")
                for value in states.values() if type(states) is dict else ():
                    if isinstance(value, self.tensor):
                        places.append((self.address(value), "optimizer", module))
        self.claim(places)

    def address(self, tensor: Any) -> int:
        """Return where a tensor's memory lies, of a distributed one the shard's; 0 if it has none."""
        if type(tensor) is self.tensor:
            return int(tensor.data_ptr())
        try:
            return int(getattr(tensor, "_local_tensor", tensor).data_ptr())
        except RuntimeError:  # a subclass that wraps others, a fake tensor
            return 0

    def sampled(self, step: int, step_s: float) -> Taken | None:
        """The sampled step is over: return what was seen, and wait for the end of the next to know what
        outlives it. Of tensors that Python shows their own count tells; for others the next step's frees are
        listened to.
        """
        if self.events.pushed_aside or self.events.is_overheard():
            self.drop(step, "another profiler was started")
            return None
        self.states()
        taken = self.finish(step, True)
        if taken is None or step_s > LONGEST_STEP_S or not self.plan.count:
            return taken  # the step after the first is read whole
        start = time.perf_counter()
        self.waiting = taken.sample
        self.ends = ends_of(
            young_tensors({each.pointer for each in taken.sample.survivors}), self.events.torch
        )
        hidden = [each.bytes for each in taken.sample.survivors if each.pointer not in self.ends]
        if sum(hidden) >= LEAST_BYTES:
            self.events.start(False)
        return taken._replace(cost_s=taken.cost_s + time.perf_counter() - start)

    def outlived(self) -> tuple[tuple[Survivor, ...], float]:
        """The step after is over: return what of the sampled step is still alive, and what looking cost."""
        start = time.perf_counter()
        sample, self.waiting = self.waiting, None
        tree = self.events.stop()
        if sample is None:
            return (), 0.0
        gone = {pointer for pointer, ended in self.ends.items() if ended()}
        if tree is not None:
            gone |= touched(tree[1:]) - self.ends.keys()
            left = [each for each in sample.survivors if each.pointer not in gone]
        else:
            left = [
                each for each in sample.survivors if each.pointer in self.ends and each.pointer not in gone
            ]
        self.ends = {}
        return tuple(left), time.perf_counter() - start

    def finish(self, step: int, is_whole: bool) -> Taken | None:
        """Stop and return what was seen of the step that ends or dies now."""
        start = time.perf_counter()
        tree = self.events.stop()
        if tree is None:
            return None
        collects = gc.isenabled()
        gc.disable()  # reading makes many short-lived objects and no circle
        try:
            allocations = EventReader(self.names, self.device, self.blocks, self.events.marks).read(tree[1:])
            assembly = Assembly(allocations, self.base, self.claims, self.logits_sizes)
            sample = assembly.build(step)
        finally:
            if collects:
                gc.enable()
        self._clear()
        cost_s = self.cost_s + time.perf_counter() - start
        return Taken(sample, cost_s, len(allocations.rows), is_whole)

    def drop(self, step: int, why: str) -> None:
        """Forget the sample that runs."""
        self.events.stop()
        self._clear()
        self.waiting, self.ends, self.lost = None, {}, why
        self.plan.again(step)

    def _clear(self) -> None:
        self.base, self.claims, self.blocks, self.parameters = [], {}, [], []


def vocabulary_of(model: Any) -> int:
    """Return how many tokens a model knows: its configuration says so, or else its largest embedding has as
    many rows; 0 without either."""
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else config
    given = getattr(text, "vocab_size", 0)
    if isinstance(given, int) and given:
        return given
    return max(
        (int(each.num_embeddings) for each in model.modules() if hasattr(each, "num_embeddings")), default=0
    )
