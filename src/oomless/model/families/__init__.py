"""One file a family, or several alike: its config -> a Model."""

from importlib import import_module
from typing import Any

from ...errors import UnsupportedError, did_you_mean
from ...files import listed
from ..config import Config
from ..model import Model, headless
from ..quantization import with_rules

READERS = {
    "llama": "llama mistral qwen2 qwen3 llama_bidirec",
    "mixtral": (
        "mixtral qwen2_moe qwen3_moe granitemoe granitemoeshared granitemoe_swa phimoe minimax minimax_m1 "
        "minimax_m2 minimax_text_01"
    ),
    "deepseek": (
        "deepseek deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 glm4_moe_lite mistral4 youtu minicpm3 axk1 "
        "sarvam_mla"
    ),
    "deepseek_v4": "deepseek_v4",
    "deepseek_v41": "deepseek_v41",
    "glm": "glm4_moe glm_moe_dsa",
    "glm5_next": "glm5_next",
    "gpt_oss": "gpt_oss",
    "gemma": "gemma gemma2 gemma3 gemma3_text",
    "gemma3n": "gemma3n gemma3n_text",
    "dense": (
        "apertus arcee baichuan bitnet cohere cohere2 ernie4_5 exaone4 glm glm4 granite "
        "granite_swa hunyuan_v1_dense internlm2 internlm3 ministral3 olmo2 olmo3 cwm exaone "
        "helium hyperclovax iquestcoder jais2 minicpm ministral nanochat nemotron olmo orion "
        "PanguEmbedded phi phi3 seed_oss smollm3 stablelm starcoder2"
    ),
    "llama4": "llama4 llama4_text",
    "mistral3": "mistral3",
    "muse_glimmer": "muse_glimmer muse_glimmer_text",
    "mllama": "mllama",
    "kimi": "kimi_vl kimi_k25",
    "qwen_vl": "exaone4_5 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe",
    "qwen_omni": "qwen2_5_omni qwen2_5_omni_thinker qwen3_omni_moe qwen3_omni_moe_thinker",
    "glm_vl": "glm4v glm46v glm4v_moe glm_ocr",
    "internvl": "internvl interns1 internvl_chat",
    "hearing": "qwen2_audio qwen3_asr voxtral",
    "qwen_hybrid": (
        "qwen3_next qwen3_5 qwen3_5_text qwen3_5_moe qwen3_5_moe_text qwen4_exp qwen4_exp_text "
        "qwen3_8_flash_next qwen3_8_flash_next_text olmo_hybrid"
    ),
    "pre_llama": "gpt2 gpt_neox opt falcon qwen bloom chatglm codegen gpt_bigcode gpt_neo gptj mpt",
    "llava": "llava llava_next",
    "siglip_eyes": "aya_vision cohere2_vision idefics3 lfm2_vl llava_onevision paligemma smolvlm",
    "ocr": "dots_ocr hunyuan_vl paddleocr_vl",
    "minicpm_v": "minicpmv minicpmv4_6",
    "phi_eyes": "phi3_v phi4mm",
    "mamba_attention": "granitemoehybrid lfm2 nemotron_h lfm2_moe",
    "nemotron_nas": "nemotron-nas",
    "kimi_linear": "kimi_linear kimi_k3",
    "longcat": "longcat_flash",
    "minimax": "minimax_m3 minimax_m3_vl",
    "mamba": "jamba falcon_h1 bamba mamba mamba2 falcon_mamba",
    "gemma4": "gemma4_text diffusion_gemma gemma4 gemma4_unified",
    "mimo": "mimo mimo_v2 mimo_v2_flash",
    "sparse_experts": (
        "ernie4_5_moe dots1 exaone_moe hunyuan_v1_moe hy_v3 olmoe flex_olmo solar_open afmoe laguna "
        "sarvam_moe cohere2_moe bailing_moe bailing_moe_v2 step3p5 mellum"
    ),
    "ernie_vl": "ernie4_5_moe_vl ernie4_5_vl_moe",
    "ling_hybrid": "bailing_hybrid",
    "stepfun": "step3p7",
    "early_experts": "arctic dbrx git grok-1",
    "encoder": "bert camembert distilbert mobilebert modernbert mpnet new nomic_bert roberta xlm-roberta",
    "multimodal": "deepseek_vl_v2 unlimited-ocr multi_modality",
}
"""File -> the model_types that it reads."""
FAMILIES = {model_type: file for file, types in READERS.items() for model_type in types.split()}


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
WITH_ENCODER = frozenset(
    "bart florence2 led m2m_100 marian mbart mt5 pegasus t5 t5gemma t5gemma2 trocr umt5 whisper".split()
)
OTHERS = frozenset("clip dinov2 hubert siglip siglip2 vit vits wav2vec2 wavlm".split())
"""Of pictures and of sound."""


def _nearest(model_type: str) -> str:
    """What to do about a type that is not known.

    >>> _nearest("electra").partition("; ")[0]
    'an encoder: `oomless trace` runs a step of it and its language head'
    >>> _nearest("hyena")
    '`oomless models --families` lists all'
    >>> _nearest("whisper").partition("; ")[0]
    'an encoder with a decoder, whose keys of each input are not counted here'
    """
    if model_type in ENCODERS:
        return (
            "an encoder: `oomless trace` runs a step of it and its language head; "
            "`oomless models --families` lists all"
        )
    if model_type in WITH_ENCODER:
        return (
            "an encoder with a decoder, whose keys of each input are not counted here; "
            "`oomless top` shows what a run of it takes"
        )
    if model_type in OTHERS:
        return "no language model; `oomless top` shows what a run of it takes"
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
