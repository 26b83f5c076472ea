"""Will it serve? A model, a question and hardware -> a ledger for each group of equal ranks, the cache's
capacity, a verdict."""

from ...engines import check_card, engine, engines
from ...engines.rank import CacheLayout
from ...engines.record import Engine
from ...engines.support import Support, check_support
from ...errors import UnsupportedError, UsageError
from ...ledger import Ledger, Verdict
from ...model.model import Model
from ...records import Record
from ...run.cards import Card, Hardware
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB, format_bytes
from .notes import (
    beyond_context,
    beyond_load,
    cut_off,
    left_idle,
    left_to_host,
    of_library,
    peaks_while_loading,
    pool_as_said,
    unconfirmed,
    warnings,
)
from .stage_rank import Adjust, StageRank, stage_rank


class KVCache(Record):
    """The cache of the worst rank. Sequences and tokens are what the engine would print."""

    bytes_per_token: float
    fixed_bytes_per_sequence: int
    pool_bytes: int
    needed_bytes: int
    max_tokens: int
    max_tokens_low: int
    max_tokens_high: int
    max_concurrency: float
    """Sequences of the asked context at once."""
    longest_sequence: int
    dtype: str
    formula: str


class Estimate(Record):
    """The answer to a serving question."""

    model: Model
    request: Resolved
    """As one replica meets it: its `concurrency` is the replica's share of the load."""
    hardware: Hardware
    replicas: int
    concurrency: int
    """Sequences of the asked load, over all replicas."""
    ledgers: tuple[Ledger, ...]
    kv_cache: KVCache
    pools: tuple[int, ...]
    """What the engine would give the cache on a rank of each group, and the ends of its interval."""
    pools_low: tuple[int, ...]
    pools_high: tuple[int, ...]
    ram_bytes: int
    disk_bytes: int
    worst_rank: int
    ranks: tuple[StageRank, ...]
    """One of each group, with its pool."""
    warnings: tuple[str, ...]
    asked: Asked = Asked()
    cards: Hardware | None = None
    """The question before defaults and shares: a change is one to this."""
    put: Asked | None = None
    """As it was put, where its engine changed what nobody had set: a change is one to this instead."""
    adjust: Adjust | None = None
    support: Support = Support("runs")
    """What is known of whether it runs at all."""

    @property
    def ledger(self) -> Ledger:
        """The worst rank's."""
        return self.ledgers[self.worst_rank]

    @property
    def verdict(self) -> Verdict:
        return self.ledger.verdict

    @property
    def headroom_bytes(self) -> int:
        return self.ledger.headroom_bytes

    @property
    def starts(self) -> bool:
        """Return whether the engine starts with this question, whatever of the load then waits."""
        rules = engine(self.request.engine)
        return all(rank.starts(self.request, rules) for rank in self.ranks)

    @property
    def surely_starts(self) -> bool:
        """Return whether the engine starts at the worse end of the estimate's interval too."""
        rules = engine(self.request.engine)
        return all(rank.surely_starts(self.request, rules) for rank in self.ranks)

    @property
    def at_once(self) -> int:
        """Return how many sequences of the asked load run together on all cards; the rest waits for them."""
        rules, request = engine(self.request.engine), self.request
        on_a_rank = min(rank.at_once(request, rules) for rank in self.ranks)
        return min(on_a_rank * request.layout.dp * self.replicas, self.concurrency)


def estimate_serving(
    model: Model, asked: Asked, hardware: Hardware, adjust: Adjust | None = None
) -> Estimate:
    """The estimate for the layout that was asked for, or for the smallest one that holds model and load.
    `adjust` puts what this very machine was seen to hold beside weights and cache in place of the tables'."""
    asked.check()
    said = asked.speculation
    if said is not None and said.drafter and model.drafter is None:  # it drafts for itself (drafting.py)
        asked = asked._replace(speculation=said._replace(method="mtp", draft=None))
    if asked.quantization == "none":  # the checkpoint as it is
        asked = asked._replace(quantization=None)
    for card in hardware.mixed or (hardware.card,):
        check_card(asked.engine, card.vendor)
    if model.encodes and not engine(asked.engine).encodes:
        known = " or ".join(each.name for each in engines() if each.encodes)
        raise UnsupportedError(
            f"what {asked.engine} holds of an encoder is not known", f"use {known}", "engine"
        )
    if not hardware.card.memory_bytes:
        raise UsageError(f"{hardware.card.name} has no memory of its own", "give a size: 512GiB")
    share = share_of(hardware, asked)
    if asked.layout is not None and not asked.layout.leaves_ranks_open:
        found = with_layout(model, asked, share, asked.layout, adjust)
    else:
        found = smallest_layout(model, asked, share, adjust)
    return found._replace(asked=asked, cards=hardware, adjust=adjust)


