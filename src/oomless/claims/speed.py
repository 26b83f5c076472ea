"""Claims about time: latency, throughput of nodes, dynamic batching, scaling of data parallelism, compute in
memory."""

from ..engines.llamacpp import LLAMACPP
from ..engines.trtllm import TRTLLM
from ..estimate.serving.estimate import estimate_serving
from ..facts.options import DEFAULT_ENGINE
from ..model.load import load
from ..run.hardware import parse_gpu
from ..run.serving import Asked, Layout
from ..run.training import TrainingAsked
from ..speed.dynamic import run_workload
from ..speed.serving import ServingSpeed, serving_speed
from ..speed.training import training_speed
from ..speed.workload import Lengths, poisson
from ..units import GB
from . import compressed, serving
from .evidence import Evidence, Finding

PRO, LITE, CODER = "profile-deepseek-pro-13b", "profile-deepseek-lite-0.7b", "deepseek-coder-1.3b"
MS = 1000.0


def served(model: str, gpu: str, tp: int, load_of: tuple[int, int, int], **asked: object) -> ServingSpeed:
    """The speed of (tokens in, tokens out, requests at once) on one layout."""
    question = Asked(engine_version="0.19.0", layout=Layout(tp=tp), max_model_len=4096)._replace(**asked)  # type: ignore[arg-type]
    if question.engine != DEFAULT_ENGINE:
        question = question._replace(engine_version=None)
    estimate = estimate_serving(load(model), question, parse_gpu(gpu))
    tokens_in, tokens_out, at_once = load_of
    return serving_speed(estimate, input_len=tokens_in, output_len=tokens_out, concurrency=at_once)


def c07() -> Evidence:
    """Memory as before; latency of FP8 on an H100 against BF16 on an A100."""
    memory = serving.c07()
    short = (512, 128, 1)
    before, same, after = (
        served(PRO, "a100-80gb", 1, short),
        served(PRO, "h100", 1, short),
        served(PRO, "h100", 1, short, quantization="fp8"),
    )
    figures = (
        Finding("a token on A100, BF16", before.tpot_s.value * MS, "ms"),
        Finding("a token on H100, BF16", same.tpot_s.value * MS, "ms"),
        Finding("a token on H100, FP8", after.tpot_s.value * MS, "ms"),
        Finding("less time a token, H100 BF16", 100 * (1 - same.tpot_s.value / before.tpot_s.value), "%"),
        Finding("less time a token, H100 FP8", 100 * (1 - after.tpot_s.value / before.tpot_s.value), "%"),
        Finding(
            "less time to the first token, H100 FP8",
            100 * (1 - after.ttft_s.value / before.ttft_s.value),
            "%",
        ),
    )
    return memory._replace(
        because=memory.because.replace(
            " (latency is not settled here)",
            "; the time of a token falls by more than 22 % even in the same type, by the bandwidth alone",
        ),
        figures=(*memory.figures, *figures),
        commands=(
            *memory.commands,
            f"oomless speed {PRO} --gpu h100 --engine-version 0.19.0 --max-model-len 4096 --input-len 512",
        ),
    )


def c08() -> Evidence:
    """Nodes of A100 and H100 at 1, 4 and 8 cards."""
    figures = []
    ratios = []
    for tp in (1, 4, 8):
        rates = [
            served(PRO, f"{gpu}:{tp}", tp, (1024, 256, 64 * tp)).tokens_per_s.value
            for gpu in ("a100-80gb", "h100")
        ]
        ratios.append(rates[1] / rates[0])
        figures += [
            Finding(f"{tp} x A100 80GB, {64 * tp} requests at once", rates[0], "tokens/s"),
            Finding(f"{tp} x H100, {64 * tp} requests at once", rates[1], "tokens/s"),
            Finding(f"H100 over A100 at {tp}", ratios[-1], ""),
        ]
    return Evidence(
        "depends",
        f"the ratio is {ratios[0]:.2f} at one card, {ratios[1]:.2f} at four and "
        f"{ratios[2]:.2f} at eight: collectives keep pace, "
        "because the NVLink of H100 is 1.5 times that of A100, and the change is within the band "
        "of each figure; the throughput of a "
        "cluster of replicas is theirs added up",
        tuple(figures),
        tuple(
            f"oomless speed {PRO} --gpu {gpu}:8 --tp 8 --engine-version 0.19.0 --max-model-len 4096 "
            "--input-len 1024 --output-len 256 "
            "--concurrency 512"
            for gpu in ("a100-80gb", "h100")
        ),
    )


