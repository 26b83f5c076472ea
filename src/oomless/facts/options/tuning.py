"""What `tune` is asked: cards, a load and a promise, where to begin, and what may change. The flags of
serving stay as they are given."""

from . import Option
from .serving import ASKED as SERVING

COUNT = 100_000_000
LOAD = ("context", "concurrency")

# A table: an option in a few lines.
# fmt: off
OWN = (
    Option("context", "--context", "tokens", "load",
           "Tokens of each sequence, prompt and output together [8192, or --max-model-len if that is less].",
           None, 1),
    Option("output_len", "--output-len", "tokens", "load", "How many of --context are output [an eighth].",
           None, 1),
    Option("concurrency", "--concurrency", "whole", "load",
           "Sequences at once, over all cards: replicas and data-parallel ranks divide them [1].", 1, 1),
    Option("slo", "--slo", "text", "limits",
           "The promise to keep, ttft=2s,tpot=50ms: settings that keep it under the load come first, and "
           "each "
           "says the most requests a second of which 90 % keep it."),
    Option("shared_prefix", "--shared-prefix", "whole", "simulation",
           "For --slo: tokens that all prompts begin with, computed and kept once [0].", None, 0, COUNT),
    Option("seed", "--seed", "whole", "simulation", "For --slo: seed of the arrivals [0]."),
    Option("allow", "--allow", "words", "limits",
           "What may change at some cost of quality: cache (its type), weights (their form), or both with a "
           "comma between [nothing].", (), choices=("cache", "weights")),
    Option("rows", "--rows", "whole", "limits", "Settings to show: the best of each layout [5].", 5, 1, 100),
    Option("command", "--command", "text", "ask",
           "The command line that runs today: where the search begins. The answer says the smallest change "
           "of "
           "it; flags beside it stay as they are.", own_default=False),
)
ASKED: tuple[Option, ...] = (*(option for option in SERVING if option.field not in LOAD), *OWN)
ANSWER: tuple[Option, ...] = (
    Option("json", "--json", "switch", "answer", "One JSON object on stdout."),
)