def share_of(hardware: Hardware, asked: Asked) -> Hardware:
    """The cards as one instance may use them: less what is reserved for others, divided among the
    instances."""
    reserved = asked.reserve_bytes

    def share(card: Card) -> Card:
        memory, shared = (
            (size - reserved) // asked.instances
            for size in (card.memory_bytes, card.shared_bytes or reserved)
        )
        return card._replace(memory_bytes=memory, shared_bytes=shared)

    if share(hardware.card).memory_bytes <= 0:
        raise UsageError(
            f"--reserve {asked.reserve} leaves nothing of {format_bytes(hardware.card.memory_bytes)}",
            "reserve less",
        )
    return hardware._replace(card=share(hardware.card), mixed=tuple(share(card) for card in hardware.mixed))


def smallest_layout(model: Model, asked: Asked, hardware: Hardware, adjust: Adjust | None = None) -> Estimate:
    """The engine's layouts from the smallest on: the first that fits, else the best of the rest."""
    best: Estimate | None = None
    fault: UsageError | None = None
    layouts = engine(asked.engine).layouts(hardware, asked.layout or Layout())
    resident = sum(t.num_bytes for t in model.tensors if t.part == "main" and not t.copy_of)
    for layout in layouts:
        # no rank can hold less than its share of the published weights (quantising on loading can only halve
        # them)
        if layout is not layouts[-1] and resident // 2 > hardware.card.memory_bytes * layout.num_ranks:
            continue
        try:
            found = with_layout(model, asked, hardware, layout, adjust)
        except UsageError as error:  # this size does not divide the model: another may
            fault = fault or error
            continue
        if found.verdict == "fits":
            return found
        if best is None or (found.verdict == "tight", found.headroom_bytes) > (
            best.verdict == "tight",
            best.headroom_bytes,
        ):
            best = found
    if best is None:
        raise fault or UsageError("no layout is possible", "give --tp")
    return best


