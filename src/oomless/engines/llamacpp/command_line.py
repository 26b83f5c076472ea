"""llama-server's words and ours: its context is that of all slots, and it is told what drafts."""

import re
from collections.abc import Mapping
from typing import Any

from ...model.catalogue_names import GGUF, catalogue_name
from ...model.gguf_mixes import usual
from ...model.gguf_names import type_in_name
from ...model.load import load
from ...run.serving import Asked
from ...run.speculation import Speculation, read_speculation
from ..command_words import CommandWords
from .defaults import served_as
from .ollama_command import USUAL
from .release import rules_of

DEFAULT_UBATCH = 512
OF_REPOSITORY = "mmproj, which -hf takes along,"
"""The tower of a repository, where it has one (llama.cpp docs/multimodal.md)."""


SHARES = re.compile(r"(--tensor[_-]?split|-ts)((?:\s+\d{1,9}(?:\.\d{1,9})?){2,16})(?=\s|$)")
QUANTISED = re.compile(r"--quantkv[\s=]+([012])\b")
KOBOLD_CARDS = re.compile(
    r"--use(?:cublas|cuda|hipblas)((?:\s+(?:\d|all|(?:no)?mmq|lowvram|normal|rowsplit))+)(?!\S)"
)
"""What a number behind it selects is the one card that is used."""
KEPT_IN = ("f16", "q8_0", "q4_0")


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of llama.cpp, or of a program that is built on it, in our words."""
    flags = dict(said.flags)
    if "speculation" in flags:
        flags["speculation"] = read_speculation(
            flags["speculation"], f"--command: {said.spelled['speculation']}"
        )
    flags |= drafts_in(said.ignored, flags)
    unsaid = alone(said.before, said.ignored)
    if not unsaid.get("fit", True):
        flags.pop("fit", None)  # these programs never fit, whatever their parser takes
    engine, model, flags = as_asked(said.model, {**unsaid, **flags})
    files = {**taken_along(engine, model, said.ignored), **said.beside}
    beside, unknown = beside_on_card(files, said.unknown)
    named = devices_in(said.ignored)
    if named and (split := flags.get("tensor_split")):
        flags["tensor_split"] = shares_of_devices(split, named)
    return said._replace(
        engine=engine, model=model, flags=flags, unknown=unknown, beside=beside, visible=named
    )


def in_its_words(text: str) -> str:
    """Return a command with llama-server's words for what KoboldCpp and llama-cpp-python write otherwise:
    shares with blanks between, a number for the cache's type (koboldcpp.py, llama_cpp/server/settings.py).

    >>> in_its_words("koboldcpp --tensor_split 3 1 --quantkv 1")
    'koboldcpp -ts 3,1 -ctk q8_0 -ctv q8_0'
    >>> in_its_words("koboldcpp --usecublas lowvram 0 --gpulayers 9")
    'koboldcpp --usecublas lowvram 0 --gpulayers 9 -nkvo -sm none'
    >>> in_its_words("llama-bench -m x.gguf -d 0,16384")
    'llama-bench -m x.gguf -d 0,16384 -c 16896'
    """
    if "koboldcpp" in text:  # where a batch is no larger than a micro-batch
        text = re.sub(r"(?<=\s)(?:-b|--batch-size)(?=\s)", "-ub", text)
        for words in KOBOLD_CARDS.findall(text):
            said = words.split()
            text += " -sm row" * ("rowsplit" in said) + " -nkvo" * ("lowvram" in said)
            text += " -sm none" * (sum(map(str.isdigit, said)) == 1)
    if BENCH.search(text):  # each test has a context of its own: depth, then a prompt or an answer
        depth, *parts = (max(map(int, found)) for found in (of_bench(text, flag) for flag in "dpn"))
        text += f" -c {depth + max(parts)}"
    text = SHARES.sub(lambda found: "-ts " + ",".join(found[2].split()), text)
    return QUANTISED.sub(lambda found: "-ctk {0} -ctv {0}".format(KEPT_IN[int(found[1])]), text)


def of_bench(text: str, flag: str) -> list[str]:
    """Return the numbers behind a flag of llama-bench, or its default (tools/llama-bench).

    >>> [of_bench("llama-bench -d 0,16384 -p 2048", flag) for flag in "dpn"]
    [['0', '16384'], ['2048'], ['128']]
    """
    found = re.search(rf"\s-{flag}[\s=](\d+(?:,\d+)*)(?!\S)", text)
    return found[1].split(",") if found else [{"d": "0", "p": "512", "n": "128"}[flag]]


BENCH = re.compile(r"llama-bench(?:\.exe)?\s")


def alone(before: list[str], ignored: list[str]) -> dict[str, Any]:
    """Return what programs that are built on llama.cpp do otherwise than its server: one slot, all cells for
    layers with a window, nothing fitted, a context of their own (koboldcpp.py, llama_cpp/server/settings.py);
    llama-cpp-python leaves all layers to the host unless told; llama-cli has one slot (common.h, n_parallel).

    >>> alone(["python", "-m", "llama_cpp.server"], [])["n_gpu_layers"], alone(["llama-server"], [])
    (0, {})
    """
    program = before[-1] if before else ""
    if program == "llama_cpp.server":
        return {"n_gpu_layers": 0, "max_model_len": 2048, "max_num_seqs": 1, "swa_full": True, "fit": False}
    if "batched-bench" in program:  # common_init_from_params, which fits, is not called
        return {"fit": False}
    if "llama-bench" in program:  # flash attention was off until the spring of 2026
        return {"max_num_seqs": 1, "flash_attn": False, "fit": False}
    if "llama-cli" in program or "llama-mtmd-cli" in program:
        return {"max_num_seqs": 1}
    if "koboldcpp" in program:
        window = "--useswa" not in ignored
        return {"max_model_len": 8192, "max_num_seqs": 1, "swa_full": window, "fit": False}
    return {}


def taken_along(engine: str, model: str | None, ignored: list[str]) -> dict[str, str]:
    """Return what llama-server takes of a repository beside the model, unless it is told not to.

    >>> taken_along("llamacpp", "unsloth/Qwen3.6-27B-GGUF", [])
    {'tower': 'mmproj, which -hf takes along,'}
    >>> taken_along("llamacpp", "Qwen3.6-27B-Q4_K_M.gguf", [])
    {}
    """
    name = model or ""
    repository = name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith(".gguf")
    if engine == "llamacpp" and repository and "--no-mmproj" not in ignored:
        return {"tower": OF_REPOSITORY}
    return {}


def beside_on_card(files: Mapping[str, str], unknown: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return (files that are loaded beside the model onto cards, flags that are not read here): a tower and a
    model that drafts may be left to the host. A part of its layers counts as all.

    >>> files = {"tower": "mmproj-F16.gguf", "draft": "Qwen3-0.6B-Q8_0.gguf"}
    >>> beside_on_card(files, ["-ngld 99", "--no-mmproj-offload"])
    ({'draft': 'Qwen3-0.6B-Q8_0.gguf'}, [])
    >>> beside_on_card(files, ["-ngld 0", "-devd CUDA1"])
    ({'tower': 'mmproj-F16.gguf'}, ['-devd CUDA1'])
    """
    on_host, unread = set[str](), list[str]()
    for flag in unknown:
        layers = DRAFT_LAYERS.fullmatch(flag)
        if flag == "--no-mmproj-offload":
            on_host.add("tower")
        elif layers is None:
            unread.append(flag)
        elif layers[1] in ("0", "none"):
            on_host.add("draft")
    return {what: file for what, file in files.items() if what not in on_host}, unread


