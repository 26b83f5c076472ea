"""What is known by name: models, cards, engines, rents, the guide's numbers; each list with the object that
`--json` prints."""

from typing import TYPE_CHECKING, Any

from .. import facts
from ..errors import UnsupportedError, UsageError, did_you_mean
from ..units import gib

if TYPE_CHECKING:
    from ..claims.evidence import Claim
    from ..plan.prices import Price

Rows = list[dict[str, Any]]


def model_rows(pattern: str = "") -> Rows:
    """Return the models of the catalogue whose name or hub id contains a pattern; none is a UsageError.

    >>> [row["num_parameters"] for row in model_rows("DeepSeek-V3.1-Term")]
    [671026419200]
    """
    from ..model.load import load

    found = [
        row
        for row in facts.table("catalogue")
        if pattern.lower() in row["name"] or pattern.lower() in row["hub_id"].lower()
    ]
    if not found:
        known = [row["name"] for row in facts.table("catalogue")]
        raise UsageError(f"no model contains {pattern!r}", did_you_mean(pattern, known, "oomless models"))
    rows: Rows = []
    for row in found:
        try:
            model = load(row["name"])
        except UnsupportedError:
            continue  # a config that is shipped before its family can be read
        rows.append(
            {
                "name": model.name,
                "hub_id": row["hub_id"] or None,
                "num_parameters": model.num_parameters,
                "checkpoint_bytes": model.checkpoint_bytes,
                "max_positions": model.max_positions,
                "stored": model.quantization or model.dtype.name,
                "source": row["source"],
                "checked": row["checked"] == "yes",
                "billions": f"{model.num_parameters / 1e9:.2f}",
                "GiB": f"{gib(model.checkpoint_bytes):.1f}",
            }
        )
    return rows


def gpu_rows(pattern: str = "") -> Rows:
    """Return the cards whose name or other spelling contains a pattern, or is meant by it, with the lowest
    rent on demand; none is a UsageError.

    >>> [row["short_name"] for row in gpu_rows("h20-96gb")]
    ['h20']
    """
    from ..facts.hardware import cards_by_short_name
    from ..plan.prices import cheapest
    from ..run.card_names import aliases, card_named
    from ..run.cards import cards

    meant = card_named(pattern)
    known = cards_by_short_name()
    others: dict[str, list[str]] = {}
    for alias, (target, _) in aliases().items():
        others.setdefault(target, []).append(alias)
    rows: Rows = [
        {
            "short_name": name,
            "also": ", ".join(others.get(name, [])),
            "name": card.name,
            "vendor": card.vendor,
            "memory_bytes": card.memory_bytes,
            "memory_source": card.memory_source,
            "gpus_per_node": card.gpus_per_node,
            "confidence": card.confidence,
            "GiB": f"{gib(card.memory_bytes):.2f}",
            "GB/s": known[name]["bw_gbs"] or None,
            "capability": card.compute_capability or None,
            "usd_per_hour": None if (price := cheapest(name, 1)) is None else price.usd_per_gpu_hour,
        }
        for name, card in cards().items()
        if card == meant
        or any(pattern.lower() in each.lower() for each in (name, card.name, *others.get(name, [])))
    ]
    if not rows:
        raise UsageError(
            f"no card contains {pattern!r}", did_you_mean(pattern, [*cards(), *aliases()], "oomless gpus")
        )
    return rows


def engine_rows() -> Rows:
    """Return the serving engines, their default release and those whose rules were read.

    >>> engine_rows()[0]["engine"]
    'vllm'
    """
    from ..engines import engines

    return [
        {"engine": each.name, "versions": ", ".join(each.versions), "default": each.latest}
        for each in engines()
    ]


def price_rows(gpu: str | None, table: "tuple[Price, ...] | None") -> Rows:
    """Return every rent that is known, of one kind of card or of all, cheapest first, card by card; `table`
    None: those of the tables."""
    from ..plan.prices import known_prices
    from ..run.card_names import flag_name
    from ..run.hardware import parse_gpu

    wanted = flag_name(parse_gpu(gpu).card) if gpu else None
    prices = known_prices() if table is None else table
    rows = [each for each in prices if wanted in (None, each.card)]
    rows.sort(key=lambda each: (each.card, each.usd_per_gpu_hour, each.label))
    return [each._asdict() for each in rows]


def rows_json(kind: str, rows: Rows) -> dict[str, Any]:
    """Return a list as `--json` prints it."""
    return {"schema": f"oomless/{kind}/1", "rows": rows}


def claims_json(chosen: "tuple[Claim, ...]") -> dict[str, Any]:
    """Return the guide's numbers as `claims --json` prints them."""
    rows = [
        {
            **one._asdict(),
            "evidence": {
                **one.evidence._asdict(),
                "figures": [figure._asdict() for figure in one.evidence.figures],
            },
        }
        for one in chosen
    ]
    return {"schema": "oomless/claims/1", "claims": rows}
