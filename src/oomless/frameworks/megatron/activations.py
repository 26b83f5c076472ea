"""Activations of one rank through a step: what each chunk keeps, what is in flight by the order in which a
pipeline rank runs forwards and backwards of its chunks (core/pipeline_parallel/schedules.py), and where the
most is alive."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..graphs.graph import Walk, walk
from .ends import embedding_graph, head_graph, mtp_graph
from .environment import Device
from .layers import layer_graph
from .moe import ROUTED
from .operations import shape
from .placement import Chunk
from .run import Megatron
from .selective import selective_walk


class PassPeak(NamedTuple):
    """The fullest moment of a phase on one rank, on top of what stays between steps."""

    phase: str
    where: str
    kept: int
    """Activations that wait for their backward."""
    logits: int
    """Logits and softmax."""
    temporaries: int
    """What the running layer or loss makes beside."""
    routed: int = 0
    """Of what is kept, that which grows with the rows that experts are given."""
    waiting: int = 1
    """Passes of a chunk whose backward is still to come."""

    @property
    def total(self) -> int:
        return self.kept + self.logits + self.temporaries


class ChunkPasses(NamedTuple):
    """A chunk by what it keeps, and the most that its forward and its backward need beyond what is kept
    before and after."""

    kept: int
    forward: int
    """Most alive at the end of its forward beyond `kept`: the loss, or a layer's temporaries."""
    backward: int
    """Most alive during its backward beyond `kept`."""
    logits: int
    """Share of `kept` + `forward` that is logits and softmax at the end of the forward."""
    routed: int = 0
    """Of `kept`, that which grows with the rows that experts are given."""


class InFlight(NamedTuple):
    """What waits for its backward: bytes, those that grow with experts' rows, passes of a chunk."""

    kept: int = 0
    routed: int = 0
    waiting: int = 0

    def beside(self, piece: ChunkPasses, sign: int = 1) -> "InFlight":
        """With a pass of a chunk, or without it."""
        return InFlight(self.kept + sign * piece.kept, self.routed + sign * piece.routed, self.waiting + sign)


def moments(run: Megatron, mine: tuple[Chunk, ...], rank: int, device: Device) -> tuple[PassPeak, ...]:
    """Walk through the schedule; the fullest moment of the forwards and that of the backwards."""
    whole = [piece(run, chunk, device) for chunk in mine]
    layers = [piece(run, chunk._replace(loss=False), device) for chunk in mine]
    waiting = deferred(run, mine)
    found = {name: PassPeak(name, "", 0, 0, 0) for name in ("forward", "backward")}
    for each in pass_peaks(run, rank, whole, layers):
        if each.total > found[each.phase].total:
            found[each.phase] = each
    return tuple(each._replace(kept=each.kept + waiting) for each in found.values())


def pass_peaks(
    run: Megatron, rank: int, whole: list[ChunkPasses], layers: list[ChunkPasses]
) -> Iterator[PassPeak]:
    """The fullest moments of each pass in order. Of a forward and a backward that run beside each other the
    layers take turns, so that nothing of the one is there yet in the other's loss, which the backward begins
    with and the forward ends with; by their layers both are counted whole (arXiv 2412.19437, table 2)."""
    alive = InFlight()
    for step in passes(run, rank, len(whole)):
        own, where = whole[step.chunk], f"in chunk {step.chunk}"
        other = step.beside
        before = alive if other is None else alive.beside(whole[other], -1)
        if step.forward:
            yield _forward(own, where, before)
            if other is not None:
                yield _forward(layers[step.chunk], where, before.beside(layers[other]))
            alive = alive.beside(own)
        else:
            yield _backward(own, where, before)
            if other is not None:
                both = before.beside(own, -1).beside(layers[step.chunk]).beside(layers[other])
                yield _backward(layers[step.chunk], where, both)
            alive = alive.beside(own, -1)


def _forward(own: ChunkPasses, where: str, before: InFlight) -> PassPeak:
    """The end of a forward, beside what waited before it."""
    rest, alive = own.kept + own.forward - own.logits, before.beside(own)
    return PassPeak(
        "forward",
        "in the loss" if own.logits else where,
        before.kept + min(rest, own.kept),
        own.logits,
        max(0, rest - own.kept),
        alive.routed,
        alive.waiting,
    )


def _backward(own: ChunkPasses, where: str, alive: InFlight) -> PassPeak:
    """The fullest moment of a backward, beside all that waits, itself among it."""
    return PassPeak("backward", where, alive.kept, 0, own.backward, alive.routed, alive.waiting)


