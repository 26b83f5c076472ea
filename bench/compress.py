"""Rate of compression beside plain copies of one folder, in one run: `python -m bench.compress FOLDER OUT`.

Each format is written twice, without and with fsync; the copy is the best of three. CPU seconds are those of
all its processes, reading and writing included. *At best* is the share of the copy that the same arithmetic
reaches with nothing around it: as many processes as there are workers read and encode blocks of a matrix of
the shape that most values have, and write nothing. With `--make BYTES` FOLDER is
made first, of random weights; formats may be named. The same weights in DeepSeek's FP8 blocks then become
BF16 and int4.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

FORMATS = ("int8", "int4", "fp8-block", "nvfp4", "mxfp4", "q8_0", "q4_0")
FROM_FP8 = ("bf16", "int4")
RUN = """
import json, resource, sys, time
from pathlib import Path
from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, plan
source, word, out, durable = sys.argv[1:5]
planned = plan(CompressRequest(source, word))
began = time.perf_counter()
threads = int(sys.argv[5]) if len(sys.argv) > 5 else None
compress(planned, Path(out), writing=Writing(threads=threads, durable=durable == "fsync"))
wall = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"wall": wall, "cpu": sum(each.ru_utime + each.ru_stime for each in used)}))
"""
LOOK_S = 0.05
ROUNDS = 8


HIDDEN, WIDE, HEADS, VOCABULARY = 2048, 8192, 16, 32000
MATRICES = {
    **{f"self_attn.{part}_proj": (HIDDEN, HIDDEN) for part in "qkvo"},
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
LAYER_BYTES = 2 * sum(rows * columns for rows, columns in MATRICES.values())


def make(folder: Path, num_bytes: int, hollow: bool = False) -> None:
    """Write a model in Llama's shape with random weights, a shard a layer and one for the embedding, which is
    the head too; `hollow` files hold zeros that take no disk."""
    folder.mkdir(parents=True)
    num_layers = max((num_bytes - 2 * VOCABULARY * HIDDEN) // LAYER_BYTES, 1)
    ends = {"model.embed_tokens": (VOCABULARY, HIDDEN), "model.norm": (HIDDEN,)}
    weight_map = shard(folder / "model-ends.safetensors", ends, hollow)
    for layer in range(num_layers):
        shapes: dict[str, tuple[int, ...]] = {
            f"model.layers.{layer}.{part}": shape for part, shape in MATRICES.items()
        }
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{norm}"] = (HIDDEN,)
        weight_map |= shard(folder / f"model-{layer:05}.safetensors", shapes, hollow)
    config = {
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": num_layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def shard(path: Path, shapes: Mapping[str, tuple[int, ...]], hollow: bool = False) -> dict[str, str]:
    """Write a file of random matrices, or of zeros that take no disk; return which tensors it holds."""
    import numpy as np

    chance, entries, end = np.random.default_rng(0), {}, 0
    for name, shape in shapes.items():
        size = 2 * prod(shape)
        entries[f"{name}.weight"] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [end, end + size],
        }
        end += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if hollow:
            file.truncate(8 + len(header) + end)
            return dict.fromkeys(entries, path.name)
        for shape in shapes.values():
            values = (chance.standard_normal(shape) * 0.02).astype(np.float32)
            file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    return dict.fromkeys(entries, path.name)


def copy_s(source: Path, out: Path) -> float:
    """The least time of three plain copies."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        shutil.copytree(source, out)
        best = min(best, time.perf_counter() - began)
        shutil.rmtree(out)
    return best


def rows(source: Path, out: Path, formats: Sequence[str]) -> None:
    """Print the rows of one source."""
    num_bytes = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    copy = copy_s(source, out)
    print(f"{source.name}: {num_bytes:,} bytes; plain copy {copy:.2f} s")
    names = ("of the copy", "with fsync", "at best", "MB a CPU-s", "peak MB")
    print(f"{'format':<10}" + "".join(f"{name:>12}" for name in names), flush=True)
    for word in formats:
        found = {durable: run(source, word, out, durable) for durable in ("no", "fsync")}
        rate = num_bytes / 1e6 / found["no"]["cpu"]
        peak = max(each["peak"] for each in found.values()) / 1e6
        walls = (found["no"]["wall"], found["fsync"]["wall"], least_s(source, word))
        shares = "".join(f"{copy / wall:>12.0%}" for wall in walls)
        print(f"{word:<10}{shares}{rate:>12.0f}{peak:>12.0f}", flush=True)


