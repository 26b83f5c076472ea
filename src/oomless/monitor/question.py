"""What a live run would have asked `oomless train`: read off its model, its optimizer and its first batch."""

from typing import Any

from ..recording.held_tensors import local
from .post_mortem import optimizer_name

TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
RECIPES = {"bfloat16": "amp-bf16", "float16": "amp-fp16"}
"""Of weights in F32 under autocast."""


def question_of(
    model: Any, optimizer: Any, batch: tuple[int, ...], world_size: int, autocast: str
) -> dict[str, Any]:
    """Return the flags of `oomless train` that ask about this run, and the model's configuration as `config`;
    nothing for a model that has none, whose layers no formula knows."""
    config = getattr(unwrapped(model), "config", None)
    if config is None or not hasattr(config, "to_dict") or len(batch) < 2:
        return {}
    types = types_of(model)
    asked: dict[str, Any] = {
        "config": {**plain(config.to_dict()), "torch_dtype": types},
        "micro_batch": batch[0],
        "seq_len": batch[1],
        "optimizer": optimizer_flag(optimizer),
        "precision": RECIPES.get(autocast, "") if types == "float32" and autocast else TYPES.get(types, ""),
        **adapters_of(unwrapped(model)),
    }
    if any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules()):
        asked["recompute"] = "full"
    if world_size > 1:
        asked |= {"sharding": sharding_of(model), "dp": world_size}
    return {name: value for name, value in asked.items() if value not in (None, "")}


def unwrapped(model: Any) -> Any:
    """Return the model inside of DDP or torch.compile."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if inner is not None and hasattr(inner, "named_parameters"):
            return unwrapped(inner)
    return model


def plain(value: Any) -> Any:
    """Return a configuration as JSON takes it: types of torch by their names."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value).removeprefix("torch.")


def types_of(model: Any) -> str:
    """Return the type that most numbers of a model have."""
    sizes: dict[str, int] = {}
    for parameter in model.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + parameter.numel()
    return max(sizes, key=lambda name: sizes[name], default="float32")


def adapters_of(model: Any) -> dict[str, Any]:
    """Return the flags of a peft model's first adapter; nothing of another model."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, dict) or not configs:
        return {}
    first = next(iter(configs.values()))
    targets = getattr(first, "target_modules", None)
    names = [targets] if isinstance(targets, str) else sorted(targets or ())
    packed = next((each for each in model.modules() if "4bit" in type(each).__name__.lower()), None)
    return {
        "framework": "peft",
        "method": "lora" if packed is None else "qlora",
        "quantization": None if packed is None else nf4_of(packed.weight),
        "lora_rank": getattr(first, "r", None),
        "lora_targets": ",".join(names),
    }


def nf4_of(weight: Any) -> str:
    """Return how bitsandbytes stores a weight of 4 bits: with scales that are quantised again, or not.

    >>> from types import SimpleNamespace
    >>> nf4_of(SimpleNamespace(compress_statistics=True)), nf4_of(SimpleNamespace())
    ('nf4-dq', 'nf4')
    """
    return "nf4-dq" if getattr(weight, "compress_statistics", False) else "nf4"


def sharding_of(model: Any) -> str:
    """Return how ranks share a model: fsdp2 if its weights are distributed tensors, ddp otherwise."""
    return "fsdp2" if any(local(each) is not each for each in model.parameters()) else "ddp"


def optimizer_flag(optimizer: Any) -> str:
    """Return the name of an optimizer as --optimizer has it, with the way in which its step runs."""
    name = optimizer_name(optimizer) if optimizer is not None else ""
    if name != "adamw":
        return name
    group = optimizer.param_groups[0]
    if group.get("fused"):
        return "adamw-fused"
    return "adamw-loop" if group.get("foreach") is False else "adamw"


def autocast_of(torch: Any) -> str:
    """Return the type that autocast computes in now; empty without autocast."""
    for device in ("cuda", "cpu"):
        if torch.is_autocast_enabled(device):
            return str(torch.get_autocast_dtype(device)).removeprefix("torch.")
    return ""
