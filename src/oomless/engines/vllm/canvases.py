"""Models that denoise a block of tokens at once (DiffusionGemma): a row of logits for each token of it."""

from ...ledger import Line, ranged
from ...model.model import Model
from ...run.serving import Resolved
from .release import VllmRules

AT_ONCE = (6, 4, 10)
"""Bytes of a logit: its F32 beside what the head gives or the probabilities; F32 alone; a second F32."""
IN_STEPS = (24, 18, 40)
"""Bytes of a logit where steps of PyTorch sample: six copies in F32 (vllm#50699); logits, scaled ones, their
logarithm and probability and the type of the model (commit cdc8ad9); ten copies (vllm#45672)."""


def canvas_lines(model: Model, asked: Resolved, rules: VllmRules) -> list[Line]:
    """The logits of the sequences that denoise: canvas x vocabulary each, which the profile run has of one
    row a sequence alone.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> asked = Resolved(max_num_seqs=8, concurrency=8)
    >>> model, releases = load("diffusiongemma-26b-a4b"), [RELEASES.at(each) for each in ("0.24.0", "0.33.0")]
    >>> [canvas_lines(model, asked, rules)[0].bytes / 2**30 for rules in releases]
    [12.0, 3.0]
    """
    if not model.canvas:
        return []
    rows = min(asked.max_num_seqs, asked.concurrency or asked.max_num_seqs) * model.canvas
    of_a_logit = AT_ONCE if rules.samples_canvases_at_once else IN_STEPS
    value, least, most = (rows * model.vocab_size * each for each in of_a_logit)
    formula = f"{rows:,} rows x {model.vocab_size:,} x {of_a_logit[0]} B"
    what = "logits of canvases, outside the profile run"
    return [ranged("temporaries.running", "engine", what, (value, least, most), "assumed", formula, SOURCE)]


SOURCE = "diffusion_gemma.py of vLLM 0.24 to 0.33; vllm#50699, #45672"
