"""A measured serving row -> the question that it answers. Only configuration columns are read, never a value
or a note.

What a row does not say is `incomplete`, what nothing here can predict is `unsupported`; both carry the name
of the reason.
"""

import re
from typing import NamedTuple

from .. import facts
from ..engines import engine
from ..engines.record import Engine
from ..errors import UnsupportedError
from ..facts.hardware import first_number
from ..frameworks.releases import release_of
from ..model.catalogue_names import catalogue_name
from ..model.load import load
from ..model.model import Model
from ..run.card_names import card_named
from ..run.cards import Card, Hardware, card, synthetic
from ..run.serving import Asked, Layout
from ..run.speculation import HEADS, Speculation
from ..units import GB, GIB, KB, KIB, MIB
from .engine_rows import engine_of, prints_gib_as_gb
from .row_models import named_model, with_positions
from .tables import Incomplete


class ServingQuestion(NamedTuple):
    model: Model
    asked: Asked
    hardware: Hardware


ANY_MODEL = "llama-3.1-70b"
"""Stands for a model that is not known where the model does not matter: communication and handles."""
UNITS = {"bytes": 1, "tokens": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "KB": KB, "GB": GB}

KEEPS_PREFIXES = ("enable-prefix-caching", "mamba-cache-mode align")
"""What says that states of prefixes are kept: vLLM aligns its cache of states for nothing else."""

MEMORY_COUNTS = {"kv_bytes_per_gpu", "kv_tokens", "total_per_gpu", "free_after_load"}
"""Quantities that depend on the card's memory and on the utilisation."""
BATCH_COUNTS = {"activation_peak", *MEMORY_COUNTS}
"""Quantities that depend on the batch of the profile run."""


def unit_factor(unit: str, engine: str = "") -> float:
    """Units of one table cell; "GB" that a log means as GiB says so in brackets, or is known of the engine.

    >>> unit_factor("GiB"), unit_factor("tokens over 8 ranks")
    (1073741824, 0.125)
    """
    word = unit.split(" ")[0]
    if word == "GB" and prints_gib_as_gb(engine):
        return GIB
    if word not in UNITS:
        raise Incomplete(f"unit {unit!r} is not known")
    ranks = re.search(r" over (\d+) ranks$", unit)
    return UNITS[word] / int(ranks[1]) if ranks else UNITS[word]


def question(row: dict[str, str], quantity: str) -> ServingQuestion:
    """The question of a row of truth/inference.csv."""
    rules = engine_of(row["engine"].strip())
    if rules is None:
        raise UnsupportedError(f"engine {row['engine'].strip()} is not known yet")
    version = _version(row, rules)
    name = named_model(row["model"], any(part in row["quant"].lower() for part, _ in REQUANTISED))
    if name is None and quantity == "non_torch":
        name = ANY_MODEL
    if name is None:
        raise UnsupportedError(f"model {row['model']} is not in the catalogue")
    if row["quant"].strip().lower() == "fp8" and load(name).quantization:  # repacked, as V4's FP4 experts are
        name = catalogue_name(f"{name}-fp8") or name
    flags = row["other_flags"].lower()
    length = _number(row["context_len"])
    model = with_positions(load(name), flags, length if rules.rows.default_batch_counts else None)
    _check_flags(flags, quantity, rules)
    dtype, quantization = _precision_for(quantity, row["quant"], model)
    layout = _layout(row)
    seqs, tokens = _batch(row["batch_or_parallel"], version, quantity)
    utilization = _utilization(row["gpu_mem_util"], quantity)
    common = Asked(
        engine=rules.name,
        engine_version=version,
        layout=layout,
        dtype=dtype,
        quantization=quantization,
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=utilization,
        block_size=_block(flags),
        enforce_eager="eager" in flags,
        enable_prefix_caching=any(word in flags for word in KEEPS_PREFIXES),
        cpu_offload_gb=_said(r"cpu-offload-gb (\d+(?:\.\d+)?)", flags, 0.0),
        speculation=_draft(flags),
        enable_lora="lora" in flags and rules.adapters,
        max_loras=int(_said(r"max-loras (\d+)", flags, 1)),
        max_lora_rank=int(_said(LORA_RANK, flags, 16)),
        moe_backend=named[1] if (named := re.search(r"moe-backend ([a-z_0-9]+)", flags)) else "auto",
    )
    common = common.with_values({rules.cache_field: _cache_dtype(row["kv_dtype"], dtype, rules)})
    asked = rules.rows.as_asked(common, flags)
    hardware = _hardware(row["gpu"], asked.layout or layout, quantity)
    if re.search(r"\bwsl", flags):
        hardware = hardware._replace(card=_under_wsl(hardware.card))
    if hardware.card.vendor == "Huawei" and model.quantization == "fp8" and "w8a8" in row["quant"].lower():
        asked = asked._replace(quantization="w8a8")  # packed anew: those cards have no FP8
    return _of_its_day(ServingQuestion(drafting(model, asked), asked, hardware), row)


