"""What a draft takes of a card of SGLang beside its rows in the pool."""

from ...ledger import Line, exact
from ...model.attention import DSA, MLA, V4, V41
from ...model.drafting import uncertain_bytes
from ...model.model import EMBEDDING, HEAD, Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..rank import Stage
from .cache import (
    cache_layout,
    counts_own_draft,
    divides_by_draft,
    draft_rows,
    drafts_blocks,
    pool_tokens,
    row_bytes,
)
from .rank_tensors import shard
from .release import RELEASES
from .weights import absorbed, placed_part


def draft_line(model: Model, asked: Resolved, hardware: Hardware, stage: Stage, tokens: int) -> Line:
    """A draft that is loaded when the pool is made: its tensors, and a row of each of its layers for every
    slot of the target's pool, which has `tokens`."""
    own = placed_part(model, asked, hardware, stage, "mtp")
    beside = absorbed(model, asked, hardware, stage, ("mtp",))
    size = sum(group.total_bytes for group in (*own, *beside))
    rules = RELEASES.at(asked.engine_version)
    kept = () if divides_by_draft(asked, stage, rules) else model.draft
    apart = (layer.attention for layer in kept if not isinstance(layer.attention, V4 | V41))
    rows = sum(row_bytes(attention, asked, rules) for attention in apart)  # V4's are in its pools' prices
    own_layers = model.drafter is None
    if own_layers and rules.gives_drafts_all_layers and not model.kinds.has(MLA, DSA):
        rows = rows // len(model.draft) * len(model.layers)
    line = exact(
        "weights.draft",
        "draft",
        "draft, loaded after the pool",
        size + tokens * rows,
        f"tensors that draft {size:,} B + {tokens:,} slots x {rows:,} B",
        "speculative/eagle_worker.py",
    )
    more = uncertain_bytes(model, size)
    return line._replace(kind="assumed", high_bytes=line.bytes + more) if more else line


def released_line(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """What a draft has of embedding and output head when the pool is cut: its own, made with its other
    tensors and let go for the target's only after that (eagle_worker_v2.py, init_lm_head). A head that
    drafts blocks makes none."""
    rules = RELEASES.at(asked.engine_version)
    if model.drafter is not None and drafts_blocks(asked):
        return []
    if not (asked.speculative and stage.last and model.draft and rules.shares_ends_after_pool):
        return []
    if model.drafter is None:
        ends = [each for each in model.tensors if each.part == "main" and each.name in (EMBEDDING, HEAD)]
    else:
        ends = [each for each in model.tensors if each.part == "mtp" and each.copy_of in (EMBEDDING, HEAD)]
    plain = DTYPES[asked.dtype]  # no method quantises what no checkpoint stores
    size = sum(plain.num_bytes(shard(each, model, asked)[0]) for each in ends)
    what = "embedding and head of the draft, let go once the pool is cut"
    formula = " + ".join(f"{each.name} {each.shape[0]:,} x {each.shape[1]:,}" for each in ends)
    return [exact("weights.draft", "draft", what, size, formula, "sglang#36452")] if size else []


def draft_rows_beside(model: Model, asked: Resolved, stage: Stage, pool_bytes: int) -> list[Line]:
    """What the rows of a draft take beyond those that the pool was divided by: of another model or head as
    many of the target's, of some models' own layers none (model_executor/pool_configurator.py).

    Kimi-K2's head keeps keys and values of 64 heads where each of its target's layers keeps a latent:

    >>> from ...model.draft_head import model_of_head, published_head
    >>> from ...model.drafting import with_draft
    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> from ...run.speculation import Speculation
    >>> target, asked = load("kimi-k2"), Resolved(engine="sglang", dtype="bfloat16", layout=Layout(tp=8))
    >>> head = model_of_head(published_head("AQ-MedAI/Kimi-K2-Instruct-eagle3"), target, "head")
    >>> both = with_draft(target, head, shares=True)
    >>> asked = asked._replace(speculation=Speculation("EAGLE3", 3), kv_cache_dtype="bfloat16")
    >>> [line.bytes for line in draft_rows_beside(both, asked, Stage(0, 1, 0, 61), 71424 * 1000)]
    [2944000]
    """
    rules = RELEASES.at(asked.engine_version)
    if counts_own_draft(model, rules) or not divides_by_draft(asked, stage, rules):
        return []
    counted, held = draft_rows(model, asked, stage, rules)
    tokens = pool_tokens(cache_layout(model, asked, stage), pool_bytes)
    if held <= counted or tokens <= 0:
        return []
    return [
        exact(
            "kv_cache.copies",
            "draft",
            "cache of the draft beyond what the pool was divided by",
            tokens * (held - counted),
            f"{tokens:,} slots x ({held:,} - {counted:,} B)",
            "model_executor/pool_configurator.py",
        )
    ]
