"""One file a family: its config -> a Model. `FAMILIES` maps a config's model_type to the file that reads
it."""

from importlib import import_module
from typing import Any

from ...errors import UnsupportedError, did_you_mean
from ...files import listed
from ..config import Config
from ..model import Model, headless
from ..quantization import with_rules

FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "mixtral": "mixtral",
    "qwen2_moe": "mixtral",
    "qwen3_moe": "mixtral",
    "deepseek": "deepseek",
    "deepseek_v2": "deepseek",
    "deepseek_v3": "deepseek",
    "deepseek_v32": "deepseek",
    "kimi_k2": "deepseek",
    "deepseek_v4": "deepseek_v4",
    "deepseek_v41": "deepseek_v41",
    "glm4_moe": "glm",
    "glm_moe_dsa": "glm",
    "glm5_next": "glm5_next",
    "gpt_oss": "gpt_oss",
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "gemma3_text": "gemma",
    "gemma3n": "gemma3n",
    "gemma3n_text": "gemma3n",
    "apertus": "dense",
    "arcee": "dense",
    "baichuan": "dense",
    "cohere": "dense",
    "cohere2": "dense",
    "ernie4_5": "dense",
    "exaone4": "dense",
    "glm": "dense",
    "glm4": "dense",
    "granite": "dense",
    "hunyuan_v1_dense": "dense",
    "internlm2": "dense",
    "internlm3": "dense",
    "ministral3": "dense",
    "olmo2": "dense",
    "olmo3": "dense",
    "cwm": "dense",
    "exaone": "dense",
    "helium": "dense",
    "hyperclovax": "dense",
    "iquestcoder": "dense",
    "minicpm": "dense",
    "ministral": "dense",
    "nanochat": "dense",
    "nemotron": "dense",
    "olmo": "dense",
    "orion": "dense",
    "PanguEmbedded": "dense",
    "phi": "dense",
    "phi3": "dense",
    "seed_oss": "dense",
    "smollm3": "dense",
    "stablelm": "dense",
    "starcoder2": "dense",
    "llama4": "llama4",
    "mistral3": "mistral3",
    "muse_glimmer": "muse_glimmer",
    "muse_glimmer_text": "muse_glimmer",
    "mllama": "mllama",
    "kimi_vl": "kimi",
    "kimi_k25": "kimi",
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen2_5_omni": "qwen_omni",
    "qwen2_5_omni_thinker": "qwen_omni",
    "qwen3_omni_moe": "qwen_omni",
    "qwen3_omni_moe_thinker": "qwen_omni",
    "qwen3_vl": "qwen_vl",
    "qwen3_vl_moe": "qwen_vl",
    "glm4v": "glm_vl",
    "glm46v": "glm_vl",
    "glm4v_moe": "glm_vl",
    "internvl": "internvl",
    "interns1": "internvl",
    "internvl_chat": "internvl",
    "qwen2_audio": "hearing",
    "qwen3_asr": "hearing",
    "voxtral": "hearing",
    "qwen3_next": "qwen_hybrid",
    "qwen3_5": "qwen_hybrid",
    "qwen3_5_text": "qwen_hybrid",
    "qwen3_5_moe": "qwen_hybrid",
    "qwen3_5_moe_text": "qwen_hybrid",
    "glm4_moe_lite": "deepseek",
    "gpt2": "pre_llama",
    "gpt_neox": "pre_llama",
    "opt": "pre_llama",
    "falcon": "pre_llama",
    "qwen": "pre_llama",
    "bloom": "pre_llama",
    "chatglm": "pre_llama",
    "codegen": "pre_llama",
    "gpt_bigcode": "pre_llama",
    "gpt_neo": "pre_llama",
    "gptj": "pre_llama",
    "mpt": "pre_llama",
    "llava": "llava",
    "llava_next": "llava",
    "aya_vision": "siglip_eyes",
    "cohere2_vision": "siglip_eyes",
    "dots_ocr": "ocr",
    "glm_ocr": "glm_vl",
    "hunyuan_vl": "ocr",
    "idefics3": "siglip_eyes",
    "lfm2_vl": "siglip_eyes",
    "llava_onevision": "siglip_eyes",
    "minicpmv": "minicpm_v",
    "paddleocr_vl": "ocr",
    "paligemma": "siglip_eyes",
    "phi3_v": "phi_eyes",
    "phi4mm": "phi_eyes",
    "smolvlm": "siglip_eyes",
    "granitemoehybrid": "mamba_attention",
    "lfm2": "mamba_attention",
    "nemotron_h": "mamba_attention",
    "nemotron-nas": "nemotron_nas",
    "granitemoe": "mixtral",
    "granitemoeshared": "mixtral",
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
    "lfm2_moe": "mamba_attention",
    "olmo_hybrid": "qwen_hybrid",
    "gemma4_text": "gemma4",
    "llama4_text": "llama4",
    "phimoe": "mixtral",
    "minimax": "mixtral",
    "minimax_m1": "mixtral",
    "minimax_m2": "mixtral",
    "minimax_text_01": "mixtral",
    "mimo": "mimo",
    "mimo_v2_flash": "mimo",
    "diffusion_gemma": "gemma4",
    "gemma4": "gemma4",
    "gemma4_unified": "gemma4",
    "ernie4_5_moe": "sparse_experts",
    "ernie4_5_moe_vl": "ernie_vl",
    "ernie4_5_vl_moe": "ernie_vl",
    "dots1": "sparse_experts",
    "exaone_moe": "sparse_experts",
    "hunyuan_v1_moe": "sparse_experts",
    "hy_v3": "sparse_experts",
    "olmoe": "sparse_experts",
    "flex_olmo": "sparse_experts",
    "solar_open": "sparse_experts",
    "afmoe": "sparse_experts",
    "laguna": "sparse_experts",
    "sarvam_moe": "sparse_experts",
    "cohere2_moe": "sparse_experts",
    "bailing_hybrid": "ling_hybrid",
    "bailing_moe": "sparse_experts",
    "bailing_moe_v2": "sparse_experts",
    "step3p5": "sparse_experts",
    "step3p7": "stepfun",
    "arctic": "early_experts",
    "dbrx": "early_experts",
    "git": "early_experts",
    "grok-1": "early_experts",
    "bert": "encoder",
    "camembert": "encoder",
    "mobilebert": "encoder",
    "modernbert": "encoder",
    "new": "encoder",
    "nomic_bert": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "deepseek_vl_v2": "multimodal",
    "multi_modality": "multimodal",
}