DRAFT_LAYERS = re.compile(
    r"(?:-ngld|--(?:n-)?gpu-layers-draft|--spec-draft-ngl|-devd|--device-draft)[ =](\d{1,4}|all|auto|none)"
)


def devices_in(ignored: list[str]) -> int | None:
    """Return how many cards -dev names; None: it names none.

    >>> devices_in(["-dev CUDA0,CUDA1"]), devices_in(["--device none"]), devices_in([])
    (2, None, None)
    """
    said = [found[1] for flag in ignored if (found := DEVICES.fullmatch(flag))]
    return said[-1].count(",") + 1 if said else None


DEVICES = re.compile(
    r"(?:-dev|--device)[ =]((?:CUDA|ROCm|Vulkan|SYCL|HIP)\d+(?:,(?:CUDA|ROCm|Vulkan|SYCL|HIP)\d+)*)"
)


def shares_of_devices(split: str, devices: int) -> str:
    """Return the shares of -ts that count: one for each card that -dev names, in that order (llama-model.cpp,
    load_tensors); those that are missing are 0 (common/arg.cpp).

    >>> shares_of_devices("0,1,1", 2), shares_of_devices("3", 2)
    ('0,1', '3,0')
    """
    return ",".join([*split.replace("/", ",").split(","), *["0"] * devices][:devices])


def drafts_in(ignored: list[str], flags: dict[str, Any]) -> dict[str, Any]:
    """Return what the kinds of --spec-type load in place of what --spec-draft-n-max says: the model's own MTP
    layer, which drafts three tokens unless told (common/arg.cpp, common.h), or nothing of n-grams; stages of
    ik_llama.cpp say their tokens themselves, and its -mtp is one.

    >>> drafts_in(["--spec-type ngram-mod:n_max=64", "--spec-type mtp:p_min=0.0,n_max=3"], {})[
    ...     "speculation"
    ... ].tokens
    3
    >>> [drafts_in([said], {})["speculation"].tokens for said in ("--spec-type ngram-mod,draft-mtp", "-mtp")]
    [3, 1]
    >>> drafts_in(["--spec-type ngram-simple"], {"speculation": Speculation("mtp", 16)})
    {'speculation': None}
    """
    said = [flag.removeprefix("--spec-type ") for flag in ignored if flag.startswith("--spec-type ")]
    said += ["mtp"] * bool({"-mtp", "--multi-token-prediction"} & set(ignored))
    stages = (re.match(r"mtp\b(?::\S*?\bn_max=(\d{1,3}))?", words) for words in said)
    if found := next((stage for stage in stages if stage), None):
        return {"speculation": Speculation("mtp", int(found[1] or 1))}
    kinds = ",".join(said).split(",")
    if "draft-mtp" in kinds and not flags.get("speculation"):
        return {"speculation": Speculation("mtp", DRAFTED)}
    drafts = any(kind.startswith("draft") for kind in kinds)
    return {"speculation": None} if said and not drafts else {}


