"""The phases of a step, found by themselves: forwards, backwards and steps of optimizers as they begin and
end.

A step ends where the optimizer that leads has done its update: the first one that stepped, or the one that
steps while it no longer does. A model that never goes backward counts its forwards as steps.
"""

from collections.abc import Callable
from typing import Literal

PhaseName = Literal["data", "forward", "backward", "optimizer", "evaluation", "other"]
WITHOUT_UPDATE = 64
"""Backwards after which a run that shows no optimizer ends its steps at its backwards."""


class Phases:
    """Where a run stands. `ended` is called at the end of each step, `moved` at each change of phase."""

    def __init__(
        self,
        clock: Callable[[], float],
        moved: Callable[[PhaseName, PhaseName], None],
        ended: Callable[[], None],
    ) -> None:
        self.clock, self.moved, self.ended = clock, moved, ended
        self.phase: PhaseName = "data"
        self.seconds: dict[str, float] = {}
        self.since = clock()
        self.step_began = self.since
        self.step = 0
        """Steps that have ended."""
        self.leader: int | None = None
        self.others: set[int] = set()
        """Optimizers that stepped since the leader did."""
        self.depth = {"forward": 0, "backward": 0, "optimizer": 0}
        self.num_backwards = 0
        self.backwards_since_update = 0
        self.forwards_in_step = 0

    def to(self, phase: PhaseName) -> None:
        """Another phase begins."""
        if phase == self.phase:
            return
        now = self.clock()
        self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self.since
        self.since, before, self.phase = now, self.phase, phase
        self.moved(before, phase)

    def forward_begins(self, trains: bool) -> None:
        """The model is called: by training, or by an evaluation or a generation that keeps no graph."""
        if self.depth["forward"] or self.depth["backward"] or self.depth["optimizer"]:
            self.depth["forward"] += 1
            return  # a model in itself, a forward that backward computes again, an optimizer's closure
        self.depth["forward"] = 1
        if not self.num_backwards and not trains and self.forwards_in_step:
            self.end_step()
        self.forwards_in_step += 1
        self.to("forward" if trains else "evaluation")

    def forward_ends(self) -> None:
        """The call is over; what follows is the loss, or more of an evaluation."""
        self.depth["forward"] = max(self.depth["forward"] - 1, 0)

    def backward_begins(self) -> None:
        """The engine of autograd starts."""
        self.depth["backward"] += 1
        if self.depth["backward"] == 1 and not self.depth["optimizer"]:
            self.depth["forward"] = 0
            self.num_backwards += 1
            if self.backwards_since_update >= WITHOUT_UPDATE and self.leader is None:
                self.end_step()
            self.to("backward")

    def backward_ends(self) -> None:
        """The engine has done its work."""
        self.depth["backward"] = max(self.depth["backward"] - 1, 0)
        if not self.depth["backward"] and not self.depth["optimizer"]:
            self.backwards_since_update += 1
            self.to("other")

    def backward_failed(self) -> None:
        """The engine of autograd ended with an exception: where the run stands is still backward."""
        self.depth["backward"] = max(self.depth["backward"] - 1, 0)

    def update_begins(self) -> None:
        """An optimizer steps."""
        self.depth["optimizer"] += 1
        if self.depth["optimizer"] == 1 and not self.depth["backward"]:
            self.to("optimizer")

    def update_ends(self, optimizer: int) -> None:
        """An optimizer has stepped: one that steps inside of a backward is part of it."""
        self.depth["optimizer"] = max(self.depth["optimizer"] - 1, 0)
        if self.depth["optimizer"]:
            return
        self.backwards_since_update = 0
        if self.leader is None or optimizer in self.others:
            self.leader = optimizer
        if optimizer == self.leader:
            self.others.clear()
            self.end_step()
        else:
            self.others.add(optimizer)
            if not self.depth["backward"]:
                self.to("other")

    def end_step(self) -> None:
        """Close the step. The next begins with the wait for its data."""
        inside = self.depth["backward"] > 0
        now = self.clock()
        self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self.since
        self.since = now
        self.step += 1
        if "forward" not in self.seconds and "backward" in self.seconds and "data" in self.seconds:
            self.seconds["forward"] = self.seconds.pop("data")  # a compiled function called the model unseen
        self.ended()
        self.seconds = {}
        self.step_began = self.since = self.clock()
        self.forwards_in_step = 0
        before, self.phase = self.phase, "backward" if inside else "data"
        if before != self.phase:
            self.moved(before, self.phase)
