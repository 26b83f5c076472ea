"""What is asked of `plan`: a load, where to look, limits, and the order of rows."""

from . import ENGINE_NAMES, LOSSES, Option
from .money import PRICES

MAX_OF_A_STEP = 1 << 30

# A table: an option in a few lines.
# fmt: off
ASKED: tuple[Option, ...] = (
    Option("purpose", "--for", "text", "search", "What the machine is for [infer].", "infer",
           choices=("infer", "train")),
    Option("context", "--context", "tokens", "load",
           "Tokens of each sequence, prompt and output together [8192, or the model's own if that is less].",
           None, 1),
    Option("output_len", "--output-len", "tokens", "load", "How many of --context are output [an eighth].",
           None, 1),
    Option("concurrency", "--concurrency", "whole", "load",
           "Sequences at once, over all cards: replicas divide them [1].", 1, 1),
    Option("max_model_len", "--max-model-len", "tokens", "load",
           "Longest sequence that the engine shall admit [--context].", None, 1),
    Option("seq_len", "--seq-len", "tokens", "training", "Tokens of a sequence [4096].", 4096, 1,
           MAX_OF_A_STEP),
    Option("global_batch", "--global-batch", "whole", "training",
           "Sequences of a step over all cards [one micro-batch of each data-parallel rank].", None, 1,
           MAX_OF_A_STEP),
    Option("micro_batch", "--micro-batch", "whole", "training",
           "Sequences of a micro-batch [the fastest of 1, 2, 4 and 8 that fits].", None, 1, MAX_OF_A_STEP),
    Option("billion_tokens", "--billion-tokens", "positive", "training",
           "Tokens of the whole training, in billions: rows say their days and dollars."),
    Option("interruptions_per_day", "--interruptions-per-day", "number", "training",
           "Interruptions of a machine, as of spot ones: days and dollars count checkpoints and what is done "
           "again [0].", 0.0, 0, 1000),
    Option("method", "--method", "text", "training", "What is trained [full].", "full",
           choices=("full", "lora", "qlora")),
    Option("task", "--task", "text", "training",
           "What for: pretrain has sequences of one length, sft of many, dpo pairs of answers "
           "beside a frozen reference [pretrain].", "pretrain",
           choices=("pretrain", "sft", "dpo")),
    Option("frameworks", "--framework", "text", "training",
           "Framework, as often as wanted [FSDP2, DeepSpeed and Megatron-LM for full training; peft, "
           "LLaMA-Factory and Axolotl for adapters].", (), listed="frameworks", several=True),
    Option("precision", "--precision", "text", "training",
           "Types of weights, gradients and states, as for train [the framework's].", listed="recipes"),
    Option("optimizer", "--optimizer", "text", "training", "Optimizer, as for train [the framework's].",
           listed="optimizers"),
    Option("loss", "--loss", "text", "training",
           "How logits and loss are computed, of frameworks whose launch files can say it [the framework's].",
           choices=LOSSES),
    Option("lora_rank", "--lora-rank", "whole", "training", "Rank of the adapters [8].", 8, 1,
           MAX_OF_A_STEP),
    Option("lora_targets", "--lora-targets", "words", "training",
           "Matrices with adapters, in every framework: q_proj,v_proj [all-linear].", ()),
    Option("gpus", "--gpu", "text", "search",
           "Cards, as often as wanted or with commas: h200 (any number of them), h200:8 (these) "
           "[the whole catalogue].", (),
           several=True),
    Option("vendors", "--vendor", "text", "search", "Cards of this maker alone.", (), several=True),
    Option("engines", "--engine", "text", "serving",
           "Engine, as often as wanted [those that are known on the card; llama.cpp for at most 16 "
           "sequences].", (),
           choices=ENGINE_NAMES, several=True),
    Option("quantizations", "--quantization", "text", "serving",
           "Form of the weights, as often as wanted: none (as published), fp8, w4a16, q4_k_m and the others "
           "of infer [as published, and what 16 bits allow].", (), several=True),
    Option("kv_cache_dtypes", "--kv-cache-dtype", "text", "serving",
           "Type of the cache, as often as wanted [the engine's own; fp8 where that does not fit].", (),
           several=True),
    Option("speculation", "--speculative-config", "speculation", "serving",
           "Draft with the model's own layers, a head or another model, as for infer [nothing drafts]."),
    Option("host_memory", "--host-memory --host-ram", "text", "search",
           "Memory of the host that llama.cpp may fill with layers' experts, or with layers: 256GiB [none]."),
    Option("host", "--host", "text", "serving",
           "The machine around the cards, whose memory decides how fast that is: desktop-ddr5-5600, "
           "threadripper-7000, epyc-7003, xeon-4th, epyc-9004, 2x-epyc-9004 ... [the slowest that holds so "
           "much]."),
    Option("instances", "--instances", "whole", "serving",
           "Copies of the engine on each card, which divide its memory [1].", 1, 1),
    Option("revision", "--revision", "text", "search", "Branch, tag or commit of a hub repository."),
    Option("offline", "--offline", "switch", "search",
           "Ask no network: what was read before, or the catalogue."),
    Option("budget_usd_per_hour", "--budget-usd-per-hour", "positive", "limits",
           "No dearer rent than this; rows without a known price are left out."),
    Option("max_ttft_s", "--max-ttft-s", "positive", "serving",
           "No later first token; of a row whose speed is a bound the worse end of its band counts."),
    Option("max_tpot_s", "--max-tpot-s", "positive", "serving", "No slower tokens than this."),
    Option("min_tokens_per_s", "--min-tokens-per-s", "positive", "limits",
           "No fewer output tokens a second than this, all sequences together."),
    Option("max_gpus", "--max-gpus", "whole", "limits", "No more cards than this [32; training 64].", 32, 1),
    *PRICES,
    Option("cheapest", "--cheapest", "switch", "limits", "Rank by rent [this one].", False),
    Option("fastest", "--fastest", "switch", "limits", "Rank by tokens a second.", False),
    Option("fewest", "--fewest", "switch", "limits", "Rank by number of cards.", False),
    Option("least_quantized", "--least-quantized", "switch", "limits",
           "Put the rows with the most bits a weight first.", False),
    Option("rows", "--rows", "whole", "limits",
           "Rows to show: one a set of cards, its best setting; of cards whose number is given every setting "
           "[10].", 10, 1),
)
ANSWER: tuple[Option, ...] = (
    Option("largest_model", "--largest-model", "switch", "views",
           "In place of MODEL: the catalogue's largest models that the cards of --gpu hold, each in its "
           "least quantised form."),
    Option("longest_context", "--longest-context", "switch", "views",
           "The longest sequences that the cards of --gpu hold at this concurrency."),
    Option("disaggregate", "--disaggregate", "switch", "views",
           "Prefill and decode on machines of their own: how many of each, what they serve, and the best "
           "machine that does both beside them."),
    Option("weights_in_memory", "--weights-in-memory", "switch", "views",
           "What if the weights of the first row lay in a compute-in-memory crossbar: what leaves the card, "
           "what stays, what moves."),
    Option("front", "--front", "switch", "answer",
           "Show the rows that no other beats in price, speed and headroom at once."),
    Option("plot", "--plot", "text", "answer", "Write a picture of price against speed to this .svg file.",
           file="write"),
    Option("write", "--write", "text", "answer",
           "Write the first row's launch files, or those of --disaggregate, into this new folder, all of "
           "them or none.", file="write"),
    Option("json", "--json", "switch", "answer",
           "One JSON object on stdout: rows, what was left out and how often, nearest misses."),
)
