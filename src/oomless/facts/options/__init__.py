"""Every option of every command, once: its spellings, kind, range, default, help, and who knows it under
which name.

The tables are Python literals, since a start reads one of them: `serving` (infer), `simulating` (speed:
serving's and its own), `training` (train), `tracing` (trace: training's and its own), `planning` (plan),
`money` (cost). What a row means is said once, in run/options.py.
"""

from collections.abc import Mapping
from typing import Literal

from ...records import Record
from ..derived_engines import with_derived

DEFAULT_ENGINE, DEFAULT_FRAMEWORK = "vllm", "transformers"
"""What is asked where nobody names one."""
LOSSES = (
    "plain",
    "chunked",
    "fused",
    "cut",
    "compiled",
    "vocab-parallel",
    "vocab-parallel-fused",
    "vocab-parallel-te",
)
"""Losses of labels (facts/losses.csv)."""
VLLM, LLAMA = with_derived("vllm"), with_derived("llamacpp")
"""Engines that are one with a few rules of their own: they share its flags and its command line."""
ENGINE_NAMES = (
    *VLLM.split(),
    "sglang",
    *LLAMA.split(),
    "trtllm",
    "lmdeploy",
    "mlx",
    "ktransformers",
    "transformers",
)
ENGINE_ALSO = {"mlx-lm": "mlx", "mlx_lm": "mlx"}
"""Other names of engines that are taken for theirs."""

Kind = Literal[
    "whole",
    "tokens",
    "length",
    "layers",
    "number",
    "positive",
    "share",
    "gib",
    "text",
    "lengths",
    "json",
    "words",
    "switch",
    "onoff",
    "images",
    "speculation",
]
"""How a value is written and what it is.

whole, number: between `least` and `most`. positive: above 0, at most `most`. tokens: a whole number, also as
vLLM reads it (32k is 32,000, 128K is 131,072). length: one that may be left to the engine: `auto`. layers: a
whole number, or `all`. share: above 0, at most 1. gib: GiB, 0 or more. text: one of `choices` where there are
any. lengths: tokens, or a text of how they are spread. json: text that is JSON. words: several texts with
commas. switch: there or not. onoff: on or off. images, speculation: vLLM's JSON, or a short form of it.
"""

Group = Literal[
    "cards",
    "model",
    "engine",
    "layout",
    "types",
    "load",
    "memory",
    "speculation",
    "adapters",
    "host",
    "sglang",
    "trtllm",
    "llamacpp",
    "transformers",
    "training",
    "states",
    "step",
    "ranks",
    "beside",
    "simulation",
    "trace",
    "search",
    "serving",
    "limits",
    "money",
    "rent",
    "views",
    "ask",
    "answer",
]


MAX_NUMBER = 1 << 40


class Option(Record):
    """One thing that can be asked, or how to answer."""

    field: str
    """Its name in Python, in JSON, and in the user's own defaults."""
    flags: str
    """Spellings on the command line, with blanks between; the first is ours. "": nothing of ours sets it, but
    a file or an engine's own word does."""
    kind: Kind
    group: Group
    help: str
    default: object = None
    """None: what the engine or framework would choose."""
    least: float = 0
    most: float = MAX_NUMBER
    choices: tuple[str, ...] = ()
    listed: str = ""
    """The table of facts whose first column lists the choices."""
    known: Mapping[str, str] | None = None
    """Engines (with blanks between) that know it, with their own spellings of it; "" where their command line
    has none. A spelling with a value behind `=` is a switch that means that value. None: no engine is
    told."""
    several: bool = False
    """It may be given more than once."""
    joined: bool = False
    """Given again it adds to its text, with a comma between."""
    own_default: bool = True
    """The user may set a default for it; not for what makes one question of many."""
    file: Literal["", "read", "write", "names"] = ""
    """What is done with the file or folder of this machine that it names; "": it names none. What `names`
    files is a text whose files are read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the spellings on the command line, ours first.

        >>> Option("tp", "--tp --tensor-parallel-size", "whole", "layout", "").names
        ('--tp', '--tensor-parallel-size')
        """
        return tuple(self.flags.split())

    @property
    def flag(self) -> str:
        """Return the spelling that answers write: the first long one.

        >>> Option("n_gpu_layers", "-ngl --n-gpu-layers", "layers", "llamacpp", "").flag
        '--n-gpu-layers'
        """
        return next((name for name in self.names if name.startswith("--")), "")

    def flag_of(self, engine: str) -> str:
        """Return the spelling that is ours and an engine's own; where none is both, our first.

        >>> known = {"sglang": "--page-size"}
        >>> option = Option("block_size", "--block-size --page-size", "whole", "load", "", known=known)
        >>> option.flag_of("sglang"), option.flag_of("vllm")
        ('--page-size', '--block-size')
        """
        known = (self.known or {}).items()
        own = [each for names, flags in known if engine in names.split() for each in flags.split()]
        both = [each for each in own if each in self.names and each.startswith("--")]
        return self.names[0] if self.names[0] in own else next(iter(both), self.names[0])


TITLES: Mapping[Group, str] = {
    "cards": "Cards",
    "model": "Model",
    "engine": "Engine",
    "layout": "Layout",
    "types": "Types",
    "load": "Load",
    "memory": "Memory of the engine",
    "speculation": "Speculation",
    "adapters": "Adapters",
    "host": "Host memory",
    "sglang": "SGLang alone",
    "trtllm": "TensorRT-LLM alone",
    "llamacpp": "llama.cpp, ik_llama.cpp, Ollama",
    "transformers": "transformers alone",
    "training": "What is trained",
    "states": "States",
    "step": "Work of a step",
    "ranks": "Ranks",
    "beside": "Models and engines beside the policy",
    "simulation": "A workload, simulated",
    "trace": "The trace",
    "search": "Where to look",
    "serving": "For serving",
    "limits": "Limits and order",
    "money": "Buying",
    "rent": "Renting",
    "views": "More questions",
    "ask": "Other ways to ask",
    "answer": "The answer",
}
"""Groups in the order in which help and documentation list them."""
