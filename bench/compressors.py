"""Other tools beside ours on one folder, in one run: `make bench-compress`, or `python -m bench.compressors
FOLDER OUT [FORMAT ...]`.

llm-compressor's model_free_ptq and llama.cpp's quantizer (the library that llama-quantize calls) have
environments of their own. Each reads the same weights and is given two threads; imports are not counted. Ours
is written without and with fsync, the other tool's as it writes. Errors are the squared differences of what
was written from the source, ours over theirs: of all weights, and of the worst one. With `--make BYTES`
FOLDER is made first.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .compress import make

ROOT = Path(__file__).parents[1]
LLM_COMPRESSOR = ROOT / ".parsers" / "llmcompressor" / "bin" / "python"
LLAMA = ROOT / ".parsers" / "llama-quantize" / "package" / "bins" / "linux-x64"
COUNTED = """
import json, resource, time
def counted(call):
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("RESULT", json.dumps({"wall": time.perf_counter() - began,
          "cpu": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
          "peak": int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024}), flush=True)
"""
OURS = f"""{COUNTED}
import sys
from pathlib import Path
import gguf, gguf.vocab, numpy
from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, plan
source, word, out, durable = sys.argv[1:5]
def call():
    planned = plan(CompressRequest(source, word))
    compress(planned, Path(out), writing=Writing(threads=2, durable=durable == "fsync"))
counted(call)
"""
MODEL_FREE = f"""{COUNTED}
import sys
from llmcompressor import model_free_ptq
source, out, scheme = sys.argv[1:4]
counted(lambda: model_free_ptq(source, out, scheme=scheme, ignore=["re:.*embed_tokens", "lm_head"],
                               max_workers=2, device="cpu"))
"""
QUANTIZE = f"""{COUNTED}
import ctypes, glob, sys
source, out, folder, file_type = sys.argv[1:5]
ctypes.CDLL(folder + "/libggml-base.so", ctypes.RTLD_GLOBAL)
ggml = ctypes.CDLL(glob.glob(folder + "/libggml.*")[0])
ggml.ggml_backend_load_all_from_path(folder.encode())
lib = ctypes.CDLL(glob.glob(folder + "/libllama.*")[0])
class Settings(ctypes.Structure):  # threads and the file's type come first in every release
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int), ("rest", ctypes.c_char * 248)]
lib.llama_model_quantize_default_params.restype = Settings
lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Settings)]
settings = lib.llama_model_quantize_default_params()
settings.threads, settings.file_type = 2, int(file_type)
def call():
    failed = lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(settings))
    assert not failed, failed
counted(call)
"""


class Peer(NamedTuple):
    """What another tool makes of our word."""

    word: str
    tool: str
    scheme: str
    """llm-compressor's preset, or the number of llama.cpp's file type."""


PEERS = (
    Peer("int8", "llm-compressor", "W8A8"),
    Peer("int4", "llm-compressor", "W4A16"),
    Peer("int4-asym", "llm-compressor", "W4A16_ASYM"),
    Peer("fp8-block", "llm-compressor", "FP8_BLOCK"),
    Peer("fp8-channel", "llm-compressor", "FP8_DYNAMIC"),
    Peer("nvfp4", "llm-compressor", "NVFP4A16"),
    Peer("mxfp4", "llm-compressor", "MXFP4A16"),
    Peer("mxfp8", "llm-compressor", "MXFP8"),
    Peer("q8_0", "llama-quantize", "7"),
    Peer("q4_0", "llama-quantize", "2"),
)


def result(*words: str) -> dict[str, float]:
    """What a process prints behind RESULT, or as its only line."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("RESULT", "{"))]
    found: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def theirs(peer: Peer, source: Path, gguf: Path, out: Path) -> dict[str, float]:
    """What a peer takes."""
    shutil.rmtree(out, ignore_errors=True)
    if peer.tool == "llm-compressor":
        return result(str(LLM_COMPRESSOR), "-c", MODEL_FREE, str(source), str(out), peer.scheme)
    out.mkdir(parents=True)
    file = out / "model.gguf"
    return result(sys.executable, "-c", QUANTIZE, str(gguf), str(file), str(LLAMA), peer.scheme)


def ours(word: str, source: Path, out: Path, durable: str) -> dict[str, float]:
    """What we take."""
    shutil.rmtree(out, ignore_errors=True)
    return result(sys.executable, "-c", OURS, str(source), word, str(out), durable)


def errors(source: Path, word: str, out: Path, other: Path) -> tuple[float, float]:
    """(squared error of all weights, ours over theirs; the same of the worst weight)"""
    from oomless.compress.checkpoint.error import weight_errors
    from oomless.compress.weights import CompressRequest, plan

    planned = plan(CompressRequest(str(source), word))
    target: Any = planned.target
    if target.kind == "gguf":
        next(other.glob("*.gguf")).rename(other / target.files[0].name)
    found = [
        weight_errors(planned.source, target, folder, 1, lambda done, total: None) for folder in (out, other)
    ]
    changed = [name for name in found[0] if found[1][name].squared_error]
    sums = [sum(each[name].squared_error for name in changed) for each in found]
    worst = max(found[0][name].squared_error / found[1][name].squared_error for name in changed)
    return sums[0] / sums[1], worst


def row(peer: Peer, source: Path, gguf: Path, out: Path) -> str:
    """One line of the table."""
    other = out.with_name(f"{out.name}-other")
    them = theirs(peer, source, gguf, other)
    durable = ours(peer.word, source, out, "fsync")
    us = ours(peer.word, source, out, "no")
    whole, worst = errors(source, peer.word, out, other)
    num = sum(path.stat().st_size for path in source.glob("*.safetensors")) / 1e6
    for folder in (out, other):
        shutil.rmtree(folder)
    return (
        f"{peer.word:<12}{peer.tool:<16}{num / us['cpu']:>7.0f}{num / them['cpu']:>8.0f}"
        f"{them['cpu'] / us['cpu']:>7.1f}{them['wall'] / us['wall']:>8.1f}"
        f"{them['wall'] / durable['wall']:>8.1f}{us['peak'] / 1e6:>7.0f}{them['peak'] / 1e6:>8.0f}"
        f"{whole:>9.4f}{worst:>9.4f}"
    )


def main() -> None:
    """Print a row a format."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if "--make" in sys.argv and not source.exists():
        make(source, int(sys.argv[sys.argv.index("--make") + 1]))
    wanted = [peer for peer in PEERS if peer.word in sys.argv[3:]] or PEERS
    gguf = out.with_name(f"{out.name}-gguf")
    if any(peer.tool == "llama-quantize" for peer in wanted):
        ours("gguf-bf16", source, gguf, "no")
    print("format      tool             MB a CPU-s      x of theirs          peak MB       error over theirs")
    print("                            ours  theirs    CPU    wall   fsync   ours  theirs    whole    worst")
    for peer in wanted:
        print(row(peer, source, next(gguf.glob("*.gguf"), gguf), out), flush=True)
    shutil.rmtree(gguf, ignore_errors=True)


if __name__ == "__main__":
    main()
