"""`ollama run NAME:TAG`: which model a tag of its library means, in which type, what its variables say."""

import re

from ...model.library_names import library_model
from ...model.load import hub_id_of
from ..command_words import CommandWords

RUNS_TAGS = "ollama"
"""The engine whose library calls models by tags."""
USUAL = "Q4_K_M"
"""The type behind a tag that says none, where no row says the family's."""
VARIABLES = {
    "OLLAMA_CONTEXT_LENGTH": ("max_model_len",),
    "OLLAMA_NUM_PARALLEL": ("max_num_seqs", "concurrency"),
    "OLLAMA_FLASH_ATTENTION": ("flash_attn",),
    "OLLAMA_KV_CACHE_TYPE": ("cache_type_k", "cache_type_v"),
    "OLLAMA_GPU_OVERHEAD": ("gpu_overhead",),
    "LLAMA_ARG_CPU_MOE": ("cpu_moe",),
    "LLAMA_ARG_N_CPU_MOE": ("n_cpu_moe",),
    "LLAMA_ARG_OVERRIDE_TENSOR": ("override_tensor",),
    "num_ctx": ("max_model_len",),
    "num_gpu": ("n_gpu_layers",),
    "num_batch": ("ubatch_size",),
}
"""Variables of its server (envconfig/config.go) and of the llama-server that it starts, and parameters of a
Modelfile -> our fields; a context is one sequence's, and the cache holds as many as run in parallel
(KvSize)."""


def of_modelfile(text: str) -> str:
    """Return the command that a Modelfile comes to; any other text as it is.

    >>> of_modelfile("FROM qwq:32b\\nPARAMETER num_ctx 8192\\nPARAMETER stop x")
    'num_ctx=8192 ollama run qwq:32b'
    """
    found = re.search(r"^FROM\s+(\S+)\s*$", text, re.MULTILINE)
    if found is None or not re.search(r"^(?:PARAMETER|TEMPLATE|SYSTEM)\s", text, re.MULTILINE):
        return text
    said = re.findall(r"^PARAMETER\s+(num_ctx|num_gpu|num_batch)\s+(\d+)", text, re.MULTILINE)
    return " ".join((*(f"{name}={value}" for name, value in said), "ollama run", found[1]))


def variables(words: list[str]) -> dict[str, tuple[str, str]]:
    """Return the fields that variables before the program set: name and text of the variable.

    No release takes OLLAMA_NUM_PARALLEL=0 as a number: up to 0.1 it is refused and left, from 0.2 on it means
    what the release does unasked (envconfig/config.go, server/sched.go).

    >>> variables(["OLLAMA_CONTEXT_LENGTH=8192", "OLLAMA_HOST=0.0.0.0", "OLLAMA_NUM_PARALLEL=0"])
    {'max_model_len': ('OLLAMA_CONTEXT_LENGTH', '8192')}
    """
    said = (word.partition("=") for word in words if word != "OLLAMA_NUM_PARALLEL=0")
    return {field: (name, value) for name, _, value in said if value for field in VARIABLES.get(name, ())}


NO_B = re.compile(r"(:\d+(?:\.\d+)?)(?=-)")
"""phi3's 3.8-mini-128k-instruct-q4_0."""


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of Ollama in our words: its model's name says the type."""
    if said.model is None:
        return said
    model, kind = tagged(said.model)
    return said._replace(model=model, flags={**said.flags, "quantization": kind})


def tagged(name: str) -> tuple[str, str]:
    """Return (model, type) of what `ollama run` names: the catalogue's name where it is known, else the name
    as it stands.

    >>> tagged("deepseek-r1:32b")
    ('deepseek-r1-distill-qwen-32b', 'Q4_K_M')
    >>> tagged("deepseek-r1:14b-qwen-distill-q8_0")
    ('deepseek-r1-distill-qwen-14b', 'Q8_0')
    >>> tagged("deepseek-coder-v2"), tagged("llama2:70b")
    (('deepseek-coder-v2-lite', 'Q4_0'), ('llama-2-70b', 'Q4_0'))
    >>> tagged("phi3:3.8-mini-128k-instruct-q4_0")[1], tagged("x/llama3.2-vision:11b")[1]
    ('Q4_0', 'Q4_K_M')
    >>> tagged("hf.co/unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF:Q6_K")
    ('unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF', 'Q6_K')
    """
    name = name.removeprefix("registry.ollama.ai/").removeprefix("library/").removeprefix("x/")
    name = NO_B.sub(r"\1b", name)
    if "/" in name:
        repository, _, kind = hub_id_of(name).partition(":")
        return repository, kind.upper() if kind not in ("", "latest") else USUAL
    known, kind = library_model(name)
    return known or name, kind or USUAL