def build(values: dict[str, Any], name: str, where: str) -> Model:
    """The model that a config describes. Unknown families are refused by name; unread keys become
    warnings."""
    config = Config(values, where)
    model_type = config.word("model_type")
    config.check()
    if model_type not in FAMILIES:
        raise UnsupportedError(f"{where}: model_type {model_type!r} is not known", _nearest(model_type))
    reader = import_module(f".{FAMILIES[model_type]}", __name__)
    model: Model = reader.read(config, name)
    model = model._replace(tower=tower_size(values), fp8_cache=says_fp8_cache(values))
    need_sound(model, config)
    config.check()
    if config.values.get("architectures") in HEADLESS:
        model = headless(model)
    model = with_rules(model, config)
    model = model._replace(explained_bytes=sum(tensor.num_bytes for tensor in model.tensors))
    unread = config.unread()
    if unread:
        named = listed(unread)
        model = model._replace(
            warnings=(*model.warnings, f"keys not understood, which may change memory: {named}")
        )
    return model


def tower_size(values: dict[str, Any]) -> float:
    """Return the size of the tower in ViT-L/14, as an engine reads it off vision_config: 24 layers of 1,024
    where its keys have other names, those of Kimi K2.5 apart (configs/kimi_k25.py of SGLang 0.5.10).

    >>> tower_size({"vision_config": {"depth": 32, "hidden_size": 1280}})
    1.5625
    >>> tower_size({"vision_config": {"vt_num_hidden_layers": 27, "vt_hidden_size": 1152}})
    1.423828125
    """
    vision = values.get("vision_config")
    if not isinstance(vision, dict):
        return 0.0
    named = {key: vision.get(key, vision.get(f"vt_{key}")) for key in VIT_L}
    sizes = {key: size if isinstance(size, int) else VIT_L[key] for key, size in named.items()}
    return float(sizes["num_hidden_layers"] * sizes["hidden_size"] ** 2 / PER_VIT_L)


VIT_L = {"num_hidden_layers": 24, "hidden_size": 1024}
PER_VIT_L = VIT_L["num_hidden_layers"] * VIT_L["hidden_size"] ** 2


def says_fp8_cache(values: dict[str, Any]) -> bool:
    """Return whether ModelOpt says that the cache is FP8, in either of its formats.

    >>> quantization = {"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}
    >>> says_fp8_cache({"quantization_config": quantization}), says_fp8_cache({})
    (True, False)
    """
    said = values.get("quantization_config")
    if not isinstance(said, dict) or said.get("quant_method") != "modelopt":
        return False
    scheme = said.get("kv_cache_scheme")
    floats = isinstance(scheme, dict) and scheme.get("type") == "float" and scheme.get("num_bits") == 8
    return floats or said.get("kv_cache_quant_algo") == "FP8"


HEADLESS = (["MistralModel"], ["Qwen2Model"], ["Qwen3Model"], ["LlamaModel"], ["Gemma3TextModel"])
"""Classes of decoders without their head, as embedding models are published."""
ENCODERS = ("electra", "megatron-bert", "rembert", "xlm-roberta-xl")
"""Encoders that transformers has with a language head, so that `oomless trace` runs them."""


def _nearest(model_type: str) -> str:
    """What to do about a type that is not known.

    >>> _nearest("electra").partition("; ")[0]
    'an encoder: `oomless trace` runs a step of it and its language head'
    >>> _nearest("retnet")
    '`oomless models --families` lists all'
    """
    if model_type in ENCODERS:
        return (
            "an encoder: `oomless trace` runs a step of it and its language head; "
            "`oomless models --families` lists all"
        )
    return did_you_mean(model_type, sorted(FAMILIES), "oomless models --families")


def need_sound(model: Model, config: Config) -> None:
    """Note what no network can be, whatever family it is of: sizes that are fine one by one and do not fit
    together."""
    for tensor in model.tensors:
        side = {"column": 0, "row": -1}.get(tensor.cut.how)
        if side is not None and tensor.shape and tensor.cut.units > tensor.shape[side]:
            config.fault(
                f"{tensor.name} is {tensor.shape[side]:,} wide, which {tensor.cut.units:,} heads cannot share"
            )
    if model.vision is not None and model.vision.item_tokens < 1:
        config.fault("an image of vision_config is smaller than one of its patches")
