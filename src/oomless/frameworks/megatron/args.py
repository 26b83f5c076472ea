"""The argument list of Megatron-LM as one record: types, defaults of arguments.py and transformer_config.py,
and its checks."""

import re
from typing import Literal

from ...errors import UnsupportedError, UsageError
from .argument_reader import BUCKET_A_RANK, BUCKET_LEAST, MAX_LAYERS, ArgumentReader, divides
from .run import Family, Latent, Mamba, Megatron, MegatronExperts
from .source import Value


def read_arguments(given: dict[str, Value], world_size: int | None, kind: str = "") -> Megatron:
    """The run that an argument list describes; `kind` is its script's: gpt, bert, t5, hybrid.

    What it leaves out takes Megatron's default; what cannot be left out is an error.
    """
    get = ArgumentReader(given)
    for name, what in OTHER_KINDS.items():
        if name in given:
            raise UnsupportedError(
                f"--{name}: {what} is not supported", "pre-training of a language model is"
            )
    family = _family(given, kind)
    world = world_size if world_size is not None else get.optional("world-size") or _launched(get)
    if world is None:
        raise UsageError("world size is not given", "add --world-size N: all ranks of the run")
    tp, pp, cp = (
        get.whole(f"{word}-parallel-size", 1) for word in ("tensor-model", "pipeline-model", "context")
    )
    if family == "t5" and pp > 1:
        raise UnsupportedError(
            f"T5 over {pp} pipeline stages is not supported",
            "Megatron-Core runs its encoder and decoder on one stage",
        )
    hidden, heads = get.needed("hidden-size"), get.needed("num-attention-heads")
    divides(heads, tp, "num-attention-heads", "tensor-model-parallel-size")
    groups = get.whole("num-query-groups", heads) if get.flag("group-query-attention") else heads
    divides(heads, groups, "num-attention-heads", "num-query-groups")
    if groups > tp:
        divides(groups, tp, "num-query-groups", "tensor-model-parallel-size")
    divides(world, tp * pp * cp, "world size", "tensor x pipeline x context parallel size")
    if "kv-channels" not in given:
        divides(hidden, heads, "hidden-size", "num-attention-heads")
    experts = _experts(get, hidden)
    ep, etp = get.whole("expert-model-parallel-size", 1), get.whole("expert-tensor-parallel-size", tp)
    if experts is not None:
        divides(experts.num, ep, "num-experts", "expert-model-parallel-size")
        divides(world, pp * ep * etp, "world size", "pipeline x expert x expert tensor parallel size")
    swiglu = get.flag("swiglu")
    quick = get.flag("quick-geglu") and not get.flag(
        "squared-relu"
    )  # gated too, but the default width is not made narrower
    ffn = get.optional("ffn-hidden-size") or (int(4 * hidden * 2 / 3) // 64 * 64 if swiglu else 4 * hidden)
    gated = swiglu or quick
    if experts is not None and not experts.width:
        experts = experts._replace(width=ffn)
    divides(ffn, tp, "ffn-hidden-size", "tensor-model-parallel-size")
    kinds, encoder = _layers(get, family, experts)
    seq = get.optional("seq-length") or get.optional("encoder-seq-length")
    if seq is None:
        raise UsageError("--seq-length is not given", "add it to the arguments")
    if cp > 1:
        divides(seq, 2 * cp, "seq-length", "twice the context-parallel-size")
    sequence_parallel = get.flag("sequence-parallel") and tp > 1
    if sequence_parallel:
        divides(seq // cp, tp, "tokens of a sequence", "tensor-model-parallel-size")
    micro = get.whole("micro-batch-size", 1)
    data_parallel = world // (tp * pp * cp)
    batch = get.optional("global-batch-size") or _first_batch(given) or micro * data_parallel
    divides(batch, micro * data_parallel, "global-batch-size", "micro-batch-size x data-parallel size")
    dtype: Literal["bf16", "fp16", "fp32"] = (
        "bf16" if get.flag("bf16") else "fp16" if get.flag("fp16") else "fp32"
    )
    if dtype == "fp32" and get.text("fp8-format", ""):
        dtype = "bf16"
    vocab = _vocab(get, tp)
    fsdp = get.text("data-parallel-sharding-strategy", "no_shard") if get.flag("use-megatron-fsdp") else ""
    if get.flag("use-torch-fsdp2"):
        fsdp = "optim_grads_params"
    overlap = get.flag("overlap-grad-reduce")
    bias = not get.flag("disable-bias-linear")
    impl = get.text("transformer-impl", "transformer_engine")
    local = impl == "local" or get.text("spec", "") == "local"
    modules = get.words("recompute-modules") or (
        ("core_attn",) if get.text("recompute-granularity", "") == "selective" else ()
    )
    virtual = _virtual(get, pp, len(kinds))
    run = Megatron(
        family=family,
        kinds=kinds,
        encoder_layers=encoder,
        hidden=hidden,
        heads=heads,
        query_groups=groups,
        head_dim=get.whole("kv-channels", hidden // heads),
        ffn=ffn,
        gated=gated,
        squared_relu=get.flag("squared-relu"),
        rms_norm=get.text("normalization", "LayerNorm") == "RMSNorm",
        bias=bias,
        qkv_bias=bias or get.flag("add-qkv-bias"),
        qk_norm=get.flag("qk-layernorm"),
        tied=not get.flag("untie-embeddings-and-output-weights"),
        position=get.text(
            "position-embedding-type",
            "rope" if get.flag("use-rotary-position-embeddings") else "learned_absolute",
        ),
        max_positions=get.whole("max-position-embeddings", seq),
        padded_vocab=vocab,
        binary_head=not get.flag("bert-no-binary-head"),
        latent=_latent(get),
        experts=experts,
        mamba=_mamba(get, hidden) if family == "hybrid" else None,
        mtp=get.whole("mtp-num-layers", 0),
        world_size=world,
        tp=tp,
        pp=pp,
        cp=cp,
        ep=ep,
        etp=etp,
        virtual=virtual,
        layout=get.text("pipeline-model-parallel-layout", ""),
        first_layers=get.optional("decoder-first-pipeline-num-layers"),
        last_layers=get.optional("decoder-last-pipeline-num-layers"),
        count_embedding=get.flag("account-for-embedding-in-pipeline-split"),
        count_loss=get.flag("account-for-loss-in-pipeline-split"),
        group_size=get.whole("microbatch-group-size-per-virtual-pipeline-stage", pp),
        sequence_parallel=sequence_parallel,
        micro_batch=micro,
        global_batch=batch,
        seq_len=seq,
        decoder_seq_len=get.whole("decoder-seq-length", seq) if family == "t5" else seq,
        hidden_dropout=get.number("hidden-dropout", 0.1),
        attention_dropout=get.number("attention-dropout", 0.1),
        dtype=dtype,
        grad_bytes=_grad_bytes(get, dtype),
        distributed=get.flag("use-distributed-optimizer") or bool(fsdp),
        instances=get.whole("num-distributed-optimizer-instances", 1),
        fsdp=fsdp,
        overlap_reduce=overlap,
        overlap_gather=get.flag("overlap-param-gather"),
        bucket_size=(get.optional("ddp-bucket-size") or max(BUCKET_LEAST, BUCKET_A_RANK * data_parallel * cp))
        if overlap
        else None,
        pad_buckets=get.flag("ddp-pad-buckets-for-high-nccl-busbw"),
        optimizer=get.text("optimizer", "adam"),
        muon_layout=not get.flag("no-use-layer-wise-param-layout"),
        fused_wgrad=not get.flag("no-gradient-accumulation-fusion"),
        deferred_wgrads=get.whole("wgrad-deferral-limit", 0)
        if get.flag("defer-embedding-wgrad-compute")
        else None,
        local=local,
        attention="flash" if get.flag("use-flash-attn") else get.text("attention-backend", "auto"),
        fused_loss=get.flag("cross-entropy-loss-fusion"),
        fused_bias_gelu=not get.flag("no-bias-gelu-fusion")
        and bias
        and not gated
        and not get.flag("squared-relu"),
        fused_weighting=(swiglu and not get.flag("no-bias-swiglu-fusion"))
        or (quick and not get.flag("no-bias-gelu-fusion"))
        or get.flag("use-fused-weighted-squared-relu"),
        fused_rope=not get.flag("no-rope-fusion"),
        fp8=get.text("fp8-format", ""),
        fp8_recipe=get.text("fp8-recipe", "delayed"),
        fp8_params=get.flag("fp8-param-gather"),
        recompute=get.text("recompute-granularity", "selective" if get.flag("recompute-activations") else ""),
        recompute_method=get.text("recompute-method", ""),
        recompute_layers=get.whole("recompute-num-layers", 1),
        recompute_modules=modules,
        offload=get.words("offload-modules") if get.flag("fine-grained-activation-offloading") else (),
        comm_overlap=get.flag("tp-comm-overlap"),
        graphs=get.text("cuda-graph-impl", "none"),
        moe_overlap=get.flag("overlap-moe-expert-parallel-comm"),
        full_scores=get.flag("no-masked-softmax-fusion"),
        warnings=(),
        defaults=(),
    )
    taken = tuple(
        f"{name} {value}" for name, value in get.taken.items() if value not in ("", "none", "no_shard")
    )
    return run._replace(warnings=get.warnings(), defaults=taken)


OTHER_KINDS = {
    "perform-rl-step": "reinforcement learning",
    "flextron": "elastic training",
    "img-h": "a vision model",
    "model-provider": "another model than a language model",
    "export-kd-teacher-load": "distillation",
    "experimental-attention-variant": "that attention",
    "dsa-indexer-topk": "that attention",
    "incoming-requests-per-sec": "inference",
    "num-tokens-to-generate": "inference",
}
"""Arguments that make a run something else than pre-training of a transformer or Mamba hybrid."""


def _launched(get: ArgumentReader) -> int | None:
    """Ranks that torchrun starts."""
    each = get.optional("nproc-per-node")
    return each * (get.optional("nnodes") or 1) if each else None


def _family(given: dict[str, Value], kind: str) -> Family:
    if "hybrid-layer-pattern" in given or "hybrid-override-pattern" in given or "is-hybrid-model" in given:
        return "hybrid"
    if "decoder-seq-length" in given:
        return "t5"
    kind = kind or str(given.get("model-family", given.get("model-type", "")))
    if kind in ("bert", "t5", "gpt", "hybrid"):
        return kind  # type: ignore[return-value]
    return "bert" if any(name.startswith("bert-") for name in given) else "gpt"


def _first_batch(given: dict[str, Value]) -> int | None:
    """--step-batch-size-schedule "0:384 200B:768": the first step's."""
    match = re.match(r"\s*0:(\d+)", str(given.get("step-batch-size-schedule", "")))
    return int(match[1]) if match else None


def _grad_bytes(get: ArgumentReader, dtype: str) -> int:
    if dtype == "bf16":
        return 2 if get.flag("grad-reduce-in-bf16") else 4
    if dtype == "fp16":
        return 4 if get.flag("accumulate-allreduce-grads-in-fp32") else 2
    return 4


def _vocab(get: ArgumentReader, tp: int) -> int:
    """Vocabulary with its padding: a multiple of --make-vocab-size-divisible-by (128) times TP."""
    padded, step = get.optional("padded-vocab-size"), get.whole("make-vocab-size-divisible-by", 128) * tp
    if padded:
        divides(padded, tp, "padded-vocab-size", "tensor-model-parallel-size")
        return padded
    plain = get.optional("vocab-size")
    if not plain:
        raise UsageError(
            "vocabulary size is not given",
            "add --vocab-size N (or --padded-vocab-size N): it comes from the tokenizer",
        )
    return -(-plain // step) * step


def _latent(get: ArgumentReader) -> Latent | None:
    if not get.flag("multi-latent-attention"):
        return None
    return Latent(
        get.optional("q-lora-rank") or 0,
        get.whole("kv-lora-rank", 32),
        get.whole("qk-head-dim", 128),
        get.whole("qk-pos-emb-head-dim", 64),
        get.whole("v-head-dim", 128),
    )


def _experts(get: ArgumentReader, hidden: int) -> MegatronExperts | None:
    num = get.optional("num-experts")
    if not num:
        return None
    topk = get.whole("moe-router-topk", 2)
    if topk > num:
        raise UsageError(
            f"--moe-router-topk {topk} is more than --num-experts {num}", "change one of the two"
        )
    return MegatronExperts(
        num=num,
        topk=topk,
        width=get.optional("moe-ffn-hidden-size") or 0,
        shared_width=get.optional("moe-shared-expert-intermediate-size") or 0,
        grouped=get.flag("moe-grouped-gemm"),
        dispatcher=get.text("moe-token-dispatcher-type", "allgather"),
        router_float32=get.text("moe-router-dtype", "") in ("fp32", "fp64"),
        latent=get.optional("moe-latent-size") or 0,
        permute_fusion=get.flag("moe-permute-fusion"),
        shared_overlap=get.flag("moe-shared-expert-overlap"),
        capacity_factor=get.number("moe-expert-capacity-factor", 0.0),
        balanced=bool(get.number("moe-aux-loss-coeff", 0.0)) or get.flag("moe-router-enable-expert-bias"),
    )


def _mamba(get: ArgumentReader, hidden: int) -> Mamba:
    head = get.whole("mamba-head-dim", 64)
    return Mamba(
        get.whole("mamba-num-heads", 2 * hidden // head),
        head,
        get.whole("mamba-state-dim", 128),
        get.whole("mamba-num-groups", 8),
    )


def _layers(get: ArgumentReader, family: Family, experts: MegatronExperts | None) -> tuple[str, int]:
    """Kinds of the decoder's layers, and the number of encoder layers."""
    if family == "hybrid":
        pattern = str(
            get.given.get("hybrid-layer-pattern", get.given.get("hybrid-override-pattern", ""))
        ).split("/")[0]
        if not pattern or set(pattern) - set("M*-E|") or len(pattern) > MAX_LAYERS:
            raise UnsupportedError(
                f"hybrid layer pattern {pattern[:80]!r} is not understood", "known are M, *, -, E and |"
            )
        if "E" in pattern and experts is None:
            raise UsageError(
                "the hybrid layer pattern has experts (E), and --num-experts is not given",
                "add it to the arguments",
            )
        return pattern, 0
    if family == "t5":
        encoder = get.optional("encoder-num-layers") or get.needed("num-layers")
        return "t" * (get.optional("decoder-num-layers") or encoder), encoder
    count = get.needed("num-layers")
    return "".join("e" if each else "t" for each in _frequency(get, count, experts)), 0


def _frequency(get: ArgumentReader, count: int, experts: MegatronExperts | None) -> list[int]:
    """--moe-layer-freq: every how many-th layer has experts, or a list such as ([0]*3+[1]*12)."""
    if experts is None:
        return [0] * count
    text = get.text("moe-layer-freq", "1").replace(" ", "")
    if text.isdecimal() and len(text) < 10 and int(text):
        return [0 if index % int(text) else 1 for index in range(count)]
    found: list[int] = []
    for part in text.strip("()").split("+"):
        match = re.fullmatch(r"\(?\[([01](?:,[01])*)\](?:\*(\d+))?\)?", part)
        if not match or len(found) > MAX_LAYERS or int(match[2] or 1) > MAX_LAYERS:
            raise UsageError(
                f"--moe-layer-freq {text!r} is not understood",
                "give a number or a list such as ([0]*3+[1]*12)",
            )
        found += [int(each) for each in match[1].split(",")] * int(match[2] or 1)
    if len(found) != count:
        raise UsageError(
            f"--moe-layer-freq names {len(found)} layers, --num-layers {count}", "change one of the two"
        )
    return found


def _virtual(get: ArgumentReader, pp: int, layers: int) -> int:
    """Model chunks of a pipeline rank."""
    stages = get.optional("num-virtual-stages-per-pipeline-rank")
    if stages:
        return stages
    each = get.optional("num-layers-per-virtual-pipeline-stage")
    if not each or pp == 1:
        return 1
    total = (
        layers
        + get.flag("account-for-embedding-in-pipeline-split")
        + get.flag("account-for-loss-in-pipeline-split")
    )
    divides(total, pp * each, "layers", "pipeline-model-parallel-size x layers of a virtual stage")
    return total // (pp * each)
