"""vLLM on Huawei's Ascend: vLLM's rules, on blocks of 128 tokens and with MLA rows of its own.

Known from logs (serving_memory.md): weights as vLLM allocates them (R1-Distill-Llama-70B TP8: 16.461 GiB),
V3.2 with 576 + 128 elements of the cache's type a token and layer from 0.15 on (#6610); before, it booked two
MLA pages a layer (1,152). Overheads are assumed.
"""

from ..errors import UnsupportedError
from ..ledger import Line, exact
from ..model.attention import DSA, MLA, V4, Linear
from ..model.model import Model
from ..model.storage import DTYPES
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from .overhead_lines import measured, up_to
from .rank import CacheGroup, CacheLayout, Stage
from .record import derived
from .releases import ReleaseRules, Releases
from .vllm import VLLM
from .vllm.defaults import resolve as defaults_of_vllm
from .vllm.release import RELEASES as VLLM_RELEASES

BLOCK_SIZE = 128
INDEX_SCALE_BYTES = 2
IMAGE = "quay.io/ascend/vllm-ascend:v{version}"
"""Tags v0.13.0, v0.18.0 and v0.23.0 are in public use on Atlas A2; A3 (910C) and 310P have tags of their own,
with a suffix that is not written here."""


class AscendRules(ReleaseRules):
    """What a release of vLLM-Ascend does beside vLLM's own rules (facts/engine_rules.csv)."""

    caches_index_with_latent: bool = False
    """The cache of sparse MLA holds latent and index key in one page."""
    pools_of_states: int = 1
    """How often the pool of a model with states is allocated."""
    masks_whole_prompts: bool = False
    may_mask_all_that_was_read: bool = False
    """A prompt that goes on takes the mask that one before it left, and its product, where that was as
    long."""
    reads_whole_prompts: bool = False
    """A model of text without latents reads a prompt in one step, however long."""
    may_read_whole_prompts: bool = False
    """A candidate of the release does."""
    scores_latents_whole: bool = False
    """A prompt that goes on is scored against all its latents at once, under a mask of its length squared."""
    serves_sparse_mla: bool = False
    serves_v4: bool = False
    serves_v41: bool = False


RELEASES = Releases("vllm-ascend", AscendRules, VLLM.versions, first="0")


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """vLLM's defaults, in blocks of 128 tokens; sparse MLA in the model's own type, tables of n-grams on the
    cards: nothing moves them to the host yet (vllm-ascend#16886)."""
    sparse = model.kinds.has(DSA, V4) and asked.kv_cache_dtype == "auto"
    asked = asked._replace(
        block_size=asked.block_size or BLOCK_SIZE,
        kv_cache_dtype="bfloat16" if sparse else asked.kv_cache_dtype,
        engram="gpu" if asked.engram == "auto" else asked.engram,
    )
    found = defaults_of_vllm(model, hardware, asked, layout, RELEASES)
    if RELEASES.at(found.engine_version).reads_whole_prompts and is_dense_text(model):
        return found._replace(
            max_num_batched_tokens=max(found.max_num_batched_tokens or 0, found.max_model_len or 0)
        )
    return found


def is_dense_text(model: Model) -> bool:
    """Return whether a model sees nothing and caches keys and values as they are (platform.py)."""
    return not model.kinds.latents and all(tensor.part != "vision" for tensor in model.tensors)


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """vLLM's, but for sparse MLA: (512 + 64 + 128) elements a token and layer, the index key in the cache's
    type.

    >>> from ..model.load import load
    >>> asked = Resolved(engine_version="0.15.0", dtype="bfloat16", kv_cache_dtype="bfloat16", block_size=128)
    >>> cache_layout(load("deepseek-v3.2"), asked, Stage(0, 1, 0, 61)).token_bytes / 61
    1408.0
    """
    sparse = [
        layer.attention
        for layer in model.layers[stage.start : stage.stop]
        if isinstance(layer.attention, DSA)
    ]
    if stage.kinds(model).has(V4):
        return v4_layout(model, asked, stage)
    if not sparse:
        return VLLM.cache_layout(model, asked, stage)
    dtype = asked.dtype if asked.kv_cache_dtype == "auto" else asked.kv_cache_dtype
    if dtype not in ("bfloat16", "float16"):
        raise UnsupportedError(
            f"--kv-cache-dtype {dtype} of sparse MLA is not known for vllm-ascend",
            "use auto",
            "kv_cache_dtype",
        )
    width = DTYPES[dtype].bits // 8
    one_page = RELEASES.at(asked.engine_version).caches_index_with_latent
    rows = [a.mla.latent_dim + a.index_head_dim if one_page else 2 * a.mla.latent_dim for a in sparse]
    token, block = sum(rows) * width, asked.block_size or BLOCK_SIZE
    group = CacheGroup("all layers", len(sparse), block, token * block)
    formula = f"{len(sparse)} layers x {rows[0] * width} B"
    return CacheLayout((group,), token * block, token, 0, token * block, formula, asked.kv_cache_dtype)


