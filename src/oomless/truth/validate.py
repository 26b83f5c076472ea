"""Score a table of measured rows: each row predicted from its configuration, and from the others that it may
mean, each quantity summed up."""

from math import isfinite
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from .. import facts
from ..engines import engine
from ..errors import OomlessError, UnsupportedError
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..files import shown
from ..ledger import chosen, sums
from ..speed.efficiency import SHIPPED, Efficiencies
from .engine_rows import engine_of, logged_share
from .llama_rows import predict_llama
from .serving_rows import (
    BATCH_COUNTS,
    LORA_RANK,
    MEMORY_COUNTS,
    ServingQuestion,
    cards_of_size,
    question,
    unit_factor,
)
from .speed_harness import predict_speed
from .tables import Incomplete, MeasuredRow, read_table
from .training_predict import predict_training


class Scored(NamedTuple):
    """One row: measured beside predicted, both in `unit`."""

    id: str
    quantity: str
    measured: float
    """NaN where the row is unreadable."""
    predicted: float | None
    low: float | None
    high: float | None
    unit: str
    rel_error: float | None
    status: str
    """scored, unsupported, incomplete or unreadable."""
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the row as `validate --json` prints it."""
        return {**self._asdict(), "measured": self.measured if isfinite(self.measured) else None}


class Summary(NamedTuple):
    """One quantity. Errors are |predicted / measured - 1|; the width is (high - low) / predicted."""

    num_rows: int
    num_scored: int
    num_unsupported: int
    num_incomplete: int
    num_unreadable: int
    median_abs_rel_error: float | None
    p90_abs_rel_error: float | None
    max_abs_rel_error: float | None
    share_inside: float | None
    median_width: float | None


Interval = tuple[float, float, float]
"""(predicted, low, high) in bytes or tokens."""


def validate_table(path: Path, confidence: str | None = None) -> tuple[Scored, ...]:
    """Every row of a table of measured rows, or those of one confidence."""
    return tuple(score(row) for row in read_table(path) if confidence is None or row.confidence == confidence)


def score(row: MeasuredRow, efficiencies: Efficiencies = SHIPPED) -> Scored:
    """Return one row scored. The prediction sees the configuration alone; the measured value is put beside it
    afterwards. What cannot be read, predicted or known is said; no row loses its table."""
    if row.fault:
        return _not_scored(row, "unreadable", row.fault)
    try:
        factor = (
            unit_factor(row.unit, row.configuration.get("engine", ""))
            if row.kind in ("serving", "files")
            else 1
        )
        value, low, high = (
            number / factor
            for number in predict(row.kind, row.configuration, row.quantity, row.unit, efficiencies)
        )
    except Incomplete as error:
        return _not_scored(row, "incomplete", str(error))
    except OomlessError as error:
        return _not_scored(row, "unsupported", error.message)
    except Exception as error:  # a defect of ours, but the other rows are still worth their answer
        return _not_scored(row, "unreadable", f"{INTERNAL}: {type(error).__name__}: {error}")
    if not all(isfinite(each) for each in (value, low, high)):
        return _not_scored(row, "unreadable", f"{INTERNAL}: a prediction that is no number")
    relative = value / row.value - 1 if row.value else None
    if relative is not None and not isfinite(relative):  # a measured value of 1e-320
        return _not_scored(row, "unreadable", f"the measured value is {row.value:g}")
    return Scored(row.id, row.quantity, row.value, value, low, high, row.unit, relative, "scored", "")


INTERNAL = "internal error"


def _not_scored(row: MeasuredRow, status: str, reason: str) -> Scored:
    return Scored(
        row.id, row.quantity, row.value, None, None, None, row.unit, None, status, shown(reason, 300)
    )


def predict(
    kind: str,
    configuration: dict[str, str],
    quantity: str,
    unit: str = "",
    efficiencies: Efficiencies = SHIPPED,
) -> Interval:
    """What a row's configuration gives for a quantity, with its interval."""
    if kind == "files":
        return file_size(configuration, quantity)
    if kind == "training":
        return predict_training(configuration, quantity, unit)
    if kind == "speed":
        return predict_speed(configuration, quantity, unit, efficiencies)
    if kind == "megatron":
        from .megatron_rows import predict_megatron

        return predict_megatron(configuration, quantity)
    if kind != "serving":
        raise UnsupportedError(f"rows about {kind} are not predicted yet")
    rules = engine_of(configuration["engine"])
    if rules is not None and rules.file_types:
        return predict_llama(configuration, quantity)
    engine = configuration["engine"]
    if quantity not in CAPACITY and not parts_of(quantity, engine):
        raise UnsupportedError(f"{quantity} of {engine} is not predicted: what it sums up differs by source")
    asked = question(configuration, quantity)
    if quantity == "weights_per_gpu" and rules is not None and rules.rows.tells_draft_apart:
        asked = asked._replace(asked=asked.asked._replace(speculation=None))
    value, low, high = of_estimate(
        estimate_serving(asked.model, asked.asked, asked.hardware), quantity, engine
    )
    for other in unsaid(configuration, asked, quantity):
        _, least, most = of_estimate(
            estimate_serving(other.model, other.asked, other.hardware), quantity, engine
        )
        low, high = min(low, least), max(high, most)
    if quantity == "weights_per_gpu" and "(draft of " in configuration["model"]:
        shared = rotary_bytes(asked)  # vLLM keeps one table for models of a process that rotate alike
        value, low, high = value - shared, low - shared, high - shared
    share = logged_share(configuration, quantity)
    return value * share, low * share, high * share


