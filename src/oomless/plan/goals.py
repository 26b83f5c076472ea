"""What is asked of a plan: a load, goals and limits. Whatever is not said is chosen here and shown in the
answer."""

from typing import Literal, NamedTuple

from ..engines import engines
from ..errors import UnsupportedError, UsageError, did_you_mean
from ..model.gguf_types import FILE_TYPES
from ..model.model import Model
from ..model.quantization_methods import METHODS
from ..model.quantization_scheme import REQUANTISED
from ..run.card_names import find_card
from ..run.cards import cards
from ..run.option_values import value_of
from ..run.options import by_keyword
from ..run.speculation import Speculation
from ..run.this_host import find_host
from ..run.training import Method, TrainingAsked
from ..units import parse_bytes
from .prices import Price, check_provider, check_region

Goal = Literal["cheapest", "fastest", "fewest"]
GOALS: tuple[Goal, ...] = ("cheapest", "fastest", "fewest")
DEFAULT_CONTEXT = 8192
"""Tokens of a sequence where nobody says: a model's full length would ask for machines that nobody meant."""
OUTPUT_SHARE = 8
"""One eighth of a sequence is output where nobody says: long prompts, short answers."""


class PlanLimits(NamedTuple):
    """What a row must keep; None: no limit."""

    budget_usd_per_hour: float | None = None
    max_ttft_s: float | None = None
    max_tpot_s: float | None = None
    min_tokens_per_s: float | None = None
    max_gpus: int = 32


