"""Does it run at all? What is known of an engine and release, a kind of model, its weights, its cache and a
card (facts/support.csv), before any byte is counted.

A row says `runs`, `does_not_run` or `unknown` (reported, contradicted, or through a package of others); an
empty cell holds for all. Where a row that does not run holds, the answer is no. Otherwise each of three
things must be known to run on this card: the kind of model, the form of its weights, the type of its cache.
"""

from functools import cache, lru_cache
from typing import Literal

from .. import facts
from ..errors import UnsupportedError
from ..facts.release import Release, read_release
from ..kept import Kept
from ..model.model import Model
from ..model.quantization_scheme import REQUANTISED
from ..records import Record
from ..run.cards import Card
from ..run.serving import Asked
from . import GGUF_ENGINE, engine

Runs = Literal["runs", "does_not_run", "unknown"]

PARTICULAR = frozenset(
    ["mla", "dsa", "v4", "v41", "linear", "deepseek_ocr", "deepseek_ocr2", "deepseek_vl_v2"]
)
"""Kinds that need kernels or a class of their own: what runs for models in general says nothing of them."""
LARGE_PARAMETERS = 600_000_000_000
"""DeepSeek-V4-Pro has 1.6e12 parameters, V4-Flash 284e9."""


class SupportRow(Record):
    """A statement: where it holds, and what it says."""

    first: Release
    last: Release
    models: frozenset[str]
    unless: frozenset[str]
    weights: frozenset[str]
    caches: frozenset[str]
    cards: frozenset[str]
    runs: Runs
    how: str
    source: str


class SupportQuestion(Record):
    """A question in the words of the table."""

    engine: str
    release: Release
    model: frozenset[str]
    weights: str
    cache: str
    card: str


class Support(Record):
    """What is known: whether it runs, and the row or the gap that says so."""

    runs: Runs
    reason: str = ""
    source: str = ""
    hint: str = ""


@cache
def support_rows(name: str, card: str = "") -> tuple[SupportRow, ...]:
    """Return the rows of an engine, those that do not run first; with a card those alone that hold for it."""
    return tuple(
        support_row(name, place)
        for place, cells in enumerate(_cells(name))
        if not card or not cells["cards"] or card in cells["cards"].split()
    )


@cache
def _cells(name: str) -> tuple[dict[str, str], ...]:
    return tuple(row for row in facts.rows_with("support", name) if row["engine"] == name)


@cache
def support_row(name: str, place: int) -> SupportRow:
    """Return a row of an engine by its place among them."""
    cells = _cells(name)[place]
    words = cells["model"].split()
    first, last = (read_release(cells[name]) if cells[name] else () for name in ("first", "last"))
    return SupportRow(
        first,
        last,
        frozenset(word for word in words if not word.startswith("!")),
        frozenset(word[1:] for word in words if word.startswith("!")),
        frozenset(cells["weights"].split()),
        frozenset(cells["cache"].split()),
        frozenset(cells["cards"].split()),
        cells["runs"],  # type: ignore[arg-type]
        cells["how"],
        cells["source"],
    )


@lru_cache(4096)
def support(asked: SupportQuestion) -> Support:
    """Return what is known of a question. A card that is only a size is taken for one that runs it.

    >>> v4 = frozenset(["deepseek_v4", "v4", "moe"])
    >>> support(SupportQuestion("vllm", (0, 33, 0), v4, "mxfp4", "auto", "sm80")).runs
    'does_not_run'
    """
    rows = [row for row in support_rows(asked.engine, asked.card) if _may_hold(row, asked)]
    holding = [row for row in rows if _suits(row.weights, asked.weights) and _suits(row.caches, asked.cache)]
    for row in holding:
        if row.runs == "does_not_run":
            return Support("does_not_run", row.how or _why(row, asked), row.source, _way_out(row, asked))
    if not asked.card:
        return Support("runs")
    for row in holding:
        if row.runs == "unknown":
            return Support("unknown", row.how or "it is reported, not confirmed", row.source)
    good = [row for row in rows if row.runs == "runs"]
    if not any(_speaks_of(row, asked) for row in good):
        return Support("unknown", f"no source says that this kind of model runs on {asked.card}")
    if not any(_suits(row.weights, asked.weights) for row in good):
        return Support("unknown", f"no source says that {asked.weights} weights run on {asked.card}")
    if not any(_suits(row.caches, asked.cache) for row in good):
        what = "this kind of model" if asked.cache == "auto" else f"a cache of {asked.cache}"
        return Support("unknown", f"no source says that {what} runs on {asked.card}")
    return Support("runs")


