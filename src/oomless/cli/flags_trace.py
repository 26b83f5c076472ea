"""The options of `trace`: those of `train`, those of a prompt, and how a trace is made, kept and shown."""

from ..run.tracing import ATTENTIONS
from .flags import Flag
from .flags_train import BESIDE, TRAIN

WITHOUT = (
    "attention",
    "compare",
    "plot",
    "explain",
    "json",
    "gpu",
    "megatron_args",
    "world_size",
    "from_file",
    "framework_version",
    *BESIDE,
)
OWN = (
    Flag(
        ("--card", "--gpu"),
        "gpu",
        "text",
        "Card whose kernels are followed, and whose memory is the limit; a count makes "
        "ranks: h100:8 [kernels of an h100].",
    ),
    Flag(
        ("--for",),
        "purpose",
        "text",
        "What is run: two training steps, or a prefill and decode steps [train].",
        ("train", "infer"),
    ),
    Flag(
        ("--attention", "--attn-implementation"),
        "attention",
        "text",
        "Kernel of the attention [by card and heads]; cpu follows the CPU's own kernels.",
        ATTENTIONS,
    ),
    Flag(("--rank",), "rank", "whole", "Which rank of the layout [0]."),
    Flag(("--dtype",), "dtype", "text", "infer: type of weights and cache [bfloat16]."),
    Flag(("--context",), "context", "whole", "infer: tokens of each prompt [1024]."),
    Flag(("--concurrency",), "concurrency", "whole", "infer: prompts at once [1]."),
    Flag(("--decode",), "decode", "whole", "infer: tokens decoded after the prefill [2]."),
    Flag(
        ("--allocator",),
        "allocator",
        "text",
        "Settings as in PYTORCH_CUDA_ALLOC_CONF: expandable_segments:True,max_split_size_mb:128.",
    ),
    Flag(
        ("--against",),
        "against",
        "text",
        "Both answers side by side, with the difference a line.",
        ("closed-form",),
    ),
    Flag(
        ("--check",),
        "check",
        "switch",
        "Run the same step for real on this CPU and compare (--attention cpu; small models).",
    ),
    Flag(("--save",), "save", "text", "Keep the trace in this file."),
    Flag(
        ("--from",),
        "from_file",
        "text",
        "Replay a kept trace, under other --allocator settings or on another --card, instead of MODEL.",
    ),
    Flag(("--plot",), "plot", "text", "Write the timeline to this .svg file."),
    Flag(("--chrome",), "chrome", "text", "Write the timeline as Chrome trace JSON (Perfetto opens it)."),
    Flag(
        ("--snapshot",),
        "snapshot",
        "text",
        "Write a memory snapshot in torch's format (torch.cuda._memory_viz opens it).",
    ),
    Flag(
        ("--explain",),
        "explain",
        "text",
        "Show the lines of a category (or all): tensors, operator, line of code.",
    ),
    Flag(("--json",), "json", "switch", "One JSON object on stdout."),
)
TRACE = (*OWN[:9], *(flag for flag in TRAIN if flag.field not in WITHOUT), *OWN[9:])
OUTPUT = ("json", "explain", "plot", "chrome", "snapshot", "save", "against", "check", "from_file", "strict")
"""Fields that say how to answer, not what is asked."""
