"""What products of 16-bit matrices allocate beside their results on a CPU: oneDNN's blocks to the byte,
nothing where it is not asked."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from oomless.trace.check import watched
from oomless.trace.cpu.kernels import Temporaries
from oomless.trace.cpu.onednn import scratchpad

pytestmark = pytest.mark.torch

SHAPES = [
    (7, 64, 128, False, 0),
    (64, 7, 128, True, 0),  # few tokens: gradients of weights
    (1000, 300, 128, True, 0),
    (
        64,
        514,
        4096,
        True,
        0,
    ),  # several blocks of columns at once, whose results wait for the next piece of depth
    (66, 64, 8000, False, 0),
    (99, 192, 192, False, 0),
    (1, 2048, 500, False, 0),
    (192, 64, 1, True, 0),
    (700, 2048, 1, False, 0),
    (50, 4096, 40, True, 0),  # threads share the depth
    (1100, 4096, 70, False, 0),  # a left side that is copied though it lies by rows
    (33, 16, 33, False, 4),
    (160, 33, 100, True, 3),
]


def beside(operator: Any, *operands: torch.Tensor) -> int:
    """Bytes that an operator allocates and frees while it runs."""
    with watched() as profiler:
        _held = operator(*operands)
    waiting, events = list(profiler.profiler.kineto_results.experimental_event_tree()), []
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.name == "[memory]":
            events.append((event.start_time_ns, event.extra_fields.alloc_size))
    alive = highest = 0
    for _, size in sorted(events):
        alive += size
        highest = max(highest, alive)
    return highest - alive


@pytest.mark.parametrize(
    ("dtype", "threads"),
    [
        pytest.param(torch.bfloat16, 1, marks=pytest.mark.slow),
        (torch.float16, 2),
        pytest.param(torch.bfloat16, 3, marks=pytest.mark.slow),
        pytest.param(torch.float16, 1, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 2, marks=pytest.mark.slow),
        pytest.param(torch.float16, 3, marks=pytest.mark.slow),
    ],
)
def test_bytes_beside_a_product(dtype: torch.dtype, threads: int) -> None:
    if torch.cpu._is_amx_tile_supported():
        pytest.skip("blocks of AMX are not followed")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        temporaries = Temporaries()
        for rows, depth, columns, turned, stack in SHAPES:
            batch = (stack,) if stack else ()
            left = (
                torch.zeros(*batch, depth, rows, dtype=dtype).mT
                if turned
                else torch.zeros(*batch, rows, depth, dtype=dtype)
            )
            operator = torch.ops.aten.bmm.default if stack else torch.ops.aten.mm.default
            right = torch.zeros(*batch, columns, depth, dtype=dtype).mT
            traced = temporaries.of(operator, (left, right), {}, None)
            assert traced == beside(operator, left, right), (rows, depth, columns, turned, stack)
    finally:
        torch.set_num_threads(before)


def test_more_threads_take_more() -> None:
    assert scratchpad(512, 256, 1024, False, 1, 8) > scratchpad(512, 256, 1024, False, 1, 2)
