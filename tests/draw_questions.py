"""Draw questions for tests/surface/answers.txt: every engine and era, family, format, layout; training,
plans, speed, cost, traces, tables.

`python tests/draw_questions.py` prints the questions that are frozen when the file is made anew. Once drawn,
the file itself is the list: what is added later is added there, so that a new model or card moves no old
question.
"""

from collections.abc import Iterator
from random import Random

from oomless import facts
from oomless.engines import engine
from oomless.facts.options import ENGINE_NAMES

Words = list[str]

CARDS = "h200:8 h100:8 h100:8x2 b200:8 a100-80gb:4 rtx-4090:2 l40s:4 mi300x:8 24GiB 80GiB:8 h20:8".split()
CARDS_OF = {
    "vllm-ascend": ["ascend-910b:16", "ascend-910b:8"],
    "vllm-hpu": ["gaudi-3:8", "gaudi-2:8"],
    "trtllm": ["h200:8", "b200:8", "h100:4", "l40s:2", "a100-80gb:8"],
    "llamacpp": ["rtx-4090:2", "rtx-3090", "24GiB:2", "m3-ultra-512gb", "h100:4", "cpu:512GiB"],
    "ik-llamacpp": ["rtx-4090:2", "rtx-3090", "24GiB:4", "cpu:512GiB"],
    "ollama": ["rtx-4090:2", "rtx-3090", "m3-ultra-512gb"],
}
FORMATS = {
    "llamacpp": ["q4_k_m", "q8_0", "iq4_xs", "q2_k"],
    "ik-llamacpp": ["q4_k_m", "q8_0"],
    "ollama": ["q4_k_m", "q8_0"],
    "transformers": ["nf4", "int8", "fp8"],
}


def maybe(draw: Random, chance: float, *words: str) -> Words:
    return list(words) if draw.random() < chance else []


def model_names() -> list[str]:
    return [row["name"] for row in facts.table("catalogue")]


def deepseek_first(draw: Random) -> str:
    names = model_names()
    ours = [name for name in names if name.startswith("deepseek")]
    return draw.choice(ours) if draw.random() < 0.5 else draw.choice(names)


def card_for(draw: Random, name: str) -> str:
    return draw.choice(CARDS_OF.get(name, CARDS))


def serving_words(draw: Random, name: str) -> Words:
    """Flags of one engine, most of them sensible."""
    vllm, llama = name.startswith("vllm"), name in ("llamacpp", "ik-llamacpp", "ollama")
    words: Words = []
    if not llama and name != "transformers":
        words += maybe(draw, 0.5, "--tp", draw.choice("1248"))
        words += maybe(draw, 0.15, "--pp", "2")
        words += maybe(draw, 0.3, "--max-num-seqs", draw.choice(["16", "64", "256", "1024"]))
        words += maybe(draw, 0.3, "--max-num-batched-tokens", draw.choice(["2048", "8192", "32768"]))
        words += maybe(draw, 0.2, "--enforce-eager")
        words += maybe(draw, 0.2, "--quantization", draw.choice(["fp8", "awq", "nvfp4"]))
        words += maybe(draw, 0.3, "--kv-cache-dtype", draw.choice(["fp8", "auto", "bfloat16"]))
        words += maybe(draw, 0.2, "--enable-expert-parallel")
    if vllm or name == "sglang":
        words += maybe(draw, 0.15, "--dp", "2")
        words += maybe(draw, 0.2, "--speculative-config", "mtp")
    if vllm:
        words += maybe(draw, 0.2, "--gpu-memory-utilization", draw.choice(["0.85", "0.95", "0.5"]))
        words += maybe(draw, 0.1, "--decode-context-parallel-size", "2")
    if name == "vllm":
        words += maybe(draw, 0.1, "--enable-lora", "--max-loras", "2", "--max-lora-rank", "32")
        words += maybe(draw, 0.08, "--cpu-offload-gb", "8")
    if name == "sglang":
        words += maybe(draw, 0.3, "--mem-fraction-static", draw.choice(["0.8", "0.9"]))
        words += maybe(draw, 0.2, "--enable-dp-attention")
    if llama:
        words += maybe(draw, 0.4, "-ngl", draw.choice(["10", "20", "99"]))
        words += maybe(draw, 0.3, "--ubatch-size", draw.choice(["128", "2048"]))
        words += maybe(draw, 0.3, "--cache-type-k", "q8_0")
        words += maybe(draw, 0.2, "--cpu-moe")
        words += maybe(draw, 0.2, "--max-num-seqs", "4")
    if name in FORMATS:
        words += maybe(draw, 0.7, "--quantization", draw.choice(FORMATS[name]))
    words += maybe(draw, 0.6, "--max-model-len", draw.choice(["4096", "8192", "32768", "131072"]))
    words += maybe(draw, 0.4, "--concurrency", draw.choice(["4", "16", "64"]))
    return words


