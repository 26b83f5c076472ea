"""Contexts of one layout: memory of the worst rank against them, and the longest one that fits."""

from bisect import bisect_left

from .estimate import Estimate, again, with_layout

POINTS = 33


def context_curve(estimate: Estimate) -> list[tuple[int, int, int, int]]:
    """Return (context, low, value, high) from one token to the longest sequence of the engine, in the
    layout of the estimate.

    At each point the engine is started for that length, so that what grows is the cache that the asked number
    of sequences needs, and whatever else the engine sizes by it.
    """
    request = estimate.request
    longest = request.max_model_len
    points = []
    for step in range(POINTS):
        context = max(longest * step // (POINTS - 1), 1)
        asked = request._replace(context=context, max_model_len=context, concurrency=estimate.concurrency)
        ledger = with_layout(estimate.model, asked, estimate.hardware, request.layout, estimate.adjust).ledger
        points.append((context, ledger.low_bytes, ledger.total_bytes, ledger.high_bytes))
    return points


def longest_context(estimate: Estimate) -> int:
    """The longest context that fits the same layout, in steps of 256, where buffers grow with it too
    (llama.cpp); 0 if none does."""
    layout, asked = estimate.request.layout, estimate.asked

    def fails(steps: int) -> bool:
        longer = asked._replace(context=steps * 256, max_model_len=steps * 256, layout=layout)
        return again(estimate, longer).verdict != "fits"

    return 256 * bisect_left(range(1, max(estimate.model.max_positions // 256, 1) + 1), True, key=fails)