DRAFTED = 3
"""Tokens that --spec-type draft-mtp drafts where --spec-draft-n-max is not there."""


def as_asked(model: str | None, flags: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """Return (engine, model, flags) of llama-server's words in ours: a context over all slots is divided
    among them, a repository may name a file type, a batch bounds a micro-batch.

    >>> as_asked("unsloth/DeepSeek-R1-GGUF:Q4_K_M", {"mla_attn": 2, "batch_size": 256})
    ('ik-llamacpp', 'unsloth/DeepSeek-R1-GGUF', {'mla_attn': 2, 'ubatch_size': 256, 'quantization': 'Q4_K_M'})
    >>> as_asked("GLM-4.5-Air-IQ4_KSS.gguf", {})[0]  # a type of that fork
    'ik-llamacpp'
    >>> as_asked("google/gemma-4-26B-A4B-it-qat-q4_0-gguf", {})[2]
    {'quantization': 'Q4_0'}
    """
    slots, length = flags.pop("max_num_seqs", 0), flags.pop("max_model_len", -1)
    batch = flags.pop("batch_size", 0)
    if slots > 0:
        flags["max_num_seqs"] = slots
    apart = slots if slots > 1 and not flags.get("kv_unified") else 1
    if length > 0:
        flags |= {"max_model_len": length // apart, "context": length // apart, "concurrency": apart}
    if length == 0:
        flags["max_model_len"] = 0  # see own_length
    if 0 < batch < flags.get("ubatch_size", DEFAULT_UBATCH):
        flags["ubatch_size"] = batch
    file = flags.pop("hf_file", None)
    repository = model is not None and model.count("/") == 1
    if model and repository and not model.startswith((".", "/", "~")) and not model.endswith(".gguf"):
        model, _, kind = model.partition(":")  # one file of it, of the type behind the colon
        own = type_in_name(model.lower().removesuffix(GGUF))
        flags["quantization"] = (type_in_name(file) if file else kind) or own or usual_type(model)
    of_fork = "mla_attn" in flags or "attn_max_batch" in flags or "run_time_repack" in flags
    of_fork = of_fork or usual(flags.get("quantization") or type_in_name(model or "") or "", True) is not None
    return "ik-llamacpp" if of_fork else "llamacpp", model, flags


def own_length(given: dict[str, Any], served: str | None) -> dict[str, Any]:
    """Return options with the model's own context for one of 0, unless the build takes or fits that itself.

    >>> own_length({"engine": "llamacpp", "engine_version": "b5331", "max_model_len": 0}, "qwen3-8b")
    {'engine': 'llamacpp', 'engine_version': 'b5331', 'max_model_len': 40960}
    >>> own_length({"engine": "llamacpp", "max_model_len": 0}, "qwen3-8b")
    {'engine': 'llamacpp'}
    """
    if given.get("max_model_len") != 0:
        return given
    rest = {name: value for name, value in given.items() if name != "max_model_len"}
    build = rules_of(Asked(engine=given["engine"], engine_version=given.get("engine_version")))
    return {**rest, "max_model_len": load(served).max_positions} if served and build.default_context else rest


def usual_type(repository: str) -> str:
    """Return the type of the file that is taken of a repository where nobody says one: Q4_K_M, or the first
    there is (common/download.cpp), which of a model that is published in MXFP4 is that.

    >>> usual_type("ggml-org/gpt-oss-20b-GGUF"), usual_type("unsloth/DeepSeek-R1-GGUF")
    ('MXFP4', 'Q4_K_M')
    """
    known = catalogue_name(repository)
    return served_as(load(known), True) if known else USUAL


def as_started(wanted: dict[str, Any], asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """Return (words that come first, fields) as llama-server is told them: the context of all slots together;
    it deals layers over the cards that it sees."""
    for name in ("tp", "pp", "quantization"):
        wanted.pop(name, None)
    slots = asked.max_num_seqs or asked.concurrency or 1
    each = asked.max_model_len or asked.context
    wanted["max_num_seqs"] = slots
    if each:
        wanted["max_model_len"] = each * slots
    return ["--spec-type", "draft-mtp"] if asked.draft_tokens else [], wanted
