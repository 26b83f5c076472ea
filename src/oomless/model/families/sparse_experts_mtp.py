"""MTP layers of families in sparse.py: one block of the main model's kind, a projection of token and hidden
state, norms.

Each row is read off the hub's element counts: with it the counts of ERNIE-4.5-21B-A3B-PT, EXAONE-4.5-33B,
Hy3-preview, K-EXAONE-236B-A23B and Step-3.5-Flash are exact.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward
from ..layer_weights import block_tensors
from ..model import HEAD, VOCABULARY, Layer, Model, Tensor
from ..scope import Scope, Storage
from .rope_and_storage import read_storage


class Draft(NamedTuple):
    """What an MTP layer is made of."""

    sparse: bool = False
    """Experts as in the main model's layers; else the dense block of its first layers."""
    num_norms: int = 3
    """Beside the block's own: of the token's embedding, of the hidden state, and mostly one at the end."""
    head: bool = False
    """An output head of its own."""
    last_layer: int = -1
    """The main model's layer whose attention it has."""


DRAFTS = {
    "bailing_hybrid": Draft(sparse=True),
    "ernie4_5_moe": Draft(num_norms=2),
    "exaone4": Draft(),
    "exaone_moe": Draft(),
    "hy_v3": Draft(sparse=True),
    "step3p5": Draft(head=True, last_layer=-2),
    "step3p7": Draft(head=True, last_layer=-2),
}


def with_draft(model: Model, config: Config, dense_width: int) -> Model:
    """The model with the MTP layers that its config counts, or with a warning where the family's are not
    known."""
    num = config.size(
        "num_nextn_predict_layers", config.size("num_mtp_layers", 0, least=0), least=0, most=MAX_LAYERS
    )
    config.used.add("num_mtp_layers")
    if not num:
        return model
    row = DRAFTS.get(config.word("model_type"))
    if row is None or not dense_width:
        return model._replace(
            warnings=(*model.warnings, "MTP layers are not counted: this family's are not known")
        )
    ffn: FeedForward = model.layers[-1].ffn if row.sparse else Dense(dense_width)
    layer = Layer(model.layers[max(row.last_layer, -len(model.layers))].attention, ffn)
    draft = (layer,) * num
    stored, _ = read_storage(config)
    return model._replace(draft=draft, tensors=(*model.tensors, *draft_tensors(draft, row, model, stored)))


def draft_tensors(draft: tuple[Layer, ...], row: Draft, model: Model, stored: Storage) -> Iterator[Tensor]:
    """A block, eh_proj (2h x h), norms, and a head where it has one."""
    first, hidden = len(model.layers), model.hidden_size
    scope = Scope(tuple(range(first, first + len(draft))), stored, part="mtp")
    yield from block_tensors(draft[0], hidden, model.vocab_size, scope)
    yield scope.tensor("eh_proj.weight", (hidden, 2 * hidden), "plain")
    for norm in ("enorm", "hnorm", "shared_head.norm")[: row.num_norms]:
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")
    if row.head:
        yield scope.tensor(
            f"shared_head.{HEAD.rpartition('.')[0]}.weight", (model.vocab_size, hidden), "plain", VOCABULARY
        )