def serving() -> Iterator[Words]:
    """Every engine x its eras x models, then every model of the catalogue once on the default engine."""
    for name in ENGINE_NAMES:
        for version in engine(name).versions:
            for index in range(30 if name in ("vllm", "sglang", "llamacpp", "trtllm") else 16):
                draw = Random(f"{name} {version} {index}")
                words = [
                    "infer",
                    deepseek_first(draw),
                    "--gpu",
                    card_for(draw, name),
                    "--engine",
                    name,
                    "--engine-version",
                    version,
                ]
                yield [*words, *serving_words(draw, name)]
    for model in model_names():
        draw = Random(f"model {model}")
        yield [
            "infer",
            model,
            "--gpu",
            draw.choice(["h200:8", "h100:8", "b200:8"]),
            "--max-model-len",
            "4096",
        ]


def training() -> Iterator[Words]:
    """Every framework x method x sharding, and what people switch on."""
    small = [
        "deepseek-coder-1.3b",
        "deepseek-v2-lite",
        "qwen3-8b",
        "deepseek-r1-distill-llama-8b",
        "deepseek-moe-16b",
        "gpt-oss-20b",
    ]
    large = ["deepseek-v3", "deepseek-r1-distill-llama-70b", "qwen3-30b-a3b", "glm-4.5-air", "deepseek-v2"]
    shardings = "none ddp zero1 zero2 zero3 fsdp1 fsdp2 hsdp distopt megatron_fsdp".split()
    for row in facts.table("frameworks"):
        name = row["framework"]
        for method in row["methods"].split():
            for index in range(12):
                draw = Random(f"{name} {method} {index}")
                card = draw.choice(
                    ["a100-80gb:8", "h100:8", "rtx-4090:2", "h200:8x4", "a100-40gb", "80GiB:64"]
                )
                words = [
                    "train",
                    draw.choice(small if draw.random() < 0.7 else large),
                    "--gpu",
                    card,
                    "--framework",
                    name,
                    "--method",
                    method,
                ]
                words += maybe(draw, 0.5, "--sharding", draw.choice(shardings))
                words += maybe(draw, 0.3, "--tp", draw.choice("248"))
                words += maybe(draw, 0.2, "--pp", "2")
                words += maybe(draw, 0.15, "--cp", "2")
                words += maybe(draw, 0.2, "--ep", draw.choice("48"))
                words += maybe(draw, 0.5, "--recompute", draw.choice(["none", "selective", "full"]))
                words += maybe(draw, 0.3, "--micro-batch", draw.choice("248"))
                words += maybe(draw, 0.5, "--seq-len", draw.choice(["1024", "2048", "8192"]))
                words += maybe(
                    draw,
                    0.3,
                    "--optimizer",
                    draw.choice(["adamw", "adamw-8bit", "sgd", "muon", "adafactor", "adamw-foreach"]),
                )
                words += maybe(draw, 0.2, "--loss", draw.choice(["chunked", "fused"]))
                words += maybe(
                    draw, 0.2, "--offload", draw.choice(["optimizer", "optimizer,params", "activations"])
                )
                words += maybe(draw, 0.15, "--task", draw.choice(["sft", "dpo", "kto", "grpo", "ppo"]))
                yield words
    yield ["train", "--from", "docs/examples/deepseek_v3_16b.toml"]
    yield [
        "train",
        "--megatron-args",
        "docs/examples/pretrain_gpt.sh",
        "--gpu",
        "h100:8",
        "--world-size",
        "8",
    ]


