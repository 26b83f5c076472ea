"""A run of a log -> the question that it answers, with what the log left out named."""

from collections.abc import Mapping
from typing import NamedTuple

from ...engines.llamacpp.builds import build_day
from ...errors import OomlessError
from ...model.load import is_local, load
from ...model.model import Model
from ...run.card_names import card_named
from ...run.cards import Hardware, synthetic
from ...run.hardware import parse_gpu
from ...run.options import share_of_card
from ...run.serving import Asked, Layout
from ..serving_rows import ServingQuestion, drafting, question
from ..tables import Incomplete
from .log_facts import facts_of
from .log_llama import NO_FLASH, build_of, file_type
from .log_model import gguf_by_name
from .log_observed import rank_number
from .log_row import configuration_row
from .logged_run import Label, LoggedRun
from .training_question import ANY_SIZE, SAYS_NO_QUESTION, TrainingAsks, not_given, training_question


class LogQuestion(NamedTuple):
    """What a log asks. `question` is None where something is missing that nothing can stand in for."""

    question: ServingQuestion | None
    row: dict[str, str]
    missing: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    reason: str = ""
    training: TrainingAsks | None = None
    """What a training log asks."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be predicted."""
        return self.question is None and (self.training is None or self.training.question is None)


def question_of(run: LoggedRun, gpu: str = "", model: str = "", engine_version: str = "") -> LogQuestion:
    """Return the question of a run; the others stand in for what the log does not say. MODEL may say a type
    of GGUF, as the file's name does."""
    shape, kind, _ = gguf_by_name(model) if model else ("", "", "")
    model = shape or model
    named = model if model and _in_catalogue(model) else ""
    row = configuration_row(run, gpu, named)
    release = str(facts_of(run).get("engine_version", "")) or engine_version
    if engine_version and release == engine_version:
        row["engine_version"] = release
    if run.reader is None:
        return LogQuestion(None, row, not_given(gpu, model), (), SAYS_NO_QUESTION)
    if run.reader.is_training:
        asks = training_question(run, gpu, model)
        return LogQuestion(None, row, asks.missing, asks.assumed, asks.reason, asks)
    missing = [] if model or _in_catalogue(row["model"]) else ["model"]
    if missing:
        unknown = (
            f"model {row['model']} is not in the catalogue" if row["model"] else "the log names no model"
        )
        return LogQuestion(None, row, tuple(missing), (), unknown)
    try:
        loaded = load(model or row["model"])
        hardware = parse_gpu(gpu) if gpu else None
        if run.names_devices:
            row["quant"] = row["quant"] or file_type(kind)
            return _llama(run, row, loaded, hardware, bool(row["quant"]) or is_local(model))
        row["tp"] = row["tp"] or _ranks(run, hardware)
        row |= _groups(run, row)
        asked = question(
            {**row, "model": row["model"] if not model or named else "llama-3.1-70b"}, "weights_per_gpu"
        )
    except (Incomplete, OomlessError) as error:
        text = error.message if isinstance(error, OomlessError) else str(error)
        return LogQuestion(None, row, _missing(text), (), text)
    if model and not named:
        asked = asked._replace(model=drafting(loaded, asked.asked))
    if hardware is not None:
        ranks = asked.asked.layout.num_ranks if asked.asked.layout else 1
        asked = asked._replace(hardware=_as_seen(run, _at_least(hardware, ranks)))
    return LogQuestion(
        asked, row, () if gpu or row["gpu"] else ("gpu",), _assumed(run, asked.asked, bool(release))
    )


def _ranks(run: LoggedRun, hardware: Hardware | None) -> str:
    """The ranks of a log that does not say how many: one, or where others speak, the cards that are named; so
    many, too, where an excerpt has lines of a tensor rank alone and several cards are named."""
    labels = {each.label for found in run.values.values() for each in found}
    others = any(rank_number(run, label) for label in labels)
    named = hardware is not None and hardware.num_gpus > 1
    others = others or (named and any("TP" in Label(label).axes() for label in labels))
    return str(hardware.num_gpus if hardware and hardware.num_gpus > 1 else "") if others else "1"


