"""Models that denoise a block of tokens at once (DiffusionGemma): a row of logits for each token of it."""

from ...ledger import Line, ranged
from ...model.model import Model
from ...run.serving import Resolved

OF_A_LOGIT = (14, 8, 20)
"""Bytes: the head's 16 bit, their F32, probabilities and noise of all of the vocabulary; the F32 and one of
them; their logarithm and soft inputs of the next step beside."""


def canvas_lines(model: Model, asked: Resolved) -> list[Line]:
    """The logits of the requests that denoise, which every rank gathers whole before it samples
    (dllm/algorithm/gemma4_renoise.py of 0.5.23).

    >>> from ...model.load import load
    >>> model = load("diffusiongemma-26b-a4b")
    >>> [canvas_lines(model, Resolved(max_num_seqs=each))[0].bytes / 2**30 for each in (1, 8)]
    [0.875, 7.0]
    """
    if not model.canvas:
        return []
    rows = min(asked.max_num_seqs, asked.concurrency or asked.max_num_seqs) * model.canvas
    ends = tuple(rows * model.vocab_size * each for each in OF_A_LOGIT)
    formula = f"{rows:,} rows x {model.vocab_size:,} x {OF_A_LOGIT[0]} B"
    what, source = "logits of canvases", "sglang/srt/dllm/algorithm/gemma4_renoise.py of 0.5.23"
    return [
        ranged("temporaries.running", "engine", what, (ends[0], ends[1], ends[2]), "assumed", formula, source)
    ]
