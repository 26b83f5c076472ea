"""One file a family: its config -> a Model. `FAMILIES` maps a config's model_type to the file that reads it."""

from importlib import import_module
from typing import Any

from ...errors import UnsupportedError, did_you_mean
from ..config import Config
from ..model import Model
from ..quantization import with_rules

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
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "gemma3_text": "gemma",
    "apertus": "plain",
    "arcee": "plain",
    "baichuan": "plain",
    "cohere": "plain",
    "cohere2": "plain",
    "ernie4_5": "plain",
    "exaone4": "plain",
    "glm": "plain",
    "glm4": "plain",
    "granite": "plain",
    "hunyuan_v1_dense": "plain",
    "internlm2": "plain",
    "internlm3": "plain",
    "ministral3": "plain",
    "olmo2": "plain",
    "olmo3": "plain",
    "cwm": "plain",
    "exaone": "plain",
    "helium": "plain",
    "hyperclovax": "plain",
    "iquestcoder": "plain",
    "minicpm": "plain",
    "ministral": "plain",
    "nanochat": "plain",
    "nemotron": "plain",
    "olmo": "plain",
    "orion": "plain",
    "PanguEmbedded": "plain",
    "phi": "plain",
    "phi3": "plain",
    "seed_oss": "plain",
    "smollm3": "plain",
    "stablelm": "plain",
    "starcoder2": "plain",
    "llama4": "llama4",
    "mistral3": "mistral3",
    "mllama": "mllama",
    "kimi_vl": "kimi",
    "kimi_k25": "kimi",
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen_vl",
    "qwen3_vl_moe": "qwen_vl",
    "glm4v": "glm_vl",
    "glm46v": "glm_vl",
    "glm4v_moe": "glm_vl",
    "internvl": "internvl",
    "internvl_chat": "internvl",
    "qwen3_next": "qwen_hybrid",
    "qwen3_5": "qwen_hybrid",
    "qwen3_5_text": "qwen_hybrid",
    "qwen3_5_moe": "qwen_hybrid",
    "qwen3_5_moe_text": "qwen_hybrid",
    "glm4_moe_lite": "deepseek",
    "gpt2": "early",
    "gpt_neox": "early",
    "opt": "early",
    "falcon": "early",
    "qwen": "early",
    "bloom": "early",
    "chatglm": "early",
    "codegen": "early",
    "gpt_bigcode": "early",
    "gpt_neo": "early",
    "gptj": "early",
    "mpt": "early",
    "llava": "llava",
    "llava_next": "llava",
    "granitemoehybrid": "hybrid",
    "lfm2": "hybrid",
    "nemotron_h": "hybrid",
    "nemotron-nas": "nemotron_nas",
    "granitemoe": "moe",
    "granitemoeshared": "moe",
    "mistral4": "deepseek",
    "youtu": "deepseek",
    "minicpm3": "deepseek",
    "kimi_linear": "kimi_linear",
    "kimi_k3": "kimi_linear",
    "longcat_flash": "longcat",
    "minimax_m3": "minimax",
    "minimax_m3_vl": "minimax",
    "jamba": "mamba",
    "falcon_h1": "mamba",
    "bamba": "mamba",
    "mamba": "mamba",
    "mamba2": "mamba",
    "falcon_mamba": "mamba",
    "lfm2_moe": "hybrid",
    "olmo_hybrid": "qwen_hybrid",
    "gemma4_text": "gemma4",
    "llama4_text": "llama4",
    "phimoe": "moe",
    "minimax_m2": "moe",
    "mimo": "mimo",
    "mimo_v2_flash": "mimo",
    "gemma4": "gemma4",
    "ernie4_5_moe": "sparse",
    "dots1": "sparse",
    "exaone_moe": "sparse",
    "hunyuan_v1_moe": "sparse",
    "hy_v3": "sparse",
    "olmoe": "sparse",
    "flex_olmo": "sparse",
    "solar_open": "sparse",
    "afmoe": "sparse",
    "laguna": "sparse",
    "sarvam_moe": "sparse",
    "cohere2_moe": "sparse",
    "bailing_hybrid": "ling_hybrid",
    "bailing_moe": "sparse",
    "bailing_moe_v2": "sparse",
    "step3p5": "sparse",
    "step3p7": "step",
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
    model = with_rules(model, config)
    model = model._replace(explained_bytes=sum(tensor.num_bytes for tensor in model.tensors))
    unread = config.unread()
    if unread:
        listed = ", ".join(unread)
        model = model._replace(warnings=(*model.warnings, f"keys not understood, which may change memory: {listed}"))
    return model


def read_nested(config: Config, name: str) -> Model:
    """The model of a config inside of another one, which shares its faults; the caller reports its unread keys."""
    model_type = config.word("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedError(f"{config.where}: model_type {model_type!r} is not known", "oomless models --families")
    model: Model = import_module(f".{FAMILIES[model_type]}", __name__).read(config, name)
    return model
