"""Arguments that say how a Megatron run computes: types, sharded states, kernels, recomputation,
offloading."""

from typing import Any

from ...errors import UnsupportedError, UsageError, did_you_mean
from .argument_reader import ArgumentReader

RECOMPUTED = ("core_attn", "moe_act", "layernorm", "mla_up_proj", "mlp", "moe", "shared_experts")
"""Words of --recompute-modules (megatron/core/transformer/transformer_config.py, allowed_modules of 2026)."""
NOT_MODELLED = ("gdn_norm_out", "gdp_in_proj", "gdp_qkv", "mhc")
"""Words of it for attention and connections that no run here has."""


def step_fields(get: ArgumentReader, bias: bool, gated: bool) -> dict[str, Any]:
    """Return the fields of a run that say how it computes. `bias`, `gated`: of its feed-forward."""
    dtype = "bf16" if get.flag("bf16") else "fp16" if get.flag("fp16") else "fp32"
    if dtype == "fp32" and get.text("fp8-format", ""):
        dtype = "bf16"
    fsdp = get.text("data-parallel-sharding-strategy", "no_shard") if get.flag("use-megatron-fsdp") else ""
    if get.flag("use-torch-fsdp2"):
        fsdp = "optim_grads_params"
    impl = get.text("transformer-impl", "transformer_engine")
    defers = get.flag("defer-embedding-wgrad-compute")
    return {
        "dtype": dtype,
        "grad_bytes": _grad_bytes(get, dtype),
        **_optimizer_types(get, dtype),
        "distributed": get.flag("use-distributed-optimizer") or bool(fsdp),
        "fsdp": fsdp,
        "deferred_wgrads": get.whole("wgrad-deferral-limit", 0) if defers else None,
        "local": impl == "local" or get.text("spec", "") == "local",
        "attention": "flash" if get.flag("use-flash-attn") else get.text("attention-backend", "auto"),
        **_fusions(get, bias, gated),
        **_recomputation(get),
        "offload": get.words("offload-modules") if get.flag("fine-grained-activation-offloading") else (),
    }


def _fusions(get: ArgumentReader, bias: bool, gated: bool) -> dict[str, bool]:
    """Return which activations are one kernel with their bias, or with the router's probabilities."""
    squared = get.flag("squared-relu")
    plain = get.flag("no-bias-gelu-fusion")
    swiglu = get.flag("swiglu") and not get.flag("no-bias-swiglu-fusion")
    quick = get.flag("quick-geglu") and not squared and not plain
    return {
        "fused_bias_gelu": not plain and bias and not gated and not squared,
        "fused_weighting": swiglu or quick or get.flag("use-fused-weighted-squared-relu"),
    }


def _recomputation(get: ArgumentReader) -> dict[str, Any]:
    """Return what is computed again; a module that Megatron does not know is an error, as it is there."""
    granularity = get.text("recompute-granularity", "selective" if get.flag("recompute-activations") else "")
    modules = get.words("recompute-modules")
    for name in modules:
        if name in NOT_MODELLED:
            raise UnsupportedError(
                f"--recompute-modules {name!r} is not modelled", f"{', '.join(RECOMPUTED)} are"
            )
        if name not in RECOMPUTED:
            raise UsageError(f"--recompute-modules {name!r} is not known", did_you_mean(name, RECOMPUTED))
    if not modules and granularity == "selective":
        modules = ("core_attn",)
    return {"recompute": granularity, "recompute_modules": modules}


def _grad_bytes(get: ArgumentReader, dtype: str) -> int:
    if dtype == "bf16":
        return 2 if get.flag("grad-reduce-in-bf16") else 4
    if dtype == "fp16":
        return 4 if get.flag("accumulate-allreduce-grads-in-fp32") else 2
    return 4


WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
"""Bytes of a value of the types that --exp-avg-dtype and its like name."""


def _optimizer_types(get: ArgumentReader, dtype: str) -> dict[str, Any]:
    """Return the bytes of the optimizer's copy of a weight and of its moments; gradients of another type are
    cast inside of its kernels (core/optimizer/optimizer_config.py, use_precision_aware_optimizer).

    Of the F32 copy of a weight that is in BF16 itself, that optimizer keeps the lower half alone
    (store_param_remainders, on by default); with FP8 scaled at hand the copies are those of other optimizers.
    """
    aware = get.flag("use-precision-aware-optimizer")
    scaled = bool(get.text("fp8-format", "")) and get.text("fp8-recipe", "delayed") != "delayed"
    whole = dtype != "bf16" or scaled or get.flag("fp8-param-gather") or get.flag("use-megatron-fsdp")

    def width(name: str) -> int:
        word = get.words(name)[-1:] or ("fp32",)
        if word[0] not in WIDTHS:
            raise UsageError(f"--{name} is {word[0]!r}", did_you_mean(word[0], tuple(WIDTHS)))
        return WIDTHS[word[0]] if aware else 4

    get.words("main-grads-dtype")
    master = width("main-params-dtype") if dtype != "fp32" else 0
    return {
        "master_bytes": 2 if aware and master == 4 and not whole else master,
        "moment_bytes": (width("exp-avg-dtype"), width("exp-avg-sq-dtype")),
        "copied_bytes": _copied(get) if aware else 0,
    }


def _copied(get: ArgumentReader) -> int:
    """Return the bytes of F32 copies that the step makes of a value's narrow states; none of moments that are
    both in BF16 (Transformer Engine, optimizers/fused_adam.py since 2.13, fuse_unscale)."""
    moments = [get.words(name)[-1:] for name in ("exp-avg-dtype", "exp-avg-sq-dtype")]
    narrow = [word for word in (*moments, get.words("main-params-dtype")[-1:]) if word not in ((), ("fp32",))]
    return 4 * (len(narrow) - (2 if moments == [("bf16",), ("bf16",)] else 0))
