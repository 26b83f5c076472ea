"""From a model and cards to a server whose log was reconciled: compress, fit, monitor, reconcile, each step
as commands with the numbers of this model on these cards."""

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engines import GGUF_ENGINE, default_engine, engine
from ..errors import UnsupportedError
from ..model.catalogue_names import repository_of
from ..model.model import Model
from ..plan.space import engines_of, forms_of
from ..plan.tune.order import steps
from ..plan.tune.rows import TunedSetting
from ..run.cards import Card, Hardware
from ..run.hardware import parse_gpu
from ..run.options import given
from ..run.serving import Asked
from ..units import format_bytes
from .screen import rate_of, seconds, verdict_line
from .serving import ServingAnswer, infer, is_gguf, loaded
from .tune import tune

SCHEMA = "oomless/guide/1"
WORDS_OF_COMPRESS = {"fp8": "fp8", "w8a8": "int8", "w4a16": "int4"}
"""Form of the weights -> what `compress --to` calls it."""
EXPORTER = "127.0.0.1:9400"
LOG = "server.log"


class GuideStep(NamedTuple):
    """One step of the way: what it answers and the command that shows it."""

    name: str
    says: tuple[str, ...]
    """What it is about here, as sentences."""
    commands: tuple[str, ...]
    """As the shell takes them."""
    numbers: dict[str, Any]
    """The figures of its sentences, under the words that the commands' own JSON has for them."""


