"""A serving question -> the engine's own command line, read back by `oomless infer --command` to the same
ledger."""

import shlex
from math import floor
from typing import Literal, NamedTuple, assert_never

from ... import facts
from ...engines import engine
from ...engines.command_line import command_words, line_of
from ...files import safe_name
from ...model.catalogue_names import repository_of
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked
from . import Code, FileText, Launch
from .cluster import PORT, ServingJob, cluster_files, on_each, serve
from .documents import modelfile
from .scripts import SERVE, SERVE_HEAD, Value, python
from .shell import command, comment, launch_files, place, script


class ServedWeights(NamedTuple):
    """What an engine is told to serve."""

    name: str
    """A repository, a folder or a file."""
    form: str | None
    """The form of weights that lies there."""
    said: str | None = None
    """What a pasted command tells the engine of that form, "" for nothing; None: there is no such command."""

    @property
    def is_pasted(self) -> bool:
        return self.said is not None


def of_catalogue(model: Model, word: str) -> ServedWeights:
    """Return what is served where MODEL alone says it."""
    return ServedWeights(hub_word(model, word), model.quantization)


def serving_launch(
    model: Model, word: str, asked: Asked, hardware: Hardware, pasted: ServedWeights | None = None
) -> Launch:
    """How an engine is started for a question; `asked` has its layout. `pasted`: what a command serves, which
    stays as it is."""
    served = pasted or of_catalogue(model, word)
    target, note = served_name(model, served, asked)
    match engine(asked.engine).start.by:
        case "script":
            return transformers_launch(target, asked)._replace(note=note)
        case "modelfile":
            return ollama_launch(target, model.name, asked)._replace(note=note)
        case "program":
            start = command(*start_of(model, served, asked))
            num_nodes = -(-asked.sizes.num_ranks // hardware.per_node)
            job = ServingJob(model.name, start, asked, hardware, num_nodes)
            return Launch(start, cluster_files(job), note, on_each(job))
        case never:
            assert_never(never)


def one_of_several(asked: Asked, used: Asked) -> Asked:
    """The question of one of `instances` engines on a card. One that takes a share of the card must be told:
    each takes its part of the share that one would.

    `used`: the question with the engine's own values in place of what was not said.

    >>> one_of_several(Asked(instances=2), Asked(gpu_memory_utilization=0.92)).gpu_memory_utilization
    0.46
    """
    if (
        asked.instances == 1
        or not engine(asked.engine).candidates.shares_card
        or used.gpu_memory_utilization is None
    ):
        return asked
    return asked._replace(
        gpu_memory_utilization=floor(used.gpu_memory_utilization / asked.instances * 1000) / 1000
    )


def served_name(model: Model, served: ServedWeights, asked: Asked) -> tuple[str, str]:
    """Return (what is served, what a reader must know of it): a form that no engine makes while loading is a
    checkpoint of its own.

    An engine finds that form in the checkpoint; its flag knows other words, and would be refused.
    """
    name = served.name
    if engine(asked.engine).file_types:
        if asked.quantization == served.form if served.is_pasted else name.endswith(".gguf"):
            return place(name), ""
        file = f"{last_part(name).removesuffix('.gguf')}-{(asked.quantization or 'f16').upper()}.gguf"
        return place(file), f"{file}: a GGUF file of that type, published or made with llama-quantize"
    if in_checkpoint(asked, served.form):
        folder = f"./{last_part(name)}-{asked.quantization}"
        form = f"a checkpoint of {model.name} in {asked.quantization}"
        return folder, f"{folder}: {form}, published or made with llm-compressor"
    return place(name), ""


def last_part(path: str) -> str:
    """Return the last part of a path or of a repository's name."""
    return path.removesuffix("/").rpartition("/")[2]


def in_checkpoint(asked: Asked, lies_there: str | None) -> bool:
    """Whether the asked form is not made while loading, but read from a checkpoint other than the one that
    is there."""
    record = engine(asked.engine)
    found = (None, "none", lies_there, *record.start.made_on_loading)
    return not record.file_types and asked.quantization not in found


def hub_word(model: Model, word: str) -> str:
    """The name that an engine downloads: the catalogue's repository, or what the user named.

    >>> from ...model.load import load
    >>> hub_word(load("deepseek-r1"), "deepseek-r1")
    'deepseek-ai/DeepSeek-R1'
    """
    if word and (word.count("/") or word.endswith((".json", ".gguf", ".safetensors"))):
        return "." if word == "config.json" else word.removesuffix("/config.json")
    return repository_of(model.name, word) or word or model.name


def start_of(model: Model, served: ServedWeights, asked: Asked) -> tuple[str, ...]:
    """Return the words that start an engine's own program with a question; none for what has no program."""
    line = line_of(asked.engine)
    if line is None:
        return ()
    target, _ = served_name(model, served, asked)
    without = ("quantization",) if in_checkpoint(asked, served.form) else ()
    program = line.program
    if served.is_pasted and asked.quantization == served.form:
        if engine(asked.engine).file_types and not target.lower().endswith(".gguf"):
            program, target = program.removesuffix("-m") + "-hf", ":".join((target, served.form or ""))
        asked = asked._replace(quantization=served.said or None)
    return (*program.split(), target, *command_words(asked, without))


def transformers_launch(target: str, asked: Asked) -> Launch:
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


def ollama_launch(target: str, name: str, asked: Asked) -> Launch:
    """Return a Modelfile with the context, and a server with the slots: Ollama takes both from different
    places."""
    length = asked.max_model_len or asked.context
    slots = asked.max_num_seqs or asked.concurrency or 1
    parameters = {"num_ctx": length, "num_gpu": asked.n_gpu_layers, "num_batch": asked.ubatch_size}
    given = {name: value for name, value in parameters.items() if value is not None}
    variables = {"OLLAMA_NUM_PARALLEL": str(slots)}
    if asked.cache_type_k != "f16":
        variables |= {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": asked.cache_type_k}
    placed = {
        "LLAMA_ARG_CPU_MOE": 1 if asked.cpu_moe else None,
        "LLAMA_ARG_N_CPU_MOE": asked.n_cpu_moe or None,
        "LLAMA_ARG_OVERRIDE_TENSOR": asked.override_tensor,
    }  # its llama-server reads them
    variables |= {name: str(value) for name, value in placed.items() if value is not None}
    start = script(
        "/bin/sh",
        Code("set -eu"),
        command(
            "env", *(f"{name}={value}" for name, value in variables.items()), asked.engine, "serve", Code("&")
        ),
        Code("sleep 3"),
        command(asked.engine, "create", ollama_name(name), "-f", "Modelfile"),
        Code("wait"),
    )
    return Launch(command("sh", "start.sh"), {"Modelfile": modelfile(target, given), "start.sh": start})


def ollama_name(name: str) -> str:
    """Return a name that `ollama create` takes: letters, digits, `_`, `-` and single `.` (types/model/name.go).

    >>> ollama_name("deepseek-r1"), ollama_name("my model..v2")
    ('deepseek-r1', 'my-model-v2')
    """
    return safe_name(name, "_.").replace("..", "-")


SideName = Literal["prefill", "decode"]
PORTS: dict[SideName, int] = {"prefill": 8100, "decode": 8200}
"""Of each side's server; clients ask the router, at PORT."""
OWN_ADDRESS = Code("\"$(hostname -I | cut -d ' ' -f 1)\"")


class PairLaunch(NamedTuple):
    """Both sides, and what stands before them."""

    prefill: Launch
    decode: Launch
    router: Launch

    @property
    def files(self) -> dict[str, FileText]:
        """Every file by its name in one folder."""
        return {
            **launch_files(self.prefill, "prefill/"),
            **launch_files(self.decode, "decode/"),
            **self.router.files,
        }


def pairs() -> dict[str, dict[str, str]]:
    """Return how each engine that can is told of two sides, by its name.

    >>> list(pairs())
    ['vllm', 'sglang']
    """
    return {row["engine"]: row for row in facts.table("engine_pairs")}


def side_launch(model: Model, word: str, asked: Asked, hardware: Hardware, side: SideName) -> Launch:
    """Return how one machine, or one group of machines, of a side is started."""
    pair, port = pairs()[asked.engine], PORTS[side]
    ports = (port, *map(int, pair["bootstrap_port"].split())) if side == "prefill" else (port,)
    variable = pair["address_variable"]
    address = (Code("env"), Code(f"{variable}={OWN_ADDRESS}")) if variable else ()
    served = of_catalogue(model, word)
    start = command(*address, *start_of(model, served, asked), *shlex.split(pair[side]))
    num_nodes = -(-asked.sizes.num_ranks // hardware.per_node)
    name = "-".join((side, model.name))
    job = ServingJob(name, start, asked, hardware, num_nodes, ports, pair["packages"])
    files = cluster_files(job)
    files.pop("ray.sh", None)  # Ray hands the first machine's address to all
    return Launch(command(start, job.told), files, served_name(model, served, asked)[1], on_each(job))


def router_launch(name: str, num_prefill: int, num_decode: int) -> Launch:
    """Return how the router is started before so many machines, whose addresses are variables.

    >>> print(router_launch("sglang", 1, 1).command)  # doctest: +NORMALIZE_WHITESPACE
    python -m sglang_router.launch_router --pd-disaggregation --prefill "http://${PREFILL_1}:8100" 8998
    --decode "http://${DECODE_1}:8200" --host 0.0.0.0 --port 8000
    """
    pair = pairs()[name]
    port = pair["bootstrap_port"].split()
    urls: list[tuple[str, ...]] = [
        ("--prefill", machine_url("prefill", number), *port) for number in range(1, num_prefill + 1)
    ]
    urls += [("--decode", machine_url("decode", number)) for number in range(1, num_decode + 1)]
    start = command(*pair["router"].split(), *(word for each in urls for word in each), serve(PORT))
    package = pair["router_package"]
    note = f"PREFILL_1, DECODE_1 ...: addresses of the machines; pip install {package}"
    text = script("/bin/sh", comment(note), Code("set -eu"), command(Code("exec"), start))
    return Launch(start, {"router.sh": text}, note)


def machine_url(side: SideName, number: int) -> Code:
    """Return where the router finds a machine of a side."""
    return Code(f'"http://${{{side.upper()}_{number}}}:{PORTS[side]}"')
