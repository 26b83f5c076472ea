"""Prefill and decode on machines of their own: how many of each, and whether that beats machines that do
both.

A prompt's pass is bound by computation, a decoding step by memory; apart, neither waits for the other. The
prefill side holds the caches of the prompts in flight, the decode side those of all running sequences.
Ignored: sending caches over the network, which hides behind the next prompt if network bytes a second x
prompt seconds is more than a prompt's cache (said for each answer).

Both sides have the same form and cache, as NixlConnector compares them (vLLM 0.32, nixl/metadata.py), and no
stages: it reads from none (vLLM#45880), SGLang from as many as decode (disaggregation/common/conn.py).
"""

from math import ceil
from typing import NamedTuple

from ..engines import engine
from ..engines.rank import Stage
from ..errors import UsageError
from ..estimate.serving.estimate import Estimate
from ..run.serving import Layout
from ..speed.serving import prompt_pass
from ..speed.setup import setup_of
from ..speed.steady import added
from .launch import Launch
from .launch.serving import PairLaunch, SideName, one_of_several, pairs, router_launch, side_launch
from .search import PlanRow, Search

PROMPTS_IN_FLIGHT = 4
"""Sequences that a prefill machine holds: those whose caches are on their way, and the next ones."""


class Side(NamedTuple):
    """One kind of machine: how many of them, and what one does a second."""

    row: PlanRow
    num: int
    requests_per_s: float


class Disaggregated(NamedTuple):
    """Both sides, and what they serve together."""

    prefill: Side
    decode: Side
    launch: PairLaunch
    requests_per_s: float
    tokens_per_s: float
    num_gpus: int
    usd_per_hour: float | None
    tokens_per_s_per_gpu: float
    together_tokens_per_s_per_gpu: float
    """Of the best machine that does both, on one server or several."""
    cache_bytes: int
    """Of one prompt, which goes from one side to the other."""
    network_bytes_per_s: float
    """What sending it behind the next prompt takes, for each prefill machine."""


def disaggregate(search: Search, rows: tuple[PlanRow, ...]) -> Disaggregated:
    """The best pair of settings of one kind of card, by tokens a second of a card.

    >>> from ..model.load import load
    >>> from .goals import Wanted
    >>> search = Search(
    ...     load("deepseek-r1"), "deepseek-r1", Wanted(gpus=("h200:8",), context=8192, concurrency=64)
    ... )
    >>> found = disaggregate(search, search.run().rows)
    >>> found.prefill.num >= 1 and found.decode.num >= 1 and found.tokens_per_s_per_gpu > 0
    True
    """
    able = pairs()
    both = [row for row in rows if row.rate and row.asked.engine in able and is_a_side(row)]
    if not both:
        raise UsageError(
            "no setting that fits can be told apart into prefill and decode",
            f"{' and '.join(able)} can, as one server without pipeline stages: name cards that hold the load",
        )
    decode = max(both, key=lambda row: decode_requests(row, search) / row.hardware.num_gpus)
    prompts = [row for row in prefill_rows(search, decode) if row.speed and is_a_side(row)]
    if not prompts:
        raise UsageError("no setting holds the prompts alone", "name other cards with --gpu")
    prefill = max(prompts, key=lambda row: prefill_requests(row, search) / row.hardware.num_gpus)
    fast, slow = prefill_requests(prefill, search), decode_requests(decode, search)
    counts = (max(1, ceil(slow / fast)), 1) if slow > fast else (1, max(1, ceil(fast / slow)))
    if slow <= fast:  # as many decode machines as one prefill machine feeds, but no more than the load fills
        counts = (1, min(counts[1], max(1, ceil(search.wanted.concurrency / running(decode)))))
    rate = min(counts[0] * fast, counts[1] * slow)
    gpus = counts[0] * prefill.hardware.num_gpus + counts[1] * decode.hardware.num_gpus
    prices = (prefill.usd_per_hour, decode.usd_per_hour)
    usd = (
        None
        if None in prices
        else added(count * (price or 0.0) for count, price in zip(counts, prices, strict=True))
    )
    cache = cache_of_prompt(prefill.estimate, search.input_len)
    best = max((row.rate or 0.0) / row.hardware.num_gpus for row in rows if row.fits)
    return Disaggregated(
        prefill=Side(prefill, counts[0], fast),
        decode=Side(decode, counts[1], slow),
        launch=launch_of(search, prefill, decode, counts),
        requests_per_s=rate,
        tokens_per_s=rate * search.output_len,
        num_gpus=gpus,
        usd_per_hour=usd,
        tokens_per_s_per_gpu=rate * search.output_len / gpus,
        together_tokens_per_s_per_gpu=best,
        cache_bytes=cache,
        network_bytes_per_s=cache * fast,
    )


