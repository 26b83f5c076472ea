"""A serving question -> the engine's own command line, read back by `oomless infer --command` to the same
ledger."""

from math import floor
from typing import Any

from ... import facts
from ...engines import LLAMA, VLLM
from ...errors import UnsupportedError
from ...files import safe_name
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Layout, Serving
from . import Code, Launch
from .cluster import cluster_files
from .documents import modelfile
from .scripts import SERVE, SERVE_HEAD, Value, python
from .shell import command, place, script

PROGRAMS = {
    "vllm": ("vllm", "serve"),
    "vllm-ascend": ("vllm", "serve"),
    "vllm-hpu": ("vllm", "serve"),
    "sglang": ("python", "-m", "sglang.launch_server", "--model-path"),
    "trtllm": ("trtllm-serve",),
    "llamacpp": ("llama-server", "-m"),
    "ik-llamacpp": ("llama-server", "-m"),
}
"""How each engine is started: the words before the model."""
OF_THE_LOAD = ("context", "concurrency", "instances")
"""What the asked load is made of, and how often the engine is started: no engine is told."""


def serving_launch(model: Model, word: str, asked: Serving, hardware: Hardware) -> Launch:
    """How an engine is started for a question; `asked` has its layout."""
    target, note = served_name(model, word, asked)
    if asked.engine == "transformers":
        return transformers_launch(target, asked)._replace(note=note)
    if asked.engine == "ollama":
        return ollama_launch(target, model.name, asked)._replace(note=note)
    start = command(*PROGRAMS[asked.engine], target, *flags_of(asked, model.quantization))
    layout = asked.layout or Layout()
    num_nodes = -(-layout.num_ranks // hardware.per_node)
    return Launch(start, cluster_files(model.name, start, asked, hardware, num_nodes), note)


def one_of_several(asked: Serving, used: Serving) -> Serving:
    """The question of one of `instances` engines on a card, which vLLM must be told: each takes its part of
    the share that one would.

    `used`: the question with the engine's own values in place of what was not said.

    >>> one_of_several(Serving(instances=2), Serving(gpu_memory_utilization=0.92)).gpu_memory_utilization
    0.46
    """
    if asked.instances == 1 or asked.engine not in VLLM or used.gpu_memory_utilization is None:
        return asked
    return asked._replace(
        gpu_memory_utilization=floor(used.gpu_memory_utilization / asked.instances * 1000) / 1000
    )


def served_name(model: Model, word: str, asked: Serving) -> tuple[str, str]:
    """Return (what is served, what a reader must know of it): a form that no engine makes while loading is a
    checkpoint of its own.

    An engine finds that form in the checkpoint; its flag knows other words, and would be refused.
    """
    hub = hub_word(model, word)
    if asked.engine in LLAMA:
        if word.endswith(".gguf"):
            return place(hub), ""
        file = f"{last_part(hub)}-{(asked.quantization or 'f16').upper()}.gguf"
        return place(file), f"{file}: a GGUF file of that type, published or made with llama-quantize"
    if in_checkpoint(asked, model.quantization):
        folder = f"./{last_part(hub)}-{asked.quantization}"
        form = f"a checkpoint of {model.name} in {asked.quantization}"
        return folder, f"{folder}: {form}, published or made with llm-compressor"
    return place(hub), ""


def last_part(path: str) -> str:
    """Return the last part of a path or of a repository's name."""
    return path.removesuffix("/").rpartition("/")[2]


ON_LOADING = ("fp8", "bitsandbytes")
"""Forms of the weights that vLLM and SGLang make of 16 bit while they load."""


def in_checkpoint(asked: Serving, published: str) -> bool:
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
        return "." if word == "config.json" else word.removesuffix("/config.json")
    return row["hub_id"] if row and row["hub_id"] else word or model.name


def spellings(engine: str) -> dict[str, tuple[str, str]]:
    """Field -> (flag, what it takes): the longest spelling that facts/engine_flags.csv has first for it."""
    table = "vllm" if engine in VLLM else "llamacpp" if engine in LLAMA else engine
    found: dict[str, tuple[str, str]] = {}
    for row in facts.table("engine_flags"):
        field = row["field"].partition("=")[0]
        if row["engine"] == table and field and field not in found and "=" not in row["field"]:
            found[field] = (row["flag"], row["takes"])
    return found


def flags_of(asked: Serving, published: str = "") -> list[str]:
    """Return every field that is not the default as the engine's flag, words as the engine sees them;
    `published`: the form that the checkpoint has."""
    layout = asked.layout or Layout()
    wanted: dict[str, Any] = {
        name: getattr(asked, name)
        for name, default in Serving._field_defaults.items()
        if name not in ("engine", "engine_version", "layout", *OF_THE_LOAD)
        and getattr(asked, name) != default
    }
    names = {"dcp": "decode_context_parallel_size"}
    wanted |= {
        names.get(name, name): value
        for name, value in layout._asdict().items()
        if value != Layout._field_defaults[name]
    }
    wanted["tp"] = layout.tp
    if in_checkpoint(asked, published):
        del wanted["quantization"]
    if asked.engine == "sglang" and asked.kv_cache_dtype == "fp8":
        wanted["kv_cache_dtype"] = "fp8_e4m3"  # its parser knows no plain fp8
    if asked.engine in LLAMA:
        wanted = _llama(wanted, asked)
    if "speculative" in wanted:
        del wanted["speculative"]
        wanted["speculative_config"] = (
            '{"method": "mtp", "num_speculative_tokens": 1}' if asked.engine in VLLM else "NEXTN"
        )
    known = spellings(asked.engine)
    words: list[str] = ["--spec-type", "draft-mtp"] if "draft_tokens" in wanted else []
    for name in sorted(wanted, key=ORDER.index if set(wanted) <= set(ORDER) else _order):
        value = wanted[name]
        if name not in known:
            if name == "tp" and value == 1:
                continue
            raise UnsupportedError(
                f"{asked.engine} has no flag for {name.replace('_', '-')}", "start it another way"
            )
        flag, takes = known[name]
        if asked.engine == "trtllm":
            flag = "--" + flag.lstrip("-").replace("-", "_")  # as its releases up to 1.3 spell them
        words.append(flag)
        if takes != "switch":
            text = (
                ("on" if value else "off")
                if takes == "onoff"
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
            words.append(text)
    return words


ORDER = (
    "tp",
    "pp",
    "dp",
    "enable_expert_parallel",
    "quantization",
    "kv_cache_dtype",
    "max_model_len",
    "max_num_seqs",
)
"""What a reader looks for first."""


def _order(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _llama(wanted: dict[str, Any], asked: Serving) -> dict[str, Any]:
    """llama-server counts the context of all slots together, and deals layers over the cards that it sees."""
    for name in ("tp", "pp", "quantization", "max_num_seqs"):
        wanted.pop(name, None)
    slots = asked.max_num_seqs or asked.concurrency or 1
    each = asked.max_model_len or asked.context
    wanted["slots"] = slots
    if each:
        wanted["max_model_len"] = each * slots
    return wanted


def transformers_launch(target: str, asked: Serving) -> Launch:
    """Return a script, since transformers is a library: it loads the model as the question says and answers one
    prompt."""
    dynamic = asked.cache_implementation == "dynamic"
    values: dict[str, Value] = {
        "NAME": target,
        "DTYPE": asked.dtype,
        "DEVICE_MAP": asked.device_map,
        "CONCURRENCY": asked.concurrency or 1,
        "CACHE": None if dynamic else asked.cache_implementation,
    }
    return Launch(command("python", "serve.py"), {"serve.py": python(SERVE_HEAD, values, SERVE)})


def ollama_launch(target: str, name: str, asked: Serving) -> Launch:
    """Return a Modelfile with the context, and a server with the slots: Ollama takes both from different
    places."""
    length = asked.max_model_len or asked.context
    slots = asked.max_num_seqs or asked.concurrency or 1
    parameters = {"num_ctx": length, "num_gpu": asked.n_gpu_layers}
    given = {name: value for name, value in parameters.items() if value is not None}
    variables = {"OLLAMA_NUM_PARALLEL": str(slots)}
    if asked.cache_type_k != "f16":
        variables |= {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": asked.cache_type_k}
    start = script(
        "/bin/sh",
        Code("set -eu"),
        command(
            "env", *(f"{name}={value}" for name, value in variables.items()), "ollama", "serve", Code("&")
        ),
        Code("sleep 3"),
        command("ollama", "create", ollama_name(name), "-f", "Modelfile"),
        Code("wait"),
    )
    return Launch(command("sh", "start.sh"), {"Modelfile": modelfile(target, given), "start.sh": start})


def ollama_name(name: str) -> str:
    """Return a name that `ollama create` takes: letters, digits, `_`, `-` and single `.` (types/model/name.go).

    >>> ollama_name("deepseek-r1"), ollama_name("my model..v2")
    ('deepseek-r1', 'my-model-v2')
    """
    return safe_name(name, "_.").replace("..", "-")
