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
from ..run.tracing import DEFAULT_CARD, Prompt, Tracing
from ..run.training import Mesh
from ..trace.build import ModelSource
from ..units import parse_bytes
from .training import training_request

if TYPE_CHECKING:
    from ..ledger import Compared

PROMPT_FLAGS = {"dtype": "dtype", "context": "context", "concurrency": "concurrency", "decode": "num_decoded"}
DEFAULT_SEQ_LEN = 4096
DTYPES = ("bfloat16", "float16", "float32")


def trace(
    model: str,
    card: str | Hardware | None = None,
    *,
    purpose: str = "train",
    attention: str = "auto",
    rank: int = 0,
    allocator: str = "",
    offline: bool = False,
    revision: str | None = None,
    progress: Callable[[int, str], None] | None = None,
    **flags: Any,
) -> Traced:
    """The run of `model` on one rank, traced and replayed; the flags are those of `oomless trace`. Needs the
    extra `trace`."""
    hardware = card if isinstance(card, Hardware) else parse_gpu(card) if card else None
    asked = tracing_request(
        hardware, purpose=purpose, attention=attention, rank=rank, allocator=allocator, **flags
    )
    source = source_of(model, offline, revision)
    if asked.training.seq_len is None:
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


def tracing_request(
    hardware: Hardware | None, *, purpose: str, attention: str, rank: int, allocator: str, **flags: Any
) -> Tracing:
    """A Tracing from flags; None means not given.

    >>> tracing_request(
    ...     None, purpose="train", attention="cpu", rank=0, allocator="", micro_batch=2
    ... ).training.micro_batch
    2
    """
    if purpose not in ("train", "infer"):
        raise UsageError(f"--for is {purpose!r}", "it is train or infer")
    given = {name: value for name, value in flags.items() if value is not None}
    prompt = {field: given.pop(name) for name, field in PROMPT_FLAGS.items() if name in given}
    if purpose == "infer" and given:
        raise UsageError(f"--{min(given).replace('_', '-')} belongs to --for train", "leave it out")
    if purpose == "train" and prompt:
        raise UsageError(f"--{min(prompt).replace('_', '-')} belongs to --for infer", "add --for infer")
    if prompt.get("dtype", DTYPES[0]) not in DTYPES:
        raise UsageError(f"--dtype is {prompt['dtype']!r}", f"it is {' or '.join(DTYPES)}")
    training = resolved(training_request(hardware.num_gpus if hardware else 1, **given))
    settings = parse_settings(allocator)
    if training.expandable_segments:
        settings = settings._replace(expandable_segments=True)
    mesh = mesh_of(training.mesh or Mesh(), hardware)
    if mesh.dp * mesh.cp > 1 and training.sharding == "none":
        training = training._replace(sharding="ddp")
    card = hardware.card if hardware else parse_gpu(DEFAULT_CARD).card
    asked = Tracing(
        "train" if purpose == "train" else "infer",
        training._replace(mesh=mesh),
        Prompt(**prompt),
        attention,
        card.capability or parse_gpu(DEFAULT_CARD).card.capability,
        mesh,
        rank,
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

    flags = {name: value for name, value in flags.items() if name not in ("rank", "attention")}
    purpose = flags.pop("purpose", "train")

    traced = trace(model, attention="cpu", purpose=purpose, offline=offline, revision=revision, **flags)
    asked = tracing_request(None, purpose=purpose, attention="cpu", rank=0, allocator="", **flags)
    if asked.world_size > 1:
        raise UsageError("--check runs one rank", "leave out --dp, --tp and the like")
    if purpose == "infer":
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
    given = {
        name: value
        for name, value in flags.items()
        if name not in ("gpu", "purpose", "attention", "rank", "allocator")
    }
    kernels = {name.partition(" ")[0] for name in request.get("attention_kernels", {})}
    if request["attention"] in ("eager", "math", "efficient", "flash", "cudnn"):
        given["attention"] = request["attention"]
    elif len(kernels) == 1:
        given["attention"] = kernels.pop()
    estimate = train(model, card, **{**given, "seq_len": request["seq_len"]})
    stage = (
        traced.recording.request["rank"] * estimate.mesh.pp // max(traced.recording.request["world_size"], 1)
    )
    return compare(estimate.groups[min(stage, len(estimate.groups) - 1)], traced)
