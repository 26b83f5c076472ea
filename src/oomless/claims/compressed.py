"""Claims about fewer bits and small devices: what the bytes alone settle. Quality, speed and prices are not
settled here."""

from ..engines.llamacpp import LLAMACPP
from ..engines.transformers import TRANSFORMERS
from ..model.gguf_model import as_gguf
from ..model.load import load
from ..run.serving import Asked
from ..units import gb, gib
from .evidence import Evidence, Finding
from .serving import held_weights, on_one_card

LITE, CODER = "profile-deepseek-lite-0.7b", "deepseek-coder-1.3b"


def c05() -> Evidence:
    """0.7B from 8 GB to 4.5 GB by FP16: how many sequences make that true?"""
    figures = []
    for concurrency in (1, 12):
        asked = Asked(engine=TRANSFORMERS.name, context=2048, concurrency=concurrency)
        for dtype in ("float32", "float16"):
            total = on_one_card(LITE, "rtx-4090", asked._replace(dtype=dtype)).ledger.total_bytes
            figures.append(Finding(f"{dtype}, {concurrency} x 2,048 tokens", gb(total), "GB"))
    return Evidence(
        "depends",
        "weights fall from 2.8 to 1.4 GB and no further; 8 to 4.5 GB is a batch of about "
        "twelve sequences of 2,048 tokens under "
        "transformers, whose cache and activations halve too (the accuracy is not settled here)",
        tuple(figures),
        (
            f"oomless infer {LITE} --gpu rtx-4090 --engine transformers --dtype float32 "
            "--context 2048 --concurrency 12",
            f"oomless infer {LITE} --gpu rtx-4090 --engine transformers --dtype float16 "
            "--context 2048 --concurrency 12",
        ),
    )


def c11() -> Evidence:
    """1.3B in INT8 in 1.8 GB: weights, and what runs beside them."""
    asked = Asked(engine_version="0.19.0", max_model_len=2048, max_num_seqs=8, quantization="w8a8")
    answer = on_one_card(CODER, "t4", asked)
    file = load(CODER)
    return Evidence(
        "depends",
        "one byte a parameter is 1.35 GB, with embedding and head in 16 bit 1.5; a CUDA context "
        "alone then makes it about 2, and a "
        "server more (the accuracy is not settled here)",
        (
            Finding("all parameters in 8 bit", gb(file.num_parameters), "GB"),
            Finding(
                "weights as vLLM holds them, embedding and head in 16 bit", gb(held_weights(answer)), "GB"
            ),
            Finding("in all, one sequence of 2,048 tokens", gb(answer.ledger.total_bytes), "GB"),
        ),
        (
            f"oomless infer {CODER} --gpu t4 --engine-version 0.19.0 --quantization w8a8 "
            "--max-model-len 2048 --max-num-seqs 8",
        ),
    )


def c15() -> Evidence:
    """Three engines on one Jetson, each with 16 sequences."""
    asked = Asked(
        engine_version="0.19.0",
        instances=3,
        max_model_len=2048,
        concurrency=16,
        max_num_seqs=16,
        gpu_memory_utilization=0.8,
    )
    answer = on_one_card(LITE, "jetson-agx-orin-32gb", asked)
    return Evidence(
        "holds" if answer.verdict == "fits" else "depends",
        "three engines that share four fifths of the module hold 16 full sequences each; the "
        "system shares that memory (the speed is "
        "not settled here)",
        (
            Finding("each engine needs", gib(answer.ledger.total_bytes), "GiB"),
            Finding("each engine has", gib(answer.ledger.capacity_bytes), "GiB"),
            Finding("tokens of cache each", answer.kv_cache.max_tokens, ""),
        ),
        (
            f"oomless infer {LITE} --gpu jetson-agx-orin-32gb --engine-version 0.19.0 "
            "--instances 3 --max-model-len 2048 "
            "--concurrency 16 --max-num-seqs 16 --gpu-memory-utilization 0.8",
        ),
    )


def c16() -> Evidence:
    """0.7B in INT4 in 0.35 GB, on a Raspberry Pi."""
    model = load(LITE)
    answer = on_one_card(
        LITE, "raspberry-pi-5", Asked(engine=LLAMACPP.name, context=2048, quantization="q4_0")
    )
    figures = [Finding("four bits a parameter", gb(model.num_parameters) / 2, "GB")]
    figures += [
        Finding(f"file in {word}", gb(as_gguf(model, word).checkpoint_bytes), "GB")
        for word in ("Q4_0", "Q4_K_M")
    ]
    total = answer.ledger.total_bytes + answer.ram_bytes
    figures.append(Finding("in all with q4_0, one sequence of 2,048 tokens", gb(total), "GB"))
    return Evidence(
        "does not hold",
        "0.35 GB is exactly four bits, which no format reaches: scales make it 4.5, and the "
        "output stays in more; it fits the board "
        "with room to spare (the speed is not settled here)",
        tuple(figures),
        (f"oomless infer {LITE} --gpu raspberry-pi-5 --engine llamacpp --quantization q4_0 --context 2048",),
    )


def c30() -> Evidence:
    """INT8 inference on an L40: what does it hold?"""
    figures = []
    for name in ("profile-deepseek-pro-13b", "deepseek-r1-distill-qwen-32b"):
        answer = on_one_card(
            name, "l40", Asked(engine_version="0.19.0", quantization="w8a8", max_model_len=4096)
        )
        figures.append(Finding(f"{name} in INT8, in all", gib(answer.ledger.total_bytes), "GiB"))
        figures.append(Finding(f"{name}, tokens of cache", answer.kv_cache.max_tokens, ""))
    return Evidence(
        "depends",
        "in INT8 an L40 holds 13B easily and 32B just so; the loss is one of quality, which bytes do "
        "not show, and the price is not settled here",
        tuple(figures),
        (
            "oomless infer profile-deepseek-pro-13b --gpu l40 --engine-version 0.19.0 "
            "--quantization w8a8 --max-model-len 4096",
        ),
    )


SETTLERS = {"C05": c05, "C11": c11}