def deferred(run: Megatron, mine: tuple[Chunk, ...]) -> int:
    """--defer-embedding-wgrad-compute: the output layer's inputs and the gradients of its logits wait until
    the pipeline drains."""
    if run.deferred_wgrads is None or not any(chunk.loss for chunk in mine):
        return 0
    waiting = min(run.deferred_wgrads or run.num_microbatches, run.num_microbatches)
    at = shape(run, run.seq_len)
    return waiting * (at.tokens * run.padded_vocab // run.tp + at.residual * run.hidden) * run.num_bytes


def inputs(run: Megatron) -> int:
    """Tokens, labels, loss mask and positions of a micro-batch, and the attention mask of a byte a pair that
    the data loader makes."""
    rows = run.tokens
    mask = run.micro_batch * run.seq_len * run.seq_len // run.cp
    return rows * (8 + 8 + 4 + 8) + mask


def piece(run: Megatron, chunk: Chunk, device: Device) -> ChunkPasses:
    """A chunk's layers one after the other, the head last."""
    kept = routed = most_forward = most_backward = 0
    for segment in segments(run, chunk, device):
        held = sum(segment.saved)
        most_forward = max(most_forward, kept + segment.forward_peak)
        most_backward = max(most_backward, kept + segment.backward_peak)
        kept += held
        routed += segment.routed
    if not chunk.loss:
        return ChunkPasses(kept, max(most_forward - kept, 0), max(most_backward - kept, 0), 0, routed)
    ended = [walk(mtp_graph(run, shape(run, run.seq_len)))] * chunk.mtp + [walk(head_graph(run))]
    held, last = sum(each.saved_bytes for each in ended), ended[-1]
    before = kept + held - last.saved_bytes
    forward, backward = (
        max(most_forward, before + last.forward_peak),
        max(most_backward, before + last.backward_peak),
    )
    kept += held
    logits = sum(size for each in ended for name, size in each.saved.items() if name.endswith(LOSS))
    return ChunkPasses(
        kept,
        max(forward - kept, 0),
        max(backward - kept, 0),
        logits + max(0, last.forward_peak - last.saved_bytes),
        routed,
    )


LOSS = ("softmax", "logits")
"""Last words of the names of what a loss keeps: a softmax, or logits that its gradient is written over."""


class KeptSegment(NamedTuple):
    """What is recomputed as one, or a layer that is not."""

    saved: tuple[int, ...]
    """Bytes of each tensor that stays for the backward."""
    forward_peak: int
    backward_peak: int
    routed: int = 0


def kept_sizes(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> tuple[int, ...]:
    """Bytes of every tensor that one micro-batch leaves for its backward in a rank's layers, in the order in
    which they are made."""
    return tuple(size for chunk in mine for segment in segments(run, chunk, device) for size in segment.saved)


def routed_sizes(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> tuple[int, ...]:
    """Of the same, what grows with the rows of experts, for each layer that keeps such."""
    return tuple(part.routed for chunk in mine for part in segments(run, chunk, device) if part.routed)


def segments(run: Megatron, chunk: Chunk, device: Device) -> list[KeptSegment]:
    """A chunk in order. Full recomputation keeps the input of every --recompute-num-layers layers (uniform),
    or of the first so many (block). Offloaded layers keep nothing on the card when the forward turns into the
    backward (transformer_engine/pytorch/cpu_offload.py)."""
    found: list[KeptSegment] = []
    kinds = run.kinds.replace("|", "")
    if chunk.embedding:
        found.append(_whole(walk(embedding_graph(run, run.seq_len))))
        if run.encoder_layers:
            found += _stack(run, ["encoder"] * run.encoder_layers, device)
            found.append(_whole(walk(embedding_graph(run, run.decoder_seq_len))))
    away = [index for index in chunk.layers if index < run.offload_layers]
    found += [
        part._replace(saved=(), routed=0) for part in _stack(run, [kinds[index] for index in away], device)
    ]
    found += _stack(run, [kinds[index] for index in chunk.layers[len(away) :]], device)
    for _ in range(chunk.mtp):
        found += _stack(run, [kinds[-1]], device)
    return found


def _stack(run: Megatron, kinds: list[str], device: Device) -> list[KeptSegment]:
    if run.recompute != "full":
        return [_whole(layer_walk(run, kind, device)) for kind in kinds]
    if run.recompute_method == "block":
        first = [_again(run, [kind], device) for kind in kinds[: run.recompute_layers]]
        return first + [_whole(layer_walk(run, kind, device)) for kind in kinds[run.recompute_layers :]]
    step = max(run.recompute_layers, 1)
    return [_again(run, kinds[at : at + step], device) for at in range(0, len(kinds), step)]


def _whole(walked: Walk) -> KeptSegment:
    routed = sum(size for name, size in walked.saved.items() if name.startswith(ROUTED))
    return KeptSegment(tuple(walked.saved.values()), walked.forward_peak, walked.backward_peak, routed)


def _again(run: Megatron, kinds: list[str], device: Device) -> KeptSegment:
    """Layers that keep the first one's input and run again, all of them, before their backward."""
    source = shape(run, run.seq_len).residual * run.hidden * run.num_bytes
    walked = [layer_walk(run, kind, device) for kind in kinds]
    below = sum(each.saved_bytes for each in walked[:-1])
    most = max(each.forward_peak for each in walked)
    return KeptSegment((source,), most, below + max(walked[-1].backward_peak, walked[-1].forward_peak))


def on_host(run: Megatron, device: Device) -> int:
    """Bytes that offloaded layers have in a rank's host memory."""
    kinds = run.kinds.replace("|", "")[: run.offload_layers]
    return sum(size for part in _stack(run, list(kinds), device) for size in part.saved)


@lru_cache(maxsize=256)
def layer_walk(run: Megatron, kind: str, device: Device) -> Walk:
    """A layer of a kind, replayed."""
    return selective_walk(run, layer_graph(run, kind, device))


class ChunkPass(NamedTuple):
    """One micro-batch through one chunk."""

    forward: bool
    chunk: int
    beside: int | None = None
    """The chunk whose pass the other way runs at the same time."""


MOST_PASSES = 4096
"""Micro-batches beyond these repeat what came before."""


def passes(run: Megatron, rank: int, chunks: int) -> Iterator[ChunkPass]:
    """Forward and backward passes of one pipeline rank, in order.

    One stage: forward, backward. 1F1B: p - rank - 1 forwards ahead. Interleaved: 2 (p - rank - 1) + (v - 1) p
    chunks ahead, chunks in turns of p micro-batches, backwards in reversed order of chunks.
    """
    if run.dualpipe:
        yield from from_both_ends(run, rank)
        return
    micro = min(run.num_microbatches, max(1, MOST_PASSES // chunks), 4 * run.pp * chunks + 4)
    if chunks == 1:
        ahead = min(run.pp - rank - 1, micro)
        yield from (ChunkPass(True, 0) for _ in range(ahead))
        for _ in range(micro - ahead):
            yield ChunkPass(True, 0)
            yield ChunkPass(False, 0)
        yield from (ChunkPass(False, 0) for _ in range(ahead))
        return
    total = micro * chunks
    group = max(run.group_size, 1)
    order = [
        chunk
        for start in range(0, micro, group)
        for chunk in range(chunks)
        for _ in range(min(group, micro - start))
    ]
    ahead = min(2 * (run.pp - rank - 1) + (chunks - 1) * group, total)
    back = [chunks - 1 - chunk for chunk in order]
    yield from (ChunkPass(True, order[index]) for index in range(ahead))
    for index in range(ahead, total):
        yield ChunkPass(True, order[index])
        yield ChunkPass(False, back[index - ahead])
    yield from (ChunkPass(False, back[index]) for index in range(total - ahead, total))


def from_both_ends(run: Megatron, rank: int) -> Iterator[ChunkPass]:
    """Passes of DualPipe: half of the micro-batches enter at the first rank, half at the last. Of the stage
    nearer to its entry p - half - 1 wait for their backward, of the other half + 1, and a forward runs beside
    a backward of the other chunk: p + 1 on every rank (deepseek-ai/DualPipe, dualpipe.py step). The least
    that runs has as many micro-batches as two pipelines hold.
    """
    half = min(rank, run.pp - rank - 1)
    near, far = (0, 1) if rank == half else (1, 0)
    each = max(1, min(run.num_microbatches // 2, 2 * run.pp))
    waiting = {near: min(run.pp - half - 1, each), far: min(half + 1, each)}
    for chunk in (near, far):
        yield from (ChunkPass(True, chunk) for _ in range(waiting[chunk]))
    for at in range(each):
        for ahead, back in ((near, far), (far, near)):
            if at + waiting[ahead] < each:
                yield ChunkPass(True, ahead, back)
                yield ChunkPass(False, back, ahead)
            else:
                yield ChunkPass(False, back)