def rotary_bytes(asked: ServingQuestion) -> int:
    """Bytes of the rotary tables of a rank."""
    estimate = estimate_serving(asked.model, asked.asked, asked.hardware)
    return sums(chosen(estimate.ledgers[0].lines, ("weights.rotary_tables",)))[0]


def file_size(configuration: dict[str, str], quantity: str) -> Interval:
    """Bytes of a GGUF file. Its source says who made it, and so by which rules; the interval covers files
    with and without a matrix."""
    if quantity != "file_bytes":
        raise UnsupportedError(f"{quantity} is not predicted")
    from ..model.gguf_builds import made_by, refuse_own_mix
    from ..model.gguf_model import file_bytes
    from ..model.load import load

    model, word = load(configuration["model"]), configuration["quant"]
    refuse_own_mix(configuration["source"], model.family, word, model.name)
    made = made_by(configuration["source"])
    usual = None if word.lower().startswith("i1-") else made.imatrix
    sizes = [file_bytes(model, word, imatrix=each, build=made.build) for each in (usual, True, False)]
    return sizes[0], min(sizes), max(sizes)


def parts_of(quantity: str, engine: str) -> tuple[str, ...]:
    """Return the keys and categories that a measured quantity of an engine adds up; () if no table says.

    >>> parts_of("total_per_gpu", "vLLM"), parts_of("total_per_gpu", "SGLang")
    (('weights', 'fragmentation', 'runtime.non_torch'), ())
    """
    rows = (row for row in facts.table("measured_quantities") if row["quantity"] == quantity)
    return next((tuple(row["parts"].split()) for row in rows if row["engine"] in ("", engine)), ())


def of_lines(estimate: Estimate, parts: tuple[str, ...]) -> Interval:
    """Return the sum of lines on the first stage, whose log comes first; the interval covers the other stages
    too."""
    found = [sums(chosen(ledger.lines, parts)) for ledger in estimate.ledgers]
    return found[0][0], min(low for _, low, _ in found), max(high for _, _, high in found)


def of_estimate(estimate: Estimate, quantity: str, engine: str) -> Interval:
    """Return what an estimate says of a measured quantity: a sum of lines, the pool, or the capacity that the
    engine prints."""
    cache = estimate.kv_cache
    match quantity:
        case "kv_bytes_per_gpu":
            value, low = estimate.pools[0], min(estimate.pools_low)
            return value, max(low, min(value, 0)), max(estimate.pools_high)  # no cache is below nothing
        case "kv_tokens":
            return cache.max_tokens, cache.max_tokens_low, cache.max_tokens_high
        case "kv_bytes_per_token":
            return (cache.bytes_per_token,) * 3
        case "free_after_load":  # the card less the lines, at the first stage
            taken, least, most = of_lines(estimate, parts_of(quantity, engine))
            card = estimate.ranks[0].card_bytes
            return card - taken, card - most, card - least
        case _:
            return of_lines(estimate, parts_of(quantity, engine))


CAPACITY = ("kv_bytes_per_gpu", "kv_tokens", "kv_bytes_per_token")
"""Quantities of the cache, which are no lines of a ledger: that holds what the asked load needs of it."""


