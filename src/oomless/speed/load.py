"""What one forward pass is asked for: the ranks that divide it, what runs it, what it has to do - and its
time."""

from typing import NamedTuple

from .band import TimePart


class Split(NamedTuple):
    """How ranks divide the work."""

    tp: int = 1
    """Ranks that divide a matrix."""
    pp: int = 1
    dp: int = 1
    """Groups that divide the sequences."""
    expert_ranks: int = 1
    """Ranks that divide the routed experts of a layer."""
    experts_whole: bool = False
    """Expert parallelism: a rank holds whole experts; else a slice of each."""
    per_node: int = 8
    overlaps_stages: bool = True
    """Stages work at once on other micro-batches; llama.cpp's single stream cannot."""


class Runner(NamedTuple):
    """What runs the model, as the rows of efficiencies.csv call it."""

    engine: str
    conditions: frozenset[str] = frozenset()
    captured: int = 0
    """Sequences of the largest step that is one graph, of a data-parallel group; 0: any step is."""


class Load(NamedTuple):
    """What one pass has to do, over all data-parallel groups."""

    sequences: float = 0.0
    """Sequences that get one new token each."""
    context: float = 0.0
    """Tokens that each of them has already."""
    prompt_tokens: float = 0.0
    prompt_length: float = 0.0
    """Length of the prompts that these tokens are of: half of it is their mean context."""
    groups: float = 0.0
    """Data-parallel groups that share the prompts: with few prompts at once some groups have one and others
    wait for them; 0: all."""
    cache_bits: int = 16
    checked: int = 1
    """Tokens of each sequence in the pass: the drafted ones, which it checks, and one more."""

    @property
    def decoded(self) -> float:
        """Return the tokens of sequences, of all data-parallel groups."""
        return self.sequences * self.checked

    @property
    def tokens(self) -> float:
        """Return the tokens of all data-parallel groups."""
        return self.decoded + self.prompt_tokens

    def of_group(self, split: Split) -> float:
        """Return the tokens of one data-parallel group."""
        return self.decoded / split.dp + self.prompt_tokens / (self.groups or split.dp)

    def rows_of_head(self, split: Split) -> float:
        """Return the tokens of one group that the head sees: a sequence's newest, a prompt's last."""
        prompts = self.prompt_tokens / self.prompt_length if self.prompt_length else 0
        return self.decoded / split.dp + prompts / (self.groups or split.dp)


class ForwardPass(NamedTuple):
    """A forward pass: its parts, and its time."""

    parts: tuple[TimePart, ...]
    seconds: float
    stage_s: float
    """Time of the slowest pipeline stage: what a full pipeline gives one micro-batch of."""
    host_s: float = 0.0
    """Of its seconds those that the host counts once a step."""

    def times(self, factor: float, passes: int) -> "ForwardPass":
        """Return so many passes that take `factor` of one together, as what each of its parts takes."""
        parts = tuple(part._replace(seconds=part.seconds * factor) for part in self.parts)
        stage_s, host_s = self.stage_s * passes, self.host_s * passes
        return ForwardPass(parts, self.seconds * factor, stage_s, host_s)