def least_s(source: Path, word: str) -> float:
    """Seconds that the run would take if it were reading and arithmetic alone: see above."""
    from multiprocessing import get_context

    from oomless.compress.checkpoint.blocks import Encode, jobs_of
    from oomless.compress.checkpoint.run import num_workers
    from oomless.compress.weights import CompressRequest, plan

    planned, workers = plan(CompressRequest(str(source), word)), num_workers()
    encoded = [
        each
        for number, each in enumerate(planned.target.weights)
        if isinstance(next(iter(jobs_of(number, each))), Encode)
    ]
    values = Counter[tuple[int, ...]]()
    for weight in encoded:
        values[weight.shape] += prod(weight.shape)
    (shape, _), *_ = values.most_common(1)
    one = next(each for each in encoded if each.shape == shape)
    share = prod(shape) / values.total()
    ready = get_context("fork").Barrier(workers + 1)
    crew = [
        get_context("fork").Process(target=bare, args=(planned.source.files, one, ready))
        for _ in range(workers)
    ]
    for each in crew:
        each.start()
    os.sync()  # what was written before waits for the disk no longer
    ready.wait()
    began = time.perf_counter()
    for each in crew:
        each.join()
    wall = time.perf_counter() - began
    return wall / ROUNDS / workers / share


def bare(files: tuple[Path, ...], weight: Any, ready: Any) -> None:
    """Read and encode all blocks of a weight some times."""
    from oomless.compress.arithmetic.scratch import numpy
    from oomless.compress.checkpoint.blocks import blocks
    from oomless.compress.checkpoint.crew import KEPT_BYTES
    from oomless.compress.checkpoint.encode import encode
    from oomless.compress.checkpoint.reader import Reader
    from oomless.compress.codecs.tile import Tile

    reader, every = Reader(files), list(blocks(weight.view, weight.codec))
    numpy().empty(KEPT_BYTES, "uint8")
    known = None
    if weight.codec.scope in ("tensor", "fused"):
        known = Tile(weight.view.read(reader, every[0]), reader.scratch).largest()
    encode(weight.codec, weight.view.read(reader, every[0]), known, reader.scratch)  # makes its tables
    ready.wait()
    for _ in range(ROUNDS):
        for block in every:
            encode(weight.codec, weight.view.read(reader, block), known, reader.scratch)


def run(source: Path, word: str, out: Path, durable: str) -> dict[str, float]:
    """What one run takes; its result is removed."""
    words = [sys.executable, "-c", RUN, str(source), word, str(out), durable]
    os.sync()
    found = watched(words)
    shutil.rmtree(out)
    return found


def watched(words: Sequence[str], **more: Any) -> dict[str, float]:
    """What RUN prints, and the most memory of its process and those that this one has started: what several
    share is counted once (the system's proportional set size), looked up every LOOK_S."""
    peak = 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **more) as process:
        while process.poll() is None:
            peak = max(peak, sum(memory_bytes(pid) for pid in (process.pid, *children(process.pid))))
            time.sleep(LOOK_S)
        assert process.stdout is not None
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
        return {**json.loads(process.stdout.read()), "peak": peak}


def children(pid: int) -> list[int]:
    """The processes that one has started; none once it has gone."""
    try:
        found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(each) for text in found for each in text.split()]


def memory_bytes(pid: int) -> int:
    """The proportional set size of a process; 0 once it has gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.split("Pss:")[1].split()[0]) * 1024 if "Pss:" in text else 0


def main() -> None:
    """Print a row a format, then what is made of the same weights in FP8 blocks."""
    from oomless.compress.checkpoint.run import Writing
    from oomless.compress.weights import CompressRequest, compress, plan

    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if "--make" in sys.argv and not source.exists():
        make(source, int(sys.argv[sys.argv.index("--make") + 1]))
    rows(source, out, [word for word in FORMATS if word in sys.argv] or FORMATS)
    fp8 = out.with_name(f"{out.name}-fp8")
    compress(plan(CompressRequest(str(source), "fp8-deepseek")), fp8, writing=Writing(durable=False))
    rows(fp8, out, FROM_FP8)
    shutil.rmtree(fp8)


if __name__ == "__main__":
    main()
