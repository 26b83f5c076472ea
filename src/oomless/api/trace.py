"""The Python interface of traces: the real model's own allocations, without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..frameworks.defaults import resolved
from ..model.load import config_document
from ..recording.file import read_trace
from ..recording.traced import Traced, answer
from ..run.allocator import parse_settings
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.options import by_keyword, given
from ..run.tracing import DEFAULT_CARD, Prompt, Tracing
from ..run.training import DEFAULT_SEQ_LEN, Mesh
from ..run.training_question import training_question
from ..trace.build import ModelSource
from ..units import parse_bytes

if TYPE_CHECKING:
    from ..ledger import Compared


def trace(
    model: str,
    card: str | Hardware | None = None,
    *,
    offline: bool = False,
    revision: str | None = None,
    progress: Callable[[int, str], None] | None = None,
    **flags: Any,
) -> Traced:
    """The run of `model` on one rank, traced and replayed; the flags are those of `oomless trace`. Needs the
    extra `trace`."""
    hardware = card if isinstance(card, Hardware) else parse_gpu(card) if card else None
    values = given("trace", flags)
    asked = tracing_question(hardware, values)
    source = source_of(model, offline, revision)
    if "seq_len" not in values:
        length = min(DEFAULT_SEQ_LEN, _positions(source.config))
        asked = asked._replace(training=asked.training._replace(seq_len=length))
    from ..trace.run import trace as trace_model

    recording = trace_model(source, asked, request_of(model, asked, hardware), progress)
    return answer(recording, asked.settings, *limit(hardware, asked.training.reserve))


def replay_file(path: str, card: str | Hardware | None = None, allocator: str = "") -> Traced:
    """A saved trace, replayed under other settings or on another card. Needs no extra."""
    hardware = card if isinstance(card, Hardware) else parse_gpu(card) if card else None
    settings = parse_settings(allocator)
    return answer(read_trace(Path(path)), settings, *limit(hardware, None))


def limit(hardware: Hardware | None, reserve: str | None) -> tuple[int | None, str]:
    """What a rank may use of its card, and the card's name; nothing where no card is named."""
    if hardware is None:
        return None, ""
    left = hardware.card.memory_bytes - (parse_bytes(reserve) if reserve else 0)
    if left <= 0:
        raise UsageError(f"--reserve {reserve} leaves nothing of the card", "reserve less")
    return left, hardware.card.name


def source_of(model: str, offline: bool, revision: str | None) -> ModelSource:
    """A config by name, or a function of the user's by `module:function`."""
    module, colon, function = model.partition(":")
    if colon and module.replace(".", "").replace("_", "").isalnum() and function.isidentifier():
        return ModelSource(model, None, model)
    name, config = config_document(model, offline=offline, revision=revision)
    return ModelSource(name, config)


PROMPT = Prompt._fields
AROUND = ("purpose", "attention", "rank", "allocator")
"""How a trace is made, whatever is run."""


def tracing_question(hardware: Hardware | None, values: dict[str, Any]) -> Tracing:
    """Return the trace that fields of the table ask for.

    >>> tracing_question(None, {"attention": "cpu", "micro_batch": 2}).training.micro_batch
    2
    """
    table = by_keyword("trace")
    how = {name: values.get(name, table[name].default) for name in AROUND}
    run = {name: value for name, value in values.items() if name not in AROUND}
    prompt = {name: run.pop(name) for name in PROMPT if name in run}
    other, purpose = (run, "train") if how["purpose"] == "infer" else (prompt, "infer")
    if other:
        name = min(other)
        hint = "leave it out" if purpose == "train" else "add --for infer"
        raise UsageError(f"{table[name].flag} belongs to --for {purpose}", hint, name)
    training = resolved(training_question(hardware.num_gpus if hardware else 1, run))
    settings = parse_settings(how["allocator"])
    if training.expandable_segments:
        settings = settings._replace(expandable_segments=True)
    mesh = mesh_of(training.mesh, hardware)
    if mesh.dp * mesh.cp > 1 and training.sharding == "none":
        training = training._replace(sharding="ddp")
    card = hardware.card if hardware else parse_gpu(DEFAULT_CARD).card
    asked = Tracing(
        how["purpose"],
        training._replace(mesh=mesh),
        Prompt(**prompt),
        how["attention"],
        card.capability or parse_gpu(DEFAULT_CARD).card.capability,
        mesh,
        how["rank"],
        settings,
    )
    asked.check()
    return asked


