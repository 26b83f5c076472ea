"""Speculation: a step checks several tokens of each sequence, of which some hold; drafts were made before."""

from typing import NamedTuple

from ..errors import UnsupportedError
from ..model.model import Model
from ..run.serving import Asked
from .attention_cache import cache_of
from .banded import TimePart
from .load import ForwardPass
from .network import Network, Weights, kinds_of
from .steady import added


class Drafts(NamedTuple):
    """What a step drafts, and what is left of it."""

    tokens: int
    """Drafted before a step, one after another; the step checks them and one token more."""
    accepted: float
    """Tokens of a step that hold, the one more among them."""
    net: Network | None
    """The draft's own layers and the model's head; None: guesses from the text, which cost nothing."""


def drafts_of(asked: Asked, model: Model, net: Network) -> Drafts | None:
    """Return the drafts of a question that says how many of them hold; None: none are made, or nobody knows.

    >>> from ..model.load import load
    >>> from ..run.speculation import Speculation
    >>> from .network import network
    >>> asked = Asked(speculation=Speculation("mtp", 3, 2.4))
    >>> found = drafts_of(asked, load("deepseek-r1"), network(load("deepseek-r1")))
    >>> found.tokens, found.accepted, found.net.num_layers
    (3, 2.4, 1)
    """
    said = asked.speculation
    if said is None or said.accepted_length is None:
        return None
    if said.drafter:
        raise UnsupportedError(
            f"how long {said.drafter} takes to draft is not known",
            "leave accepted_length out: memory counts it",
            "speculation",
        )
    return Drafts(
        said.tokens,
        said.accepted_length,
        draft_network(model, net) if said.own_draft and model.draft else None,
    )


def draft_network(model: Model, net: Network) -> Network:
    """Return a draft's layers, as wide as the model's, with the model's head."""
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
