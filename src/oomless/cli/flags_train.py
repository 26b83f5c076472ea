"""The options of `train`, as a table; `trace` takes the same."""

from ..run.training import CHOICES, SCHEDULES
from .flags import Flag

TRAIN = (
    Flag(
        ("--gpu",),
        "gpu",
        "text",
        "Cards: h200:8, h100:8x2 (two nodes), rtx-4090, 80GiB:8 (any card of that size).",
    ),
    Flag(
        ("--framework",),
        "framework",
        "text",
        "Whose defaults hold: transformers, peft, deepspeed, fsdp, torchtitan, megatron-lm ...",
    ),
    Flag(
        ("--framework-version",),
        "framework_version",
        "text",
        "An earlier release: 4.48, or 'transformers 4.48, trl 0.13' [newest].",
    ),
    Flag(("--method",), "method", "text", "What is trained.", CHOICES["method"]),
    Flag(
        ("--task",), "task", "text", "What for: pretrain, sft, reward, dpo, kto, grpo, ppo.", CHOICES["task"]
    ),
    Flag(
        ("--reference-model",),
        "reference_model",
        "text",
        "A frozen copy of the policy [by task].",
        ("same", "none"),
    ),
    Flag(("--reward-model",), "reward_model", "text", "A frozen model that scores, by name as MODEL."),
    Flag(("--value-model",), "value_model", "text", "ppo: the trained critic [a model like the policy]."),
    Flag(("--rollout-engine",), "rollout_engine", "text", "Engine that generates: vllm, sglang."),
    Flag(
        ("--rollout-gpu-memory-utilization",),
        "rollout_gpu_memory_utilization",
        "share",
        "Its share of the training cards [0.3].",
    ),
    Flag(
        ("--rollout-sleep",),
        "rollout_sleep",
        "switch",
        "It gives up weights and cache while the policy is trained.",
    ),
    Flag(("--rollout-gpu",), "rollout_gpu", "text", "Cards of its own: h100:4."),
    Flag(
        ("--precision",),
        "precision",
        "text",
        "Types of weights, gradients and states: bf16, amp-bf16, fp32, mixed-bf16, megatron-bf16 ...",
    ),
    Flag(
        ("--optimizer",),
        "optimizer",
        "text",
        "adamw, adamw-fused, adamw-8bit, adafactor, sgd, lion, muon, galore ...",
    ),
    Flag(
        ("--optimizer-in-backward",),
        "optimizer_in_backward",
        "switch",
        "Apply and free each gradient as soon as it is there.",
    ),
    Flag(
        ("--micro-batch", "--micro-batch-size", "--per-device-train-batch-size"),
        "micro_batch",
        "whole",
        "Sequences at once on a rank [1].",
    ),
    Flag(
        ("--seq-len", "--seq-length", "--max-length"),
        "seq_len",
        "whole",
        "Tokens of a sequence, padding included [4096].",
    ),
    Flag(
        ("--grad-accum", "--gradient-accumulation-steps"),
        "grad_accum",
        "whole",
        "Micro-batches of a step on each rank [1].",
    ),
    Flag(
        ("--global-batch", "--global-batch-size"),
        "global_batch",
        "whole",
        "Sequences of a step over all ranks, instead of --grad-accum.",
    ),
    Flag(("--zero",), "zero", "whole", "ZeRO stage 0 to 3."),
    Flag(("--fsdp",), "fsdp", "switch", "Fully sharded: FSDP2."),
    Flag(("--sharding",), "sharding", "text", "How data-parallel ranks divide states.", CHOICES["sharding"]),
    Flag(("--shard-size",), "shard_size", "whole", "HSDP: ranks that share one copy of the states."),
    Flag(("--dp", "--data-parallel-size"), "dp", "whole", "Data-parallel ranks [what the cards leave]."),
    Flag(
        ("--tp", "--tensor-parallel-size", "--tensor-model-parallel-size"),
        "tp",
        "whole",
        "Tensor-parallel ranks.",
    ),
    Flag(
        ("--pp", "--pipeline-parallel-size", "--pipeline-model-parallel-size"),
        "pp",
        "whole",
        "Pipeline stages.",
    ),
    Flag(("--cp", "--context-parallel-size"), "cp", "whole", "Ranks that divide each sequence."),
    Flag(
        ("--ep", "--expert-parallel-size", "--expert-model-parallel-size"),
        "ep",
        "whole",
        "Ranks that divide the experts.",
    ),
    Flag(("--etp", "--expert-tensor-parallel-size"), "etp", "whole", "Tensor-parallel size of the experts."),
    Flag(
        ("--sequence-parallel",),
        "sequence_parallel",
        "switch",
        "Cut norms and residuals along the sequence over --tp.",
    ),
    Flag(("--virtual-stages",), "virtual_stages", "whole", "Chunks of layers on each pipeline rank."),
    Flag(("--schedule",), "schedule", "text", "Order of micro-batches in the pipeline.", SCHEDULES),
    Flag(
        ("--recompute", "--activation-checkpointing"),
        "recompute",
        "text",
        "What is computed again in the backward.",
        CHOICES["recompute"],
    ),
    Flag(
        ("--recompute-modules",),
        "recompute_modules",
        "text",
        "selective: core_attn, norm, mlp, moe, mla_up_proj, or ops.",
    ),
    Flag(("--recompute-every",), "recompute_every", "whole", "full: layers between two kept inputs [1]."),
    Flag(
        ("--recompute-num-layers",),
        "recompute_num_layers",
        "whole",
        "full: only so many layers of a stage [all].",
    ),
    Flag(
        ("--attention", "--attn-implementation"),
        "attention",
        "text",
        "Kernel of the attention [by card and heads].",
        CHOICES["attention"],
    ),
    Flag(("--loss",), "loss", "text", "How logits and loss are computed.", CHOICES["loss"]),
    Flag(("--kernels",), "kernels", "text", "Elementwise work.", CHOICES["kernels"]),
    Flag(
        ("--offload",),
        "offload",
        "text",
        "To host memory: optimizer, params, gradients, activations (comma between).",
    ),
    Flag(
        ("--adapter",),
        "adapter",
        "text",
        "lora and qlora: kind of adapter: lora, dora, vera, ia3, oft, prompt_tuning ... [lora].",
    ),
    Flag(("--lora-rank", "--lora-r"), "lora_rank", "whole", "Rank of the adapters [8]."),
    Flag(
        ("--lora-targets", "--lora-target-modules"),
        "lora_targets",
        "text",
        "Matrices with adapters: q_proj,v_proj or all-linear.",
    ),
    Flag(("--adapter-dtype",), "adapter_dtype", "text", "Type of the adapters.", CHOICES["adapter_dtype"]),
    Flag(
        ("--quantization",),
        "quantization",
        "text",
        "qlora: nf4-dq, nf4, int8, gptq-int4 or gptq-int8 [nf4-dq].",
    ),
    Flag(("--train-ends",), "trained_ends", "switch", "LoRA: embedding and head are trained in full."),
    Flag(
        ("--packed-experts",),
        "packed_experts",
        "switch",
        "qlora: stacked experts are packed too (Axolotl: quantize_moe_experts).",
    ),
    Flag(
        ("--expert-imbalance",),
        "expert_imbalance",
        "share",
        "Tokens of the busiest expert rank over the mean [1].",
    ),
    Flag(
        ("--expandable-segments",),
        "expandable_segments",
        "switch",
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True.",
    ),
    Flag(
        ("--no-bucket-view",),
        "no_bucket_view",
        "switch",
        "DDP: gradients beside the buckets, not views into them.",
    ),
    Flag(("--dropout",), "dropout", "share", "Dropout of eager attention [0]."),
    Flag(("--packed",), "packed", "switch", "Documents fill the sequences: every step has the same shape."),
    Flag(
        ("--activation-bits",),
        "activation_bits",
        "whole",
        "Kept activations in 8 or 4 bits of block floating point [16].",
    ),
    Flag(
        ("--partition-activations",),
        "partition_activations",
        "switch",
        "DeepSpeed: kept inputs are cut over --tp.",
    ),
    Flag(("--reserve",), "reserve", "text", "Memory of each card to leave to others: 2GiB."),
    Flag(
        ("--data-workers",),
        "data_workers",
        "whole",
        "Processes of each rank that read data; they take host memory [0].",
    ),
    Flag(
        ("--from",),
        "from_file",
        "text",
        "A torchtitan TOML, DeepSpeed JSON, Axolotl or LLaMA-Factory YAML, or a saved "
        "answer; flags beside it win.",
    ),
    Flag(
        ("--megatron-args",),
        "megatron_args",
        "text",
        "In place of MODEL: a file with the arguments of a Megatron-LM run.",
    ),
    Flag(
        ("--world-size",),
        "world_size",
        "whole",
        "--megatron-args: all ranks of the run [the cards of --gpu].",
    ),
    Flag(
        ("--compare",),
        "compare",
        "text",
        "Variants side by side: recompute=none,full or gpu=h100:8,h200:8 or model=A,B.",
    ),
    Flag(("--plot",), "plot", "text", "Write a picture of the phases to this .svg file."),
    Flag(("--revision",), "revision", "text", "Revision of a hub repository."),
    Flag(("--offline",), "offline", "switch", "Ask no network; use what is cached or in the catalogue."),
    Flag(("--strict",), "strict", "switch", "Exit with 3 when the answer is tight."),
    Flag(("--json",), "json", "switch", "One JSON object on stdout."),
    Flag(
        ("--explain",), "explain", "text", "Show the lines of a category (or all): formula, numbers, source."
    ),
)
OUTPUT = ("strict", "json", "explain", "plot", "compare")
"""Fields that say how to answer, not what is asked."""
BESIDE = tuple(
    flag.field
    for flag in TRAIN
    if flag.field.startswith("rollout_") or flag.field in ("reference_model", "reward_model", "value_model")
)
"""Who stands beside the policy: other models and an engine, each an answer of its own."""