class GuideAnswer(NamedTuple):
    """The steps, for one model on some cards."""

    model: Model
    model_word: str
    gpu_word: str
    steps: tuple[GuideStep, ...]
    holds: bool
    """Whether a setting was found that starts."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `guide --json` prints."""
        return {
            "schema": SCHEMA,
            "model": self.model_word,
            "gpu": self.gpu_word,
            "steps": [
                {**step._asdict(), "says": list(step.says), "commands": list(step.commands)}
                for step in self.steps
            ],
            "holds": self.holds,
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        return "\n".join(guide_lines(self))


class GuidedLoad(NamedTuple):
    """What every step of a guide is asked about."""

    word: str
    gpu: str
    asked: dict[str, Any]
    """Engine, release and load as `tune` and `infer` take them."""

    def form(self, quantization: str | None) -> dict[str, Any]:
        """Return the question with a form of the weights."""
        return self.asked if quantization is None else {**self.asked, "quantization": quantization}


def guide(
    model: str | Model,
    gpu: str | Hardware,
    *,
    offline: bool = False,
    revision: str | None = None,
    **flags: Any,
) -> GuideAnswer:
    """Return the steps from a model's files to a reconciled log. The flags are those of `oomless guide`.

    >>> answer = guide("deepseek-r1-distill-qwen-32b", "rtx-4090:2", context=8192)
    >>> [step.name for step in answer.steps], answer.holds
    (['compress', 'fit', 'monitor', 'reconcile'], True)
    """
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    values = given("guide", flags)
    names = engines_for(hardware.card, is_gguf(model, values.get("quantization")), values)
    found = loaded(model, Asked(), offline, revision)
    load = GuidedLoad(
        model if isinstance(model, str) else found.name,
        gpu if isinstance(gpu, str) else hardware.what,
        {**values, "engine": names[0]},
    )
    first, row, warnings = compress_step(found, gpu, hardware, load, names)
    if row is None:
        return GuideAnswer(found, load.word, load.gpu, (first, elsewhere_step(found, load)), False, warnings)
    steps = (first, fit_step(row, load), monitor_step(row), reconcile_step(row, load))
    return GuideAnswer(found, load.word, load.gpu, steps, True, warnings)


def engines_for(card: Card, of_gguf: bool, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the engines to ask in turn, until one holds the load on the cards alone: the one named, or else
    the one that runs there, and behind it what reads files of other forms.

    >>> engines_for(parse_gpu("rtx-4060").card, False, {}), engines_for(parse_gpu("gaudi-3").card, False, {})
    (('vllm', 'llamacpp'), ('vllm-hpu',))
    """
    if "engine" in values:
        return (values["engine"],)
    first = default_engine(card.vendor, of_gguf)
    others = engines_of(card, (), values.get("concurrency", 1))
    return (first, GGUF_ENGINE) if first != GGUF_ENGINE and GGUF_ENGINE in others else (first,)


def compress_step(
    model: Model, gpu: str | Hardware, hardware: Hardware, load: GuidedLoad, names: tuple[str, ...]
) -> tuple[GuideStep, TunedSetting | None, tuple[str, ...]]:
    """Return the first step with the setting that it leads to: the least quantised form that holds the load,
    or else that starts; None where none does."""
    chosen: tuple[str | None, TunedSetting, tuple[str, ...]] | None = None
    tried: list[dict[str, Any]] = []
    says: list[str] = []
    forms = [(name, form) for name in names for form in forms_of(model, name, hardware.card, ())]
    for asked_engine, planned in forms:
        form = planned.quantization
        asked = {**load.form(form), "engine": asked_engine}
        try:
            answer = tune(load.word, gpu, rows=1, **asked)
        except UnsupportedError:
            if asked_engine == names[0]:
                raise
            continue
        row = answer.rows[0] if answer.rows else None
        label = form or model.quantization or model.dtype.name
        weights = None if row is None else weights_bytes(row)
        standing = None if row is None else row.standing
        tried.append({"engine": asked_engine, "form": label, "weights_bytes": weights, "standing": standing})
        says.append(
            said_of(
                label if asked_engine == names[0] else f"{engine(asked_engine).label} {label}",
                row,
                form is None,
            )
        )
        if row is not None and (chosen is None or is_better(row, chosen[1])):
            chosen = form, row, answer.warnings
        if row is not None and row.standing == "holds" and not row.on_the_host:
            break
    form = None if chosen is None else chosen[0]
    commands = () if form is None else compress_commands(model, load.word, form)
    if chosen is not None and form is None:
        says.append("nothing has to be compressed")
    elif form is not None and not commands:
        says.append(f"take or make a file in {form}")
    elif chosen is not None and "--quantization" in chosen[1].planned.launch.command:
        says.append("the engine makes it while it loads, too: written once, it starts sooner")
    numbers = {"checkpoint_bytes": model.checkpoint_bytes, "forms": tried, "chosen": form}
    step = GuideStep("compress", tuple(says), commands, numbers)
    return (step, None, ()) if chosen is None else (step, chosen[1], chosen[2])


def is_better(row: TunedSetting, other: TunedSetting) -> bool:
    """Return whether a narrower form is worth its loss: it holds the load, or needs no host for it, or it is
    faster where both need one."""
    stands, stood = ((each.on_the_host, each.standing != "holds") for each in (row, other))
    rates = [each.row.speed.tokens_per_s.counted_on if each.row.speed else 0.0 for each in (row, other)]
    faster = row.on_the_host and steps(rates[0]) > steps(rates[1])
    return stands < stood or (stands == stood and faster)


def said_of(label: str, row: TunedSetting | None, published: bool) -> str:
    """Return what a form of the weights means on these cards."""
    how = f"{label} as published" if published else label
    if row is None:
        return f"{how}: does not start"
    if row.on_the_host:
        host, speed = format_bytes(row.row.estimate.ram_bytes), row.row.speed
        alone = f"{how}: does not fit into the cards alone; {host} on the host"
        return alone if speed is None else f"{alone}, {rate_of(speed.tokens_per_s.value)} tokens/s"
    held = format_bytes(weights_bytes(row))
    match row.standing:
        case "holds":
            return f"{how}: {held} of weights on all cards; the load fits"
        case "queues" | "may not start":
            return f"{how}: {held} of weights on all cards; a part of the load waits"


def weights_bytes(row: TunedSetting) -> int:
    """Return the weights on all cards."""
    ledgers = row.row.estimate.ledgers
    return sum(each.num_ranks * each.by_category().get("weights", 0) for each in ledgers)


def compress_commands(model: Model, word: str, form: str) -> tuple[str, ...]:
    """Return what makes a form: the checkpoint fetched, then compressed. () where no engine's file is made
    so."""
    to = WORDS_OF_COMPRESS.get(form)
    if to is None:
        return ()
    hub = repository_of(model.name, word) if "/" not in word else word
    folder = f"./{hub.rpartition('/')[2]}" if hub and not word.startswith((".", "/")) else word
    fetch = () if folder == word else (shlex.join(["hf", "download", hub, "--local-dir", folder]),)
    out = f"{folder}-{form}"
    return (*fetch, shlex.join(["oomless", "compress", folder, "--to", to, "--out", out, "--measure"]))


def fit_step(row: TunedSetting, load: GuidedLoad) -> GuideStep:
    """Return the second step: the best setting, what becomes of the load, how fast."""
    estimate, speed = row.row.estimate, row.row.speed
    says = [verdict_line(ServingAnswer(estimate))]
    if speed is not None:
        says.append(
            f"{rate_of(speed.tokens_per_s.value)} tokens/s, first token {seconds(speed.ttft_s.value)}, "
            f"then {seconds(speed.tpot_s.value)} each"
        )
    asked = estimate.asked
    begin = ["oomless", "tune", load.word, "--gpu", load.gpu, "--engine", asked.engine]
    begin += ["--context", str(asked.context), "--concurrency", str(asked.concurrency)]
    begin += ["--quantization", asked.quantization] if asked.quantization else []
    figures = {
        name: None if speed is None else getattr(speed, name).to_json()
        for name in ("tokens_per_s", "ttft_s", "tpot_s")
    }
    numbers = {
        "verdict": estimate.verdict,
        "starts": estimate.starts,
        "at_once": estimate.at_once,
        "headroom_bytes": estimate.headroom_bytes,
        **figures,
    }
    asks = [["oomless", *row.planned.arguments], ["oomless", *row.speed_arguments]]
    return GuideStep("fit", tuple(says), tuple(map(shlex.join, [begin, *asks])), numbers)


def monitor_step(row: TunedSetting) -> GuideStep:
    """Return the third step: the server started under a watch, and what each card should hold."""
    estimate = row.row.estimate
    ledger, pool = estimate.ledger, cache_bytes(row)
    beside = ledger.total_bytes - ledger.by_category().get("kv_cache", 0)
    card = estimate.hardware.card.memory_bytes
    says = (
        f"each card holds {format_bytes(beside + pool)} of {format_bytes(card)}: "
        f"{format_bytes(pool)} of cache pool, {format_bytes(beside)} of all else",
    )
    commands = (
        f"oomless run -- {row.planned.launch.command} 2>&1 | tee {LOG}",
        "oomless top --once",
        f"oomless monitor --exporter {EXPORTER}",
    )
    numbers = {"used_bytes": beside + pool, "pool_bytes": pool, "card_bytes": card}
    return GuideStep("monitor", says, commands, numbers)


def cache_bytes(row: TunedSetting) -> int:
    """Return the cache that the engine makes on a rank: a whole pool, or one for the load alone."""
    estimate = row.row.estimate
    if engine(estimate.request.engine).cache_of_load:
        return estimate.kv_cache.needed_bytes
    return estimate.kv_cache.pool_bytes


def reconcile_step(row: TunedSetting, load: GuidedLoad) -> GuideStep:
    """Return the fourth step: what the engine's log will say, and what puts it beside the prediction."""
    estimate = row.row.estimate
    sums, cache = estimate.ledger.by_category(), estimate.kv_cache
    rules, held = engine(estimate.request.engine), cache_bytes(row)
    label = rules.label
    tokens = f"{cache.max_tokens:,} tokens ({cache.max_tokens_low:,} to {cache.max_tokens_high:,})"
    if rules.cache_of_load:
        tokens = "for the load alone"
    says = (
        f"predicted for the log of {label} {estimate.request.engine_version}, a rank: "
        f"{format_bytes(sums.get('weights', 0))} of weights, {format_bytes(held)} of cache, "
        f"{tokens}",
    )
    words = ["oomless", "reconcile", LOG, "--gpu", load.gpu, "--model", load.word]
    numbers = {
        "weights_bytes": sums.get("weights", 0),
        "kv_bytes": held,
        "kv_tokens": cache.max_tokens,
        "kv_tokens_low": cache.max_tokens_low,
        "kv_tokens_high": cache.max_tokens_high,
    }
    return GuideStep("reconcile", says, (shlex.join(words), shlex.join([*words, "--calibrate"])), numbers)


def elsewhere_step(model: Model, load: GuidedLoad) -> GuideStep:
    """Return the second step where no setting starts: the nearest cards, and the search over all."""
    answer = infer(model, load.gpu, **load.asked)
    changes = [change.flags for change in answer.changes]
    says = ["no setting starts on these cards", *(f"fits with {flags}" for flags in changes)]
    words = ["oomless", "plan", load.word, "--engine", load.asked["engine"]]
    for name in ("context", "concurrency"):
        words += [f"--{name}", str(load.asked[name])] if name in load.asked else []
    return GuideStep("fit", tuple(says), (shlex.join(words),), {"changes": changes})


def guide_lines(answer: GuideAnswer) -> list[str]:
    """Return the steps as lines: what each is about here, and its commands."""
    lines = [f"{answer.model.name} on {answer.gpu_word}"]
    for number, step in enumerate(answer.steps, 1):
        lines += ["", f"{number}. {step.name}", *(f"   {each}" for each in step.says)]
        lines += [f"   $ {each}" for each in step.commands]
    notes = [f"note: {note}" for note in answer.warnings]
    return [*lines, *([""] if notes else []), *notes]
