"""Claims about training that traces of the real model settle. The traces are kept as rows of
facts/traced.csv, each with its command; `python -m bench.traced` makes them again."""

from typing import NamedTuple

from .. import facts
from ..run.hardware import parse_gpu
from ..units import gb, gib
from .evidence import Evidence, Finding

TOKENS = 1_024
"""Of each sequence of the traces behind C03."""
SCHEDULES = (
    ("gpipe 1", "all at once"),
    ("gpipe 8", "8 micro-batches, GPipe"),
    ("1f1b 8", "8 micro-batches, 1F1B"),
)


class TracedFindings(NamedTuple):
    """Figures and commands that join the evidence of a claim."""

    figures: tuple[Finding, ...]
    commands: tuple[str, ...]


class KeptTrace(NamedTuple):
    """A trace that was kept as a row, so that a claim need not run it."""

    key: str
    command: str
    bytes: dict[str, int]

    @property
    def activations(self) -> int:
        """What a step makes and keeps beside the states: activations, logits and temporaries."""
        return self.bytes["activations"] + self.bytes["logits"] + self.bytes["temporaries"]

    @property
    def kept(self) -> int:
        """The most that the forward of the second step adds to weights and moments: what is kept for the
        backward, and the loss."""
        return self.bytes["forward_bytes"] - self.bytes["weights"] - self.bytes["optimizer"]

    @property
    def share(self) -> float:
        """Activations as a share of the peak, in percent."""
        return 100 * self.activations / self.bytes["requested_bytes"]


def rows(claim: str) -> dict[str, KeptTrace]:
    """The kept traces of a claim, by key."""
    found = {}
    for row in facts.table("traced"):
        if row["claim"] == claim:
            numbers = {name: int(text) for name, text in row.items() if text.isdecimal()}
            found[row["key"]] = KeptTrace(row["key"], row["command"], numbers)
    return found


def crossing(points: list[tuple[int, float]], share: float) -> float:
    """Tokens at which a share is reached, on straight lines between traced points; 0 if all lie above, inf if
    none does."""
    below = 0, 0.0
    for tokens, value in points:
        if value >= share:
            return (
                below[0] + (tokens - below[0]) * (share - below[1]) / (value - below[1]) if below[0] else 0.0
            )
        below = tokens, value
    return float("inf")


def c03() -> TracedFindings:
    """At which batch of 1,024 tokens each, and at how many tokens a card, activations reach 40 and 60 %."""
    found = rows("C03")
    figures = []
    for model in ("deepseek-coder-1.3b", "profile-deepseek-pro-13b"):
        points = [(TOKENS * batch, found[f"{model} train {batch}"].share) for batch in (1, 4, 16, 32)]
        figures += [
            Finding(
                f"traced, {model}, amp-bf16: share of the step's peak at {tokens:,} tokens a card",
                round(share, 1),
                "%",
            )
            for tokens, share in points
        ]
        for share in (40.0, 60.0):
            tokens = crossing(points, share)
            if 0 < tokens < float("inf"):
                figures.append(
                    Finding(
                        f"traced, {model}, amp-bf16: tokens a card for {share:.0f} %, between traced ones",
                        round(tokens),
                        "tokens",
                    )
                )
        figures.append(
            Finding(
                f"traced, {model}, inference: share at 1,024 tokens",
                round(found[f"{model} infer"].share, 1),
                "%",
            )
        )
    return TracedFindings(
        tuple(figures),
        (found["deepseek-coder-1.3b train 4"].command, found["deepseek-coder-1.3b infer"].command),
    )


def c06() -> TracedFindings:
    """What the forward keeps for the backward with one checkpoint a layer, of what it keeps without."""
    found = rows("C06")
    figures = []
    for layers, model in ((24, "deepseek-coder-1.3b"), (62, "deepseek-coder-33b")):
        none, full = found[f"{layers} none"], found[f"{layers} full"]
        figures += [
            Finding(f"traced, {model}, {layers} layers: kept by the forward, none", gib(none.kept), "GiB"),
            Finding(
                f"traced, {model}, {layers} layers: kept by the forward, one checkpoint a layer",
                gib(full.kept),
                "GiB",
            ),
            Finding(f"traced, {model}: the second as a share of the first", 100 * full.kept / none.kept, "%"),
        ]
    return TracedFindings(tuple(figures), (found["24 none"].command, found["24 full"].command))


def c09() -> TracedFindings:
    """32 sequences on an A100 of 40 GB in FP16, by length: what they make beside the states, and whether the
    card runs it."""
    found = rows("C09")
    capacity = parse_gpu("a100-40gb").card.memory_bytes
    figures = []
    for row in found.values():
        how, _, length = row.key.partition(" ")
        word = "fits" if row.bytes["smallest_capacity_bytes"] <= capacity else "does not fit"
        figures.append(
            Finding(
                f"traced, recompute {how}, {int(length):,} tokens: activations ({word})",
                gb(row.activations),
                "GB",
            )
        )
    return TracedFindings(tuple(figures), (found["none 128"].command,))


def c22() -> Evidence:
    """Micro-batches cut fragmentation from 15 to 5 % in a pipeline over 32 cards."""
    found = rows("C22")
    figures = []
    for rank, where in ((0, "first stage"), (31, "last stage")):
        for key, what in SCHEDULES:
            row = found[f"{key} rank {rank}"]
            held = 100 * (1 - row.bytes["allocated_bytes"] / row.bytes["reserved_bytes"])
            figures.append(Finding(f"{where}, {what}: reserved and not allocated", held, "%"))
            figures.append(
                Finding(f"{where}, {what}: allocated at the peak", gib(row.bytes["allocated_bytes"]), "GiB")
            )
    return Evidence(
        "depends",
        "in a simulated caching allocator micro-batches lower what is reserved and not used on the "
        "first stage and hardly on the last, "
        "and neither starts at 15 %; what they cut on the last stage is what is allocated, "
        "since 1F1B keeps fewer of them alive "
        "(no card was measured)",
        tuple(figures),
        (found["gpipe 1 rank 0"].command, found["1f1b 8 rank 0"].command),
    )


SETTLERS = {"C22": c22}
BESIDE = {"C03": c03, "C06": c06, "C09": c09}
"""Claims that the closed form settles, with what traces of the real model say beside it."""
