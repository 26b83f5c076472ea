"""`watch(model, optimizer)`: a run is watched from here to the end of the block."""

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..ledger import Line
from .counters import Counter, counter_of, resident_bytes, resident_peak_bytes, room_of
from .deaths import death_of
from .entries import Entry, MemoryDeath, RunEnd, RunQuestion, WatchedStep
from .expected import as_entries, first_look, look_text
from .forks import LIVE
from .guard import Guard, say
from .hooks import Hooks, set_hooks
from .journal import MAX_FOLDER_BYTES, RunJournal
from .kept import KeptSamples
from .leaks import Leaks, Surroundings
from .model_parts import device_of, first_tensor, parts_of
from .phases import PhaseName, Phases
from .place import journal_path, place_of
from .post_mortem import optimizer_name
from .question import autocast_of, question_of
from .sampler import Sampler, Taken
from .start_line import start_line

LOOK_AFTER = 2
"""Steps until the peak is laid beside its prediction: the second one finds the optimizer's states."""
AFTER_COMPILING = 4
"""Steps until a compiled model is sampled."""


class Watch:
    """A run that is watched. As a context manager, or by `begin` and `end`."""

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        run: str | os.PathLike[str] | None = None,
        every: int | None = None,
        expect: Any = None,
        predict: Callable[[dict[str, Any]], tuple[Line, ...]] | None = None,
    ) -> None:
        self.place = place_of(run)
        self.predicted: tuple[Line, ...] = tuple(expect.ledger.lines) if expect is not None else ()
        self.predict = predict
        """Makes a prediction of what a run would have asked, where none was given."""
        self.autocast = ""
        self.model = weakref.ref(model)
        self.given = optimizer
        self.every = every
        self.seen: list[Any] = []
        """Weak references to the optimizers that stepped."""
        self.guard = Guard(self._write, self._off)
        self.hooks: Hooks | None = None
        self.journal: RunJournal | None = None
        self.sampler: Sampler | None = None
        self.counter: Counter | None = None
        self.block = ""
        self.batch: tuple[int, ...] = ()
        self.tokens = 0
        self.watching_s = 0.0
        self.highest_bytes = 0
        self.unseen_bytes = 0
        """What the counter shows and no sample sees: of the process, and of others in it."""
        self.step_highest = self.step_kept = self.before_forward = 0
        self.step_s = 0.0
        self.looks_later = False
        self.ended = False

    # the block

    def __enter__(self) -> "Watch":
        self.begin()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.end(error)

    @property
    def folder(self) -> str:
        """Return the folder of the run."""
        return str(self.place.folder)

    def begin(self) -> None:
        """Set hooks and write the first line."""
        self.guard.call("the start", self._begin)

    def _begin(self) -> None:
        model = self.model()
        parts, device = parts_of(model), device_of(model)
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.journal = RunJournal(journal_path(self.place), MAX_FOLDER_BYTES // self.place.num_local)
        self.kept = KeptSamples(self.journal.path, MAX_FOLDER_BYTES // self.place.num_local)
        self.counter = counter_of(device)
        self.device = device
        self.phases = Phases(time.perf_counter, self._moved, self._step_ended)
        self.leaks = Leaks(
            Surroundings(
                self._write, lambda: room_of(self.device), self.model, self.optimizers, lambda: self.batch
            )
        )
        self.sampler = Sampler(model, device, self.optimizers, self.every)
        if parts.compiled:
            self.sampler.plan.next = (
                AFTER_COMPILING  # the first steps compile: their Python calls are without number
            )
        vocabulary, every = self.sampler.vocabulary, self.every or 0
        counted = self.counter.name
        self._write(start_line(model, parts, device, self.place, counted, every, vocabulary, self.predicted))
        self.began = time.perf_counter()
        self.hooks = set_hooks(parts, self, self.guard)
        LIVE.add(self)
        if self.sampler.plan.due(0):
            self._begin_sample(0)

    def end(self, error: BaseException | None = None) -> None:
        """Take everything away and write the last line."""
        if self.ended:
            return
        self.ended = True
        if error is not None:
            self.guard.call("the end of a run that failed", self._died, error)
        self.guard.call("the end", self._end, error)
        self._off()

    def _end(self, error: BaseException | None) -> None:
        if self.sampler is not None and self.sampler.events.running:
            self.sampler.drop(self.phases.step, "the run ended")
        how = (
            "done"
            if error is None or (isinstance(error, SystemExit) and not error.code)
            else type(error).__name__
        )
        self._write(
            RunEnd(
                self.phases.step,
                time.time(),
                how,
                round(time.perf_counter() - self.began, 3),
                round(self.watching_s, 3),
                self.highest_bytes,
                resident_peak_bytes(),
            )
        )

    def _off(self) -> None:
        """Leave nothing behind."""
        LIVE.discard(self)
        if self.hooks is not None:
            self.hooks.remove()
        if self.sampler is not None and self.sampler.events.running:
            self.sampler.events.stop()
        if self.journal is not None:
            journal, self.journal = self.journal, None
            journal.close()

    def pause(self) -> None:
        """Before a fork: let go of a sample that runs."""
        if self.sampler is not None and self.sampler.events.running:
            self.guard.call("a fork", self.sampler.drop, self.phases.step, "the process forked")

    def forget(self) -> None:
        """In a child of a fork: the run belongs to the parent."""
        self.guard.is_off = self.ended = True
        if self.hooks is not None:
            self.hooks.remove()
        if self.journal is not None:
            self.journal.forget()
            self.journal = None

    # what hooks tell

    def forward_begins(self, model: Any, arguments: Any, named: Any) -> None:
        """The model is called."""
        assert self.counter is not None
        assert self.sampler is not None
        torch = self.sampler.events.torch
        trains = torch.is_grad_enabled() and model.training
        outermost = not (self.phases.depth["forward"] or self.phases.depth["backward"])
        self.phases.forward_begins(trains)
        first = first_tensor(arguments, named)
        if first is not None:
            self.batch, self.tokens = tuple(first.shape), first.numel()
        if trains and outermost and not self.phases.step:  # the question is asked after the first
            self.autocast = autocast_of(torch)
        if self.sampler.running and outermost:
            self.sampler.inputs(arguments, named)

    def forward_ends(self, output: Any) -> None:
        """The call is over."""
        assert self.sampler is not None
        self.phases.forward_ends()
        if self.sampler.running and self.phases.phase in ("forward", "evaluation"):
            self.sampler.output(output)

    def block_begins(self, name: str) -> None:
        """A block of the model is called."""
        self.block = name
        if self.sampler is not None and self.sampler.running:
            self.sampler.block(name)

    def gradient_done(self, name: str) -> None:
        """The first parameter of a block has its gradient."""
        self.block = name

    def backward_begins(self) -> None:
        """The engine of autograd starts."""
        self.phases.backward_begins()

    def backward_ends(self) -> None:
        """The engine of autograd is done."""
        self.phases.backward_ends()
        if self.looks_later and not self.phases.depth["backward"]:
            self.looks_later = False
            self._look_closer(self.phases.step, self.step_s)

    def backward_failed(self) -> None:
        """The engine of autograd ended with an exception."""
        self.phases.backward_failed()

    def update_begins(self, optimizer: Any) -> None:
        """An optimizer steps."""
        assert self.sampler is not None
        if not any(each() is optimizer for each in self.seen):
            self.seen.append(weakref.ref(optimizer))
        if self.sampler.running and not self.phases.depth["optimizer"]:
            self.sampler.gradients()
        self.phases.update_begins()

    def update_ends(self, optimizer: Any) -> None:
        """An optimizer has stepped."""
        self.phases.update_ends(id(optimizer))

    def optimizers(self) -> list[Any]:
        """Return the optimizers that are known and alive."""
        self.seen = [each for each in self.seen if each() is not None]
        found = [each() for each in self.seen]
        given = self.given if isinstance(self.given, Sequence) else [self.given]
        found += [each for each in given if each is not None and all(each is not other for other in found)]
        return [each for each in found if hasattr(each, "state")]

    # steps

    def _moved(self, before: PhaseName, after: PhaseName) -> None:
        """A phase begins."""
        assert self.counter is not None
        assert self.sampler is not None
        if after != "data":  # the end of a step has just looked
            live = self.counter.live()
            self.step_highest = max(self.step_highest, live)
            if before == "forward":
                self.step_kept = max(self.step_kept, live - self.before_forward)
            if after == "forward":
                self.before_forward = live
        if self.sampler.running:
            self.sampler.phase(after)

    def _step_ended(self) -> None:
        """A step is over: its line, and what is due of sampling."""
        assert self.counter is not None
        assert self.sampler is not None
        counted, number = self.counter.read(), self.phases.step
        self.guard.step = number
        seconds = self.phases.clock() - self.phases.step_began
        highest = max(self.step_highest, counted.live_bytes)
        self.highest_bytes = max(self.highest_bytes, highest, counted.peak_bytes)
        self._write(
            WatchedStep(
                number,
                1,
                round(time.time(), 3),
                round(seconds, 6),
                {name: round(value, 6) for name, value in self.phases.seconds.items()},
                counted.live_bytes,
                counted.live_bytes,
                highest,
                self.step_kept,
                counted.reserved_bytes,
                resident_bytes(),
                counted.retries,
                self.tokens,
            )
        )
        if number == 1:
            self.guard.call("the run's question", self._ask, number)
        self.step_highest, self.step_kept = counted.live_bytes, 0
        self.leaks.stepped(counted, not self.sampler.events.running)
        self.step_s = seconds
        if self.phases.depth["backward"]:
            self.looks_later = True  # an optimizer that steps inside of backward
        else:
            self._look_closer(number, seconds)

    def _ask(self, step: int) -> None:
        """Write down what this run would have asked; predict it, if somebody can and nobody did."""
        optimizer = next(iter(self.optimizers()), None)
        question = question_of(self.model(), optimizer, self.batch, self.place.world_size, self.autocast)
        if not question:
            return
        if self.predict is not None and not self.predicted:
            self.predicted = self.predict(question)
        self._write(RunQuestion(step, question, as_entries(self.predicted)))

    def _look_closer(self, number: int, step_s: float) -> None:
        """What is due of sampling at the end of a step."""
        sampler = self.sampler
        assert sampler is not None
        if sampler.waiting is not None:
            survivors, cost_s = sampler.outlived()
            self.watching_s += cost_s
            self.leaks.outlived(survivors, number)
        if sampler.running or (sampler.events.pushed_aside and not sampler.waiting):
            taken = sampler.sampled(number, step_s)
            if taken is not None:
                self._sampled(taken, step_s)
        if sampler.plan.due(number) and not sampler.events.running:
            self._begin_sample(number)

    def _begin_sample(self, step: int) -> None:
        """A sample begins: what the counter shows beyond what is held on purpose, no sample will see."""
        assert self.counter is not None
        assert self.sampler is not None
        live = self.counter.live()
        self.sampler.begin(step)
        if self.sampler.running:
            self.unseen_bytes = max(live - sum(each.bytes for each in self.sampler.base), 0)

    def _sampled(self, taken: Taken, step_s: float) -> None:
        """A sampled step is over: its line and its recording."""
        assert self.sampler is not None
        start = time.perf_counter()
        entry = self.kept.sampled(taken, self.phases.step, self.tokens)
        self._write(entry)
        if self.predicted and self.phases.step == LOOK_AFTER:
            self._look(entry.peak_bytes)
        cost_s = taken.cost_s + time.perf_counter() - start
        self.watching_s += cost_s
        self.sampler.plan.took(self.phases.step, cost_s, step_s)

    def _look(self, peak_bytes: int) -> None:
        """The first peak beside its prediction, once."""
        look = first_look(self.predicted, self.phases.step, peak_bytes, str(self.device))
        self._write(look)
        say(look_text(look))

    # what is written

    def _write(self, entry: Entry) -> None:
        if self.journal is not None:
            self.journal.write(entry)

    def _died(self, error: BaseException) -> None:
        """The run met an exception: if it is one of memory, write down all that is known."""
        assert self.counter is not None
        assert self.sampler is not None
        death = death_of(error)
        if death is None:
            return
        counted = self.counter.read()
        if self.sampler.running and (taken := self.sampler.finish(self.phases.step, False)) is not None:
            self._write(self.kept.sampled(taken, self.phases.step, self.tokens))
        self._write(
            MemoryDeath(
                self.phases.step,
                time.time(),
                self.phases.phase,
                self.block,
                death.asked_bytes,
                death.message,
                counted.live_bytes,
                counted.reserved_bytes,
                max(counted.live_bytes - self.unseen_bytes, counted.reserved_bytes)
                + (room_of(self.device) or 0),
                self.tokens,
                self.batch,
                next((optimizer_name(each) for each in self.optimizers()), ""),
            )
        )
        known = "what was alive and what would have fitted"
        say(f"out of memory in step {self.phases.step + 1}; {known}: oomless monitor show {self.folder}")
