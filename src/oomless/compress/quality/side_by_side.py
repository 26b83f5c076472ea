"""Models beside each other on one text: what each weighs, how well it writes, and the least memory that
serves the quality of each. Tokens differ between families, so that a byte of the text is what counts."""

import math
from typing import Any, NamedTuple

from ...errors import UnsupportedError, UsageError, need
from ..checkpoint.source import Checkpoint
from .language import CHUNK, LENGTH, TOKENS, shaped, tokenized
from .lazy_model import LazyModel
from .lockstep import Lockstep


class Weighed(NamedTuple):
    """A model's tensor data and what a text says of it."""

    name: str
    num_bytes: int
    num_tokens: int
    """Tokens that were judged."""
    text_bytes: int
    """UTF-8 bytes of the text that they stand for."""
    loss: float
    """Nats of all of them."""

    @property
    def bits_per_byte(self) -> float:
        """Return the bits that a byte of the text costs: less is better.

        >>> round(Weighed("DeepSeek-V3", 688_586_727_753, 1000, 4200, 2000.0).bits_per_byte, 4)
        0.687
        """
        return self.loss / math.log(2) / self.text_bytes

    @property
    def perplexity(self) -> float:
        """Return the perplexity of its own tokens."""
        return math.exp(min(self.loss / self.num_tokens, 700.0))

    def to_json(self) -> dict[str, Any]:
        """Return the object under `models`."""
        return {**self._asdict(), "bits_per_byte": self.bits_per_byte, "perplexity": self.perplexity}


def least_memory(model: Weighed, models: list[Weighed], within: float) -> Weighed:
    """Return the smallest model that writes as well as another: its bits a byte are no more than `within`
    above.

    >>> whole = Weighed("bf16", 100, 10, 40, 20.0)
    >>> half, quarter = Weighed("int8", 52, 10, 40, 20.1), Weighed("int4", 28, 10, 40, 24.0)
    >>> least_memory(whole, [whole, half, quarter], 0.01).name
    'int8'
    """
    enough = [each for each in models if each.bits_per_byte <= model.bits_per_byte * (1 + within)]
    return min((model, *enough), key=lambda each: each.num_bytes)


def side_by_side(sources: list[tuple[str, Checkpoint]], text: str, num_tokens: int = TOKENS) -> list[Weighed]:
    """Return all models on one text, as much of it as the first one's so many tokens; a layer of one model is
    in memory at a time."""
    _, encoding = tokenized(sources[0][1], text)
    if len(encoding.ids) > num_tokens:
        text = text[: encoding.offsets[num_tokens - 1][1]]
    return [weighed(name, source, text) for name, source in sources]


def weighed(name: str, source: Checkpoint, text: str) -> Weighed:
    """Return one model: whole sequences of the text, each judged from its first token on that has one before
    it."""
    torch = need("torch", "compress")
    model = LazyModel(source)
    try:
        head = model.model.get_output_embeddings()
        if head is None:
            raise UnsupportedError(
                f"{name}: an encoder gives no text", "--quality judges an encoder beside its source"
            )
        sequences, text_bytes = judged_pieces(source, text)
        hidden = Lockstep(model).run(sequences)
        model.fill(head)
        with torch.no_grad():
            loss = sum(
                loss_of(model, head, states[0], ids[0]) for states, ids in zip(hidden, sequences, strict=True)
            )
        num_tokens = sum(ids.shape[1] - 1 for ids in sequences)
    finally:
        model.close()
    return Weighed(name, source.num_bytes, num_tokens, text_bytes, loss)


def judged_pieces(source: Checkpoint, text: str) -> tuple[list[Any], int]:
    """Return sequences of token ids and the bytes of all tokens that are judged: a first one that nothing
    stands before is not."""
    torch = need("torch", "compress")
    before, encoding = tokenized(source, text)
    step = LENGTH - len(before)
    rows = len(encoding.ids) // step
    if rows < 1:
        raise UsageError(f"the text has {len(encoding.ids):,} tokens", f"{LENGTH:,} are the least")
    sequences, text_bytes = [], 0
    for row in range(rows):
        ids, places = (each[row * step : (row + 1) * step] for each in (encoding.ids, encoding.offsets))
        sequences.append(torch.tensor([before + ids]))
        first = places[0 if before else 1][0]
        text_bytes += len(text[first : places[-1][1]].encode())
    return sequences, text_bytes


def loss_of(model: LazyModel, head: Any, hidden: Any, ids: Any) -> float:
    """Return the nats of a sequence, a few tokens' logits at a time."""
    torch = need("torch", "compress")
    targets, loss = ids[1:], 0.0
    for begin in range(0, len(targets), CHUNK):
        mine = targets[begin : begin + CHUNK]
        logs = torch.log_softmax(shaped(model, head(hidden[begin : begin + len(mine)])), -1)
        loss -= float(logs.gather(1, mine[:, None]).sum())
    return loss