def is_a_side(row: PlanRow) -> bool:
    """Whether a setting that fits can be one of two: one server, without pipeline stages."""
    return row.fits and row.replicas == 1 and row.asked.sizes.pp == 1


def prefill_rows(search: Search, decode: PlanRow) -> tuple[PlanRow, ...]:
    """Settings of the same engine, kind of card and form that hold a few prompts, and admit what the other
    side does: engines refuse a prompt without room for a token after it."""
    name = decode.gpu.partition(":")[0]
    gpus = tuple(
        word for word in search.wanted.gpus if word.partition(":")[0] in (name, name.partition("-")[0])
    ) or (name,)
    wanted = search.wanted._replace(
        gpus=gpus,
        concurrency=PROMPTS_IN_FLIGHT,
        engines=(decode.asked.engine,),
        quantizations=(decode.asked.quantization or "none",),
        kv_cache_dtypes=(decode.estimate.kv_cache.dtype,),
    )
    return Search(search.model, search.word, wanted, search.table).run().rows


def prefill_requests(row: PlanRow, search: Search) -> float:
    """Prompts a second of one machine: passes of whole prompts, one of each data-parallel group at a time."""
    groups = row.asked.sizes.dp
    seconds = prompt_pass(setup_of(row.estimate), search.input_len, groups).seconds
    return groups * row.replicas / seconds if seconds > 0 else 0.0


def decode_requests(row: PlanRow, search: Search) -> float:
    """Finished sequences a second of a machine that only decodes: running / (step x output)."""
    assert row.speed is not None
    step = added(part.seconds for part in row.speed.decode_parts)
    return running(row) / (step * search.output_len) if step > 0 else 0.0


def running(row: PlanRow) -> float:
    """Sequences that run at once on one machine."""
    return row.speed.running if row.speed is not None else 1.0


def cache_of_prompt(estimate: Estimate, length: int) -> int:
    """Return the bytes of one prompt's cache as it is sent: what one card that held all layers would have, as
    tensor ranks send their own heads, and one of those that hold the same (MLA, more ranks than heads) sends
    them.

    >>> from ..estimate.serving.estimate import estimate_serving
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> from ..run.serving import Asked
    >>> for name in ("deepseek-v3", "llama-3.1-70b"):
    ...     found = estimate_serving(load(name), Asked(layout=Layout(tp=8)), parse_gpu("h200:8"))
    ...     cache_of_prompt(found, 7168) >> 20
    480
    2240
    """
    model, request = estimate.model, estimate.request._replace(layout=Layout())
    cache = engine(request.engine).cache_layout(model, request, Stage(0, 1, 0, len(model.layers)))
    return round(cache.token_bytes * length) + cache.fixed_bytes


def launch_of(search: Search, prefill: PlanRow, decode: PlanRow, counts: tuple[int, int]) -> PairLaunch:
    """How both sides and the router are started."""

    def side(name: SideName, row: PlanRow) -> Launch:
        asked = one_of_several(row.asked, row.estimate.request)
        return side_launch(search.model, search.word, asked, row.hardware, name)

    router = router_launch(decode.asked.engine, *counts)
    return PairLaunch(side("prefill", prefill), side("decode", decode), router)
