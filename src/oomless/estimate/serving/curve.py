"""Memory of the worst rank against context: the same question asked at evenly spaced lengths."""

from .estimate import Estimate, with_layout

POINTS = 33


def context_curve(estimate: Estimate) -> list[tuple[int, int, int, int]]:
    """(context, low, value, high) from one token to the engine's longest sequence, in the layout of the
    estimate.

    What grows is the cache that the asked number of sequences needs; the engine's own condition to start (one
    sequence of max_model_len) is the floor of each point.
    """
    request = estimate.request
    longest = request.max_model_len
    points = []
    for step in range(POINTS):
        context = max(longest * step // (POINTS - 1), 1)
        asked = request._replace(context=context)
        ledger = with_layout(estimate.model, asked, estimate.hardware, request.layout).ledger
        points.append((context, ledger.low_bytes, ledger.total_bytes, ledger.high_bytes))
    return points