def _groups(run: LoggedRun, row: Mapping[str, str]) -> dict[str, str]:
    """Data-parallel attention where a log says no sizes: the ranks of the second group do not begin at 0."""
    axes = [Label(label).axes() for label in run.of_ranks("weights_bytes")]
    inside = [each for each in axes if each.get("DP") and each.get("TP")]
    if row["dp"] or not run.rules.tp_counts_dp or not inside or not row["tp"].isdecimal():
        return {}
    first = min(inside, key=lambda each: (each["DP"], each["TP"]))
    if any(each.get("TP") == 0 for each in axes if each.get("DP")):
        return {}
    size = max(1, first["TP"] // first["DP"])
    flags = f"{row['other_flags']}, dp attention".removeprefix(", ")
    return {"dp": str(int(row["tp"]) // size), "other_flags": flags}


def _in_catalogue(name: str) -> bool:
    from ...model.catalogue_names import catalogue_name

    return bool(name) and catalogue_name(name) is not None


def _missing(text: str) -> tuple[str, ...]:
    """The word of the row that an error names first."""
    return tuple(
        word for word in ("tp", "engine_version", "gpu", "quant", "context_len") if text.startswith(word)
    )


def _at_least(hardware: Hardware, ranks: int) -> Hardware:
    """As many cards as the log has ranks: a name without a number means those."""
    if hardware.num_gpus >= ranks:
        return hardware
    return hardware._replace(num_gpus=ranks, per_node=min(ranks, hardware.card.gpus_per_node))


def _as_seen(run: LoggedRun, hardware: Hardware) -> Hardware:
    """The named cards with the size that the log saw of them: a slice, a variant, a driver's share."""
    seen = facts_of(run).get("gpu_memory_bytes")
    if not isinstance(seen, int):
        return hardware
    card = hardware.card._replace(memory_bytes=seen, memory_source="seen in the log", range_bytes=0)
    return hardware._replace(card=card)


def _assumed(run: LoggedRun, asked: Asked, said: bool) -> tuple[str, ...]:
    """Words that the log does not say and that the engine's defaults stand in for. `said`: the release is."""
    found = facts_of(run)
    share = share_of_card(asked.engine)
    words = ["max_model_len", "max_num_seqs", "max_num_batched_tokens"]
    words = ["engine_version"] * (not said) + [word for word in words if word not in found]
    return tuple(words + ([share.field] if share and getattr(asked, share.field) is None else []))


def _llama(
    run: LoggedRun, row: dict[str, str], model: Model, hardware: Hardware | None, typed: bool
) -> LogQuestion:
    """The question in llama.cpp's own words: layers on the cards, cells, slots, types of the cache. `typed`:
    the types of the weights are said, by the log or by what stands beside it."""
    found = facts_of(run)
    given = hardware is not None
    if hardware is None or not _devices(run):
        hardware = _llama_hardware(run)
    version = str(found.get("engine_version", row["engine_version"]))
    slots = int(found.get("max_num_seqs", 1)) or 1
    unified = run.text("kv_unified") in ("true", "1")
    cells, layers, micro = map(run.figure, ("context", "layers_offloaded", "ubatch_size"))
    length = int(found.get("max_model_len", 0))
    if not length and cells is not None:
        length = int(cells) // (1 if unified else slots)
    flash = run.text("flash_attn_resolved") or run.text("flash_attn")
    asked = Asked(
        engine=run.engine,
        engine_version=build_of(run, version),
        layout=Layout(pp=max(1, hardware.num_gpus)),
        quantization=row["quant"] or None,
        max_model_len=length or None,
        context=length or None,
        concurrency=1 if unified else slots,
        max_num_seqs=slots,
        kv_unified=unified,
        n_gpu_layers=None if layers is None else int(layers),
        ubatch_size=None if micro is None else int(micro),
        flash_attn=flash not in NO_FLASH,
        cache_type_k=run.text("cache_type_k") or "f16",
        cache_type_v=run.text("cache_type_v") or run.text("cache_type_k") or "f16",
        mla_attn=int(float(mla)) if (mla := run.text("mla_attn")) else None,
        attn_max_batch=int(float(most)) if (most := run.text("attn_max_batch")) else 0,
    )
    missing = () if length else ("max_model_len",)
    return LogQuestion(
        ServingQuestion(model, asked, hardware),
        row,
        missing,
        ("gpu",) * (not (given or found.get("gpu")) or hardware.card.memory_bytes == ANY_SIZE)
        + ("engine_version",) * (build_day(run.engine, version) is None)
        + ("quantization",) * (not typed),
    )


def _devices(run: LoggedRun) -> list[str]:
    """The cards that hold weights: none where the host holds all, whatever cards there are."""
    return list(run.on_cards("weights_bytes"))


def _llama_hardware(run: LoggedRun) -> Hardware:
    """The devices that buffers lie on; a card that the catalogue does not know is one of any size."""
    devices = _devices(run)
    name = run.text("gpu")
    card = card_named(name)
    if card is None:
        card = synthetic(ANY_SIZE, name or "any card")
        card = card._replace(
            vendor="Apple" if any(each.startswith(("MTL", "Metal")) for each in devices) else ""
        )
    if not devices:
        card = synthetic(ANY_SIZE, "this machine")._replace(vendor="generic")
    return Hardware(card, max(1, len(devices)), max(1, len(devices)))
