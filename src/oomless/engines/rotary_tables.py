"""Tables of cosines and sines that engines keep for every position."""

from ..model.model import Model, Rope


def rope_tables(model: Model) -> tuple[Rope, ...]:
    """Distinct tables: equal parameters share one."""
    return tuple(dict.fromkeys(rope for rope in model.ropes if rope.dim))


def rope_positions(rope: Rope) -> int:
    """Rows of the cos/sin table, by the class that vLLM takes for the scaling.

    >>> rope_positions(Rope(64, 10000.0, 163840, "yarn", 40.0, 4096))  # DeepSeek-V3: 20 MiB in BF16
    163840
    """
    match rope.scaling:
        case "yarn" | "deepseek_yarn":
            return int((rope.original_max_positions or rope.max_positions) * rope.factor)
        case "linear" | "dynamic":
            return int(rope.max_positions * rope.factor)
        case "mrope":
            return 4 * rope.max_positions
        case "longrope":
            return rope.original_max_positions + rope.max_positions
        case _:
            return rope.max_positions
