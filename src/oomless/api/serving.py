"""Will it serve? One question in, one complete answer out, under the flags' names as keywords."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..engines import default_engine, engine
from ..errors import UsageError
from ..estimate.serving.estimate import Estimate, KVCache, estimate_serving
from ..estimate.serving.stage_rank import Adjust
from ..model.load import load
from ..model.model import Model, headless
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.serving import Asked, Resolved, serving_question
from .answered import MemoryAnswer

if TYPE_CHECKING:
    from ..estimate.serving.changes import Change


class ServingAnswer(MemoryAnswer):
    """The whole answer to a serving question. What takes a search is found when it is first asked for."""

    estimate: Estimate

    def __init__(
        self, estimate: Estimate, model_word: str = "", gpu_word: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(model_word, gpu_word)
        self.estimate = estimate
        self.notes = notes
        """What is said of the question beside the estimate's own warnings."""

    @property
    def request(self) -> Resolved:
        """Return the question with every default that the engine chose."""
        return self.estimate.request

    @property
    def replicas(self) -> int:
        return self.estimate.replicas

    @cached_property
    def starts(self) -> bool:
        """Return whether the engine starts, whatever of the load then waits."""
        return self.estimate.starts

    @cached_property
    def at_once(self) -> int:
        """Return how many sequences of the load run together."""
        return self.estimate.at_once

    @cached_property
    def kv_cache(self) -> KVCache:
        """Return what the worst rank's cache holds; where buffers grow with the context, the longest
        sequence is a search."""
        cache = self.estimate.kv_cache
        if not engine(self.request.engine).buffers_follow_context:
            return cache
        from ..estimate.serving.contexts import longest_context

        return cache._replace(longest_sequence=longest_context(self.estimate))

    @cached_property
    def changes(self) -> "tuple[Change, ...]":
        """Return the single changes that would make it fit; nothing for an answer that fits."""
        if self.verdict == "fits":
            return ()
        from ..plan.tune.would_fit import changes_that_fit

        return changes_that_fit(self.estimate)

    @cached_property
    def settled(self) -> tuple[str, ...]:
        """Return what a tight answer becomes once the text of its release says more, as sentences."""
        if self.verdict != "tight":
            return ()
        from ..estimate.serving.changes import settled
        from .screen import settled_line

        return tuple(settled_line(each) for each in settled(self.estimate))

    @cached_property
    def context_curve(self) -> tuple[tuple[int, int, int, int], ...]:
        """Return (tokens, low, total and high bytes of the worst rank) over the length of a sequence."""
        from ..estimate.serving.contexts import context_curve

        return tuple(context_curve(self.estimate))

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.settled, *self.estimate.warnings, *self.notes)

    def noting(self, *notes: str) -> "ServingAnswer":
        """Return the same answer with more notes on the question."""
        return ServingAnswer(self.estimate, self.model_word, self.gpu_word, (*self.notes, *notes))

    def to_json(self) -> dict[str, Any]:
        """Return the object that `infer --json` prints."""
        from .serving_json import serving_json

        return serving_json(self)

    def __repr__(self) -> str:
        from .screen import serving_screen

        return "\n".join(serving_screen(self))

    def _repr_html_(self) -> str:
        from .screen import as_html, serving_screen, table_rows

        return as_html(serving_screen(self), table_rows(self.ledger))


def is_gguf(model: object, quantization: object = None) -> bool:
    """Return whether a model, or what names it, is a GGUF file, or is asked in a type that only such a file
    has; what is neither is refused when it is loaded.

    >>> is_gguf("DeepSeek-R1-Q4_K_M.gguf"), is_gguf("deepseek-r1"), is_gguf(1)
    (True, False, False)
    >>> [is_gguf("deepseek-r1", word) for word in ("q4_k_m", "UD-IQ1_S", "TQ1_0", "fp8", "q17", None)]
    [True, True, True, False, False, False]
    """
    from ..model.quantization_scheme import is_of_files_alone

    if is_of_files_alone(quantization):
        return True
    if isinstance(model, Model):
        return model.quantization.startswith("gguf")
    return str(model).endswith(".gguf")


def loaded(model: str | Model, asked: Asked, offline: bool, revision: str | None) -> Model:
    """Return the model that is asked about, with other values for keys of its config where some are given,
    and without its head where it gives vectors.

    >>> loaded("qwen3-8b", Asked(pooling=True), True, None).num_logits
    0
    """
    if isinstance(model, Model):
        if asked.hf_overrides is not None:
            raise UsageError(
                "hf_overrides changes the config of a model that is named, not one that is there",
                "give its name",
                "hf_overrides",
            )
        found = model
    elif asked.hf_overrides is None:
        found = load(model, offline=offline, revision=revision)
    else:
        from ..model.overrides import load_with

        found = load_with(model, asked.hf_overrides, offline=offline, revision=revision)
    if not asked.pooling:
        return found
    return found._replace(pooled=True) if engine(asked.engine).keeps_unused_head else headless(found)


def beside_draft(model: Model, asked: Asked, offline: bool) -> Model:
    """Return a model with what drafts beside it, where the question names one."""
    if asked.speculation is None:
        return model
    from ..estimate.serving.drafting import beside_draft as beside

    return beside(model, asked, offline)


def infer(
    model: str | Model,
    gpu: str | Hardware,
    *,
    offline: bool = False,
    revision: str | None = None,
    adjust: Adjust | None = None,
    **flags: Any,
) -> ServingAnswer:
    """Return whether `model` serves on `gpu`. The flags are those of `oomless infer`.

    >>> answer = infer("deepseek-r1", "h200:8", tp=8, engine_version="0.19.0")
    >>> answer.verdict, answer.starts, answer.kv_cache.bytes_per_token
    ('fits', True, 70272)
    """
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    if flags.get("engine") is None:
        flags["engine"] = default_engine(hardware.card.vendor, is_gguf(model, flags.get("quantization")))
    asked = serving_question(**flags)
    found = beside_draft(loaded(model, asked, offline, revision), asked, offline)
    estimate = estimate_serving(found, asked, hardware, adjust)
    if estimate.verdict != "fits":
        from ..estimate.serving.changes import fitted

        estimate = fitted(estimate)
    return ServingAnswer(
        estimate,
        model if isinstance(model, str) else "",
        gpu if isinstance(gpu, str) else "",
    )
