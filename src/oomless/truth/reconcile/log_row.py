"""A run of a log -> the configuration columns of a measured row, as `validate` reads them."""

import re
from collections.abc import Mapping

from ...engines import engine
from ...engines.record import Engine
from ...facts.options import ENGINE_NAMES
from ...model.gguf_names import type_in_name
from ...recording.printed_arguments import Arguments
from ...run.options import share_of_card
from ...run.speculation import Speculation
from .log_facts import arguments, cache_type, facts_of
from .log_llama import file_type, llama_cells
from .log_model import model_name
from .logged_run import LoggedRun
from .scrub import scrub


def table_word(engine_name: str) -> str:
    """Return what measured tables call an engine; a name that is none of ours stays.

    >>> table_word("vllm-ascend"), table_word("llamacpp"), table_word("?")
    ('vLLM-Ascend', 'llama.cpp', '?')
    """
    return engine(engine_name).rows.words[0] if engine_name in ENGINE_NAMES else engine_name


QUANTITIES = {
    "weights_bytes": "weights_per_gpu",
    "kv_bytes": "kv_bytes_per_gpu",
    "kv_tokens": "kv_tokens",
    "activation_bytes": "activation_peak",
    "non_torch_bytes": "non_torch",
    "cuda_graph_bytes": "cuda_graph",
    "compute_buffer_bytes": "compute_buffer",
}
"""Fact -> quantity of a measured row."""
COLUMNS = (
    "id",
    "source",
    "date",
    "engine",
    "engine_version",
    "model",
    "quant",
    "kv_dtype",
    "tp",
    "pp",
    "dp",
    "ep",
    "context_len",
    "batch_or_parallel",
    "gpu",
    "gpu_mem_util",
    "other_flags",
    "quantity",
    "value",
    "unit",
    "verbatim_log_line",
    "naive_formula_value",
    "exact_formula_value",
    "rel_diff_pct",
    "confidence",
    "notes",
)


def configuration_row(run: LoggedRun, gpu: str = "", model: str = "") -> dict[str, str]:
    """Return the configuration columns that a run fills; what the log does not say stays empty."""
    found, printed = facts_of(run), arguments(run)
    named = model or model_name(str(found.get("model", ""))) or _by_base(run)
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "engine": table_word(run.engine),
        "engine_version": _version(run, str(found.get("engine_version", ""))),
        "model": named or scrub(str(found.get("model", ""))).rpartition("/")[2],
        "quant": _quant(run, found),
        "kv_dtype": cache_type(run, found),
        "context_len": _text(found, "max_model_len"),
        "batch_or_parallel": _batch(found),
        "gpu": _gpu(found, gpu),
        "gpu_mem_util": _share(run, found, printed),
        "other_flags": ", ".join(_flags(run, found, printed)),
    }
    if run.names_devices:
        row |= llama_cells(run, found)
    for axis in ("tp", "pp", "dp"):
        row[axis] = _text(found, axis)
    row["ep"] = _text(found, "ep") if not run.rules.says_expert_size or found.get("ep", 1) != 1 else ""
    if run.rules.one_rank_unsaid and not row["tp"]:
        row["tp"] = "1"
    return row


PACKINGS = ("w4a8", "w8a8", "w4a16", "awq", "gptq", "nvfp4", "fp8", "int8", "int4")
GENERIC = ("modelslim", "ascend", "compressed-tensors", "modelopt", "quark")
"""Methods that say only whose tool packed the weights; the model's name says how."""


def _text(found: Mapping[str, object], word: str) -> str:
    return str(found[word]) if word in found else ""


def _by_base(run: LoggedRun) -> str | None:
    """The catalogue's name of what a GGUF file says it was made from."""
    for word in (run.text("base_model"), run.text("model_file"), run.text("basename")):
        if word and (name := model_name(word.removeprefix("https://huggingface.co/"))):
            return name
    return None


