"""Perplexity, KL divergence and top-1 agreement of a compressed language model beside its source; cosines and
nearest neighbours of an encoder's vectors."""

import math
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError, UsageError, need
from ..checkpoint.source import Checkpoint
from .encoder import EncoderQuality, of_vectors
from .lazy_model import LazyModel
from .lockstep import Call, Lockstep

TOKENS, LENGTH, ENCODER_LENGTH = 2048, 256, 64
CHUNK = 64
"""Tokens whose logits are in memory at once, of both models."""
MAX_TEXT_BYTES = 1 << 23


class Quality(NamedTuple):
    """What a text says of two models."""

    num_tokens: int
    perplexity_before: float
    perplexity_after: float
    kl_per_token: float
    """Of the source's distribution to the other's, in nats."""
    top1_agreement: float
    layers: tuple[float, ...]
    """Squared error of what each layer gives on, as a share of its square."""

    def to_json(self) -> dict[str, Any]:
        """Return the object under `quality`."""
        return {**self._asdict(), "layers": list(self.layers)}


def tokenized(source: Checkpoint, text: str) -> tuple[list[int], Any]:
    """Return the tokens that begin every text (some families suffer without them) and a text's own, by the
    checkpoint's own tokenizer."""
    path = source.folder / "tokenizer.json"
    if not path.is_file():
        raise OomlessError(f"{source.folder}: no tokenizer.json", "quality needs the model's own tokenizer")
    tokenizer = need("tokenizers", "compress").Tokenizer.from_file(str(path))
    return tokenizer.encode("").ids, tokenizer.encode(text, add_special_tokens=False)


def token_ids(
    source: Checkpoint, text: str, num_tokens: int = TOKENS, length: int = LENGTH, spread: bool = False
) -> list[Any]:
    """Return sequences of a text's tokens, 1 x length each: its first ones, or spread over all of it, so that
    each kind of text in a sample is met."""
    torch = need("torch", "compress")
    before, encoding = tokenized(source, text)
    ids, step = encoding.ids, length - len(before)
    there = len(ids) // step
    rows = min(num_tokens // length, there)
    if rows < 1:
        raise UsageError(f"the text has {len(ids):,} tokens", f"{length:,} are the least")
    places = [row * there // rows if spread else row for row in range(rows)]
    return [torch.tensor([before + ids[place * step : (place + 1) * step]]) for place in places]


def read_text(path: str) -> str:
    """Return a text file's content, of bounded size."""
    from ...files import read_whole_text

    return read_whole_text(Path(path).expanduser(), MAX_TEXT_BYTES, "give a plain text")


def hidden_states(
    before: LazyModel, after: LazyModel, sequences: list[Any]
) -> tuple[list[Any], list[Any], tuple[float, ...]]:
    """Return the last hidden states of both models and the error of each layer; both run side by side, so
    that one layer of each is in memory."""
    handed: queue.Queue[list[Any]] = queue.Queue(maxsize=1)
    errors: list[float] = []
    found: list[list[Any]] = [[], []]
    failed: list[BaseException] = []

    def visit_before(number: int, module: Any, calls: list[Call], run: Callable[..., list[Any]]) -> list[Any]:
        out = run(module, calls)
        put(handed, [tensor_of(each) for each in out], failed)
        return out

    def visit_after(number: int, module: Any, calls: list[Call], run: Callable[..., list[Any]]) -> list[Any]:
        out = run(module, calls)
        errors.append(relative_error(take(handed, failed), [tensor_of(each) for each in out]))
        return out

    def go(number: int, lazy: LazyModel, visit: Any) -> None:
        try:
            found[number] = Lockstep(lazy, visit).run(sequences)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=go, args=words, daemon=True)
        for words in ((0, before, visit_before), (1, after, visit_after))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found[0], found[1], tuple(errors)


def put(handed: "queue.Queue[list[Any]]", value: list[Any], failed: list[BaseException]) -> None:
    """Hand a layer's outputs over, unless the other side has failed."""
    while not failed:
        try:
            handed.put(value, timeout=0.2)
            return
        except queue.Full:
            continue
    raise failed[0]


def take(handed: "queue.Queue[list[Any]]", failed: list[BaseException]) -> list[Any]:
    """Take what was handed over, unless the other side has failed."""
    while not failed:
        try:
            return handed.get(timeout=0.2)
        except queue.Empty:
            continue
    raise failed[0]


def tensor_of(out: Any) -> Any:
    """Return the hidden states of what a layer gives."""
    return out[0] if isinstance(out, tuple) else out


def relative_error(before: list[Any], after: list[Any]) -> float:
    """Return the squared error of all sequences as a share of their square."""
    error = sum(float((one - two).square().sum()) for one, two in zip(before, after, strict=True))
    return error / (sum(float(one.square().sum()) for one in before) or 1.0)


def compare_models(
    before: Checkpoint, after: Checkpoint, text: str, num_tokens: int = TOKENS
) -> Quality | EncoderQuality:
    """Return the quality of `after` beside `before` on a text."""
    torch = need("torch", "compress")
    models = LazyModel(before), LazyModel(after)
    try:
        is_encoder = models[0].model.get_output_embeddings() is None
        sequences = token_ids(before, text, num_tokens, ENCODER_LENGTH if is_encoder else LENGTH)
        first, second, errors = hidden_states(*models, sequences)
        if is_encoder:
            return of_vectors(first, second, errors)
        with torch.no_grad():
            sums = compare_logits(models, first, second, sequences)
    finally:
        for model in models:
            model.close()
    count = sums[4]
    return Quality(
        int(count),
        math.exp(sums[0] / count),
        math.exp(min(sums[1] / count, 700.0)),
        sums[2] / count,
        sums[3] / count,
        errors,
    )


def compare_logits(
    models: tuple[LazyModel, LazyModel], first: list[Any], second: list[Any], sequences: list[Any]
) -> tuple[float, float, float, float, int]:
    """Return sums over tokens: both losses, KL, agreements, and how many; a few tokens' logits at a time."""
    torch = need("torch", "compress")
    heads = [model.model.get_output_embeddings() for model in models]
    for model, head in zip(models, heads, strict=True):
        model.fill(head)
    losses, kl, agreed, count = [0.0, 0.0], 0.0, 0, 0
    for one, two, ids in zip(first, second, sequences, strict=True):
        targets = ids[0, 1:]
        for begin in range(0, len(targets), CHUNK):
            mine = targets[begin : begin + CHUNK]
            logs = [
                torch.log_softmax(shaped(model, head(hidden[0, begin : begin + len(mine)])), -1)
                for model, head, hidden in zip(models, heads, (one, two), strict=True)
            ]
            for number in (0, 1):
                losses[number] -= float(logs[number].gather(1, mine[:, None]).sum())
            kl += float((logs[0].exp() * (logs[0] - logs[1])).sum())
            agreed += int((logs[0].argmax(-1) == logs[1].argmax(-1)).sum())
            count += len(mine)
    for model, head in zip(models, heads, strict=True):
        model.empty(head)
    return losses[0], losses[1], kl, agreed, count


def shaped(model: LazyModel, logits: Any) -> Any:
    """Return logits as the family shapes them after its head: a cap, a scale."""
    config = model.model.config
    cap, divisor, factor = (
        getattr(config, name, None) for name in ("final_logit_softcapping", "logits_scaling", "logit_scale")
    )
    logits = logits / divisor if divisor else logits * factor if factor else logits
    return (logits / cap).tanh() * cap if cap else logits
