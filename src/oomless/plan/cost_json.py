"""A cost answer as the JSON object that `cost --json` prints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cost import Cost

SCHEMA = "oomless/cost/1"


def cost_json(answer: "Cost") -> dict[str, Any]:
    """What `cost --json` prints: money in dollars of today, months as numbers, null where the lines do not
    cross."""
    question, price = answer.question, answer.rent_price
    return {
        "schema": SCHEMA,
        "request": {
            "gpu": answer.gpu_word,
            "num_gpus": answer.hardware.num_gpus,
            "own": question.own._asdict(),
            "rent": question.rent._asdict(),
            "utilization": question.utilization,
            "discount_rate": question.discount_rate,
            "tokens_per_s": answer.tokens_per_s,
        },
        "inputs": [source._asdict() for source in answer.inputs],
        "rent_price": None if price is None else price._asdict(),
        "break_even_month": dict(answer.break_even),
        "savings": {scope: list(shares) for scope, shares in answer.savings.items()},
        "months": [month._asdict() for month in answer.months],
        "usd_per_million_tokens": {
            "own": answer.own_usd_per_million_tokens,
            "rent": answer.rent_usd_per_million_tokens,
        },
        "sensitivity": {"month": answer.swing_month, "swings": [swing._asdict() for swing in answer.swings]},
        "warnings": list(answer.warnings),
    }
