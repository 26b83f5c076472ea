"""torch's out-of-memory texts in the wordings of 1.5 to 2.13, on cards of every maker."""

import pytest

from oomless.recording.oom_text import read_oom
from oomless.units import GIB, MIB

HINT = " If reserved memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation."
EXPAND = " If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
USED = "Including non-PyTorch memory, this process has 77.50 GiB memory in use."
HELD = "Of the allocated memory 70.25 GiB is allocated by PyTorch, and 5.50 GiB is reserved by PyTorch but"
POOLS = "Of the allocated memory 70.25 GiB is allocated by PyTorch, with 2.25 GiB allocated in private pools"
OLD = "(GPU 3; 79.25 GiB total capacity; 70.25 GiB already allocated; 1.25 GiB free; 75.75 GiB reserved in total"
NEW = "GPU 3 has a total capacity of 79.25 GiB of which 1.25 GiB is free."
TEXTS = {
    "1.10": f"RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch)",
    "1.12": f"RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch){HINT}",
    "1.13": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch){HINT}",
    "2.0": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch){HINT}",
    "2.1": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. "
    f"{NEW.replace('capacity', 'capacty')} {USED} {HELD} unallocated.",
    "2.2": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} {HELD} "
    f"unallocated.{EXPAND}",
    "2.3 others": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} Process "
    f"4711 has 512.00 MiB memory in use. Process 4712 has 1.00 GiB memory in use. {USED} {HELD} unallocated.",
    "2.4 ranks": f"[rank5]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} "
    f"{HELD} unallocated.{EXPAND}",
    "2.5 pools": f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} {POOLS} "
    "(e.g., CUDA Graphs), and 5.50 GiB is reserved by PyTorch but unallocated.",
    "2.6 hip": f"torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} {HELD} "
    "unallocated.",
    "npu": "RuntimeError: NPU out of memory. Tried to allocate 2.50 GiB (NPU 3; 79.25 GiB total capacity; 70.25 "
    "GiB already allocated; 70.25 GiB current active; 1.25 GiB free; 75.75 GiB reserved in total by PyTorch)",
    "xpu": f"torch.OutOfMemoryError: XPU out of memory. Tried to allocate 2.50 GiB. {NEW.replace('GPU', 'XPU')} "
    f"{USED} {HELD} unallocated.",
    "vllm": f"(EngineCore_DP0 pid=20) ERROR 03-02 [core.py:700] torch.OutOfMemoryError: CUDA out of memory. Tried "
    f"to allocate 2.50 GiB. {NEW} {USED} {HELD} unallocated.",
    "1.5": f"RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch) (malloc at "
    "/opt/conda/pytorch/c10/cuda/CUDACachingAllocator.cpp:289)",
    "1.13 hip": f"torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 2.50 GiB {OLD} by PyTorch){HINT}",
    "2.3 allowed": f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} "
    f"78.00 GiB allowed; {HELD} unallocated.",
    "2.7 alone": f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {HELD} unallocated.",
    "2.9 conf": f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} {HELD} "
    f"unallocated.{EXPAND.replace('PYTORCH_CUDA_ALLOC_CONF', 'PYTORCH_ALLOC_CONF')} to avoid fragmentation.",
    "musa": f"RuntimeError: MUSA out of memory. Tried to allocate 2.50 GiB. {NEW} {USED} {HELD} unallocated.",
    "ray": f"(RayWorkerWrapper pid=4711, ip=10.0.0.7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
    f"2.50 GiB. {NEW} {USED} {HELD} unallocated.",
    "no index": "CUDA out of memory. Tried to allocate 2.50 GiB. GPU has a total capacity of 79.25 GiB of which "
    f"1.25 GiB is free. {USED} {HELD} unallocated.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_numbers_of_every_wording(name: str) -> None:
    found = read_oom(TEXTS[name], "a.log:1")
    assert found is not None
    assert found.tried_bytes == 2.5 * GIB
    assert found.total_bytes == 79.25 * GIB
    assert found.free_bytes == 1.25 * GIB
    assert found.allocated_bytes == 70.25 * GIB
    assert found.reserved_bytes == 75.75 * GIB
    assert found.reserved_unallocated_bytes == 5.5 * GIB
    assert found.gpu_index == (None if name == "no index" else 3)
    assert found.process_bytes == (77.5 * GIB if "this process" in TEXTS[name] else None)
    assert found.private_pools_bytes == (2.25 * GIB if "pools" in name else None)
    assert found.others == (((4711, 512 * MIB), (4712, GIB)) if "others" in name else ())
    assert found.rank == (5 if "ranks" in name else None)


@pytest.mark.parametrize(
    ("text", "tried", "free"),
    [
        ("Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 9.68 GiB of which 0 bytes is free.", 20 * MIB, 0),
        ("Tried to allocate 512 bytes. GPU 0 has a total capacty of 9.68 GiB of which 3.00 MiB is free.", 512, 3 * MIB),
        ("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 8.00 MB, max allowed: 9.07 GB). "
         "Tried to allocate 25.00 MB on private pool.", 25 * MIB, None),
        ("Tried to allocate 2.00 KiB (GPU 0; 4.00 GiB total capacity; 3.00 GiB already allocated; 1024.00 KiB free; "
         "3.50 GiB reserved in total by PyTorch)", 2048, MIB),
        ("Tried to allocate 1.00 GiB (GPU 0; 11.17 GiB total capacity; 9.50 GiB already allocated; 512.00 MiB free; "
         "10.20 GiB cached)", GIB, 512 * MIB),
        ("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
         "2684354560 bytes. Error code 12 (Cannot allocate memory)", 2684354560, None),
        ("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes.",
         4096, None),
        ("Tried to allocate 1,024.00 MiB. GPU 0 has a total capacity of 9.68 GiB of which 95.75 MiB is free.", GIB, 100401152),
    ],
)  # fmt: skip
def test_small_and_odd_figures(text: str, tried: int, free: int | None) -> None:
    found = read_oom(text)
    assert found is not None
    assert (found.tried_bytes, found.free_bytes) == (tried, free)


@pytest.mark.parametrize(
    "text",
    [
        "If you see out of memory errors, lower --gpu-memory-utilization",
        "Tried to allocate",
        "Tried to allocate many GiB",
        "Tried to allocate 1.2.3 GiB",
        "",
    ],
)
def test_what_is_no_refusal_is_none(text: str) -> None:
    found = read_oom(text)
    assert found is None or found.tried_bytes is None
