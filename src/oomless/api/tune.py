"""The best setting of an engine's own flags on cards that are given, under the flags' names as keywords."""

from typing import Any

from ..engines import default_engine, engine
from ..engines.command_line import read_command
from ..errors import UsageError, told_by
from ..estimate.serving.stage_rank import Adjust
from ..facts.options.tuning import OWN
from ..model.model import Model
from ..plan.launch.serving import ServedWeights
from ..plan.tune.answer import TunedAnswer, tune_question
from ..plan.tune.question import TuneQuestion, usual_context
from ..plan.tune.rows import AskedPlace
from ..plan.tune.slo import NO_PROMISE, parse_slo
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.options import given
from ..run.serving import Asked, serving_question
from ..speed.host_offload import need_speed
from ..speed.network import need_decoder
from .command_cards import engine_there, for_its_ranks, with_cards
from .pasted import from_command
from .serving import beside_draft, is_gguf, loaded


class TuneAnswer:
    """The best settings, best first, with everything that each view reads."""

    def __init__(self, tuned: TunedAnswer) -> None:
        self.tuned = tuned

    @property
    def rows(self) -> tuple[Any, ...]:
        """Return the settings, best first: `.row.estimate`, `.row.speed`, `.changes`, `.max_request_rate`."""
        return self.tuned.rows

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.tuned.warnings

    def to_json(self) -> dict[str, Any]:
        """Return the object that `tune --json` prints."""
        return self.tuned.to_json()

    def __repr__(self) -> str:
        from .tune_screen import tune_screen

        return "\n".join(tune_screen(self.tuned))


def tune(
    model: str | Model | None,
    gpu: str | Hardware,
    *,
    command: str | None = None,
    offline: bool = False,
    revision: str | None = None,
    adjust: Adjust | None = None,
    notes: tuple[str, ...] = (),
    **flags: Any,
) -> TuneAnswer:
    """Return the best settings of an engine's own flags on `gpu`. The flags are those of `oomless tune`: of
    serving, which stay as they are given; the load; a promise; what may change.

    >>> answer = tune("deepseek-r1", "h200:8", context=32768, concurrency=64)
    >>> answer.rows[0].row.estimate.verdict, answer.rows[0].row.estimate.at_once
    ('fits', 64)
    """
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    values = given("tune", flags)
    own = {option.field: values.pop(option.field, None) for option in OWN}
    begin: dict[str, Any] = {}
    pasted, words = None, dict[str, str]()
    if command is not None:
        word = model if isinstance(model, str) else None
        found, begin, of_command, words = from_command(word, {"command": command, "gpu": hardware})
        del begin["gpu"]
        begin["engine"] = engine_there(begin["engine"], hardware.card.vendor)
        if isinstance(gpu, str):
            counted = with_cards({"gpu": gpu}, read_command(command))["gpu"]
            gpu, of_cards = for_its_ranks(counted, {**begin, **values})
            hardware, notes = parse_gpu(gpu), (*notes, *of_cards)
        model, notes, pasted = model or found, (*notes, *of_command), what_is_served(command, begin)
    if model is None:
        raise UsageError("MODEL is missing", "name a model: oomless tune deepseek-r1 --gpu h200:8", "model")
    known = {name: value for name, value in {**begin, **values}.items() if name != "revision"}
    with told_by(words):
        begun = start_of(hardware, is_gguf(model, known.get("quantization")), known, own)
        network = beside_draft(
            loaded(model, begun, offline, revision or begin.get("revision")), begun, offline
        )
        need_decoder(network)
        question = TuneQuestion(
            network,
            hardware,
            with_load(begun, network, free_length=bool(begin)),
            own["output_len"],
            NO_PROMISE if own["slo"] is None else parse_slo(own["slo"]),
            own["shared_prefix"] or 0,
            own["seed"] or 0,
            frozenset(own["allow"] or ()),
            frozenset(values),
            adjust,
        )
        place = AskedPlace(
            model if isinstance(model, str) else model.name,
            gpu if isinstance(gpu, str) else hardware.what,
            pasted,
        )
        return TuneAnswer(tune_question(question, place, own["rows"] or 5, notes))


def what_is_served(command: str, begin: dict[str, Any]) -> ServedWeights | None:
    """Return what a pasted command serves, under the name and in the words that it has there; None for a name
    that Ollama's library knows.

    >>> what_is_served("vllm serve /models/Qwen3-8B-AWQ -q awq_marlin", {"quantization": "awq"})
    ServedWeights(name='/models/Qwen3-8B-AWQ', form='awq', said='awq_marlin')
    """
    read = read_command(command)
    if read.model is None or engine(read.engine).start.by == "modelfile":
        return None
    return ServedWeights(read.model, begin.get("quantization"), read.flags.get("quantization") or "")


def start_of(hardware: Hardware, of_file: bool, flags: dict[str, Any], own: dict[str, Any]) -> Asked:
    """Return where the search begins: what a command says, what is given beside it. Refuse an engine whose
    speed nobody knows."""
    if flags.get("engine") is None:
        flags["engine"] = default_engine(hardware.card.vendor, of_file)
    need_speed(flags["engine"])
    asked = serving_question(**flags)
    return asked._replace(
        context=own["context"] or asked.context, concurrency=own["concurrency"] or asked.concurrency or 1
    )


def with_load(asked: Asked, model: Model, *, free_length: bool) -> Asked:
    """Return the question with the load that nobody said, and the length that it needs where it is not left
    to the engine."""
    context = asked.context or usual_context(model, asked.max_model_len)
    length = asked.max_model_len
    if length is not None and context > length:
        raise UsageError(
            f"--context {context} is more than --max-model-len {length}",
            "they contradict each other",
            "context",
        )
    asked = asked._replace(context=context, max_model_len=length if free_length else length or context)
    if engine(asked.engine).candidates.sets_slots and asked.max_num_seqs is None:
        asked = asked._replace(max_num_seqs=asked.concurrency)
    return asked