def v4_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """V4's caches in the model's own type: --block-size counts compressed rows, and a page of anything is one
    of rows or one of index keys, which are 8 bit wide with a scale (models/layer/attention/layer.py,
    DSV4_BLOCK_SIZES; patch/platform/patch_kv_cache_utils.py: a slot of both for as many layers as the largest
    group has).

    Flash, blocks of 128: 22 slots, for half of 43 windows, of 131,072 + 16,640 B.

    >>> from ..model.load import load
    >>> asked = Resolved(engine_version="0.23.0", kv_cache_dtype="bfloat16", block_size=128)
    >>> v4_layout(load("deepseek-v4-flash"), asked, Stage(0, 1, 0, 43)).block_bytes / 22
    147712.0
    """
    from .vllm.cache_v4 import V4Blocks, bucketed, layout_of, packed_by_page, v4_pages  # one family
    from .vllm.rank_tensors import draft_layers

    layers = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    if asked.speculative and stage.last:
        layers += [layer.attention for layer in model.draft[: draft_layers(model, asked)]]
    v4, rows = [each for each in layers if isinstance(each, V4)], asked.block_size or BLOCK_SIZE
    hca = max(each.ratio for each in v4)
    blocks = V4Blocks(4 * rows, hca * rows, rows, rows // 16, rows // 4, 1)
    pages = v4_pages(v4, blocks, "bfloat16", v4[0].index_head_dim + INDEX_SCALE_BYTES)
    groups, _, need = packed_by_page(bucketed(pages))
    return layout_of(pages, groups, need, need, "bfloat16")


def beside_pool(model: Model, asked: Resolved, stage: Stage, pool_bytes: int) -> list[Line]:
    """Return the further copies of the pool that a model with states gets: layers with a cache and layers
    with a state are allocated one after the other, though they share it (worker/model_runner_v1.py); and the
    mask of the longest prompt that one step begins, which no profile run makes, nor the scores of one that
    goes on.

    >>> from ..model.load import load
    >>> asked = Resolved(
    ...     engine_version="0.11.0", dtype="bfloat16", context=131072, max_num_batched_tokens=65536
    ... )
    >>> [each.bytes for each in beside_pool(load("qwen3-next-80b-a3b"), asked, Stage(0, 1, 0, 48), 10)]
    [8589934592, 10]
    """
    rules, found = RELEASES.at(asked.engine_version), []
    if (engine := VLLM_RELEASES.at(asked.engine_version)).v0:
        late = measured("vllm", "activations.profile_run", "late_runs", engine.release, ("ascend", "v0"))
        what = "what runs hold that the profile run gave back"
        found.append(late._replace(key="temporaries.running", category="temporaries", what=what))
    if rules.masks_whole_prompts:
        tokens = min(asked.max_num_batched_tokens or 0, asked.context or 0)
        width = DTYPES[asked.dtype].bits // 8
        mask = exact(
            "temporaries.running",
            "engine",
            "attention mask of a prompt",
            tokens * tokens * width,
            f"{tokens:,} x {tokens:,} x {width} B",
            "vllm_ascend/attention/attention_mask.py",
        )
        if rules.may_read_whole_prompts and is_dense_text(model):
            mask = up_to(mask, (asked.context or 0) ** 2 * width)._replace(kind="assumed")
        if rules.may_mask_all_that_was_read:
            mask = up_to(mask, 2 * (asked.context or 0) ** 2 * width)._replace(kind="assumed")
        found.append(mask)
    if rules.scores_latents_whole and not engine.v0:
        found.extend(score_lines(model, asked, stage))
    copies = rules.pools_of_states - 1
    if copies and stage.kinds(model).has(Linear):
        found.append(
            exact(
                "kv_cache.copies",
                "engine",
                "pool allocated again",
                copies * max(pool_bytes, 0),
                f"{copies} x {max(pool_bytes, 0):,} B",
                "vllm-ascend#3760, #6887: _allocate_kv_cache_tensors",
            )
        )
    return found


def score_lines(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """Return what a layer with latents takes for the end of a prompt of more than one step: a mask in F32 of
    all its tokens by themselves, in which elements are chosen by a Boolean one, whose indices CANN allocates
    for all of them (two of 8 bytes); then scores in F32, twice, and the mask's rows, twice.

    >>> from ..model.load import load
    >>> asked = Resolved(layout=Layout(), context=16384, max_num_batched_tokens=2048)
    >>> lite = load("deepseek-v2-lite")
    >>> [each.bytes / 2**30 for each in score_lines(lite, asked, Stage(0, 1, 0, 27))]
    [5.25]
    >>> score_lines(lite, asked._replace(context=2048), Stage(0, 1, 0, 27))
    []
    """
    step, context = asked.max_num_batched_tokens or 0, asked.context or 0
    if not stage.kinds(model).has(MLA) or context <= step:
        return []
    heads = max(each.num_heads for each in stage.kinds(model).of(MLA)) // asked.layout.tp
    chosen, scored = context * context * 21, 4 * context * context + 8 * context * step * (1 + heads)
    formula = f"the most of {context:,} x {context:,} x (4 B + 1 + 16 of indices) and, for {step:,} of them, "
    formula += f"{context:,} x {context:,} x 4 B + {step:,} x {context:,} x (1 + {heads} heads) x 8 B"
    what, source = "scores of a prompt that goes on", "vllm_ascend/ops/attention.py, aclnnNonzero"
    return [exact("temporaries.running", "engine", what, max(chosen, scored), formula, source)]


VLLM_ASCEND = derived(VLLM, "vllm-ascend")._replace(
    candidates=VLLM.candidates._replace(forms=("fp8",)),
    start=VLLM.start._replace(image=IMAGE, package=""),
    resolve=resolve,
    cache_layout=cache_layout,
    beside_pool=beside_pool,
)
