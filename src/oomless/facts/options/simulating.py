"""What `speed` is asked beside the options of serving: a steady load, or a workload that is simulated."""

from . import Option
from .serving import ASKED as SERVING
from .serving import COMMAND

COUNT = 100_000_000

# A table: an option in a few lines.
# fmt: off
OWN = (
    Option("input_len", "--input-len", "lengths", "load",
           "Tokens of a prompt: 512; in a workload also 128-4096 (evenly between) or 800~0.7 (log-normal: "
           "mean, spread of the logarithm) [1024].", "1024"),
    Option("output_len", "--output-len", "lengths", "load", "Tokens of an answer, in the same forms [256].",
           "256"),
    Option("concurrency", "--concurrency", "whole", "load",
           "Requests in flight over all cards, each followed by the next [1].", None, 1),
    Option("host", "--host", "text", "load",
           "The machine around the cards, where weights lie on it (--n-cpu-moe, -ngl, --cpu-offload-gb): "
           "epyc-9004 ... Then every figure is a bound [the slowest that holds them]."),
    Option("arrival_rate", "--arrival-rate", "positive", "simulation",
           "Requests a second; their gaps are exponential."),
    Option("requests", "--requests", "whole", "simulation", "How many of them [1000].", None, 1, 10_000_000),
    Option("seed", "--seed", "whole", "simulation", "Seed of arrivals and lengths [0]."),
    Option("workload", "--workload", "text", "simulation",
           "The requests of a CSV file: arrival_s, prompt_tokens, output_tokens.", file="read"),
    Option("memory_policy", "--memory-policy", "text", "simulation",
           "evict: a sequence has room for what it holds, and the youngest gives way and is computed again; "
           "no-evict: room for its whole from the start; reserve: room for the longest [evict].",
           choices=("evict", "no-evict", "reserve")),
    Option("token_budget", "--token-budget", "whole", "simulation",
           "Tokens of a step, prompts and decoding together [the engine's].", None, 1),
    Option("no_chunked_prefill", "--no-chunked-prefill", "switch", "simulation",
           "Prompts whole, before anything decodes."),
    Option("shared_prefix", "--shared-prefix", "whole", "simulation",
           "Tokens that all prompts begin with: computed and kept once [0].", None, 0, COUNT),
)
ASKED: tuple[Option, ...] = (
    *(option for option in SERVING if option.field not in ("context", "concurrency")),
    *OWN,
)
ANSWER: tuple[Option, ...] = (
    COMMAND,
    Option("against", "--against", "text", "answer",
           "Beside it what NVIDIA's measured kernels give, asked from the package aiconfigurator-core (extra "
           "silicon): a steady load.", choices=("silicon",)),
    Option("json", "--json", "switch", "answer", "One JSON object on stdout."),
)