def _of_its_day(found: ServingQuestion, row: dict[str, str]) -> ServingQuestion:
    """Return the question to the release of a row's day, where the row names a series (0.5.x). An image that
    came before its release, as new models have them, is one of the newest."""
    asked = found.asked
    day = release_of(asked.engine, row["date"]) if ".x" in row["engine_version"] else None
    if day is None or not day.startswith(f"{asked.engine_version}."):
        return found
    dated = asked._replace(engine_version=day)
    try:
        engine(asked.engine).resolve(found.model, found.hardware, dated, asked.sizes)
    except UnsupportedError:
        return found
    return found._replace(asked=dated)


def drafting(model: Model, asked: Asked) -> Model:
    """Return a model with the head that a row says beside it."""
    if asked.speculation is None or not asked.speculation.head:
        return model
    from ..estimate.serving.drafting import beside_draft  # few rows have one

    return beside_draft(model, asked, offline=True)


def cards_of_size(text: str) -> list[Card]:
    """The discrete NVIDIA cards of a size, by the whole GiB that a process sees and their multiprocessors,
    where a cell names only a size ("24GB", "80 GB class"): those that logs have shown, where any is.

    >>> [card.name for card in cards_of_size("24GB x16")][-1:], cards_of_size("48GB (47.4 GiB)")
    (['RTX 4090'], [])
    """
    size = re.fullmatch(r"(\d+) ?GB( class)?( \(not stated\))?( x\d+)?", text.strip(), re.IGNORECASE)
    if not size:
        return []
    found = [
        (row, card(row["short_name"]))
        for row in facts.table("hardware")
        if row["vendor"] == "NVIDIA" and not row["mem_type"].startswith("LPDDR")
    ]
    found = [each for each in found if each[0]["mem_gb_marketed"] == size[1] and each[1].capability >= 8]
    shown = [each for row, each in found if row["mem_gib_torch_seen"]]
    alike = shown or [each for _, each in found]
    return sorted(alike, key=lambda each: (each.memory_bytes // GIB, each.num_sms))


LORA_RANK = re.compile(r"(?:max-lora-|lora )rank (\d+)")


def _version(row: dict[str, str], rules: Engine) -> str:
    text = row["engine_version"].strip()
    if not re.search(r"\d", text) and (day := release_of(rules.name, row["date"])):
        return day
    if not re.match(r"\d+\.\d+(\D|$)", text) or (
        re.match(r"\d+\.\d*x", text) and not re.match(r"0\.\d+\.x", text)
    ):
        raise Incomplete(
            f"engine_version {text!r} names no release" if text else "engine_version is not given"
        )
    found = re.match(r"\d+(?:\.\d+)+", text)
    number = found.group() if found else text
    words = row["other_flags"].split(",")[0].strip()
    generation = "V0" if "V0" in text else "V1" if "V1" in text or words == "V1" else ""
    chosen = [word for word in (generation, *re.findall(r"\bMRV[12]\b|\bdriver \d+|\bwarm\b", text)) if word]
    chosen += re.findall(r"\bFLASHINFER\b|\b[A-Z]+_ATTN\b", row["other_flags"])[:1]
    return f"{number} ({', '.join(chosen)})" if chosen else number


def _check_flags(flags: str, quantity: str, rules: Engine) -> None:
    if (
        "offload" in flags
        and not re.search(r"cpu-offload-gb \d", flags)
        and quantity in MEMORY_COUNTS | {"weights_per_gpu"}
    ):
        raise Incomplete("how much is offloaded to the host is not given")
    if (
        "lora" in flags
        and not rules.adapters
        and quantity in MEMORY_COUNTS | {"weights_per_gpu", "activation_peak"}
    ):
        raise UnsupportedError(f"slots for LoRA adapters in {rules.name} are not known yet")
    if "estimate_cudagraphs=0" in flags and quantity in MEMORY_COUNTS:
        raise UnsupportedError("an environment that turns the estimate of CUDA graphs off is not known yet")
    if "connector" in flags and quantity in MEMORY_COUNTS:
        raise UnsupportedError("cache connectors are not known yet")


def _precision_for(quantity: str, quant: str, model: Model) -> tuple[str, str | None]:
    """(dtype, quantization) of the column quant; memory beside torch is the same for weights of any form."""
    try:
        return _precision(quant, model)
    except (UnsupportedError, Incomplete):
        if quantity != "non_torch":
            raise
        return "auto", None


def _precision(quant: str, model: Model) -> tuple[str, str | None]:
    """(dtype, quantization) of the column quant. A word that the checkpoint is not published in is a
    requantisation."""
    word = quant.strip().lower().removesuffix(" (dummy)")
    if word in ("bfloat16", "float16", "float32", "fp16"):
        if model.quantization:
            return ("float16" if word in ("float16", "fp16") else "auto"), None
        return {"fp16": "float16"}.get(word, word), None
    if not word:
        raise Incomplete("quant is not given")
    published = model.quantization
    named = next((name for part, name in REQUANTISED if part in word), None)
    if named in PUBLISHED_AS.get(published, (published,)) or (
        published and word in ("int4", "int4 weight-only")
    ):
        return "auto", None
    if published and ("dequant" in word or any(other in word for other in ("gguf", "iq", "q4"))):
        raise UnsupportedError(f"{model.name} requantised as {quant!r} is not known yet")
    if named and (not published or named not in ("fp8", "fp8-dynamic", "w8a8")):
        return "auto", named
    if published:
        return "auto", None
    raise UnsupportedError(f"quantization {quant!r} of {model.name} is not known yet")


REQUANTISED = (
    ("bnb", "bitsandbytes"),
    ("bitsandbytes", "bitsandbytes"),
    ("nf4", "bitsandbytes"),
    ("awq", "awq"),
    ("gptq", "gptq"),
    ("nvfp4", "nvfp4"),
    ("mxfp4", "mxfp4"),
    ("w8a8", "w8a8"),
    ("int8", "w8a8"),
    ("w4a16", "w4a16"),
    ("int4", "w4a16"),
    ("fp8-dynamic", "fp8-dynamic"),
    ("fp8", "fp8"),
)
"""A piece of the table's word -> the format that --quantization calls so; the first piece that occurs counts.
"""
PUBLISHED_AS = {
    "compressed-tensors": ("w8a8", "w4a16", "fp8", "fp8-dynamic", "nvfp4", "gptq"),
    "modelopt": ("nvfp4", "fp8"),
    "auto-round": ("w4a16", "gptq", "awq"),
    "gptq": ("gptq", "w4a16"),
    "awq": ("awq", "w4a16"),
    "fp8": ("fp8", "fp8-dynamic"),
}
"""What a checkpoint's method may be called in a table."""


def _layout(row: dict[str, str]) -> Layout:
    tp, pp, dp = (_size(row, axis) for axis in ("tp", "pp", "dp"))
    ep = row["ep"].strip()
    return Layout(tp, pp, dp, enable_expert_parallel=ep.isdecimal() and int(ep) > 1)


def _size(row: dict[str, str], axis: str) -> int:
    """Return the ranks along an axis: one where the row is silent, but for `tp`, which it must say."""
    text = row[axis].strip() or ("" if axis == "tp" else "1")
    if not text.isdecimal():
        raise Incomplete(f"{axis} is {row[axis]!r}" if row[axis] else f"{axis} is not given")
    return int(text)


def _batch(text: str, version: str, quantity: str) -> tuple[int | None, int | None]:
    """(max_num_seqs, max_num_batched_tokens); None is the release's default."""
    seqs = re.search(r"max_num_seqs (\d+)", text)
    tokens = re.search(r"max_num_batched_tokens (\d+)", text)
    if text.strip().isdecimal():
        return int(text), None
    if text.strip() == "not stated" and quantity in BATCH_COUNTS:
        raise Incomplete("max_num_seqs is not stated")
    return int(seqs[1]) if seqs else None, int(tokens[1]) if tokens else None


def _utilization(text: str, quantity: str) -> float | None:
    """Return the share of the card; None: nothing is said, and the engine chooses it."""
    try:
        return float(text.removesuffix(" of free")) if text.strip() else None
    except ValueError:
        if quantity in MEMORY_COUNTS:
            raise Incomplete(f"gpu_mem_util is {text!r}") from None
        return None


def _cache_dtype(text: str, dtype: str, rules: Engine) -> str:
    """Return the type as the engine is asked for it: rows of 656 B have a name of their own in vLLM alone.

    >>> [_cache_dtype("fp8 656 B", "auto", engine(name)) for name in ("vllm", "sglang")]
    ['fp8_ds_mla', 'fp8']
    """
    word = text.strip().lower()
    if word.startswith(("fp8 656", "fp8 (656")):
        return "fp8_ds_mla" if "fp8_ds_mla" in rules.cache_types else "fp8"
    word = {"fp16": "float16", "": "auto"}.get(word, word)
    return "auto" if word == dtype else word


def _said(pattern: str | re.Pattern[str], flags: str, unsaid: float) -> float:
    """Return the number that flags say; else the engine's default."""
    found = re.search(pattern, flags)
    return float(found[1]) if found else unsaid


def _block(flags: str) -> int | None:
    found = re.search(r"block(?:-size)? (\d+)", flags)
    return int(found[1]) if found else None


def _draft(flags: str) -> Speculation | None:
    """Return the head, or the model's own draft, with as many tokens as the row says.

    >>> _draft("v1, mtp draft loaded, num_speculative_tokens 2").tokens, _draft("v1, mtp=2"), _draft("v1")
    (2, None, None)
    >>> _draft("drafts by eagle3 yuhuili/eagle3-llama3.1-instruct-8b, num_speculative_tokens 3").head
    'eagle3'
    >>> _draft("drafts by dflash incoai/qwen3.8-27b-dflash2, num_speculative_tokens 7").head
    'dflash'
    """
    tokens = re.search(r"num_speculative_tokens (\d+)", flags)
    num = int(tokens[1]) if tokens else 1
    if head := re.search(rf"drafts by ({'|'.join(HEADS)}) ([\w./-]+)", flags):
        local = head[2].startswith(("/", "."))  # a folder of another machine
        return Speculation(head[1], num, draft=None if local else head[2])
    return Speculation("mtp", num) if re.search(r"\bmtp\b(?!=| head)", flags) else None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _under_wsl(found: Card) -> Card:
    """The card as a process under WSL sees it: all that nvidia-smi lists, since what a driver keeps is kept
    by Windows. Logs have 23.99 GiB of an RTX 4090 (id 61815222665), 15.92 of an RTX 5080 (vllm#33333) and of
    an RTX 5060 Ti (id 69218136759).

    >>> [round(_under_wsl(card(name)).memory_bytes / GIB, 2) for name in ("rtx-4090", "rtx-5080")]
    [23.99, 15.92]
    """
    named = (row for row in facts.table("hardware") if row["name"] == found.name)
    size = int(first_number(next(named, {"mem_mib_nvidia_smi": ""})["mem_mib_nvidia_smi"]) * MIB)
    if size <= found.memory_bytes:
        return found
    return found._replace(memory_bytes=size, range_bytes=0, memory_source="all that nvidia-smi lists: WSL")


def _hardware(text: str, layout: Layout, quantity: str) -> Hardware:
    """The card that a cell names; a size in brackets is what the process saw and replaces the catalogue's.

    >>> _hardware("NVIDIA H100 80GB HBM3", Layout(tp=2), "kv_tokens").what
    '2 x H100 80GB SXM5'
    """
    seen = re.search(r"\((\d+(?:\.\d+)?) GiB\)", text)
    plain = re.sub(r"\(.*?\)", "", text)
    name = re.sub(r"^\d+x\s+|\s*x\d+$|-class|class", "", plain.strip()).strip().lower()
    driver, name = (
        name,
        re.sub(r"^(nvidia )?(geforce |tesla )?|( ada)? generation$| workstation edition$", r"\3", name),
    )
    count = max(layout.num_ranks, 1)
    alike = cards_of_size(text)
    card = (
        alike[-1] if alike else None
    )  # the largest is the desktop card or the newest; the interval has the smallest
    for word in (driver, name, re.sub(r"[ -]\d+ ?gb$", "", name), name.split("/")[-1]):
        card = card or card_named(word.strip())
    if card is None:
        if quantity in MEMORY_COUNTS and not seen:
            raise Incomplete(f"card {text!r} is not known" if text else "gpu is not given")
        size = re.search(r"(\d+) ?gb", name)
        if not size and not seen and quantity == "activation_peak":
            raise Incomplete(f"card {text!r} is not known" if text else "gpu is not given")
        card = synthetic(int(size[1]) * GIB if size else 80 * GIB, text or "a card")
        if size and int(size[1]) < 40:
            card = card._replace(compute_capability="8.9", num_sms=0)
    if re.match(r"mi\d", name):
        card = card._replace(vendor="AMD")
    if seen:
        card = card._replace(
            memory_bytes=int(float(seen[1]) * GIB),
            memory_source=f"seen in the log: {seen[1]} GiB",
            range_bytes=0,
        )
    return Hardware(card, count, min(count, card.gpus_per_node))
