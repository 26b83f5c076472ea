"""Claims that compare whole ways: one model with another at equal accuracy, and a machine before and
after the three steps."""

from collections.abc import Callable

from .. import facts
from ..model.load import load
from ..run.hardware import parse_gpu
from ..run.serving import Asked, Layout
from ..units import gib, mb
from .evidence import Evidence, Finding

MODEL, CARDS = "deepseek-r1-distill-qwen-32b", "rtx-4090:2"
SMALLEST = "deepseek-coder-1.3b"
LOAD = "--context 16384 --concurrency 4"


def published(subject: str, what: str) -> float:
    """Return a published or measured number of facts/compressed.csv."""
    rows = facts.table("compressed")
    return next(float(row["value"]) for row in rows if (row["subject"], row["what"]) == (subject, what))


def mobilebert() -> Evidence:
    """C17: what a model may weigh that is 37 % more efficient than MobileBERT at equal accuracy.

    Efficiency at equal accuracy is one over memory, so the other model may take 1 / 1.37 of MobileBERT's.
    """
    small = 2 * load("mobilebert").num_parameters
    coder = load(SMALLEST)
    lightest = 700_000_000 // 2
    return Evidence(
        "does not hold",
        "at equal accuracy, 37 % more efficient means 1 / 1.37 of the memory: MobileBERT's 24.6M parameters "
        "take 49.2 MB in 16 bit, so the other may take 35.9 MB. The weights of the guide's 0.7B version "
        "alone take seven times MobileBERT's, in 4 bit, and no DeepSeek of that size was published; one is "
        "an encoder scored on GLUE, the other writes text and has no such score",
        (
            Finding("MobileBERT's weights in 16 bit", mb(small), "MB"),
            Finding("MobileBERT's GLUE score, published", published("mobilebert", "GLUE"), ""),
            Finding("what a model may take that is 37 % more efficient", mb(small / 1.37), "MB"),
            Finding("0.7B parameters in 4 bit", mb(lightest), "MB"),
            Finding("that against MobileBERT", lightest / small, "times"),
            Finding(f"weights of {SMALLEST}, the smallest release", mb(coder.checkpoint_bytes), "MB"),
            Finding("that against MobileBERT", coder.checkpoint_bytes / small, "times"),
        ),
        (
            f"oomless models {SMALLEST} --json",
            "oomless infer profile-deepseek-lite-0.7b --gpu rtx-4090",
            "oomless infer mobilebert --gpu rtx-4090 --engine transformers",
            "python -m bench.quality gemma-3-270m out equal",
        ),
    )


def three_steps() -> Evidence:
    """C36: a 32B model on two desktop cards before and after the steps, and what each costs or proves."""
    from ..estimate.serving.estimate import estimate_serving

    asked = Asked(layout=Layout(tp=2), max_model_len=16384, context=16384, concurrency=4)
    model, cards = load(MODEL), parse_gpu(CARDS)
    before = estimate_serving(model, asked, cards)
    after = estimate_serving(model, asked._replace(quantization="w4a16"), cards)
    rows = [
        row
        for row in facts.table("accuracy")
        if row["made"].startswith("blind") and row["about"] == "serving"
    ]
    latest = [row for row in rows if row["made"] == max(row["made"] for row in rows)]
    pool = next(row for row in latest if row["quantity"] == "kv_bytes_per_gpu")
    return Evidence(
        "depends",
        "compress and fit do what is said: a model that lacks 19 GiB on each card serves the load after "
        "them, and the prediction is laid beside the log. Performance is kept only where the format "
        "keeps it: int8 does, int4 by nearest rounding does not, and by GPTQ it loses 8 % of perplexity",
        (
            Finding(f"{MODEL} on 2 x RTX 4090, room as published", gib(before.headroom_bytes), "GiB"),
            Finding("the same in w4a16", gib(after.headroom_bytes), "GiB"),
            Finding("tokens that the cache then holds", after.kv_cache.max_tokens, ""),
            Finding("perplexity more, int8", published("int8", "perplexity more"), "%"),
            Finding("perplexity more, int4 by nearest rounding", published("int4", "perplexity more"), "%"),
            Finding("perplexity more, int4 by GPTQ", published("int4-gptq", "perplexity more"), "%"),
            Finding("cache pools of logs predicted blind, median error", 100 * float(pool["median"]), "%"),
            Finding("of them inside their interval", 100 * float(pool["inside"]), "%"),
        ),
        (
            f"oomless guide {MODEL} --gpu {CARDS} {LOAD}",
            f"oomless infer {MODEL} --gpu {CARDS} --tp 2 --max-model-len 16384 {LOAD}",
            f"oomless infer {MODEL} --gpu {CARDS} --tp 2 --quantization w4a16 --max-model-len 16384 {LOAD}",
            "oomless accuracy",
        ),
    )


SETTLERS: dict[str, Callable[[], Evidence]] = {"C17": mobilebert, "C36": three_steps}
