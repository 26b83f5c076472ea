"""Activations of one rank through a step: what each chunk keeps, what is in flight, and where the most is alive."""

from typing import NamedTuple

from ..training.graph import Graph, Walk, walk
from .attention import shape
from .ends import embedding_graph, head_graph, mtp_graph
from .environment import Device
from .layers import layer_graph
from .placement import Chunk
from .run import Megatron
from .schedule import passes
from .selective import selective_walk


class Moment(NamedTuple):
    """The fullest moment of a phase on one rank, on top of what stays between steps."""

    phase: str
    where: str
    kept: int
    """Activations that wait for their backward."""
    logits: int
    """Logits and softmax."""
    temporaries: int
    """What the running layer or loss makes beside."""

    @property
    def total(self) -> int:
        return self.kept + self.logits + self.temporaries


class Piece(NamedTuple):
    """A chunk by what it keeps, and the most that its forward and its backward need beyond what is kept before and after."""

    kept: int
    forward: int
    """Most alive at the end of its forward beyond `kept`: the loss, or a layer's temporaries."""
    backward: int
    """Most alive during its backward beyond `kept`."""
    logits: int
    """Share of `kept` + `forward` that is logits and softmax at the end of the forward."""


def moments(run: Megatron, mine: tuple[Chunk, ...], rank: int, device: Device) -> tuple[Moment, ...]:
    """Walk through the schedule; the fullest moment of the forwards and that of the backwards."""
    pieces = [piece(run, chunk, device) for chunk in mine]
    waiting = deferred(run, mine)
    alive = 0
    forward, backward = Moment("forward", "", 0, 0, 0), Moment("backward", "", 0, 0, 0)
    for step in passes(run, rank):
        own = pieces[step.chunk]
        if step.forward:
            if alive + own.kept + own.forward > forward.total:
                rest = own.kept + own.forward - own.logits
                forward = Moment("forward", "in the loss" if own.logits else f"in chunk {step.chunk}", alive + min(rest, own.kept), own.logits,
                                 max(0, rest - own.kept))  # fmt: skip
            alive += own.kept
        else:
            if alive + own.backward > backward.total:
                backward = Moment("backward", f"in chunk {step.chunk}", alive, 0, own.backward)
            alive -= own.kept
    return tuple(each._replace(kept=each.kept + waiting) for each in (forward, backward))


def deferred(run: Megatron, mine: tuple[Chunk, ...]) -> int:
    """--defer-embedding-wgrad-compute: the output layer's inputs and the gradients of its logits wait until the pipeline drains."""
    if run.deferred_wgrads is None or not any(chunk.loss for chunk in mine):
        return 0
    waiting = min(run.deferred_wgrads or run.num_microbatches, run.num_microbatches)
    at = shape(run, run.seq_len)
    return waiting * (at.tokens * run.padded_vocab // run.tp + at.residual * run.hidden) * run.num_bytes


def inputs(run: Megatron) -> int:
    """Tokens, labels, loss mask and positions of a micro-batch, and the attention mask of a byte a pair that the data loader makes."""
    rows = run.tokens
    mask = run.micro_batch * run.seq_len * run.seq_len // run.cp
    return rows * (8 + 8 + 4 + 8) + mask


def piece(run: Megatron, chunk: Chunk, device: Device) -> Piece:
    """A chunk's layers one after the other, the head last."""
    kept = most_forward = most_backward = 0
    graphs = layers(run, chunk, device)
    for graph, recomputed in graphs:
        walked = walk(graph)
        if recomputed == "full":
            held = graph.sizes[graph.source]
            transient = walked.forward_peak - held
            backward = max(walked.backward_peak, walked.forward_peak) - held
        else:
            walked = selective_walk(run, graph)
            held = walked.saved_bytes
            transient = max(walked.forward_peak - held, 0)
            backward = max(walked.backward_peak - held, 0)
        most_forward = max(most_forward, kept + transient)
        kept += held
        most_backward = max(most_backward, kept + backward)
    if not chunk.loss:
        return Piece(kept, most_forward - kept if most_forward > kept else 0, most_backward - kept, 0)
    ended = _heads(run, chunk, device)
    held = sum(each.saved_bytes for each, _ in ended)
    last = ended[-1][0]
    before = held - last.saved_bytes
    forward = max(most_forward, kept + before + last.forward_peak)
    backward = max(most_backward, kept + before + last.backward_peak)
    kept += held
    logits = sum(size for each, _ in ended for name, size in each.saved.items() if name.endswith("softmax"))
    moment = logits + max(0, last.forward_peak - last.saved_bytes)
    return Piece(kept, max(forward - kept, 0), max(backward - kept, 0), moment)


def kept_sizes(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> tuple[int, ...]:
    """Bytes of every tensor that one micro-batch leaves for its backward in a rank's layers, in the order in which they are made."""
    found: list[int] = []
    for graph, recomputed in (each for chunk in mine for each in layers(run, chunk, device)):
        found += [graph.sizes[graph.source]] if recomputed == "full" else selective_walk(run, graph).saved.values()
    return tuple(found)


def _heads(run: Megatron, chunk: Chunk, device: Device) -> list[tuple[Walk, Graph]]:
    found = []
    for _ in range(chunk.mtp):
        graph = mtp_graph(run, shape(run, run.seq_len))
        found.append((walk(graph), graph))
    graph = head_graph(run, device)
    found.append((walk(graph), graph))
    return found


def layers(run: Megatron, chunk: Chunk, device: Device) -> list[tuple[Graph, str]]:
    """Graphs of a chunk in order, each with how it is recomputed."""
    found: list[tuple[Graph, str]] = []
    kinds = run.kinds.replace("|", "")
    full = run.recompute == "full"
    if chunk.embedding:
        found.append((embedding_graph(run, run.seq_len), ""))
        if run.encoder_layers:
            graph = layer_graph(run, "encoder", device)
            found += [(graph, "full" if full else "")] * run.encoder_layers
            found.append((embedding_graph(run, run.decoder_seq_len), ""))
    used = {kinds[index] for index in chunk.layers} | ({kinds[-1]} if chunk.mtp else set())
    made = {kind: layer_graph(run, kind, device) for kind in used}
    for number, index in enumerate(chunk.layers):
        again = full and (run.recompute_method != "block" or number < run.recompute_layers)
        found.append((made[kinds[index]], "full" if again else ""))
    found += [(made[kinds[-1]], "full" if full else "") for _ in range(chunk.mtp)]
    return found