class Wanted(NamedTuple):
    """A plan for serving."""

    gpus: tuple[str, ...] = ()
    """Cards, with or without a number; (): the whole catalogue."""
    context: int | None = None
    concurrency: int = 1
    output_len: int | None = None
    max_model_len: int | None = None
    goal: Goal = "cheapest"
    limits: PlanLimits = PlanLimits()
    engines: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    """Forms of the weights; (): as published, and what the engines make of 16 bit."""
    kv_cache_dtypes: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    tier: str = "on-demand"
    host_memory: str | None = None
    """Memory of the host that layers or experts may take, with its unit; None: none."""
    host: str | None = None
    """The kind of machine around the cards (facts/hosts.csv), whose memory decides the speed of what lies
    there; None: the slowest that holds it."""
    speculation: Speculation | None = None
    """What drafts; None: nothing does."""
    instances: int = 1
    rows: int = 10

    def check(self, table: tuple[Price, ...] | None = None) -> None:
        """Refuse what nothing can satisfy, naming the flag."""
        known = by_keyword("plan")
        usual = Wanted()
        for name, value in (*self._asdict().items(), *self.limits._asdict().items()):
            if name in known and value != getattr(usual, name, None):
                value_of(known[name], value, known[name].flag)
        if self.goal not in GOALS:
            raise UsageError(f"goal {self.goal!r} is not known", f"it is {', '.join(GOALS)}")
        if self.output_len is not None and self.context is not None and self.output_len >= self.context:
            raise UsageError(
                f"--output-len {self.output_len} leaves no prompt in --context {self.context}",
                "a sequence is prompt and output: ask for more context or less output",
            )
        if self.host is not None:
            if self.host_memory is None:
                raise UsageError(
                    "--host without --host-memory",
                    "say how much of it the model may take: --host-memory 512GiB",
                )
            find_host(self.host, parse_bytes(self.host_memory))
        if self.context and self.max_model_len and self.context > self.max_model_len:
            raise UsageError(
                f"--context {self.context} is more than --max-model-len {self.max_model_len}",
                "they contradict each other",
            )
        for word in self.quantizations:
            check_form(word)
        known_vendors = sorted({card.vendor for card in cards().values()})
        for vendor in self.vendors:
            if vendor.lower() not in {each.lower() for each in known_vendors}:
                raise UsageError(
                    f"unknown vendor {vendor!r}", did_you_mean(vendor, known_vendors, "oomless gpus")
                )
        for word in self.gpus:
            name = word.partition(":")[0]
            if not name[:1].isdigit() and name not in ("cpu", "local") and "+" not in word:
                card, _ = find_card(name)
                if self.vendors and card.vendor.lower() not in {each.lower() for each in self.vendors}:
                    raise UsageError(
                        f"--gpu {word} is no card of {', '.join(self.vendors)}", "they contradict each other"
                    )
        for provider in self.providers:
            check_provider(provider, table)
        for region in self.regions:
            check_region(region, table)
        for kind in self.kv_cache_dtypes:
            if kind not in cache_kinds():
                raise UsageError(
                    f"--kv-cache-dtype {kind!r} is not known to any engine here",
                    f"known are {', '.join(cache_kinds())}",
                )
        if self.host_memory is not None:
            parse_bytes(self.host_memory)

    def lengths(self, model: Model) -> tuple[int, int]:
        """(prompt, output) tokens of a sequence.

        >>> from ..model.load import load
        >>> Wanted(context=32768).lengths(load("deepseek-r1"))
        (28672, 4096)
        """
        context = self.whole(model)
        output = self.output_len or max(context // OUTPUT_SHARE, 1)
        return max(context - output, 1), output

    def whole(self, model: Model) -> int:
        """Tokens of a whole sequence."""
        return self.context or min(self.max_model_len or DEFAULT_CONTEXT, model.max_positions)


def cache_kinds() -> tuple[str, ...]:
    """Return the types of a cache that some engine knows under --kv-cache-dtype."""
    return tuple(dict.fromkeys(kind for each in engines() for kind in each.cache_types))


def check_form(word: str) -> None:
    """Refuse a form of the weights that no engine here knows; sparse ones by name, since people ask for them.

    >>> check_form("2:4")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: --quantization 2:4: no engine that is known here serves sparse weights
      vLLM took its 2:4 kernels out: use fp8, w8a8 or w4a16
    """
    if word.replace("_", ":").lower() in SPARSE:
        raise UnsupportedError(
            f"--quantization {word}: no engine that is known here serves sparse weights",
            "vLLM took its 2:4 kernels out: use fp8, w8a8 or w4a16",
        )
    forms = [*REQUANTISED, *(kind.lower() for kind in FILE_TYPES.values()), "none", "auto"]
    if word.lower() not in forms and word not in METHODS:
        raise UsageError(f"unknown form of weights {word!r}", did_you_mean(word, forms))


SPARSE = ("2:4", "sparse", "marlin:24", "sparse:24", "sparse24")


PlannedTask = Literal["pretrain", "sft", "dpo"]
ALL_MATRICES = ("all-linear",)


class WantedTraining(NamedTuple):
    """A plan for training: the load, and where to look beside what `Wanted` says of cards, prices and
    limits."""

    seq_len: int = 4096
    global_batch: int | None = None
    """Sequences of a step over all cards; None: one micro-batch of each data-parallel rank."""
    method: Method = "full"
    frameworks: tuple[str, ...] = ()
    precision: str | None = None
    optimizer: str | None = None
    loss: str | None = None
    """None: the framework's own."""
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ()
    """(): all linear matrices, whatever a framework's own default: rows are compared."""
    task: PlannedTask = "pretrain"
    micro_batch: int | None = None
    billion_tokens: float | None = None
    interruptions_per_day: float = 0.0

    def check(self) -> None:
        """Refuse what nothing can satisfy, naming the flag."""
        known = by_keyword("plan")
        for name, value in self._asdict().items():
            if value not in (None, ()):
                value_of(known[name], value, known[name].flag)
        if self.lora_targets and self.method == "full":
            raise UsageError("--lora-targets without adapters", "add --method lora or qlora", "lora_targets")
        if self.interruptions_per_day and self.billion_tokens is None:
            raise UsageError(
                "--interruptions-per-day without --billion-tokens",
                "say how much is trained",
                "interruptions_per_day",
            )
        self.asked(TrainingAsked()).check()

    def asked(self, base: TrainingAsked) -> TrainingAsked:
        """A question with what the user fixes."""
        found = base._replace(
            method=self.method,
            task=self.task,
            seq_len=self.seq_len,
            lora_rank=self.lora_rank,
            loss=self.loss,
        )
        if self.method != "full":
            found = found._replace(lora_targets=self.lora_targets or ALL_MATRICES)
        if self.precision:
            found = found._replace(precision=self.precision)
        return found._replace(optimizer=self.optimizer) if self.optimizer else found
