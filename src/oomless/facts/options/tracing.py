"""What `trace` is asked beside the options of training: a prompt, and how a trace is made, kept and shown."""

from . import Option
from .training import ASKED as TRAINING

TOKENS = 100_000_000

# A table: an option in a few lines.
# fmt: off
OWN = (
    Option("gpu", "--card --gpu", "text", "trace",
           "Card whose attention kernels and workspaces are followed and whose memory is the limit; with a "
           "count, ranks: h100:8 [kernels of an h100, no limit]."),
    Option("purpose", "--for", "text", "trace",
           "What is run: two training steps, or a prefill and decode steps [train].", "train",
           choices=("train", "infer")),
    Option("attention", "--attention --attn-implementation", "text", "trace",
           "Kernel of the attention; auto: as torch chooses on the card; cpu follows the CPU's own kernels "
           "[auto].", "auto", choices=("auto", "flash", "efficient", "cudnn", "math", "eager", "cpu")),
    Option("rank", "--rank", "whole", "trace", "Which rank of the layout [0].", 0),
    Option("dtype", "--dtype", "text", "trace", "infer: type of weights and cache [bfloat16].", "bfloat16",
           choices=("bfloat16", "float16", "float32")),
    Option("context", "--context", "tokens", "trace", "infer: tokens of each prompt [1024].", 1024, 1,
           TOKENS),
    Option("concurrency", "--concurrency", "whole", "trace", "infer: prompts at once [1].", 1, 1, TOKENS),
    Option("decode", "--decode", "whole", "trace", "infer: tokens decoded after the prefill [2].", 2, 0,
           4096),
    Option("allocator", "--allocator", "text", "trace",
           "Settings as in PYTORCH_CUDA_ALLOC_CONF: expandable_segments:True, max_split_size_mb:128, "
           "roundup_power2_divisions, garbage_collection_threshold, large_segment_size_mb, "
           "per_process_memory_fraction.", ""),
)
LEFT_OUT = ("framework_version",)
"""Of training: what a trace of the packages that are installed cannot be asked."""
ASKED: tuple[Option, ...] = (
    *OWN,
    *(
        option
        for option in TRAINING
        if option.field not in (*(own.field for own in OWN), *LEFT_OUT) and option.group != "beside"
    ),
)
ANSWER: tuple[Option, ...] = (
    Option("strict", "--strict", "switch", "answer", "Exit with 3 when the answer is tight."),
    Option("against", "--against", "text", "views", "Both answers side by side, with the difference a line.",
           choices=("closed-form",)),
    Option("check", "--check", "switch", "views",
           "Run the same step, or prefill and decode, for real on this CPU and compare (--attention cpu; "
           "small models)."),
    Option("save", "--save", "text", "ask", "Keep the trace in this file.", file="write"),
    Option("from_file", "--from", "text", "ask",
           "Replay a kept trace, under other --allocator settings or on another --card, instead of MODEL.",
           file="read"),
    Option("plot", "--plot", "text", "answer",
           "Write the timeline, bytes alive by category, to this .svg file.", file="write"),
    Option("chrome", "--chrome", "text", "answer",
           "Write the timeline as Chrome trace JSON, which Perfetto opens; a microsecond is an event.",
           file="write"),
    Option("snapshot", "--snapshot", "text", "answer",
           "Write a memory snapshot in torch's format (torch.cuda._memory_viz opens it): of a run that never "
           "happened.", file="write"),
    Option("explain", "--explain", "text", "answer",
           "Show the lines of a category (or all): tensors, operator, line of code."),
    Option("json", "--json", "switch", "answer", "One JSON object on stdout."),
)
