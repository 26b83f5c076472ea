"""Rate of compression beside plain copies of one folder, in one run: `python -m bench.compress FOLDER OUT`.

Each format is written twice, without and with fsync; the copy is the best of three. CPU seconds are those of
the whole process, reading and writing included. With `--make BYTES` FOLDER is made first, of random weights.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

FORMATS = ("int8", "int4", "fp8-block", "nvfp4", "mxfp4")
RUN = """
import json, resource, sys, time
from pathlib import Path
from oomless.compress.weights import CompressRequest, compress, plan
source, word, out, durable = sys.argv[1:5]
planned = plan(CompressRequest(source, word))
began = time.perf_counter()
compress(planned, Path(out), durable=durable == "fsync")
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime,
                  "peak": used.ru_maxrss * 1024}))
"""


def make(folder: Path, num_bytes: int) -> None:
    """Write a checkpoint of random weights in shards of four matrices."""
    import numpy as np

    folder.mkdir(parents=True)
    chance, weight_map = np.random.default_rng(0), {}
    rows, columns = 4096, 8192
    for shard in range(max(num_bytes // (4 * rows * columns * 2), 1)):
        name, entries, end = f"model-{shard:05}.safetensors", {}, 0
        for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            key = f"model.layers.{shard}.{part}.weight"
            entries[key] = {
                "dtype": "BF16",
                "shape": [rows, columns],
                "data_offsets": [end, end + 2 * rows * columns],
            }
            end, weight_map[key] = end + 2 * rows * columns, name
        header = json.dumps(entries).encode()
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in range(4):
                values = (chance.standard_normal((rows, columns)) * 0.02).astype(np.float32)
                file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def copy_s(source: Path, out: Path) -> float:
    """The least time of three plain copies."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        shutil.copytree(source, out)
        best = min(best, time.perf_counter() - began)
        shutil.rmtree(out)
    return best


def main() -> None:
    """Print a row a format."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if "--make" in sys.argv:
        make(source, int(sys.argv[sys.argv.index("--make") + 1]))
    num_bytes = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    copy = copy_s(source, out)
    print(f"{num_bytes:,} bytes; plain copy {copy:.2f} s")
    print(f"{'format':<12}{'of the copy':>12}{'with fsync':>12}{'MB a CPU-s':>12}{'peak MB':>10}")
    for word in FORMATS:
        found = {}
        for durable in ("no", "fsync"):
            words = [sys.executable, "-c", RUN, str(source), word, str(out), durable]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            found[durable] = json.loads(done.stdout)
            shutil.rmtree(out)
        rate = num_bytes / 1e6 / found["no"]["cpu"]
        peak = max(each["peak"] for each in found.values()) / 1e6
        shares = [copy / found[durable]["wall"] for durable in ("no", "fsync")]
        print(f"{word:<12}{shares[0]:>11.0%}{shares[1]:>12.0%}{rate:>12.0f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
