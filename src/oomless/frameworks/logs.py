"""How logs of training read: Megatron-LM, DeepSpeed, torchtitan, torchtune, and what trainers on transformers
print.

Megatron's "MB" and DeepSpeed's "GB" are binary: both divide by powers of 1,024.
"""

from ..recording.log_lines import NUMBER, LogLine, LogReader, Said, says

N = NUMBER
RANK = r"\[(?:[Rr]ank ?|RANK )(\d+)\]()"
MEGATRON = LogReader(
    "megatron",
    (
        LogLine(
            b"| max allocated:",
            rf"memory \(MB\) \| allocated: {N} \| max allocated: {N} \| reserved: {N} \| max reserved: {N}",
            (
                Said("allocated", "MiB", "last"),
                Said("peak_allocated", "MiB", "most"),
                Said("reserved", "MiB", "last"),
                Said("peak_reserved", "MiB", "most"),
            ),
        ),
        LogLine(
            b"model parallel rank (",
            r"number of parameters on \(tensor, pipeline\) model parallel rank \((\d+), (\d+)\)",
            (),
        ),
        LogLine(
            b" tensor_model_parallel_size ", r"tensor_model_parallel_size \.{3,} (\d+)\s*$", says("tp count")
        ),
        LogLine(
            b" pipeline_model_parallel_size ",
            r"pipeline_model_parallel_size \.{3,} (\d+)\s*$",
            says("pp count"),
        ),
        LogLine(b" data_parallel_size ", r"data_parallel_size \.{3,} (\d+)\s*$", says("dp count")),
        LogLine(
            b" expert_model_parallel_size ", r"expert_model_parallel_size \.{3,} (\d+)\s*$", says("ep count")
        ),
        LogLine(b"using world size:", r"using world size: (\d+)\b", says("world_size count"), "start"),
        LogLine(
            b"using world size:",
            r"world size: \d+, data-parallel[- ]size: (\d+)\b",
            says("dp count", rank=1),
        ),
        LogLine(
            b"using world size:",
            r"(?<!encoder-)tensor-model-parallel[- ]size: (\d+)\b",
            says("tp count", rank=1),
        ),
        LogLine(
            b"using world size:",
            r"(?<!encoder-)pipeline-model-parallel[- ]size: (\d+)\b",
            says("pp count", rank=1),
        ),
        LogLine(
            b"elapsed time per iteration", r"iteration +(\d+)/", says("steps count", keep="last"), "ready"
        ),
    ),
    label=RANK,
    is_training=True,
)
DEEPSPEED = LogReader(
    "deepspeed",
    (
        LogLine(
            b" Max_MA ",
            rf"\bMA {N} GB\s+Max_MA {N} GB\s+CA {N} GB\s+Max_CA {N} GB",
            (
                Said("allocated", "GiB", "last"),
                Said("peak_allocated", "GiB", "most"),
                Said("reserved", "GiB", "last"),
                Said("peak_reserved", "GiB", "most"),
            ),
        ),
        LogLine(
            b"MaxMemAllocated=",  # of its timer, which divides by 1024^3
            rf"\bMemAllocated={N}GB, MaxMemAllocated={N}GB",
            (Said("allocated", "GiB", "last"), Said("peak_allocated", "GiB", "most")),
        ),
        LogLine(
            b"CPU Virtual Memory",
            rf"CPU Virtual Memory:\s+used = {N} GB, percent = {N}%",
            (Said("host_used", "GiB", "most"), Said("host_share", "percent", "most")),
        ),
        LogLine(
            b"DeepSpeed info: version",
            r"DeepSpeed info: version=(\S+),",
            says("engine_version text"),
            "start",
        ),
        LogLine(
            b"ZeRO optimizer",
            r"Creating (?:torch\.\w+ |fp16 |bf16 )?ZeRO stage (\d) optimizer",
            says("zero_stage count"),
        ),
        LogLine(b"fp16 partitions", r"(?:Before|After) creating fp16 partitions", says()),
    ),
    label=RANK,
    is_training=True,
)
TORCHTITAN = LogReader(
    "torchtitan",
    (
        LogLine(
            b"step:",
            rf"step: +(\d+) .*?memory: +{N}GiB\(",
            (Said("steps", "count", "last"), Said("peak_reserved", "GiB", "most")),
            "ready",
        ),
        LogLine(
            b"capacity: ",
            rf"(?:CUDA|XPU|HIP) capacity: (.+?) with {N}GiB memory",
            says("gpu text", "gpu_memory_bytes GiB"),
            "start",
        ),
        LogLine(b"memory usage for model: ", rf"memory usage for model: {N}GiB\(", says("weights_bytes GiB")),
        LogLine(
            b" total parameters",
            r"Model (\S+) (\S+) size: ([\d,]+) total parameters",
            says("model text", "flavor text", "num_parameters count"),
        ),
    ),
    label=RANK,
    is_training=True,
)
TRAINER = LogReader(
    "transformers",
    (
        LogLine(b"'train_runtime'", r"\{'train_runtime': '?([\d.]+)", says("runtime text"), "ready"),
        LogLine(b"memory(GiB)", rf"'memory\(GiB\)': '?{N}", (Said("peak_reserved", "GiB", "most"),)),
        LogLine(
            b" memory usage ",  # of Axolotl: GPU, later the device's name
            rf"(?:GPU|(?:cuda|npu|mps|xpu|hpu)(?::\d+)?) memory usage .*?: {N}GB? \(\+{N}GB? (?:cache|misc)\b",
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
            rf"(?:GPU = |GPU: |/\|\s+)([A-Z][^.\n]{{1,60}})\.(?: Num GPUs = \d+\.)? Max memory(?: =|:) {N} GB",
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
        LogLine(b"***** Running training", r"\*\*\*\*\* Running training \*\*\*\*\*", (), "start"),
    ),
    label=RANK,
    also=((b"==  Unsloth", "unsloth"),),
    is_training=True,
)
TORCHTUNE = LogReader(
    "torchtune",
    (
        LogLine(
            b"with resolved config",
            r"Running (\w*Recipe\w*) with resolved config",
            says("recipe text"),
            "start",
        ),
        LogLine(
            b"GPU peak memory alloc",  # "GB" of the first releases is 10^9 bytes
            rf"GPU peak memory allocation: {N} GiB",
            (Said("peak_allocated", "GiB", "most"),),
        ),
        LogLine(
            b"GPU peak memory reserved",
            rf"GPU peak memory reserved: {N} GiB",
            (Said("peak_reserved", "GiB", "most"),),
        ),
        LogLine(
            b"GPU peak memory active",
            rf"GPU peak memory active: {N} GiB",
            (Said("peak_active", "GiB", "most"),),
        ),
    ),
    label=RANK,
    is_training=True,
)
LOGS = (MEGATRON, DEEPSPEED, TORCHTITAN, TORCHTUNE, TRAINER)
