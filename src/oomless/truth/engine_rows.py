"""What the columns of a measured serving row mean for each engine: the same words name different shares and
sizes."""

from ..engines import engines
from ..engines.record import Engine


def engine_of(word: str) -> Engine | None:
    """Return the engine that a table calls so; None: it is not known.

    >>> engine_of("llama-box").name, engine_of("MLC")
    ('llamacpp', None)
    """
    return next((each for each in engines() if word in each.rows.words), None)


def prints_gib_as_gb(word: str) -> bool:
    """Return whether the log of the engine that a table calls so writes GB and means GiB."""
    found = engine_of(word)
    return found is not None and found.rows.prints_gib_as_gb


def logged_share(configuration: dict[str, str], quantity: str) -> float:
    """Share of the cache that the log counts: 656 of 656 + 132 B where the row says that the index was not
    logged."""
    return (
        656 / 788
        if quantity == "kv_bytes_per_gpu" and "index not logged" in configuration["kv_dtype"]
        else 1.0
    )