def with_layout(
    model: Model, asked: Asked, hardware: Hardware, layout: Layout, adjust: Adjust | None = None
) -> Estimate:
    """The estimate for one layout, of which as many replicas as the cards hold divide the load."""
    check_layout(layout, hardware)
    rules = engine(asked.engine)
    replicas = hardware.num_gpus // layout.num_ranks
    request = rules.resolve(model, hardware, share_of_load(asked, replicas), layout)
    layout = request.layout
    dated = asked._replace(engine_version=request.engine_version)
    kinds = dict.fromkeys(hardware.mixed or (hardware.card,))
    known = min((check_support(model, dated, card) for card in kinds), key=lambda each: each.runs == "runs")
    host = rules.host_bytes(model, request, hardware)
    ranks = [
        stage_rank(model, request, hardware, stage, rules, host, adjust)
        for stage in rules.stages(model, request)
    ]
    ledgers = tuple(rank.ledger(layout.num_ranks // layout.pp * replicas) for rank in ranks)
    worst = min(
        range(len(ledgers)),
        key=lambda index: (SEVERITY[ledgers[index].verdict], ledgers[index].headroom_bytes),
    )
    kv = capacity(ranks, worst, request, rules)
    notes = warnings(model, request, hardware, ledgers[worst])
    return Estimate(
        model,
        request,
        hardware,
        replicas,
        asked.concurrency or 1,
        ledgers,
        kv,
        tuple(rank.pool_bytes for rank in ranks),
        tuple(rank.pool_low for rank in ranks),
        tuple(rank.pool_high for rank in ranks),
        host,
        model.checkpoint_bytes,
        worst,
        tuple(ranks),
        (
            *notes,
            *(cut_off(model, asked) or cut_off(model, request)),
            *counted_alone(kv, ranks[worst].cache, request),
            *tier_of_host(kv, request),
            *unconfirmed(known, model, request),
            *of_library(asked, request, rules),
            *left_to_host(model, asked, request),
            *beyond_load(asked, request, rules),
            *beyond_context(ranks[worst], request, rules),
            *pool_as_said(ranks[worst]),
            *left_idle(request, hardware, replicas),
            *peaks_while_loading(ranks[worst]),
        ),
        support=known,
    )


def share_of_load(asked: Asked, replicas: int) -> Asked:
    """Return the question of one of several replicas: the fullest has the share rounded up.

    >>> (
    ...     share_of_load(Asked(concurrency=64), 8).concurrency,
    ...     share_of_load(Asked(concurrency=9), 8).concurrency,
    ... )
    (8, 2)
    """
    return asked._replace(concurrency=asked.concurrency and -(-asked.concurrency // replicas))


SEVERITY: dict[Verdict, int] = {"does_not_fit": 0, "tight": 1, "fits": 2}


def check_layout(layout: Layout, hardware: Hardware) -> None:
    """Refuse a layout for which there are too few cards, or cards that cannot share a model."""
    if layout.num_ranks > hardware.num_gpus:
        inside = layout.num_ranks == layout.tp * layout.pp
        sizes = {"--tp": layout.tp, "--pp": layout.pp, "--dp": 1 if inside else layout.dp}
        asked = " x ".join(f"{flag} {size}" for flag, size in sizes.items() if size > 1)
        raise UsageError(
            f"{asked} needs {layout.num_ranks} cards, --gpu gives {hardware.num_gpus}",
            f"their number stands behind the card, --gpu CARD:{layout.num_ranks}; or ask for smaller sizes",
        )
    if hardware.card.alone and layout.num_ranks > 1:
        raise UsageError(
            f"{hardware.card.name} cannot share a model: a process sees one slice",
            "leave --tp and --pp out, or take whole cards",
        )


def capacity(ranks: list[StageRank], worst: int, request: Resolved, rules: Engine) -> KVCache:
    """What the cache holds: the tokens of all stages together, all else of the worst one."""
    layouts = [rank.cache for rank in ranks]
    cache, pool = layouts[worst], max(ranks[worst].pool_bytes, 0)
    return KVCache(
        bytes_per_token=cache.token_bytes,
        fixed_bytes_per_sequence=cache.fixed_bytes,
        pool_bytes=pool,
        needed_bytes=ranks[worst].needed_bytes,
        max_tokens=rules.max_tokens(layouts, [rank.pool_bytes for rank in ranks], request),
        max_tokens_low=rules.max_tokens(layouts, [rank.pool_low for rank in ranks], request),
        max_tokens_high=rules.max_tokens(layouts, [rank.pool_high for rank in ranks], request),
        max_concurrency=rules.sequences(cache, pool, request.context or 1, request),
        longest_sequence=rules.longest_sequence(cache, pool, request),
        dtype=cache.dtype,
        formula=cache.formula,
    )


def tier_of_host(kv: KVCache, request: Resolved) -> tuple[str, ...]:
    """Return what vLLM's tier of blocks on the host holds: its bytes are those of all ranks of an engine,
    each with its own copy (vllm/v1/kv_offload/cpu/spec.py); releases with replicated_layout keep latents
    once on one machine."""
    if not request.kv_offloading_size or not kv.bytes_per_token:
        return ()
    each = kv.bytes_per_token * request.layout.tp * request.layout.pp
    tokens = int(request.kv_offloading_size * GIB // each)
    return (f"the tier on the host holds {tokens:,} tokens of cache, or more where ranks share a copy",)


def counted_alone(kv: KVCache, cache: CacheLayout, request: Resolved) -> tuple[str, ...]:
    """A note where the tokens that an engine prints are far from what runs: it gives each sequence the window
    of a whole step."""
    runs = kv.max_concurrency * request.context
    if not any(group.window for group in cache.groups) or runs <= kv.max_tokens:
        return ()
    return (
        f"{kv.max_tokens:,} tokens are {request.engine}'s own count, as if each "
        "sequence filled a step alone; "
        "sequences that run together share one, so more of them fit",
    )


def again(estimate: Estimate, asked: Asked) -> Estimate:
    """Return the answer to another question about the same model, cards and machine."""
    return estimate_serving(estimate.model, asked, estimate.cards or estimate.hardware, estimate.adjust)
