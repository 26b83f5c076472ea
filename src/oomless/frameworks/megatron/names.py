"""Arguments of Megatron-LM that change no memory of a training step; any other one that is not read is a
named warning."""

PREFIXES = tuple(
    """
    decoupled- use-persistent-ckpt no-ckpt apply-wd use-mup mup- moe-shared-expert-gate te-rng adam-
    apply-layernorm-1p apply-query-key async- attention-backend attention-softmax-in-fp32 auto-detect bert-
    bf16 blend calculate-per-token check-weight ckpt- clip- cp-comm cross-entropy-fusion cuda-graph data-
    dataloader- ddp-average ddp-num-buckets delay-wgrad deterministic disable-gloo dist-ckpt distributed-
    enable-experimental end-weight eod- error- eval- exit- export- ffn fim- finetune first-last-layers fp16
    global-batch hierarchical-context high-priority hybrid hysteresis init- initial-loss is-hybrid kitchen
    load log- loss-scale lr manual-gc master- max-position max-restarts megatron-fsdp merge- min-lr
    mock-data model-family model-type moe-aux- moe-flex moe-hybridep moe-router- moe-z-loss mscale mtp-loss
    muon- nccl- nnodes no-bias-dropout no-check-for-nan no-create-attention no-load no-masked no-mmap
    no-persist no-save no-use-layer-wise node-rank norm norm-epsilon nproc-per num-dataset num-layers-at
    num-workers outer-dp overlap-p2p override- padded-vocab position-embedding rampup rdzv redirects rerun-
    reset- reuse-grad rotary- save seed sequence-parallel sgd- split start-weight step-batch te- tee
    tensorboard test- tiktoken timing- tokenizer tp-comm- train- untie use-checkpoint use-flash
    use-fused-weighted use-mcore use-tp-pp-dp valid- verify vocab-extra vocab-file wandb weight-decay
    worker- world-size
    """.split()
)


def without_memory(name: str) -> bool:
    """Whether an argument is known to leave the memory of a step alone (or is read elsewhere).

    >>> without_memory("lr-decay-iters"), without_memory("heterogeneous-layers-config-path")
    (True, False)
    """
    return name.startswith(PREFIXES)
