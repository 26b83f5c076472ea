"""The words of a measured training row -> fields of the question. By rule where words have a form, by table
where they are names.

Every word of truth/words_training.json is read here. A word that says nothing ("see source") raises
Incomplete where it matters.
"""

import re
from typing import NamedTuple

from .. import facts
from ..errors import UnsupportedError
from .tables import Incomplete

SAYS_NOTHING = ("see source", "see config", "not stated", "see line", "log sample", "sweep, see source")


def framework_of(word: str) -> str:
    """Return our name of a framework (facts/measured_frameworks.csv).

    >>> framework_of("NeMo Automodel"), framework_of("Megatron-LM (zero bubble)")
    ('automodel', 'megatron-lm')
    """
    for row in facts.table("measured_frameworks"):
        if word in row["words"].split(";"):
            return row["framework"]
    raise UnsupportedError(f"framework {word} is not known yet")


class Length(NamedTuple):
    """Tokens of a sequence; `most`: no more than that, since samples may be shorter."""

    tokens: int
    most: bool
    packed: bool


LONGEST = {"alpaca": 1304}
"""Longest sample of a data set in tokens of Llama's tokenizer, where a row names no limit: litgpt prints it
for Alpaca."""


def length(word: str, ranks: int, micro_batch: int) -> Length:
    """Tokens of a sequence of the micro-batch.

    >>> (
    ...     length("<=512 (Alpaca2k, padded to longest)", 1, 4),
    ...     length("variable: 40953 tokens in the global batch of that step", 8, 32),
    ... )
    (Length(tokens=512, most=True, packed=False), Length(tokens=160, most=True, packed=False))
    """
    if not word or word in SAYS_NOTHING or word == "op":
        raise Incomplete("seq_len is not given")
    if "(224px)" in word:
        raise UnsupportedError("image classifiers are no language models")
    if found := re.match(r"variable: (\d+) tokens", word):
        return Length(-(-int(found[1]) // (ranks * micro_batch)), True, False)
    if found := re.match(r"padded to multiple of (\d+)", word):
        return Length(int(found[1]), True, False)
    if word.lower() == "alpaca (variable)":
        return Length(LONGEST["alpaca"], True, False)
    found = re.search(r"\d+", word)
    if not found:
        raise Incomplete(f"seq_len {word!r} says no number")
    return Length(
        int(found[0]), "<=" in word or "shorter" in word or word.startswith("max_length"), "packed" in word
    )


def count(word: str, what: str) -> int:
    """The number at the start of a cell.

    >>> count("32 (finetune config)", "micro_batch")
    32
    """
    if found := re.match(r"\d+", word):
        return int(found[0])
    if found := re.match(r"default \((\d+) x", word):
        return int(found[1])
    raise Incomplete(f"{what} is not given")


class Again(NamedTuple):
    """What is computed again; `how` None: the framework's own."""

    how: str | None
    modules: tuple[str, ...] = ()
    every: int = 1


def recompute(word: str, num_layers: int) -> Again:
    """Activation checkpointing.

    >>> recompute("selective mla_up_proj+mlp", 27), recompute("selective: every 2nd layer", 32)
    (Again(how='selective', modules=('mla_up_proj', 'mlp'), every=1),
     Again(how='selective', modules=('layer',), every=2))
    >>> recompute("full: every 4 layers", 48)
    Again(how='full', modules=(), every=4)
    """
    if not word or word.startswith("default of"):
        return Again(None)
    if word in ("none", "full", "selective"):
        return Again(word)
    if word == "full (reentrant)":
        return Again("full")
    if found := re.fullmatch(r"(selective|full): every (\d+)(?:nd layer| layers)", word):
        return Again(found[1], ("layer",) if found[1] == "selective" else (), int(found[2]))
    if word == "sqrt-style":
        return Again("full", (), max(1, round(num_layers**0.5)))
    if word.startswith("selective "):
        return Again("selective", tuple(word.removeprefix("selective ").split("+")))
    raise UnsupportedError(f"recompute {word} is not known yet")


FLASH = (
    "TE fused/flash",
    "flash",
    "flash (v2)",
    "flash_attention_2",
    "flex",
    "kernels-community/vllm-flash-attn3",
    "te",
)


def attention(word: str) -> str:
    """The attention kernel: flash where a row names one, else what the card allows."""
    if word in FLASH:
        return "flash"
    if word.startswith("eager"):
        return "eager"
    return "auto"


def loss(word: str) -> str | None:
    """The loss; "" and "plain" are the framework's plain one, CCE is cut cross-entropy.

    >>> loss("fused (CCE)"), loss("chunked 1024"), loss("")
    ('cut', 'chunked', None)
    """
    return "cut" if "(CCE)" in word else word.split(" ")[0] or None


class Schedule(NamedTuple):
    name: str
    virtual_stages: int


def schedule(word: str) -> Schedule:
    """The pipeline schedule and its chunks a rank; torchtitan's interleaved schedules have two.

    >>> schedule("interleaved VPP5"), schedule("InterleavedZeroBubble")
    (Schedule(name='interleaved', virtual_stages=5), Schedule(name='zb1p', virtual_stages=2))
    """
    text = word.lower().replace(" ", "")
    chunks = int(found[1]) if (found := re.search(r"vpp(\d+)", text)) else 2
    if "zerobubble" in text:
        return Schedule("zb1p", 2)
    if text.startswith("interleaved"):
        return Schedule("interleaved", chunks)
    if text == "zb-v":
        return Schedule("zbv", 2)
    if text == "zb-2p":
        raise UnsupportedError("schedule ZB-2p is not known yet")
    return Schedule("1f1b", 1)


def unsaid(row: dict[str, str], quantity: str) -> tuple[str, ...]:
    """Return what a row leaves open that a prediction needs, in the words of facts/engines.csv: a `cut`
    length, of data that nobody describes; pictures (`towered`), of sizes that nobody says; the `run`, where
    it is a figure of a text and no log (no card is named); the `column`, where nobody says which counter it
    is; the `length`, where it is only bounded; else a field that is `inferred`, as far as no allocator's
    slack covers it.

    >>> unsaid({"gpu": "see line", "seq_len": "2048"}, "peak_reserved")
    ('run',)
    >>> unsaid({"gpu": "", "seq_len": "max_length 2048"}, "peak_reserved")
    ('cut',)
    >>> unsaid({"gpu": "A100", "seq_len": "<=512"}, "peak_reserved"), unsaid({"gpu": "A100"}, "unspecified")
    (('length',), ('column',))
    """
    said = row.get("seq_len", "")
    if bound(said):
        return bound(said)
    if "pictures" in said:
        return ("towered",)
    if row["gpu"] in ("", *SAYS_NOTHING):
        return ("run",)
    if quantity == "unspecified":
        return ("column",)
    if said and length(said, 1, 1).most:
        return ("length",)
    return ("inferred",) if row.get("completeness") == "B" and quantity == "peak_allocated" else ()


def bound(word: str) -> tuple[str, ...]:
    """Return what bounds a length that is bounded, in the words of facts/engines.csv: a limit that cuts what
    nobody describes, or nothing but the longest sample.

    >>> bound("max_length 2048 (data may be shorter)"), bound("<=607 (alpaca-gpt4 data)")
    (('cut',), ())
    """
    return ("cut",) if word.startswith("max_length") else ()


def kernels(loss_impl: str, setting: "RunSetting") -> str | None:
    """How elementwise work runs; None: as the framework's rows do. Liger's loss comes of use_liger_kernel,
    which takes its norms, rotation and SwiGLU too (transformers/integrations/liger.py, apply_liger_kernel).

    >>> (
    ...     kernels("fused (Liger)", setting("")),
    ...     kernels("fused (CCE)", setting("")),
    ...     kernels("", setting("compile")),
    ... )
    ('liger', None, 'compiled')
    """
    liger = "liger" if "(Liger)" in loss_impl else None
    return "compiled" if setting.compiled else "eager" if setting.eager else liger


class RunSetting(NamedTuple):
    compiled: bool
    eager: bool
    expandable_segments: bool
    rank: int | None
    step: int
    """Step of the measurement; optimizer states are there from the second on."""
    offload: tuple[str, ...]
    fused_adapters: bool
    mtp_layers: int
    """Layers, or passes of one, that predict further tokens."""


def setting(word: str) -> RunSetting:
    """The column setting: words divided by semicolons.

    >>> (
    ...     setting("compile; expandable_segments").expandable_segments,
    ...     setting("rank 7").rank,
    ...     setting("step 1; step 2").step,
    ... )
    (True, 7, 2)
    """
    words = [each.strip() for each in word.split(";")]
    ranks = [int(found[1]) for each in words if (found := re.fullmatch(r"rank (\d+)", each))]
    steps = [int(found[1]) for each in words if (found := re.fullmatch(r"step (\d+)", each))]
    return RunSetting(
        "compile" in words,
        "eager" in words,
        "expandable_segments" in words,
        ranks[0] if ranks else None,
        max(steps, default=2),
        ("activations",) if "activation offload" in words else (),
        "fused adapters" in words,
        next((int(found[1]) for each in words if (found := re.fullmatch(r"mtp (\d+)", each))), 0),
    )


def card_name(word: str) -> str:
    """A card of the catalogue; where a row names none, the kernels are those of an H100, and no size is used.
    torchtitan's H100 of 96 GB (benchmarks/llama3_h100_202412_torchtitan.md) is the nearest of its kind.

    >>> card_name("4xA10G"), card_name("NVIDIA A100-SXM4-80GB"), card_name("H100-96GB"), card_name("")
    ('a10g', 'a100-80gb', 'h100-94gb-nvl', 'h100')
    """
    text = re.sub(r"^\d+x", "", word.lower().strip())
    for pattern, name in CARDS:
        if re.search(pattern, text):
            return name
    return "h100"


CARDS = (
    (r"v100-32gb", "v100-32gb"),
    (r"v100", "v100"),
    (r"^t4", "t4"),
    (r"a10g", "a10g"),
    (r"a100.*40gb", "a100-40gb"),
    (r"a100|a800", "a100-80gb"),
    (r"a6000", "rtx-a6000"),
    (r"gb200", "gb200"),
    (r"b200", "b200"),
    (r"h100-96gb", "h100-94gb-nvl"),
    (r"h200", "h200"),
    (r"l40s", "l40s"),
    (r"mi3", "mi300x"),
    (r"3090", "rtx-3090"),
    (r"4070", "rtx-4090"),  # the same kernels
    (r"4090", "rtx-4090"),
)