NEWEST = (999, 999)
"""What a release is taken for where its last numbers are not said: 0.5 is the newest 0.5.x."""


def _suits(words: frozenset[str], asked: str) -> bool:
    return not words or asked in words


def _may_hold(row: SupportRow, asked: SupportQuestion) -> bool:
    """Whether a row holds for the release, the model and the card."""
    release = (*asked.release, *NEWEST)
    return (
        row.first <= release
        and not (row.last and release[: len(row.last)] > row.last)
        and row.models <= asked.model
        and not row.unless & asked.model
        and _suits(row.cards, asked.card)
    )


def _speaks_of(row: SupportRow, asked: SupportQuestion) -> bool:
    """Whether a row is about the model's own kind, where that is a particular one."""
    kinds = asked.model & PARTICULAR
    return kinds <= row.models or any(word in FAMILIES_OF_KINDS for word in row.models)


FAMILIES_OF_KINDS = frozenset(
    "qwen3_next qwen3_5 kimi_linear nemotron_h glm_moe_dsa deepseek_ocr deepseek_ocr2 deepseek_vl_v2".split()
)
"""Families that rows name in place of the kinds of their layers."""


def _why(row: SupportRow, asked: SupportQuestion) -> str:
    """Return what a row without words of its own says does not run, and where that was read."""
    if row.weights:
        said = f"no {asked.weights} weights there"
    elif row.caches:
        said = f"no cache of {asked.cache} there"
    elif row.models:
        said = "no model of this kind there"
    elif row.first:
        said = f"no release from {'.'.join(map(str, row.first))} on runs there"
    else:
        said = "no release runs there"
    return f"{said} ({row.source})"


def _way_out(row: SupportRow, asked: SupportQuestion) -> str:
    """Return what could be changed: the release, the cache, the weights, the card."""
    if row.last:
        return "use a later release"
    if row.first and not (row.models or row.weights or row.caches):
        return f"use an earlier release, or --engine {GGUF_ENGINE}"
    if row.caches:
        return "use --kv-cache-dtype auto"
    others = (each for each in support_rows(asked.engine) if each.runs == "runs" and _names(each, asked))
    if cards := sorted({card for each in others for card in each.cards}):
        return f"known to run on {', '.join(cards)}"
    if row.weights:
        return "use a checkpoint in another format"
    return f"use another engine: --engine {GGUF_ENGINE} runs most models on most cards"


def _names(row: SupportRow, asked: SupportQuestion) -> bool:
    return (
        bool(row.models & asked.model & PARTICULAR)
        and row.models <= asked.model
        and row.first <= (*asked.release, *NEWEST)
        and not row.last
        and _suits(row.weights, asked.weights)
    )


def check_support(model: Model, asked: Asked, card: Card) -> Support:
    """Refuse what is known not to run; return what is known of the rest.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> check_support(load("deepseek-v4-flash"), Asked(), parse_gpu("a100-80gb:8").card)
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm 0.33.0 does not run deepseek-v4-flash on A100 80GB SXM4: fails in
     DeepGEMM hyper-connection, then Triton fp8e4nv; forks exist
      known to run on cpu, gfx950, sm100, sm103, sm120, sm90
    """
    question = in_words(model, asked, card)
    found = support(question)
    if found.runs == "does_not_run":
        version = asked.engine_version or engine(asked.engine).latest
        raise UnsupportedError(
            f"{asked.engine} {version} does not run {model.name} on {card.name}: {found.reason}", found.hint
        )
    return found


def in_words(model: Model, asked: Asked, card: Card) -> SupportQuestion:
    """Return a question in the words of the table."""
    release = read_release(asked.engine_version or engine(asked.engine).latest)
    rules = engine(asked.engine)
    weights = "gguf" if rules.file_types else weights_word(model, asked.quantization)
    cache_type = asked.value(rules.cache_field).lower()
    cache_word = CACHE_WORDS.get(cache_type, cache_type)
    return SupportQuestion(asked.engine, release, model_words(model), weights, cache_word, card_word(card))


CACHE_WORDS = {"fp8": "fp8_e4m3", "bfloat16": "16-bit", "float16": "16-bit", "f16": "auto"}