def plans() -> Iterator[Words]:
    """plan, speed and cost."""
    few = [
        "deepseek-r1",
        "deepseek-v3.2",
        "deepseek-v4-flash",
        "deepseek-v2-lite",
        "qwen3-8b",
        "gpt-oss-20b",
        "deepseek-r1-distill-qwen-32b",
    ]
    cards = ["h100", "h200:8", "b200", "rtx-4090", "a100-80gb:8", "mi300x", "dgx-spark", "l40s:4"]
    for index in range(45):
        draw = Random(f"plan {index}")
        words = [
            "plan",
            draw.choice(few),
            "--gpu",
            draw.choice(cards),
            *maybe(draw, 0.3, "--gpu", draw.choice(cards)),
        ]
        words += maybe(draw, 0.6, "--context", draw.choice(["4096", "32768"])) + maybe(
            draw, 0.5, "--concurrency", draw.choice(["8", "64"])
        )
        words += [
            f"--{goal}"
            for goal in draw.sample(["fastest", "fewest", "least-quantized", "front"], 1)
            if draw.random() < 0.5
        ]
        words += maybe(draw, 0.3, "--engine", draw.choice(["vllm", "sglang", "llamacpp"]))
        yield words
    for index in range(25):
        draw = Random(f"plan train {index}")
        card = draw.choice(["h100:8", "a100-80gb:4", "rtx-4090:1", "h200:8x2"])
        words = [
            "plan",
            draw.choice(few[3:]),
            "--for",
            "train",
            "--gpu",
            card,
            "--method",
            draw.choice(["full", "lora", "qlora"]),
        ]
        yield [
            *words,
            *maybe(draw, 0.5, "--global-batch", "64"),
            *maybe(draw, 0.3, "--framework", draw.choice(["fsdp", "deepspeed", "peft"])),
        ]
    for index in range(120):
        draw = Random(f"speed {index}")
        name = draw.choice(["vllm", "vllm", "sglang", "trtllm", "llamacpp", "transformers"])
        words = [
            "speed",
            deepseek_first(draw),
            "--gpu",
            card_for(draw, name),
            "--engine",
            name,
            *serving_words(draw, name),
        ]
        words += maybe(draw, 0.4, "--input-len", "1024", "--output-len", "256") + maybe(
            draw, 0.3, "--arrival-rate", "2"
        )
        yield words
    for index in range(30):
        draw = Random(f"cost {index}")
        words = [
            "cost",
            "--gpu",
            draw.choice(["h100:8", "h200:8", "a100-80gb:8", "l40s:4", "b200:8"]),
            *maybe(draw, 0.5, "--months", "24"),
        ]
        yield [
            *words,
            *maybe(draw, 0.5, "--tokens-per-s", "1000"),
            *maybe(draw, 0.3, "--utilization", "0.5"),
            *maybe(draw, 0.2, "--list-prices"),
        ]


def recordings_and_tables() -> Iterator[Words]:
    """Stored traces through the simulated allocator, and every table of measured rows."""
    for file in ("coder-1.3b", "coder-1.3b-recompute"):
        for card in ("rtx-4090", "a100-80gb", "h100", "8GiB"):
            yield ["trace", "--from", f"docs/traces/{file}.trace", "--card", card]
        yield ["trace", "--from", f"docs/traces/{file}.trace", "--card", "rtx-4090", "--expandable-segments"]
    for table in (
        "gguf_sizes.csv",
        "inference.csv",
        "inference_fresh.csv",
        "inference_fresh_llamacpp.csv",
        "perf.csv",
        "perf_fresh.csv",
    ):
        yield ["validate", f"tests/tables/{table}"]
    for table in (
        "perf_held_out.csv",
        "perf_more.csv",
        "training.csv",
        "training_fresh.csv",
        "megatron.jsonl",
        "megatron_fresh.jsonl",
    ):
        yield ["validate", f"tests/tables/{table}"]


if __name__ == "__main__":
    drawn = [*serving(), *training(), *plans(), *recordings_and_tables()]
    print(*sorted({" ".join(words) for words in drawn}), sep="\n")
