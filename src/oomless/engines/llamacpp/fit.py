"""What llama-server changes by itself where a card is too small, unless it is told `--fit off`.

common/fit.cpp (llama.cpp#16653): 1 GiB of each card is left free. A context that nobody set is shortened,
down to 4,096 tokens. If that is not enough, layers fill the cards from the last one on, the output first,
those of experts without their experts; then layers get their experts back from the first one on, and of one
more layer as many matrices as there is room for. What is set by hand (-ngl, -ts, -ot, -ncmoe) stays as it
is. Ollama starts llama-server without -ngl, and with a context; its own engine, before 0.30, knew whole
layers alone and left 457 MiB free (llm/server.go, ml/device.go): it made its largest graph, that of a picture
too, and took layers away until all could be allocated, whatever their size. On Apple's machines llama-server
leaves experts to the host and gains nothing: one mapping holds them (src/llama-model.cpp, get_mapping_range;
ggml-org/Llama-macOS#58).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...model.gguf_model import num_blocks
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout
from ...units import MIB
from .defaults import CELLS, MOST_DEVICES, estimates, fits_itself
from .ollama_layers import MINIMUM
from .placement import HOST
from .release import LlamaRules, rules_of
from .weights import maps_file

Spare = Callable[..., tuple[int, ...]]
"""What a question leaves free on each card beyond the margin; below 0 it does not fit. A second argument: by
the upper ends of what the program measures."""


class CardShare(NamedTuple):
    """What a card gets."""

    layers: int = 0
    """The output counts as the last one."""
    parts: int = 0
    """Of these the last ones, without their experts."""
    first_part: str = "experts"
    """What the first of those leaves out: a key of LEFT_OUT."""
    sent_to: int = HOST
    """Where that goes: the host, or the next card."""


LEFT_OUT = {
    "experts": r"ffn_(up|down|gate_up|gate)_(ch|)exps",
    "all matrices": r"ffn_(gate|up|gate_up|down).*",
    "gate and down": r"ffn_(gate|gate_up|down).*",
    "down": r"ffn_down.*",
}
Shares = tuple[CardShare, ...]


def fit(model: Model, asked: Asked, hardware: Hardware, spare: Spare) -> tuple[Asked, str] | None:
    """Return (the question as llama-server changes it so that it starts, a sentence of what it changed); the
    same question and "" where all is set, and it goes on; None: it changes not enough."""
    if hardware.num_gpus > MOST_DEVICES:
        return None
    rules = rules_of(asked)
    if not fits_itself(asked) or estimates(model, asked):
        return asked, ""
    if rules.fits_when_told:
        asked = asked._replace(n_gpu_layers=None)
    by_hand = (
        asked.n_gpu_layers is not None,
        asked.tensor_split is not None and hardware.num_gpus > 1,
        asked.override_tensor is not None,
        asked.cpu_moe or asked.n_cpu_moe > 0,
        asked.split_mode != "layer",
    )
    has_length = asked.max_model_len is not None or asked.context is not None
    has_length = has_length or rules.says_context or rules.fits_when_told
    if any(by_hand) and has_length:
        return asked, ""
    asked = asked._replace(layout=Layout(pp=hardware.num_gpus))
    said = "what was not set is changed so that it starts (llama.cpp's --fit)"
    if rules.deals_whole_layers:
        of_server, kept = spare, asked.fit_target * MIB - MINIMUM
        said = "what was not set is changed so that it starts"

        def spare(asked: Asked) -> tuple[int, ...]:
            return tuple(each + kept for each in of_server(asked, True))

    if not has_length:
        asked = shortened(model, asked, spare)
        said += f": a context of {asked.max_model_len:,} tokens"
        if fits(spare(asked)):
            return asked, said
    if maps_file(asked, hardware) and has_experts(model):
        return (
            None  # the file is mapped from the card's first tensor to its last, experts of the host and all
        )
    filling = Filling(model, asked, spare)
    shares = None if any(by_hand) else filling.filled()
    if shares is None:
        return None
    layers, parts = (sum(each) for each in zip(*(share[:2] for share in shares), strict=True))
    said += f"{',' if ':' in said else ':'} {layers} of {filling.num_layers + 1} layers on the cards"
    said += f", {parts} of them without their experts" if parts else ""
    return told(asked, filling.num_layers, shares), f"{said}; the rest is on the host"


def unseen_by_fit(given: dict[str, Any], rules: LlamaRules, size: int) -> dict[str, Any]:
    """Return options of a build with a tower of so many bytes on its card: where --fit does not know of it,
    the layers take its room.

    >>> [
    ...     unseen_by_fit({}, rules_of(Asked(engine="llamacpp", engine_version=month)), 932 * MIB)
    ...     for month in ("2026-01", "2026-06")
    ... ]
    [{'fit_target': 92}, {}]
    """
    if not rules.fits_itself or rules.fits_towers:
        return given
    return {**given, "fit_target": (given.get("fit_target") or Asked().fit_target) - size // MIB}


def has_experts(model: Model) -> bool:
    return any(tensor.role == "expert" for tensor in model.tensors)


def fits(spare: tuple[int, ...]) -> bool:
    return min(spare) >= 0


def shortened(model: Model, asked: Asked, spare: Spare) -> Asked:
    """Return the question with the longest context that fits, in steps of 256 tokens, or the least that
    --fit-ctx admits."""
    least, most = min(asked.fit_ctx, model.max_positions), model.max_positions
    found = most_of(
        (most - least) // CELLS,
        lambda steps: fits(spare(asked._replace(max_model_len=least + steps * CELLS))),
    )
    return asked._replace(max_model_len=least + max(found, 0) * CELLS)


def most_of(high: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number up to `high` that holds, where every smaller one does too; -1: none.

    >>> most_of(9, lambda number: number < 4), most_of(9, lambda number: False)
    (3, -1)
    """
    if high < 0 or not holds(0):
        return -1
    if holds(high):
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


