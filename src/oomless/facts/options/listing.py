"""What lists and logs are asked on the page and by agents: a pattern, a number of a claim, the cards of a
log."""

from . import Option

# A table: an option in a few lines.
# fmt: off
ASKED: dict[str, tuple[Option, ...]] = {
    "models": (
        Option("pattern", "--pattern", "text", "search", "A part of the name or of the hub id [all].", ""),
    ),
    "gpus": (
        Option("pattern", "--pattern", "text", "search", "A part of the name or of another spelling [all].",
               ""),
    ),
    "engines": (),
    "accuracy": (),
    "claims": (
        Option("id", "--id", "text", "search", "The number of one claim, such as C07 [all]."),
    ),
    "reconcile": (
        Option("gpu", "--gpu", "text", "cards", "The card, where the log does not name it: h200 or h200:8."),
        Option("model", "--model", "text", "model",
               "The model, where the log names only a path or a nickname."),
        Option("engine_version", "--engine-version", "text", "model",
               "The engine's release, where the log does not name it."),
    ),
}
