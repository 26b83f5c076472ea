"""Speculation: a step checks several tokens of each sequence, of which some hold; drafts were made before."""

from typing import NamedTuple

from .. import facts
from ..model.model import Model
from ..run.serving import Asked
from ..run.speculation import Speculation
from .attention_cache import cache_of
from .band import Figure, TimePart
from .load import ForwardPass
from .network import Network, Weights, kinds_of, network
from .steady import added


class Accepted(NamedTuple):
    """Tokens of a step that hold, the verified one among them."""

    length: float
    low: float
    high: float
    """Ends of what was published of the kind of draft, over models and texts."""
    rows: int = 0
    """Published figures behind the length; 0: it was asked for."""


def accepted(said: Speculation, model: str) -> Accepted | None:
    """Return how many tokens of a step hold: as asked, or as published of the model, else of the kind of
    draft; None: nothing was.

    A draft of more tokens than were tried counts as the most that were.

    >>> accepted(Speculation("eagle3", 3), "llama-3.1-8b")
    Accepted(length=2.6, low=2.26, high=3.08, rows=1)
    >>> (
    ...     accepted(Speculation("mtp", 1), "deepseek-v3").length,
    ...     accepted(Speculation("ngram", 3), "deepseek-r1"),
    ... )
    (1.875, None)
    """
    if said.accepted_length is not None:
        return Accepted(said.accepted_length, said.accepted_length, said.accepted_length)
    rows = [
        (row["model"], [float(length) for length in row["lengths"].split()])
        for row in facts.rows_with("accepted_lengths", f",{kind_of(said)},")
    ]
    most = max((len(lengths) for _, lengths in rows), default=0)
    tokens = min(said.tokens, most)
    long = [(name, lengths[tokens - 1]) for name, lengths in rows if len(lengths) >= tokens]
    if not long:
        return None
    all_of_them = [length for _, length in long]
    its_own = [length for name, length in long if model.startswith(name)]
    counted = its_own or all_of_them
    return Accepted(sum(counted) / len(counted), min(all_of_them), max(all_of_them), len(counted))


def kind_of(said: Speculation) -> str:
    """Return the kind of draft in the table's words."""
    if said.head:
        return said.head
    if said.own_draft:
        return "dspark" if said.method.lower() == "dspark" else "mtp"
    return said.method


class Drafts(NamedTuple):
    """What a step drafts, and what is left of it."""

    tokens: int
    """Drafted before a step, one after another; the step checks them and one token more."""
    accepted: Accepted
    """Tokens of a step that hold, the one more among them."""
    net: Network | None
    """The draft's own layers and the model's head; None: guesses from the text, which cost nothing."""

    @property
    def note(self) -> str:
        """Return how many of the drafted tokens hold, and who says it."""
        holds, checked = self.accepted, self.tokens + 1
        if not holds.rows:
            return f"a step checks {checked} tokens of a sequence, of which {holds.length:g} hold, as asked"
        return (
            f"a step checks {checked} tokens of a sequence, of which {holds.length:.3g} hold by published "
            f"figures, {holds.low:g} to {holds.high:g} by model and text (accepted_length in "
            "--speculative-config says yours)"
        )


def drafts_of(asked: Asked, model: Model, net: Network) -> Drafts | None:
    """Return the drafts of a question, where it says how many of them hold or that was published; None: none
    are made, or nobody knows.

    >>> from ..model.load import load
    >>> from ..run.speculation import Speculation
    >>> from .network import network
    >>> asked = Asked(speculation=Speculation("mtp", 3, 2.4))
    >>> found = drafts_of(asked, load("deepseek-r1"), network(load("deepseek-r1")))
    >>> found.tokens, found.accepted.length, found.net.num_layers
    (3, 2.4, 1)
    """
    said = asked.speculation
    holds = accepted(said, model.name) if said is not None else None
    if said is None or holds is None:
        return None
    return Drafts(
        said.tokens,
        holds,
        draft_network(model, net) if said.loads_draft and model.draft else None,
    )


def draft_network(model: Model, net: Network) -> Network:
    """Return a draft's layers with the head that gives its tokens: another model's, or a head's own; of the
    model's own drafts, as wide as the model's and with its head.

    >>> from ..model.draft_head import model_of_head, published_head
    >>> from ..model.drafting import with_draft
    >>> from ..model.load import load
    >>> from .network import network
    >>> target = load("llama-3.1-8b")
    >>> head = model_of_head(published_head("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"), target, "head")
    >>> found = draft_network(with_draft(target, head, shares=True), network(target))
    >>> found.num_layers, round(found.active_params / 1e6), found.head.params
    (1, 425, 131072000)
    """
    if model.drafter is not None:
        tensors = tuple(each._replace(copy_of="") for each in model.drafter.tensors)
        return network(model.drafter._replace(tensors=tensors))
    num = len(model.draft)
    share = num / net.num_layers
    return net._replace(
        num_layers=num,
        cut=tuple(_part(each, share) for each in net.cut),
        whole=tuple(_part(each, share) for each in net.whole),
        experts=tuple(each._replace(num_layers=num) for each in net.experts[:1]),
        caches=tuple(cache_of(layer.attention) for layer in model.draft),
        kinds=kinds_of(model.draft),
        more_norms=0,
        biases=0,
        joint_norms=0,
    )


def _part(weights: Weights, share: float) -> Weights:
    products = tuple(each._replace(num=max(round(each.num * share), 1)) for each in weights.products)
    return weights._replace(params=weights.params * share, bytes=weights.bytes * share, products=products)


def with_drafts(main: ForwardPass, drafting: list[tuple[int, ForwardPass]]) -> ForwardPass:
    """Return a pass with those of the draft, (times, one of them), in a step that the host counts once."""
    seconds = added(times * (one.seconds - one.host_s) for times, one in drafting)
    words = f"{sum(times for times, _ in drafting)} passes of the draft's layers and the head"
    part = TimePart("drafts", seconds, words, "speed/drafts.py")
    return main._replace(
        parts=(*main.parts, part), seconds=main.seconds + seconds, stage_s=main.stage_s + seconds
    )


def rate_with_drafts(rate: Figure, drafts: Drafts | None) -> Figure:
    """Return a rate whose ends are apart as those of how many drafted tokens hold, too."""
    low, high = ends(drafts)
    return rate._replace(low=rate.low * low, high=rate.high * high)


def time_with_drafts(time: Figure, drafts: Drafts | None) -> Figure:
    """Return the time of a token in the same way: the more hold, the shorter it is."""
    low, high = ends(drafts)
    return time._replace(low=time.low / high, high=time.high / low)


def ends(drafts: Drafts | None) -> tuple[float, float]:
    """Return the least and the most tokens of a step over those that are counted."""
    if drafts is None:
        return 1.0, 1.0
    holds = drafts.accepted
    return holds.low / holds.length, holds.high / holds.length
