"""Models that denoise a block of tokens at once (DiffusionGemma): a row of logits for each token of it."""

from ...ledger import Line, ranged
from ...model.model import Model
from ...run.serving import Resolved

SEQUENCES = 8
"""Sequences at once where nobody says how many (vLLM 0.33, model_executor/models/config.py)."""
BYTES = (6, 4, 10)
"""Of a logit: what the head gives and its F32, or that and the probabilities; F32 alone; with a second copy
in F32 (diffusion_gemma.py and its sampler)."""


def canvas_lines(model: Model, asked: Resolved) -> list[Line]:
    """The logits of the sequences that denoise: canvas x vocabulary each, which the profile run has of one
    row a sequence alone.

    >>> from ...model.load import load
    >>> asked = Resolved(max_num_seqs=8, concurrency=8)
    >>> [round(line.bytes / 2**30, 2) for line in canvas_lines(load("diffusiongemma-26b-a4b"), asked)]
    [3.0]
    """
    if not model.canvas:
        return []
    rows = min(asked.max_num_seqs, asked.concurrency or asked.max_num_seqs) * model.canvas
    value, least, most = (rows * model.vocab_size * each for each in BYTES)
    formula = f"{rows:,} rows x {model.vocab_size:,} x {BYTES[0]} B"
    what = "logits of canvases, outside the profile run"
    return [ranged("temporaries.running", "engine", what, (value, least, most), "assumed", formula, SOURCE)]


SOURCE = "vLLM 0.33, diffusion_gemma.py"