def c10() -> Evidence:
    """Batch 64 on a T4: what fits, as before, and what a simulated workload reaches."""
    memory = serving.c10()
    figures = []
    asked = Asked(engine_version="0.19.0", layout=Layout(), max_model_len=4096)
    estimate = estimate_serving(load(CODER), asked, parse_gpu("t4"))
    for length in (512, 768, 1024, 2048):
        requests = poisson(50.0, 400, Lengths(length // 2, length // 2), Lengths(length // 2, length // 2), 0)
        answer = run_workload(estimate, requests)
        figures += [
            Finding(f"most at once, simulated, {length:,} tokens a request", answer.most_running, ""),
            Finding(f"output, {length:,} tokens a request", answer.tokens_per_s, "tokens/s"),
            Finding(f"evictions, {length:,} tokens a request", answer.evictions, ""),
        ]
    return memory._replace(
        because=memory.because
        + "; a simulated queue that never empties fills the cache, and evicts where requests are longer",
        figures=(*memory.figures, *figures),
        commands=(
            *memory.commands,
            f"oomless speed {CODER} --gpu t4 --engine-version 0.19.0 --max-model-len 4096 "
            "--arrival-rate 50 --requests 400 "
            "--input-len 256 --output-len 256",
        ),
    )


def c13() -> Evidence:
    """13B on an H100: memory as before, and which reading of 22 ms holds."""
    memory = serving.c13()
    figures = []
    longest = 0
    for tokens in (128, 256, 512, 1024, 2048):
        first = served(PRO, "h100", 1, (tokens, 2, 1), engine=TRTLLM.name).ttft_s
        figures.append(Finding(f"first token of {tokens:,} tokens, 16 bit", first.value * MS, "ms"))
        longest = tokens if first.value * MS <= 22 else longest
    each = served(PRO, "h100", 1, (128, 128, 1), engine=TRTLLM.name).tpot_s
    figures.append(Finding("each further token, 16 bit", each.value * MS, "ms"))
    reading = f"the first token of up to about {longest:,} tokens" if longest else "nothing but a step or two"
    return memory._replace(
        because=memory.because.replace(
            "(the 22 ms are not settled here)",
            f"; in 22 ms comes {reading}, or {22 / (each.value * MS):.1f} further tokens: no whole answer",
        ).replace(" ;", ";"),
        figures=(*memory.figures, *figures),
        commands=(
            *memory.commands,
            f"oomless speed {PRO} --gpu h100 --engine trtllm --max-model-len 4096 "
            "--input-len 512 --output-len 128",
        ),
    )


def c15() -> Evidence:
    """Three instances on an Orin: memory as before; they share one memory's bandwidth."""
    memory = compressed.c15()
    alone = served(LITE, "jetson-agx-orin-32gb", 1, (256, 128, 16), max_model_len=2048)
    shared = alone.tokens_per_s.value / 3
    return memory._replace(
        because=memory.because.replace("not settled here)", "shared: each instance gets a third)"),
        figures=(
            *memory.figures,
            Finding("one instance alone, 16 requests at once", alone.tokens_per_s.value, "tokens/s"),
            Finding("each of three instances at most", shared, "tokens/s"),
            Finding("each request of three times sixteen", shared / 16, "tokens/s"),
        ),
    )


def c16() -> Evidence:
    """0.7B on a Raspberry Pi: memory as before, and how fast it reads and writes."""
    memory = compressed.c16()
    speed = served(
        LITE,
        "raspberry-pi-5",
        1,
        (500, 100, 1),
        engine=LLAMACPP.name,
        quantization="q4_0",
        max_model_len=2048,
    )
    return memory._replace(
        because=memory.because.replace(
            " (the speed is not settled here)",
            "; it writes faster than one reads, but takes seconds to read a prompt of 500 tokens",
        ),
        figures=(
            *memory.figures,
            Finding("tokens a second, once it writes", speed.tpot_s.over(1).value, ""),
            Finding("first token of 500 tokens", speed.ttft_s.value, "s"),
        ),
    )


def c20() -> Evidence:
    """Data parallelism on 8 x A100: what the all-reduce leaves, by batch; and how large a model may be."""
    figures = []
    scaled = []
    for micro in (1, 4, 16):
        asked = TrainingAsked(framework="deepspeed", sharding="ddp", micro_batch=micro, seq_len=1024)
        one, eight = (training_speed(load(CODER), asked, parse_gpu(f"a100-80gb:{count}")) for count in (1, 8))
        scaled.append(100 * eight.tokens_per_s.value / 8 / one.tokens_per_s.value)
        figures.append(
            Finding(f"scaling of 1.3B over 8 cards, {micro} x 1,024 tokens a card", scaled[-1], "%")
        )
    limit = load_limit()
    figures += [Finding(f"parameters whose states fill a {name}", size, "billion") for name, size in limit]
    return Evidence(
        "depends",
        f"within a node the all-reduce hides behind the backward pass: {scaled[0]:.0f} to "
        f"{scaled[-1]:.0f} % by the batch, so 92 % is what a "
        "smaller batch or a slower link gives; below 5B is the limit of memory: 16 B a "
        "parameter fill a card of 80 GB at that size",
        tuple(figures),
        (
            f"oomless train {CODER} --gpu a100-80gb:8 --framework deepspeed --sharding ddp "
            "--micro-batch 4 --seq-len 1024",
        ),
    )


def load_limit() -> tuple[tuple[str, float], ...]:
    """Parameters at 16 B each, FP32 weights, gradients and two moments or their mixed-precision likes, on two
    cards."""
    return tuple(
        (name, parse_gpu(gpu).card.memory_bytes / 16 / GB)
        for name, gpu in (("40 GB card", "a100-40gb"), ("80 GB card", "a100-80gb"))
    )


SETTLERS = {"C07": c07, "C08": c08, "C10": c10, "C13": c13, "C15": c15, "C16": c16, "C20": c20}
