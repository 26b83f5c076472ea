"""Claims that the serving estimate settles."""

from ..estimate.serving.estimate import Estimate, estimate_serving
from ..model.load import load
from ..run.hardware import parse_gpu
from ..run.serving import Asked, Layout
from ..units import gb, gib
from .evidence import Evidence, Finding

ONE_CARD = Layout()


def on_one_card(model: str, gpu: str, asked: Asked) -> Estimate:
    """The estimate for one card."""
    return estimate_serving(load(model), asked._replace(layout=ONE_CARD), parse_gpu(gpu))


def held_weights(estimate: Estimate) -> int:
    """Bytes of the weights as the engine counts them."""
    by_category = estimate.ledger.by_category()
    return by_category["weights"] + by_category["fragmentation"]


def c01() -> Evidence:
    """1.3B in FP16: the checkpoint of the one release of that size."""
    model = load("deepseek-coder-1.3b")
    return Evidence(
        "holds",
        "2.6 GB is 1.3e9 x 2 B; the release has 1.346e9 parameters and takes 2.69 GB",
        (
            Finding("parameters of deepseek-coder-1.3b", model.num_parameters, ""),
            Finding("checkpoint", gb(model.checkpoint_bytes), "GB"),
            Finding("checkpoint", gib(model.checkpoint_bytes), "GiB"),
        ),
        ("oomless models deepseek-coder-1.3b --json",),
    )


def c02() -> Evidence:
    """13B in FP16: the profile that stands for a release that does not exist."""
    model = load("profile-deepseek-pro-13b")
    return Evidence(
        "holds",
        "there is no DeepSeek of 13B; the profile of that size takes 26.04 GB, which a tool "
        "that counts in GiB shows as 24.25",
        (
            Finding("parameters of profile-deepseek-pro-13b", model.num_parameters, ""),
            Finding("weights in 16 bit", gb(model.checkpoint_bytes), "GB"),
            Finding("weights in 16 bit", gib(model.checkpoint_bytes), "GiB"),
        ),
        ("oomless models profile-deepseek-pro-13b --json",),
    )


def c07() -> Evidence:
    """H100 with FP8 against A100 with BF16: weights halve, the cache does not; the saving in all depends on
    the load."""
    name = "profile-deepseek-pro-13b"
    figures, first = [], 0.0
    for concurrency in (1, 16, 64):
        load_of = Asked(engine_version="0.19.0", max_model_len=2048, concurrency=concurrency)
        before = on_one_card(name, "a100-80gb", load_of)
        after = on_one_card(name, "h100", load_of._replace(quantization="fp8"))
        saving = 100 * (1 - after.ledger.total_bytes / before.ledger.total_bytes)
        first = first or 100 * (1 - held_weights(after) / held_weights(before))
        figures.append(Finding(f"saving in all at {concurrency} x 2,048 tokens", saving, "%"))
    return Evidence(
        "does not hold",
        "Hopper's Tensor Cores are the fourth generation; FP8 takes half of the weights, and "
        "what that saves in all falls with "
        "the cache beside them: 18 % is one point of that curve (latency is not settled here)",
        (Finding("saving of weights, FP8 against BF16", first, "%"), *figures),
        (
            f"oomless infer {name} --gpu a100-80gb --engine-version 0.19.0 "
            "--max-model-len 2048 --concurrency 64",
            f"oomless infer {name} --gpu h100 --quantization fp8 --engine-version 0.19.0 "
            "--max-model-len 2048 --concurrency 64",
        ),
    )


def c10() -> Evidence:
    """Batch 64 of the 1.3B model on a T4: how long may the sequences be?"""
    figures = []
    longest = 0
    asked = Asked(engine_version="0.19.0", max_model_len=16384)
    for length in (256, 512, 1024, 2048, 4096, 16384):
        answer = on_one_card("deepseek-coder-1.3b", "t4", asked._replace(context=length))
        figures.append(
            Finding(f"sequences of {length:,} tokens at once", answer.kv_cache.max_concurrency, "")
        )
        longest = answer.kv_cache.max_tokens // 64
    return Evidence(
        "depends",
        f"a token takes 192 KiB of cache: 64 sequences fit up to {longest:,} tokens each",
        (Finding("longest sequence at batch 64", longest, "tokens"), *figures),
        (
            "oomless infer deepseek-coder-1.3b --gpu t4 --engine-version 0.19.0 --max-model-len "
            "16384 --context 512 --concurrency 64",
        ),
    )


def c13() -> Evidence:
    """13B on an H100 in 24 GB."""
    answer = on_one_card("profile-deepseek-pro-13b", "h100", Asked(engine_version="0.19.0"))
    return Evidence(
        "does not hold",
        "24.25 GiB are the 16-bit weights alone; activations, graphs, context and the cache "
        "of even one sequence come on top "
        "(the 22 ms are not settled here)",
        (
            Finding("weights", gib(held_weights(answer)), "GiB"),
            Finding("in all, one sequence of 4,096 tokens", gib(answer.ledger.total_bytes), "GiB"),
        ),
        ("oomless infer profile-deepseek-pro-13b --gpu h100 --engine-version 0.19.0",),
    )


def c28() -> Evidence:
    """The 0.7B profile on a Jetson AGX Orin."""
    asked = Asked(engine_version="0.19.0", max_num_seqs=16, gpu_memory_utilization=0.5)
    answer = on_one_card("profile-deepseek-lite-0.7b", "jetson-agx-orin-32gb", asked)
    return Evidence(
        "holds" if answer.verdict == "fits" else "depends",
        "it fits with room to spare even in half of the module's memory, which the system "
        "shares (the price is not settled here)",
        (
            Finding("needed, one sequence of full length", gib(answer.ledger.total_bytes), "GiB"),
            Finding("half of the module", gib(answer.ledger.capacity_bytes), "GiB"),
            Finding("tokens that the cache takes", answer.kv_cache.max_tokens, ""),
        ),
        (
            "oomless infer profile-deepseek-lite-0.7b --gpu jetson-agx-orin-32gb --engine-version 0.19.0 "
            "--max-num-seqs 16 --gpu-memory-utilization 0.5",
        ),
    )


SETTLERS = {"C01": c01, "C02": c02}
