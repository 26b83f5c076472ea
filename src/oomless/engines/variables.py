"""Variables before a command or in its container: llama.cpp's are flags in other letters; what nobody reads
of an engine's own is named, since it may change memory."""

import re

from .llamacpp.ollama_command import VARIABLES
from .sglang.command_line import READ as OF_SGLANG
from .vllm.command_line import READ as OF_VLLM

SET = re.compile(r"(?:--env=|-e)?([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
OTHER_LETTERS = {
    "batch": "batch-size",
    "ubatch": "ubatch-size",
    "n-parallel": "parallel",
    "rope-scaling-type": "rope-scaling",
    "spec-draft-cache-type-k": "cache-type-k-draft",
    "spec-draft-cache-type-v": "cache-type-v-draft",
    "spec-draft-n-gpu-layers": "n-gpu-layers-draft",
    "n-gpu-layers-draft": "n-gpu-layers-draft",
}
"""LLAMA_ARG_... whose flag is not the same words with dashes (llama.cpp common/arg.cpp, set_env)."""
OWN = {
    "vllm": ("VLLM_",),
    "sglang": ("SGLANG_", "SGL_"),
    "llamacpp": ("GGML_", "LLAMA_"),
    "ollama": ("OLLAMA_", "GGML_", "LLAMA_"),
    "trtllm": ("TRTLLM_", "TLLM_"),
}
"""How the variables of an engine's own begin, by its rows of engine_flags.csv."""
READ = {
    "vllm": OF_VLLM,
    "sglang": OF_SGLANG,
    "llamacpp": re.compile("LLAMA_ARG_.*"),
    "ollama": re.compile("|".join(VARIABLES)),
}
WITHOUT_MEMORY = frozenset(
    "ADDR ALIVE API ASSETS CACHE_DIR DEBUG DIR FETCH HTTP IP KEY LIBRARY LOG LOGGING LOGO LONG LONGER MEDIA "
    "MATMUL METRICS MODELS MODELSCOPE MULTIPROC MULTIPROCESSING NOHISTORY NOPRUNE ORIGINS P2P PATH PLUGINS "
    "PORT PROFILER QUEUE RAY ROOT STATS TEST TIMEOUT TRACE TRACK USAGE WARMUP".split()
)
"""Words of variables that say where, how long, how loud or who: of vLLM's envs.py, SGLang's environ.py,
Ollama's envconfig/config.go."""


def flags_of(before: list[str], begins: str) -> list[str]:
    """Return the flags that variables are which begin so; those that were typed come behind them and win.

    >>> flags_of(["LLAMA_ARG_CTX_SIZE=8192", "A=1", "LLAMA_ARG_N_PARALLEL=2"], "LLAMA_ARG_")
    ['--ctx-size=8192', '--parallel=2']
    """
    found: list[str] = []
    for name, value in said(before):
        if begins and name.startswith(begins) and value:
            flag = name.removeprefix(begins).lower().replace("_", "-")
            found.append(f"--{OTHER_LETTERS.get(flag, flag)}={value}")
    return found


def unread_variables(before: list[str], table: str) -> list[str]:
    """Return the variables of an engine's own that nobody reads and that may change memory.

    >>> unread_variables(["VLLM_USE_V1=1", "VLLM_LOGGING_LEVEL=DEBUG", "VLLM_USE_DEEP_GEMM=1", "A=1"], "vllm")
    ['VLLM_USE_DEEP_GEMM=1']
    """
    read = READ.get(table)
    return [
        f"{name}={value}"
        for name, value in dict(said(before)).items()
        if value
        and name.startswith(OWN.get(table, ("\0",)))
        and not (read and read.fullmatch(name))
        and not WITHOUT_MEMORY & {*name.split("_")}
        and not name.endswith("_HOST")
    ]


def said(before: list[str]) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for word in before if (match := SET.fullmatch(word))]
