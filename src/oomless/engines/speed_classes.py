"""Classes of engines by speed: what the model of speed/ asks of one, and how measured rows of speed name it.

An engine's record says its class (`speed_class`); derived engines share their parent's.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

from .. import facts
from ..facts.release import Release, read_release
from .releases import Families, RuleRow, bound

Words = frozenset[str]
"""Conditions of rows of facts/efficiencies.csv and kernels.csv."""
NEWEST: Release = (9999,)
"""After every version and every day."""


def is_date(text: str) -> bool:
    """Return whether a text is the date of a build rather than a version."""
    return text[:4].isdigit()


class KernelRow(NamedTuple):
    """One row of facts/kernel_releases.csv."""

    span: RuleRow
    dated: bool
    """It ends or begins with a day, not with a version."""
    experts: str
    """"routed" or "dense": models with routed experts on an NVIDIA card, or all others; "": either."""


@cache
def kernel_rows(name: str) -> tuple[KernelRow, ...]:
    """Return the rows of a class."""
    rows = (row for row in facts.table("kernel_releases") if row["engine"] == name)
    return tuple(
        KernelRow(
            RuleRow(row["condition"], bound(row["since"]), bound(row["until"]), True),
            is_date(row["since"] or row["until"]),
            row["experts"],
        )
        for row in rows
    )


class ExpertRow(NamedTuple):
    """One row of facts/expert_kernels.csv: the first that applies says the kernels."""

    kernels: str
    weights: Families
    families: Families
    conditions: Words


@cache
def expert_rows(name: str) -> tuple[ExpertRow, ...]:
    """Return the rows of a class; an empty cell is for all."""
    return tuple(
        ExpertRow(
            row["kernels"],
            Families((row["weights"] or "*").split()),
            Families((row["families"] or "*").split()),
            frozenset(row["condition"].split()),
        )
        for row in facts.rows_with("expert_kernels", name)
    )


class SpeedClass(NamedTuple):
    """One class, under the name that the tables of speed have in their column `engine`."""

    name: str
    spelled: str = ""
    """The pattern of its names in tables of measured speed, in small letters; "": none is known."""
    dated: bool = False
    """Its builds are known by their dates; a version tells nothing of them."""
    others: tuple[tuple[str, Words], ...] = ()
    """(how words of its tables begin that mean another program, conditions of that)."""
    reduces_in_switch: bool = True
    """NCCL may add up in the switch."""
    multiplies_vectors: bool = False
    """Small batches are multiplied by vector units, which unpack quantised values as they are read."""
    multiplies_integers: bool = False
    """Large batches of quantised values are multiplied as integers."""
    tile: Callable[[Words, float, int], int] = lambda conditions, tokens, experts: 1
    """(conditions, tokens, experts) -> rows that the products of an expert are filled up to on a card."""
    overlaps_stages: bool = True
    """Stages of a pipeline work on several batches at once."""
    mixes_prompts: bool = True
    """Pieces of prompts run in the steps of decoding sequences; else in steps of their own, before any."""
    keeps_free: float = 0.0
    """Of the tokens that running sequences have still to write, the share for which it keeps room before it
    lets in another."""
    keeps_free_of_groups: float = 0.0
    """The same, where data-parallel groups share the ranks of attention."""
    shares_chunk: bool = False
    """Data-parallel groups share one chunk of prompts; else each has its own."""
    cache_as_weights: bool = False
    """A cache in 8 bit comes with weights in 8 or 4."""
    divides_sequences_with_experts: bool = False
    """Ranks that divide the experts have sequences of their own in its tables."""
    pool: Literal["share of card", "share of free", "static share"] = "share of card"
    """What its share is of: the card, what weights leave of it, or the card with weights inside."""
    running: int = 256
    """Sequences at once where nobody says a number."""

    def conditions(self, release: str, sparse: bool) -> Words:
        """Return what a release does with its kernels; "" is the newest, `sparse` whether routed experts run
        on an NVIDIA card.

        >>> [sorted(speed_class("vllm").conditions(release, True)) for release in ("0.11.0", "0.12.0", "")]
        [['marlin_mxfp4', 'own_experts'], ['own_experts'], []]
        >>> llamacpp = speed_class("llamacpp")
        >>> sorted(llamacpp.conditions("2024-01", False)), sorted(llamacpp.conditions("2025-11-02", False))
        (['eager'], ['fused'])
        >>> sorted(llamacpp.conditions("2025-03", True)), sorted(llamacpp.conditions("2025-08-23", True))
        (['apart', 'eager', 'host_sorted'], ['host_sorted'])
        """
        if not release or is_date(release) != self.dated:
            return self.holding(NEWEST, NEWEST, sparse)
        number = read_release(release)
        return self.holding(NEWEST, number, sparse) if self.dated else self.holding(number, NEWEST, sparse)

    def row_conditions(self, word: str, date: str, sparse: bool) -> Words:
        """Return what a row of its tables was measured with, by the release or else the date that it names;
        one that names neither is taken for none."""
        for begin, conditions in self.others:
            if word.startswith(begin):
                return conditions
        named = re.search(r" (\d+\.\d+[\w.+-]*)", word)
        version = read_release(named[1]) if named and not self.dated else None
        day = re.match(r"\d{4}(-\d\d){0,2}", date)
        return self.holding(version, read_release(day[0]) if day else NEWEST, sparse)

    def holding(self, version: Release | None, day: Release, sparse: bool) -> Words:
        """Return the conditions of the rows that hold of a version (None: of none of them) and of a day."""
        numbers = {False: version, True: day}
        experts = "routed" if sparse else "dense"
        return frozenset(
            each.span.rule
            for each in kernel_rows(self.name)
            if each.experts in ("", experts)
            and (number := numbers[each.dated]) is not None
            and each.span.holds(number)
        )

    def expert_kernels(self, family: str, kind: str, conditions: Words) -> str:
        """Return the family of kernels of routed experts, as facts/kernel_curves.csv calls it, for a type of
        model and of weights; "": the engine has one on a card.

        >>> [
        ...     speed_class("sglang").expert_kernels(family, "fp8_block", frozenset())
        ...     for family in ("deepseek_v3", "minimax_m2")
        ... ]
        ['flashinfer', 'triton']
        >>> gpt_oss = speed_class("vllm")
        >>> [gpt_oss.expert_kernels("gpt_oss", "mxfp4", gpt_oss.conditions(v, True)) for v in ("0.11.0", "")]
        ['marlin', '']
        """
        return next(
            (
                each.kernels
                for each in expert_rows(self.name)
                if kind in each.weights and family in each.families and each.conditions <= conditions
            ),
            "",
        )


MMQ_TILE = 128
"""llama.cpp chooses the tile by the tokens of the whole batch, whatever one expert has of them
(ggml-cuda/mmq.cuh: mmq_x, up to 128)."""
MMQ_STEP = 8
"""Its tiles have a multiple of so many columns."""


def mmq_tile(conditions: Words, tokens: float, experts: int) -> int:
    """Return the tile of an expert's product: by its own tokens where each is multiplied on its own.

    >>> mmq_tile(frozenset(), 512, 128), mmq_tile(frozenset({"apart"}), 512, 128)
    (128, 8)
    """
    return MMQ_STEP if "apart" in conditions else MMQ_TILE


def triton_tile(conditions: Words, tokens: float, experts: int) -> int:
    """Return the rows of a block of fused experts: 16 while there are no more tokens than experts, else 64
    (vllm and sglang, fused_moe: get_default_config), which CUTLASS's grouped products are taken to have too.

    >>> triton_tile(frozenset(), 128, 128), triton_tile(frozenset(), 370, 128)
    (16, 64)
    """
    return 16 if tokens <= experts else 64


SPEED_CLASSES = (
    SpeedClass(
        "vllm",
        "^vllm",
        tile=triton_tile,
        reduces_in_switch=False,  # it sets NCCL_CUMEM_ENABLE=0
        running=1024,
    ),
    SpeedClass(
        "sglang",
        "^sglang",
        tile=triton_tile,
        mixes_prompts=False,  # managers/scheduler.py: --enable-mixed-chunk is off by default
        reduces_in_switch=False,  # NCCL_NVLS_ENABLE is 0 by default
        keeps_free=0.7,  # environ.py: SGLANG_INIT_NEW_TOKEN_RATIO; schedule_policy.py: PrefillAdder
        keeps_free_of_groups=0.21,  # server_args.py: schedule_conservativeness * 0.3
        shares_chunk=True,
        pool="static share",
        running=4096,
    ),
    SpeedClass(
        "llamacpp",
        "llama",
        dated=True,
        others=(("distributed", frozenset()),),
        multiplies_vectors=True,
        multiplies_integers=True,
        tile=mmq_tile,
        overlaps_stages=False,
    ),
    SpeedClass(
        "trtllm",
        "^tensorrt",
        others=(("tensorrt edge", frozenset(("edge",))),),
        tile=triton_tile,
        cache_as_weights=True,
        divides_sequences_with_experts=True,
        pool="share of free",
        running=2048,
    ),
    SpeedClass("transformers"),
)


def speed_class(name: str) -> SpeedClass:
    """Return a class by its name; one that no engine here has is like vLLM in nothing."""
    return BY_NAME.get(name) or SpeedClass(name)


BY_NAME = {each.name: each for each in SPEED_CLASSES}


def class_of_word(word: str) -> SpeedClass | None:
    """Return the class that a table of measured speed means by a word; None: nothing of it was measured.

    >>> class_of_word("Ollama/llama.cpp").name, class_of_word("MindIE 1.0.RC3")
    ('llamacpp', None)
    """
    lower = word.lower()
    return next((each for each in SPEED_CLASSES if each.spelled and re.search(each.spelled, lower)), None)
