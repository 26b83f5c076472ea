"""How logs of trainers on transformers read - its own, TRL's, LLaMA-Factory's, Axolotl's, Unsloth's - and
what the lines ask that they print before the first step (transformers/trainer.py, llamafactory/model,
unsloth/trainer.py)."""

from ...recording.log_lines import NUMBER, LogLine, LogReader, Said, says
from ...run.training import TrainingAsked
from ..deepspeed.log import ZERO_STAGE
from ..logged import RANK, LoggedTraining, LogWords

N, COUNT = NUMBER, r"(\d[\d,]*)"
SETTINGS = (
    LogLine(
        b"batch size per ",
        rf"Instantaneous batch size per (?:device|GPU) = {COUNT}",
        says("micro_batch count"),
    ),
    LogLine(
        b"Total train batch size (",
        rf"Total train batch size \(w\. parallel, (?:buffer, )?distributed & accumulation\) = {COUNT}",
        says("global_batch count"),
    ),
    LogLine(
        b"Gradient Accumulation steps", rf"Gradient Accumulation steps = {COUNT}", says("grad_accum count")
    ),
    LogLine(
        b"of trainable parameters",
        rf"Number of trainable parameters = {COUNT}",
        says("num_trainable count", rank=1),
    ),
    LogLine(
        b"loading configuration file ",
        r"loading configuration file config\.json from cache at \S*?models--([\w.-]+)[/\\]snapshots",
        says("model_folder text"),
    ),
    LogLine(
        b"loading configuration file ",
        r"loading configuration file (\S+)[/\\]config\.json\s*$",
        says("model text"),
    ),
    LogLine(
        b"compute dtype: torch.",
        r"world size: (\d+), device: .*?compute dtype: torch\.(\w+)",
        says("world_size count", "compute_dtype text"),
    ),
    LogLine(b"Quantizing model to ", r"Quantizing model to (\d) bit", says("quantized_bits count")),
    LogLine(b"checkpointing enabled", r"(Gradient checkpointing enabled)", says("recompute text")),
    LogLine(b"Fine-tuning method: ", r"Fine-tuning method: (\w+)", says("method text")),
    LogLine(b"in half precision", r"(Pure bf16)[ /].* in half precision", says("pure text")),
    LogLine(b"linear modules: ", r"Found linear modules: ([\w,]+)", says("lora_targets text")),
    LogLine(b"ing FlashAttention-2 for", r"Using (FlashAttention-2) for faster", says("attention text")),
    LogLine(b"vanilla attention impl", r"Using (vanilla) attention implementation", says("attention text")),
    ZERO_STAGE,
    LogLine(
        b"Batch size per device = ",
        rf"Batch size per device = {COUNT} \| Gradient accumulation steps = {COUNT}",
        says("micro_batch count", "grad_accum count"),
    ),
    LogLine(b"Data Parallel GPUs = ", r"Data Parallel GPUs = (\d+)", says("world_size count")),
    LogLine(
        b"Trainable parameters = ",
        rf"Trainable parameters = {COUNT}/{COUNT}",
        says("num_trainable count", "num_parameters count"),
    ),
    LogLine(b"load_cfg", r"\bconfig:\s*(\{[\s\S]*)", says("configuration json"), goes_on=True),
)
LOG = LogReader(
    "transformers",
    (
        LogLine(b"'train_runtime'", r"\{'train_runtime': '?([\d.]+)", says("runtime text"), "ready"),
        LogLine(b"memory(GiB)", rf"'memory\(GiB\)': '?{N}", (Said("peak_reserved", "GiB", "most"),)),
        LogLine(
            b" memory usage ",  # of Axolotl: GPU, later the device's name
            r"(?:GPU|(?:cuda|npu|mps|xpu|hpu)(?::\d+)?) memory usage .*?: "
            rf"{N}GB? \(\+{N}GB? (?:cache|misc)\b",
            (Said("allocated", "GiB", "last"),),
        ),
        LogLine(
            b"memory/",
            rf"'memory/(?:max_mem_|max_)active ?\([Gg]iB\)': '?{N}",
            (Said("peak_active", "GiB", "most"),),
        ),
        LogLine(
            b"memory/",
            rf"'memory/(?:max_mem_|max_)allocated ?\([Gg]iB\)': '?{N}",
            (Said("peak_allocated", "GiB", "most"),),
        ),
        LogLine(
            b"memory/",
            rf"'memory/device_(?:mem_)?reserved ?\([Gg]iB\)': '?{N}",
            (Said("peak_reserved", "GiB", "most"),),
        ),
        LogLine(
            b"max_memory_allocated (GB)",  # of Optimum for Gaudi
            rf"'max_memory_allocated \(GB\)': {N}",
            (Said("peak_allocated", "GiB", "most"),),
        ),
        LogLine(
            b"total_memory_available (GB)",
            rf"'total_memory_available \(GB\)': {N}",
            says("gpu_memory_bytes GiB"),
        ),
        LogLine(b"==  Unsloth", r"Unsloth:? v?(\d{4}\.\d+\.\d+)", says("engine_version text"), "start"),
        LogLine(
            b"Max memory",
            r"(?:GPU = |GPU: |/\|\s+)([A-Z][^.\n]{1,60})\."
            rf"(?: Num GPUs = \d+\.)? Max memory(?: =|:) {N} GB",
            says("gpu text", "gpu_memory_bytes GiB"),
        ),
        LogLine(
            b"trainable params:",
            r"trainable params: ([\d,]+) \|\| all params: ([\d,]+)",
            says("num_trainable count", "num_parameters count"),
        ),
        LogLine(
            b"Peak reserved memory = ",
            rf"Peak reserved memory = {N} GB",
            (Said("peak_reserved", "GiB", "most"),),
        ),
        *SETTINGS,
        LogLine(b"***** Running training", r"\*\*\*\*\* Running training \*\*\*\*\*", (), "start"),
    ),
    label=RANK,
    also=((b"==  Unsloth", "unsloth"), (b"llamafactory.", "llama-factory"), (b"[axolotl.", "axolotl")),
    is_training=True,
)


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the question of what a trainer prints; None: it says no batch."""
    micro = words.number("micro_batch")
    if micro is None:
        return None
    accumulated = words.number("grad_accum") or 1
    whole = words.number("global_batch")
    ranks = words.number("world_size") or (max(1, whole // (micro * accumulated)) if whole else None)
    trained, of = words.number("num_trainable"), words.number("num_parameters")
    adapters = bool(trained and of and trained < of)
    framework = "peft" if adapters and words.program == "transformers" else words.program
    stage = words.number("zero_stage")
    asked = TrainingAsked(
        framework=framework,
        task="sft",
        method="lora" if adapters else "full",
        micro_batch=micro,
        grad_accum=accumulated,
        sharding=("ddp", "zero1", "zero2", "zero3")[stage] if stage in (0, 1, 2, 3) else None,
        recompute="full" if words.said("recompute") else None,
    )
    unsaid = ("seq_len", "precision", "optimizer", *(("lora_rank",) if adapters else ()))
    return LoggedTraining(
        words.said("model_folder").replace("--", "/", 1) or words.said("model"), asked, ranks, unsaid
    )