def model_words(model: Model) -> frozenset[str]:
    """Return the words of a model: its family with and without its suffix, and the kinds of its layers.

    >>> from ..model.load import load
    >>> sorted(model_words(load("qwen3.5-35b-a3b"))), sorted(model_words(load("deepseek-v4-pro")))
    (['gqa', 'linear', 'moe', 'qwen3_5', 'qwen3_5_moe'], ['deepseek_v4', 'moe', 'v4', 'v4_pro'])
    """
    return MODEL_WORDS.of(model, None, lambda: _words(model))


MODEL_WORDS = Kept[frozenset[str]](most=64)
"""Words by model: every size and layout of a search asks."""


def _words(model: Model) -> frozenset[str]:
    words = {model.family, model.family.removesuffix("_moe").removesuffix("_text")}
    for attention in model.kinds.attentions:
        words |= {attention.kind, attention.core.kind}
    words -= {"mla"} if "dsa" in words else set()
    if model.kinds.has_experts:
        words.add("moe")
    if "v4" in words and model.num_parameters > LARGE_PARAMETERS:
        words.add("v4_pro")
    return frozenset(words)


def weights_word(model: Model, quantization: str | None) -> str:
    """Return the word of the form of a model's matrices, or of the one that it is given on loading.

    >>> from ..model.load import load
    >>> [weights_word(load(name), None) for name in ("deepseek-v3", "deepseek-v4-flash", "qwen3-8b")]
    ['fp8_block', 'mxfp4', '16-bit']
    >>> weights_word(load("qwen3-8b"), "w8a8"), weights_word(load("qwen3-8b"), "fp8")
    ('int8', 'fp8')
    """
    return WEIGHTS_WORDS.of(model, quantization, lambda: _weights_word(model, quantization))


WEIGHTS_WORDS = Kept[str](most=64)
"""Words by model and --quantization."""


def _weights_word(model: Model, quantization: str | None) -> str:
    method = model.quantization if quantization in (None, "none") else quantization
    if method in METHOD_WORDS:
        return METHOD_WORDS[method]
    forms = {tensor.format for tensor in model.tensors if tensor.role in ("linear", "expert")}
    if method != model.quantization:
        if method not in REQUANTISED:
            from ..model.mlx_forms import form_of  # few forms have no name of their own

            # of another one nothing is known, least of all that it is the checkpoint's
            return "mlx" if form_of(method) else method
        forms = {REQUANTISED[method]}
    form = min(forms, key=lambda each: each.bits, default=model.dtype)
    return next((word for start, word in FORM_WORDS if form.name.startswith(start)), method or "16-bit")


METHOD_WORDS = {
    "fp8-dynamic": "fp8_channel",
    "w8a8": "int8",
    "tpu_int8": "int8",
    "w4a16": "w4a16",
    "w4a8": "w4a8",
    "w8a16": "gptq",
    "bitsandbytes": "nf4",
    "awq": "awq",
    "gptq": "gptq",
    "mlx-packed": "mlx",
    "auto-round": "gptq",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    **{name: name for name in ("experts_int8", "hqq", "eetq", "quanto", "bitnet")},
}
"""Methods whose name says the form."""
FORM_WORDS = (
    ("fp4 1x16", "nvfp4"),
    ("fp4", "mxfp4"),
    ("fp8, one F32 scale a row", "fp8_channel"),
    ("fp8, one F32 scale a tensor", "fp8"),
    ("fp8", "fp8_block"),
    ("int8", "int8"),
    ("int4", "w4a16"),
    ("nf4", "nf4"),
    ("bfloat16", "16-bit"),
    ("float16", "16-bit"),
    ("float32", "16-bit"),
)
"""Beginnings of the names of formats, the more particular first."""


def card_word(card: Card) -> str:
    """Return the word of a card's architecture; "" for a card that is only a size.

    >>> from ..run.cards import card
    >>> [
    ...     card_word(card(name))
    ...     for name in ("h200-141gb-sxm", "instinct-mi300x", "ascend-910b-32gb", "m4-max")
    ... ]
    ['sm90', 'gfx942', 'ascend_910b', 'apple']
    """
    if not card.vendor:
        return ""
    if card.capability:
        return f"sm{round(card.capability * 10)}"
    if card.compute_capability.startswith("gfx"):
        return card.compute_capability
    match card.vendor:
        case "Google":
            return "tpu"
        case "generic" | "Raspberry Pi":
            return "cpu"
        case "Huawei":
            return "_".join(card.name.lower().split()[:2])  # without its size
        case "Intel":
            return card.name.lower().replace(" ", "")
        case _:
            return card.vendor.lower().replace(" ", "_")
