"""Arguments of Megatron-LM that change no memory of a training step; any other one that is not read is a named warning."""

PREFIXES = (
    "adam-", "attention-softmax-in-fp32", "bert-", "blend", "ckpt-", "clip-", "cp-comm", "data-", "distributed-", "dist-ckpt", "dataloader-",
    "eod-", "error-", "eval-", "exit-", "export-", "fim-", "hierarchical-context", "high-priority", "init-", "load", "log-", "lr", "manual-gc",
    "merge-", "min-lr", "moe-aux-", "moe-router-", "moe-z-loss", "mscale", "mtp-loss", "muon-", "no-create-attention", "no-load", "no-mmap", "no-save",
    "norm-epsilon", "num-dataset", "num-workers", "override-", "rerun-", "reset-", "rotary-", "save", "seed", "sgd-", "split", "start-weight",
    "step-batch", "tensorboard", "test-", "timing-", "tiktoken", "tokenizer", "train-", "use-checkpoint", "use-mcore", "use-tp-pp-dp", "valid-",
    "verify", "vocab-extra", "vocab-file", "wandb", "weight-decay", "worker-", "end-weight", "async-", "auto-detect", "mock-data", "model-family",
    "model-type", "check-weight", "no-check-for-nan", "ddp-average", "disable-gloo", "enable-experimental", "finetune", "apply-layernorm-1p",
    "apply-query-key", "calculate-per-token", "overlap-p2p", "no-persist", "nccl-", "position-embedding", "no-bias-dropout", "cross-entropy-fusion",
    "norm", "use-fused-weighted", "no-use-layer-wise", "outer-dp", "delay-wgrad", "megatron-fsdp", "tp-comm-", "ffn", "attention-backend", "is-hybrid",
    "first-last-layers", "num-layers-at", "reuse-grad", "cuda-graph", "moe-hybridep", "moe-flex", "ddp-num-buckets", "kitchen", "te-", "sequence-parallel",
    "untie", "use-flash", "hybrid", "max-position", "no-masked", "bf16", "fp16", "loss-scale", "initial-loss", "hysteresis", "deterministic", "padded-vocab",
    "world-size", "global-batch", "rampup",
)  # fmt: skip


def without_memory(name: str) -> bool:
    """Whether an argument is known to leave the memory of a step alone (or is read elsewhere).

    >>> without_memory("lr-decay-iters"), without_memory("heterogeneous-layers-config-path")
    (True, False)
    """
    return name.startswith(PREFIXES)
