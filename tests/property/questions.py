"""Asked questions for laws: catalogue models x cards x layouts x versions, most of them sensible."""

from typing import NamedTuple

from hypothesis import reject
from hypothesis import strategies as st

from oomless.engines.vllm import VLLM
from oomless.engines.vllm.release import RELEASES
from oomless.errors import UnsupportedError, UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.model.model import Model
from oomless.run.cards import Hardware, synthetic
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation

GQA = (
    "deepseek-coder-1.3b deepseek-llm-7b deepseek-llm-67b deepseek-r1-distill-qwen-7b "
    "llama-3.1-8b qwen3-0.6b qwen2.5-72b"
).split()
MOE = ("deepseek-moe-16b mixtral-8x7b qwen3-30b-a3b glm-4.5-air deepseek-ocr").split()
WINDOWS = ("gpt-oss-20b mistral-7b").split()
MLA = ("deepseek-v2-lite deepseek-v2 deepseek-v3 deepseek-r1 kimi-k2-instruct").split()
SPARSE = ("deepseek-v3.2 glm-5.2").split()
V4 = ("deepseek-v4-flash deepseek-v4-pro deepseek-v4-flash-0731 deepseek-v4.1-flash").split()
ALL = (*GQA, *MOE, *WINDOWS, *MLA, *SPARSE, *V4)

CARDS = "h200 h100 h100 a100-80gb b200 rtx-4090 l40s mi300x t4 24GiB 80GiB 288GiB".split()

VERDICTS = ("fits", "tight", "does_not_fit")
"""From best to worst."""


class Question(NamedTuple):
    """One serving question with its layout given."""

    model: Model
    asked: Asked
    hardware: Hardware


def sizes(least: int, most: int) -> st.SearchStrategy[int]:
    """Whole numbers, powers of two as likely as all others."""
    powers = [1 << bits for bits in range(50) if least <= 1 << bits <= most]
    return st.one_of(st.sampled_from(powers), st.integers(least, most))


@st.composite
def layouts(draw: st.DrawFn, most_pp: int = 4) -> Layout:
    """A layout of at most 64 ranks."""
    tp = draw(st.sampled_from([1, 1, 2, 4, 8]))
    pp = draw(st.sampled_from([size for size in (1, 1, 1, 2, 3, 4) if size <= most_pp]))
    dp = draw(st.sampled_from([1, 1, 1, 2]))
    dcp = draw(st.sampled_from([1, 1, 1, min(tp, 2)]))
    return Layout(tp, pp, dp, dcp, draw(st.booleans()) if tp * dp > 1 else False)


@st.composite
def questions(draw: st.DrawFn, names: tuple[str, ...] | list[str] = ALL, most_pp: int = 4) -> Question:
    """A question with everything that can vary."""
    layout = draw(layouts(most_pp))
    card = draw(st.sampled_from(CARDS))
    asked = Asked(
        engine_version=draw(st.sampled_from(VLLM.versions)),
        layout=layout,
        kv_cache_dtype=draw(st.sampled_from(["auto", "auto", "fp8"])),
        max_model_len=draw(st.one_of(st.none(), sizes(1, 4096))),
        max_num_seqs=draw(st.one_of(st.none(), sizes(1, 2048))),
        max_num_batched_tokens=draw(st.one_of(st.none(), sizes(1, 65536))),
        concurrency=draw(st.one_of(st.none(), sizes(1, 4096))),
        gpu_memory_utilization=draw(st.one_of(st.none(), st.floats(0.05, 1.0))),
        enforce_eager=draw(st.booleans()),
        speculation=draw(st.sampled_from([None, Speculation("mtp")])),
    )
    return Question(
        load(draw(st.sampled_from(names))),
        asked,
        parse_gpu(f"{card}:{layout.num_ranks * draw(st.sampled_from([1, 1, 2]))}"),
    )


def answer(question: Question, **changes: object) -> Estimate:
    """The estimate of a question, with some flags changed; a question that has no answer is not one for
    laws."""
    try:
        return estimate_serving(question.model, question.asked._replace(**changes), question.hardware)  # type: ignore[arg-type]  # flags of mixed types, by name
    except (UsageError, UnsupportedError):
        reject()


def charges_segments(question: Question) -> bool:
    """Whether the release charges segments of the allocator: as freed blocks happen to fit, a larger batch
    may hold fewer, and another order of layers more."""
    return RELEASES.at(question.asked.engine_version).charges_segments


def pinned(question: Question) -> Question:
    """The question with its batch given, so that no default follows another value."""
    request = answer(question).request
    batch = {"max_num_seqs": request.max_num_seqs, "max_num_batched_tokens": request.max_num_batched_tokens}
    return question._replace(asked=question.asked._replace(**batch))  # type: ignore[arg-type]  # flags of mixed types, by name


def at_the_edge(question: Question, share: float) -> Question:
    """The question on a synthetic card with room for everything but the cache, and for a share of the cache:
    where verdicts turn."""
    question = pinned(
        question._replace(hardware=question.hardware._replace(card=synthetic(1 << 44, "large")))
    )
    found = answer(question)
    needed = found.ledger.by_category()["kv_cache"]
    room = found.ledger.total_bytes - needed + share * needed
    return question._replace(
        hardware=question.hardware._replace(
            card=synthetic(int(room / (found.request.gpu_memory_utilization or 1)), "edge")
        )
    )
