"""A serving question -> the engine's own command line, read back by `oomless infer --command` to the same
ledger."""

import shlex
from math import floor

from ... import facts
from ...engines import LLAMA, VLLM
from ...engines.command_line import command_words, line_of
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.serving import Asked
from . import Launch
from .cluster import cluster_files


def serving_launch(model: Model, word: str, asked: Asked, hardware: Hardware) -> Launch:
    """How an engine is started for a question; `asked` has its layout."""
    target, note = served_name(model, word, asked)
    if asked.engine == "transformers":
        return transformers_launch(target, asked)._replace(note=note)
    if asked.engine == "ollama":
        return ollama_launch(model, asked)
    command = start_of(model, word, asked)
    num_nodes = -(-asked.sizes.num_ranks // hardware.per_node)
    return Launch(command, cluster_files(model.name, command, asked, hardware, num_nodes), note)


def one_of_several(asked: Asked, used: Asked) -> Asked:
    """The question of one of `instances` engines on a card, which vLLM must be told: each takes its part of
    the share that one would.

    `used`: the question with the engine's own values in place of what was not said.

    >>> one_of_several(Asked(instances=2), Asked(gpu_memory_utilization=0.92)).gpu_memory_utilization
    0.46
    """
    if asked.instances == 1 or asked.engine not in VLLM or used.gpu_memory_utilization is None:
        return asked
    return asked._replace(
        gpu_memory_utilization=floor(used.gpu_memory_utilization / asked.instances * 1000) / 1000
    )


def served_name(model: Model, word: str, asked: Asked) -> tuple[str, str]:
    """(what is served, what a reader must know of it): a form that no engine makes while loading is a
    checkpoint of its own.

    An engine finds that form in the checkpoint; its flag knows other words, and would be refused.
    """
    hub = hub_word(model, word)
    name = hub.removesuffix("/").rpartition("/")[2]
    if asked.engine in LLAMA:
        target = hub if word.endswith(".gguf") else f"{name}-{(asked.quantization or 'f16').upper()}.gguf"
        return (
            target,
            f"{target}: a GGUF file of that type, published or made with llama-quantize"
            if target != hub
            else "",
        )
    if in_checkpoint(asked, model.quantization):
        target = f"./{name}-{asked.quantization}"
        return (
            target,
            f"{target}: a checkpoint of {model.name} in {asked.quantization}, published "
            "or made with llm-compressor",
        )
    return hub, ""


ON_LOADING = ("fp8", "bitsandbytes")
"""Forms of the weights that vLLM and SGLang make of 16 bit while they load."""


def in_checkpoint(asked: Asked, published: str) -> bool:
    """Whether the asked form is not made while loading, but read from a checkpoint other than the published
    one."""
    made = ON_LOADING if asked.engine in (*VLLM, "sglang") else ()
    return asked.engine not in LLAMA and asked.quantization not in (None, "none", published, *made)


def hub_word(model: Model, word: str) -> str:
    """The name that an engine downloads: the catalogue's repository, or what the user named.

    >>> from ...model.load import load
    >>> hub_word(load("deepseek-r1"), "deepseek-r1")
    'deepseek-ai/DeepSeek-R1'
    """
    row = next((row for row in facts.table("catalogue") if row["name"] == model.name), None)
    if word and (word.count("/") or word.endswith((".json", ".gguf", ".safetensors"))):
        return word.removesuffix("/config.json")
    return row["hub_id"] if row and row["hub_id"] else word or model.name


def start_of(model: Model, word: str, asked: Asked) -> str:
    """Return the command that starts an engine's own program with a question; "" for what has none."""
    line = line_of(asked.engine)
    if line is None:
        return ""
    target, _ = served_name(model, word, asked)
    without = ("quantization",) if in_checkpoint(asked, model.quantization) else ()
    return " ".join([line.program.format(model=shlex.quote(target)), *command_words(asked, without)])


def transformers_launch(hub: str, asked: Asked) -> Launch:
    """A script, since transformers is a library: it loads the model as the question says and answers one
    prompt."""
    kinds = {
        "auto": '"auto"',
        "bfloat16": "torch.bfloat16",
        "float16": "torch.float16",
        "float32": "torch.float32",
    }
    cache = (
        f', cache_implementation="{asked.cache_implementation}"'
        if asked.cache_implementation != "dynamic"
        else ""
    )
    script = f'''"""Load {hub} and answer one prompt."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "{hub}"
tokenizer = AutoTokenizer.from_pretrained(NAME)
model = AutoModelForCausalLM.from_pretrained(NAME, dtype={kinds[asked.dtype]}, device_map="{asked.device_map}")
prompts = ["Why is the sky blue?"] * {asked.concurrency or 1}
inputs = tokenizer(prompts, return_tensors="pt").to(model.device)
with torch.inference_mode():
    output = model.generate(**inputs, max_new_tokens=256{cache})
print(tokenizer.batch_decode(output, skip_special_tokens=True)[0])
'''
    return Launch("python serve.py", {"serve.py": script})


def ollama_launch(model: Model, asked: Asked) -> Launch:
    """A Modelfile with the context, and a server with the slots: Ollama takes both from different places."""
    length = asked.max_model_len or asked.context
    slots = asked.max_num_seqs or asked.concurrency or 1
    file = f"{model.name}-{(asked.quantization or 'q4_k_m').upper()}.gguf"
    lines = [f"FROM ./{file}"]
    if length:
        lines.append(f"PARAMETER num_ctx {length}")
    if asked.n_gpu_layers is not None:
        lines.append(f"PARAMETER num_gpu {asked.n_gpu_layers}")
    cache = (
        f"OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={asked.cache_type_k} "
        if asked.cache_type_k != "f16"
        else ""
    )
    start = (
        f"#!/bin/sh\nset -eu\n{cache}OLLAMA_NUM_PARALLEL={slots} ollama serve &\nsleep 3\nollama "
        f"create {model.name} -f Modelfile\nwait\n"
    )
    return Launch(
        "sh start.sh",
        {"Modelfile": "\n".join(lines) + "\n", "start.sh": start},
        f"{file}: published, or made with llama-quantize",
    )