def _version(run: LoggedRun, text: str) -> str:
    """The release, with its generation where that is not the one which the release takes by itself."""
    rules = _engine(run)
    if rules is None:
        return text
    if not text and not rules.log_names_release:
        return rules.latest
    generation = run.text("generation")
    if not generation or not re.match(r"\d+\.\d+", text):
        return text
    usual = rules.rows.generation(re.sub(r"[^\d.].*", "", text).rstrip("."))
    return text if generation == usual else f"{text} ({generation})"


def _engine(run: LoggedRun) -> Engine | None:
    """The record of the engine that wrote a log; None where a trainer or an allocator alone did."""
    return engine(run.engine) if run.engine in ENGINE_NAMES else None


def _quant(run: LoggedRun, found: Mapping[str, object]) -> str:
    """The word for the weights: what is asked for, or the type that they are computed in."""
    word = str(found.get("quantization", ""))
    if run.names_devices:
        return file_type(word) or type_in_name(run.text("model_file")) or ""
    if not word or word in GENERIC:
        name = str(found.get("model", "")).lower()
        packed = next((each for each in PACKINGS if each in name), "")
        return packed or word or str(found.get("dtype", "")) or "bfloat16"
    return word


def _batch(found: Mapping[str, object]) -> str:
    parts = [f"{word} {found[word]}" for word in ("max_num_seqs", "max_num_batched_tokens") if word in found]
    return "; ".join(parts)


def _gpu(found: Mapping[str, object], gpu: str) -> str:
    """The card: as given, as named in the log; in brackets what a process saw of it."""
    name = gpu.partition(":")[0] or str(found.get("gpu", "")).replace("_", " ")
    seen = found.get("gpu_memory_bytes")
    if isinstance(seen, int):
        from ...units import gib

        return f"{name or 'a card'} ({gib(seen):.2f} GiB)"
    return name


def _share(run: LoggedRun, found: Mapping[str, object], printed: Arguments) -> str:
    """The share of the card, by the engine's own name for it."""
    option = share_of_card(run.engine)
    if option is None:
        return ""
    return _text(found, option.field) or printed.text(option.field) or run.text(option.field)


def _flags(run: LoggedRun, found: Mapping[str, object], printed: Arguments) -> list[str]:
    """The words of `other_flags` that the table reader knows."""
    words = []
    if found.get("enforce_eager"):
        words.append("enforce-eager")
    if printed.text("enable_prefix_caching") == "True":
        words.append("enable-prefix-caching")
    if (size := printed.text("cpu_offload_gb")) not in (None, "0", "0.0"):
        words.append(f"cpu-offload-gb {size}")
    if printed.text("enable_lora") == "True":
        words.append(f"lora, max-loras {printed.text('max_loras') or 1}")
        if rank := printed.text("max_lora_rank"):
            words.append(f"max-lora-rank {rank}")
    words += _drafts(printed.text("speculative_config") or "")
    rules = _engine(run)
    return [*words, *(rules.rows.flags_of_log(found, printed.text, run.text) if rules else ())]


def _drafts(text: str) -> list[str]:
    """Return what drafts in the words that the table reader knows.

    >>> _drafts("SpeculativeConfig(method='eagle3', model='org/head', num_spec_tokens=3)")
    ['drafts by eagle3 org/head', 'num_speculative_tokens 3']
    """
    said = Speculation(_named(text, "method"), draft=_named(text, "model") or None)
    if said.head:
        tokens = re.search(r"num_spec(?:ulative)?_tokens['\"]?[=:] ?(\d+)", text)
        words = [f"drafts by {said.head} {said.draft or '.'}"]
        return words + ([f"num_speculative_tokens {tokens[1]}"] if tokens else [])
    return ["mtp draft loaded"] if "mtp" in text.lower() else []


def _named(text: str, key: str) -> str:
    found = re.search(rf"{key}['\"]?[=:] ?['\"]([^'\"]*)", text)
    return found[1] if found else ""