class Filling:
    """Cards that are filled for one question."""

    def __init__(self, model: Model, asked: Asked, spare: Spare) -> None:
        self.asked, self.spare = asked, spare
        self.num_layers = num_blocks(model)
        self.num_cards = asked.sizes.pp
        self.has_experts = has_experts(model) and not rules_of(asked).deals_whole_layers

    def filled(self) -> Shares | None:
        """Return what every card gets; None: not even what must be there fits."""
        shares = self.from_the_back()
        if self.has_experts and sum(self.spare(self.asked._replace(cpu_moe=True))) > 0:
            shares = self.from_the_front(shares)
        return shares if fits(self.spare_with(shares)) else None

    def spare_with(self, shares: Shares) -> tuple[int, ...]:
        return self.spare(told(self.asked, self.num_layers, shares))

    def left(self, shares: Shares, card: int) -> int:
        return self.spare_with(shares)[card]

    def from_the_back(self) -> Shares:
        """Return as many layers as each card holds, the last card first, of experts without them."""
        shares = (CardShare(),) * self.num_cards
        for card in reversed(range(self.num_cards)):
            output = card == self.num_cards - 1

            def given(
                layers: int, card: int = card, output: bool = output, shares: Shares = shares
            ) -> Shares:
                parts = max(layers - output, 0) if self.has_experts else 0
                return put(shares, card, CardShare(layers, parts))

            def fits(layers: int, card: int = card, given: Callable[[int], Shares] = given) -> bool:
                return self.left(given(layers), card) >= 0

            free = self.num_layers + 1 - sum(share.layers for share in shares)
            layers = most_of(free, fits)
            shares = given(max(layers, 0))
        return shares

    def from_the_front(self, shares: Shares) -> Shares:
        """Return shares in which layers have their experts again, from the first one on."""
        start = next((card for card, share in enumerate(shares) if share.layers), self.num_cards)
        if start == self.num_cards:  # no layer is on a card, of which some could come back
            return shares
        for card in range(self.num_cards):
            if card > start:
                break

            def fits(step: int, card: int = card, start: int = start, shares: Shares = shares) -> bool:
                return self.left(converted(shares, card, start, step)[0], card) >= 0

            step = most_of(sum(share.parts for share in shares[start:]), fits)
            shares, start = converted(shares, card, start, max(step, 0))
            shares, start = self.with_part_of_one(shares, card, start)
        return shares

    def with_part_of_one(self, shares: Shares, card: int, start: int) -> tuple[Shares, int]:
        """Return shares with as much of one more layer as there is room for; the rest of it goes to the next
        card, or stays on the host."""
        last = card == self.num_cards - 1
        if shares[start].layers <= last or not shares[start].parts:
            return shares, start
        moved = put(
            shares,
            start,
            shares[start]._replace(layers=shares[start].layers - 1, parts=shares[start].parts - 1),
        )
        gets = moved[card]
        beyond = HOST if last else card + 1

        def trying(left_out: str) -> Shares:
            return put(moved, card, CardShare(gets.layers + 1, gets.parts + 1, left_out, beyond))

        def holds(left_out: str) -> bool:
            spare = self.spare_with(trying(left_out))
            return spare[card] > 0 and (last or spare[card + 1] > 0)

        kinds = ("gate and down", "down") if holds("gate and down") else ("all matrices",)
        held = [kind for kind in kinds if holds(kind)]
        if not held:
            return shares, start
        return trying(held[-1]), start + (moved[start].parts == 0 and start < self.num_cards - 1)


def put(shares: Shares, card: int, share: CardShare) -> Shares:
    return (*shares[:card], share, *shares[card + 1 :])


def converted(shares: Shares, card: int, start: int, step: int) -> tuple[Shares, int]:
    """Return (shares, the first card that still has layers without experts) after `step` such layers of the
    cards from `start` on went to `card` with their experts.

    >>> converted((CardShare(0), CardShare(5, 4)), 0, 1, 3)[0][0].layers
    3
    """
    left = step
    for at in range(start, len(shares)):
        taken = min(left, shares[at].parts)
        shares = put(
            shares,
            at,
            shares[at]._replace(layers=shares[at].layers - taken, parts=shares[at].parts - taken),
        )
        shares = put(shares, card, shares[card]._replace(layers=shares[card].layers + taken))
        left -= taken
        start = at
        if shares[at].parts:
            break
    return shares, start


def told(asked: Asked, num_layers: int, shares: Shares) -> Asked:
    """Return the question that says shares in llama-server's own flags.

    -ngl counts layers from the end, the output as one more; -ts deals them; -ot names what they leave out.
    """
    total = sum(share.layers for share in shares)
    at, rules = num_layers + 1 - total, list[str]()
    for share in shares:
        parts = list(range(at + share.layers - share.parts, at + share.layers))
        if parts and share.first_part != "experts":
            place = "CPU" if share.sent_to == HOST else f"CUDA{share.sent_to}"
            rules.append(rf"blk\.{parts.pop(0)}\.{LEFT_OUT[share.first_part]}={place}")
        if parts:
            rules.append(rf"blk\.({'|'.join(map(str, parts))})\.{LEFT_OUT['experts']}=CPU")
        at += share.layers
    split = ",".join(str(share.layers) for share in shares)
    return asked._replace(
        n_gpu_layers=total,
        tensor_split=split if len(shares) > 1 and total else None,
        override_tensor=",".join(rules) or None,
    )
