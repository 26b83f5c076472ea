"""The length that an engine serves where nobody says one."""

from ..model.model import Model


def default_length(model: Model) -> int:
    """The model's own length as vLLM derives it: positions, times the scaling that is not yet part of them.

    >>> from ..model.load import load
    >>> default_length(load("deepseek-coder-1.3b")), default_length(load("deepseek-v3"))
    (65536, 163840)
    """
    rope = model.ropes[0]
    match rope.scaling:
        case "yarn" | "deepseek_yarn":
            scaled = int((rope.original_max_positions or model.max_positions) * rope.factor)
            return max(scaled, model.max_positions)
        case "linear" | "dynamic" if not model.family.startswith(
            "gemma3"
        ):  # whose positions are counted after scaling
            return int(model.max_positions * rope.factor)
        case _:
            return model.max_positions