def summarize(rows: tuple[Scored, ...]) -> dict[str, Summary]:
    """The errors of each quantity, in the order in which the table names them."""
    summaries = {}
    for quantity in dict.fromkeys(row.quantity for row in rows):
        mine = [row for row in rows if row.quantity == quantity]
        errors = sorted(abs(row.rel_error) for row in mine if row.rel_error is not None)
        pairs = [row for row in mine if row.predicted is not None]
        inside = [is_inside(row) for row in pairs]
        widths = [((row.high or 0) - (row.low or 0)) / row.predicted for row in pairs if row.predicted]
        summaries[quantity] = Summary(
            len(mine),
            len(pairs),
            sum(row.status == "unsupported" for row in mine),
            sum(row.status == "incomplete" for row in mine),
            sum(row.status == "unreadable" for row in mine),
            median(errors) if errors else None,
            ninth_decile(errors) if errors else None,
            errors[-1] if errors else None,
            sum(inside) / len(inside) if inside else None,
            median(widths) if widths else None,
        )
    return summaries


def ninth_decile(sizes: list[float]) -> float:
    """Return the size that nine of ten do not exceed, between the two nearest ones.

    >>> ninth_decile([1.0, 2.0, 3.0]), ninth_decile([4.0])
    (2.8, 4.0)
    """
    return quantiles(sizes, n=10, method="inclusive")[8] if len(sizes) > 1 else sizes[0]


def is_inside(row: Scored) -> bool:
    """Return whether the measured value lies in the interval, as far as its printed digits tell."""
    text = f"{row.measured!r}"
    digit = 10.0 ** -len(text.partition(".")[2]) / 2 if "." in text and not text.endswith(".0") else 0.5
    return (row.low or 0) - digit <= row.measured <= (row.high or 0) + digit


def unsaid(row: dict[str, str], found: ServingQuestion, quantity: str) -> list[ServingQuestion]:
    """Other questions that the row may mean. An empty cell for the batch means that the source does not say
    it: few sequences with large batches (desktop cards) and twice the default batch (servers) bound what is
    usual. A size is any card of that size."""
    asked, others = found.asked, []
    rows = engine(asked.engine).rows
    if (
        not row["batch_or_parallel"].strip()
        and rows.default_batch_counts
        and not rows.batch_follows_length(asked.engine_version or "0")
        and quantity in {*BATCH_COUNTS, "cuda_graph"}
    ):
        few = asked._replace(max_num_seqs=FEW_SEQUENCES, max_num_batched_tokens=8192)
        others = [found._replace(asked=each) for each in (few, asked._replace(max_num_batched_tokens=16384))]
    if asked.images_per_prompt == 0 and "video" not in row["other_flags"]:
        others.append(found._replace(asked=asked._replace(language_model_only=True)))  # no videos either
    ranks, node = asked.layout.num_ranks if asked.layout else 1, found.hardware.per_node
    if (
        ranks > node and "node" not in row["other_flags"]
    ):  # one large machine, or several: the row does not say
        others.append(found._replace(hardware=found.hardware._replace(per_node=ranks)))
    if (
        asked.moe_a2a_backend == "deepep"
        and "redundant" not in row["other_flags"]
        and quantity in {*MEMORY_COUNTS, "weights_per_gpu"}
    ):
        whole = asked._replace(num_redundant_experts=EPLB_COPIES, enable_dp_lm_head=True, moe_dense_tp_size=1)
        others.append(found._replace(asked=whole))
    if (
        asked.enable_lora
        and not LORA_RANK.search(row["other_flags"].lower())
        and quantity in {*MEMORY_COUNTS, "weights_per_gpu"}
    ):
        others.append(found._replace(asked=asked._replace(max_lora_rank=LARGE_RANK)))
    flag = engine(asked.engine).share_flag
    if quantity in MEMORY_COUNTS and flag and not row["gpu_mem_util"].strip():
        field = flag.removeprefix("--").replace("-", "_")
        others += [found._replace(asked=asked.with_values({field: share})) for share in USUAL_SHARES]
    if quantity in MEMORY_COUNTS and (alike := cards_of_size(row["gpu"])):
        least = min(alike, key=lambda each: each.memory_bytes)
        others.append(found._replace(hardware=found.hardware._replace(card=least)))
    return others


USUAL_SHARES = (0.8, 0.95)
"""Between them lie most shares of the card that commands of the tables give; a row that says none is
predicted with the engine's own."""
LARGE_RANK = 64
"""Rank of LoRA slots that notebooks raise the default of 16 to."""
FEW_SEQUENCES = 4
EPLB_COPIES = 32
"""Redundant experts of DeepSeek's own deployment, whose heads and dense layers are whole on each rank."""
