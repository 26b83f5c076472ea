"""What `guide` is asked: a model, cards and a load. Each step's own command takes more."""

from . import Option
from .serving import ASKED as SERVING

TAKEN = ("gpu", "engine", "engine_version", "revision", "offline")

# A table: an option in a few lines.
# fmt: off
ASKED: tuple[Option, ...] = (
    *(option for option in SERVING if option.field in TAKEN),
    Option("context", "--context", "tokens", "load",
           "Tokens of each sequence, prompt and output together [8192, or the model's own if that is less].",
           None, 1),
    Option("concurrency", "--concurrency", "whole", "load", "Sequences at once, over all cards [1].", 1, 1),
)
ANSWER: tuple[Option, ...] = (
    Option("json", "--json", "switch", "answer", "One JSON object on stdout."),
)