def mesh_of(mesh: Mesh, hardware: Hardware | None) -> Mesh:
    """The layout with its data-parallel size: what the cards leave, one without cards."""
    if mesh.dp:
        return mesh
    ranks = mesh.tp * mesh.pp * mesh.cp
    return mesh._replace(dp=max((hardware.num_gpus if hardware else ranks) // ranks, 1))


def request_of(model: str, asked: Tracing, hardware: Hardware | None) -> dict[str, Any]:
    """Every value that was used, given or default."""
    common = {
        "model": model,
        "for": asked.purpose,
        "attention": asked.attention,
        "card": hardware.card.name if hardware else None,
        "compute_capability": asked.capability if asked.attention != "cpu" else None,
    }
    if asked.purpose == "infer":
        return {**common, **asked.prompt._asdict()}
    training = asked.training
    names = (
        "framework method precision optimizer micro_batch seq_len grad_accum sharding recompute dropout"
    ).split()
    shown = {name: getattr(training, name) for name in names}
    if training.method == "qlora":
        shown |= {"quantization": training.quantization or "nf4-dq"}
    if training.method != "full":
        shown |= {"lora_rank": training.lora_rank, "lora_targets": list(training.lora_targets)}
    return {
        **common,
        **shown,
        "mesh": asked.mesh._asdict(),
        "world_size": asked.world_size,
        "rank": asked.rank,
    }


def _positions(config: dict[str, Any] | None) -> int:
    """Positions that a config allows; the default length if it does not say."""
    found = [
        document.get("max_position_embeddings")
        for document in (config or {}, (config or {}).get("text_config") or {})
    ]
    return next((value for value in found if isinstance(value, int) and value > 0), DEFAULT_SEQ_LEN)


def check(
    model: str, *, offline: bool = False, revision: str | None = None, **flags: Any
) -> "tuple[Traced, list[Compared]]":
    """The step of a small model for real on this CPU, beside a trace that follows the CPU's own kernels."""
    from ..trace.check import compare, measured, measured_inference
    from ..trace.models import quiet

    flags = {**flags, "attention": "cpu", "rank": None, "allocator": None}
    traced = trace(model, offline=offline, revision=revision, **flags)
    asked = tracing_question(None, given("trace", flags))
    if asked.world_size > 1:
        raise UsageError("--check runs one rank", "leave out --dp, --tp and the like")
    if asked.purpose == "infer":
        with quiet():
            return traced, compare(
                traced.recording, measured_inference(source_of(model, offline, revision), asked.prompt)
            )
    training = asked.training._replace(seq_len=traced.recording.request["seq_len"])
    with quiet():
        return traced, compare(traced.recording, measured(source_of(model, offline, revision), training))


def closed_form(model: str, traced: Traced, flags: dict[str, Any]) -> "tuple[Compared, ...]":
    """The closed form of the same question beside the trace, a row a category."""
    from ..truth.against import compare
    from .training import train

    request = traced.recording.request
    if request["for"] != "train":
        raise UsageError("--against closed-form is for --for train", "leave it out")
    card = flags.get("gpu") or f"{DEFAULT_CARD}:{request['world_size']}"
    asked = {name: value for name, value in flags.items() if name not in ("gpu", *AROUND)}
    kernels = {name.partition(" ")[0] for name in request.get("attention_kernels", {})}
    if request["attention"] in ("eager", "math", "efficient", "flash", "cudnn"):
        asked["attention"] = request["attention"]
    elif len(kernels) == 1:
        asked["attention"] = kernels.pop()
    estimate = train(model, card, **{**asked, "seq_len": request["seq_len"]})
    stage = (
        traced.recording.request["rank"] * estimate.mesh.pp // max(traced.recording.request["world_size"], 1)
    )
    return compare(estimate.groups[min(stage, len(estimate.groups) - 1)], traced)
