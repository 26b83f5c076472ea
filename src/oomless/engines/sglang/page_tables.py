"""Tables that SGLang's captured batches read their slots from: as wide as the longest length, a row for each
request of the largest batch (init_cuda_graph_state of each attention backend)."""

from ...ledger import Line, exact
from ...model.attention import MLA, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from .release import SglangRules

INDEX_BYTES, LONG_INDEX_BYTES, MASK_BYTES = 4, 8, 1


def page_tables(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> Line:
    """Return the line of the tables of captured batches: rows x pages x bytes a slot.

    FlashAttention 3 (Hopper) has one table of pages, two before 0.5, and one more of windows or chunks;
    TRT-LLM's kernels (Blackwell) one of 64 tokens a page; FlashInfer and AITER a slot and a byte of mask for
    each token, again for windows; Triton, which serves latents elsewhere, a slot of 4 B, from 0.5 on of 8.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> asked = Resolved(engine_version="0.4.6", max_model_len=1000000, cuda_graph_max_bs=256, block_size=1)
    >>> line = page_tables(load("llama-4-scout"), asked, parse_gpu("h200:8"), RELEASES.at("0.4.6"))
    >>> round(line.bytes / 2**30, 2)  # 256 x 1,000,000 x 4 B, three times
    2.86
    """
    card, windows = hardware.card, model.kinds.has(Sliding)
    tokens = pages = asked.max_model_len
    latent, page = model.kinds.has(MLA), max(asked.block_size or 1, 1)
    if 9 <= card.capability < 10 and card.vendor != "AMD":
        num_tables = (1 if rules.has_one_page_table else 2) + windows
        pages, each = -(-tokens // page), num_tables * INDEX_BYTES
    elif page >= 64:
        pages, each = -(-tokens // page), (1 + windows) * INDEX_BYTES
    elif latent:
        each = LONG_INDEX_BYTES if rules.has_one_page_table else INDEX_BYTES
    else:
        each = (1 + windows) * (INDEX_BYTES + MASK_BYTES)
    rows = asked.cuda_graph_max_bs or 0
    return exact(
        "runtime.request_table",
        "engine",
        "tables of captured batches",
        rows * pages * each,
        f"{rows:,} requests x {pages:,} pages x {each} B",
        "layers/attention: flashattention_backend.py, flashinfer_backend.py, triton_backend.py",
    )
