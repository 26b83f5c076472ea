"""Nemotron-H's pattern of blocks with one part each: M Mamba-2, * attention, - MLP, E experts."""

from .config import MAX_LAYERS, Config


def read_pattern(config: Config) -> str:
    """The blocks as a text of M, *, - and E, whichever way the config spells them."""
    if config.has("layers_block_type"):
        kinds = config.values["layers_block_type"]
        words = kinds if isinstance(kinds, list) and len(kinds) <= MAX_LAYERS else []
        pattern = "".join(BLOCK_LETTERS.get(str(kind), "?") for kind in words)
    else:
        pattern = config.word("hybrid_override_pattern")
    if not pattern or set(pattern) - set("M*-E") or pattern[0] in "-E" or len(pattern) > MAX_LAYERS:
        config.fault(
            "the pattern of blocks is not made of mamba, attention, mlp and moe, or "
            "does not begin with a mixer"
        )
        return "M"
    if config.size("num_hidden_layers", len(pattern), most=MAX_LAYERS) != len(pattern):
        config.fault(f"the pattern has {len(pattern)} blocks and num_hidden_layers is another number")
    return pattern


BLOCK_LETTERS = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}


def mixer_blocks(config: Config) -> list[int]:
    """Return the block of each mixer, where mixers and feed-forward parts are counted apart; elsewhere
    nothing."""
    if config.values.get("model_type") != "nemotron_h":
        return []
    return [index for index, block in enumerate(read_pattern(config)) if block in "M*"]
