"""One file a family: its config -> a Model. `FAMILIES` maps a config's model_type to the file that reads it."""

from importlib import import_module
from typing import Any

from ...errors import UnsupportedError, did_you_mean
from ..config import Config
from ..model import Model

FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "mixtral": "moe",
    "qwen2_moe": "moe",
    "qwen3_moe": "moe",
    "deepseek": "deepseek",
    "deepseek_v2": "deepseek",
    "deepseek_v3": "deepseek",
    "deepseek_v32": "deepseek",
    "kimi_k2": "deepseek",
    "deepseek_v4": "deepseek_v4",
    "deepseek_v41": "deepseek_v41",
    "glm4_moe": "glm",
    "glm_moe_dsa": "glm",
    "gpt_oss": "gpt_oss",
    "deepseek_vl_v2": "multimodal",
    "multi_modality": "multimodal",
}


def build(values: dict[str, Any], name: str, where: str) -> Model:
    """The model that a config describes. Unknown families are refused by name; unread keys become warnings."""
    config = Config(values, where)
    model_type = config.word("model_type")
    config.check()
    if model_type not in FAMILIES:
        raise UnsupportedError(
            f"{where}: model_type {model_type!r} is not known",
            did_you_mean(model_type, sorted(FAMILIES), "oomless models --families"),
        )
    reader = import_module(f".{FAMILIES[model_type]}", __name__)
    model: Model = reader.read(config, name)
    config.check()
    model = model._replace(explained_bytes=sum(tensor.num_bytes for tensor in model.tensors))
    unread = config.unread()
    if unread:
        listed = ", ".join(unread)
        model = model._replace(warnings=(*model.warnings, f"keys not understood, which may change memory: {listed}"))
    return model
