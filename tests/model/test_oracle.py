"""Parameter counts against transformers' own classes on the meta device: one row a family always, the whole
catalogue when there is time."""

import copy
import json
import warnings
from typing import Any

import pytest

from oomless import facts, infer
from oomless.errors import OomlessError
from oomless.model.attention import GQA, Sliding
from oomless.model.families import build
from oomless.model.load import load
from oomless.model.model import Model
from small_configs import SMALL, WITHOUT_CLASS

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NO_CLASS = {
    "arctic",
    "chatglm",
    "new",
    "baichuan",
    "bailing_moe",
    "deepseek",
    "deepseek_v41",
    "deepseek_vl_v2",
    "dots_ocr",
    "grok-1",
    "internlm2",
    "interns1",
    "internvl_chat",
    "kimi_k2",
    "kimi_k3",
    "kimi_vl",
    "mimo",
    "minimax_m1",
    "minimax_text_01",
    "minicpm",
    "minicpmv",
    "multi_modality",
    "nemotron-nas",
    "phi3_v",
    "phi4mm",
    "qwen",
    "mimo_v2",
    "llama_bidirec",
    "unlimited-ocr",
    "step3p5",
}
"""Families that run from remote code or in engines alone; the hub's counts hold them (test_families.py)."""

OTHER_CLASS = {
    "grok-2",
    "ling-2.6-flash",
    "ling-2.6-1t",
    "ring-2.6-1t",
    "ring-2.5-1t",
    "ling-2.5-1t",
    "gemma-3n-e4b",
    "gemma-3n-e2b",
    "diffusiongemma-26b-a4b",
}
"""Models whose model_type transformers knows as that of another one, or whose tower is timm's."""

EXPLAINED = {
    "longcat_flash": "the class gives experts that do nothing an input matrix; the checkpoint "
    "has none (the hub's count)",
    "gemma4": "the class has no projections of keys and values in layers that read others' caches; "
    "the checkpoint has (the hub's count)",
}


def rows() -> dict[str, str]:
    """Catalogue name of each distinct shape, by what a config says beside its quantisation."""
    found: dict[str, str] = {}
    for row in facts.table("catalogue"):
        values = {
            key: value
            for key, value in facts.model_config(row["name"]).items()
            if key != "quantization_config"
        }
        found.setdefault(json.dumps(values, sort_keys=True), row["name"])
    return found


NAMES = [
    name
    for name in rows().values()
    if facts.model_config(name)["model_type"] not in NO_CLASS and name not in OTHER_CLASS
]
SMALLEST: dict[str, str] = {}
for each in sorted(NAMES, key=lambda name: len(json.dumps(facts.model_config(name)))):
    SMALLEST.setdefault(facts.model_config(each)["model_type"], each)
PARAMETERS = [
    name if name in SMALLEST.values() else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]


VECTORS = (
    "BertModel",
    "MPNetModel",
    "RobertaModel",
    "MistralModel",
    "Qwen3Model",
    "ForMaskedLM",
    "ForSequenceClassification",
)
"""How classes end that give vectors: they are named, since no auto class is for all of them."""


def class_count(values: dict[str, Any]) -> tuple[int, int]:
    """(parameters, elements of stored buffers) of the class that transformers has for a config."""
    values = copy.deepcopy(values)
    for part in (values, *(each for each in values.values() if isinstance(each, dict))):
        part.pop("quantization_config", None)
    if "longrope" in str(values.get("rope_scaling")):
        del values["rope_scaling"]  # the catalogue leaves its lists out, which are no parameters
    if thinker := values.get("thinker_config"):  # what engines serve of a model that speaks
        values = {**thinker, "architectures": [""]}
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    named = (values.get("architectures") or [""])[0]
    if named.endswith(VECTORS):
        with torch.device("meta"):
            counted = {id(each): each.numel() for each in getattr(transformers, named)(config).parameters()}
        return sum(counted.values()), 0
    autos = (
        transformers.AutoModelForImageTextToText,
        transformers.AutoModelForMultimodalLM,
        transformers.AutoModelForCausalLM,
    )
    auto = next(each for each in autos if type(config) in each._model_mapping)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = auto.from_config(config, dtype=torch.bfloat16)
    state = model.state_dict(keep_vars=True)
    parameters = {id(each): each.numel() for each in model.parameters()}
    return sum(parameters.values()), sum(
        each.numel() for name, each in model.named_buffers() if name in state
    )


def ours(model: Model) -> int:
    """What a class without MTP layers holds: the main model and its encoders, without copies."""
    return sum(
        tensor.num_parameters for tensor in model.tensors if tensor.part != "mtp" and not tensor.copy_of
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_class(name: str) -> None:
    model = load(name)
    parameters, buffers = class_count(facts.model_config(name))
    expected = {parameters, parameters + buffers}
    if model.family == "longcat_flash":
        expected = {parameters + buffers - zero_experts(facts.model_config(name))}
    if model.family == "gemma4":
        expected |= {parameters + buffers - clip_bounds(name) + borrowed(model)}
    assert ours(model) in expected, (
        f"{ours(model) - parameters - buffers:+,} ({EXPLAINED.get(model.family, 'not explained')})"
    )


def zero_experts(values: dict[str, Any]) -> int:
    """Input matrices that LongCat's class gives to experts which do nothing: no checkpoint has them (the
    hub's count)."""
    return int(
        values["num_layers"]
        * values["zero_expert_num"]
        * 2
        * values["expert_ffn_hidden_size"]
        * values["hidden_size"]
    )


def clip_bounds(name: str) -> int:
    """Four bounds of each clipped linear layer of the encoders, which the hub's count leaves out."""
    return 928 if facts.model_config(name).get("audio_config") else 0


def borrowed(model: Model) -> int:
    """Projections and norms of keys and values in layers that read another layer's cache."""
    total = 0
    for layer in model.layers:
        attention = layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        if isinstance(attention, GQA) and attention.borrows_cache:
            width = attention.num_kv_heads * attention.head_dim
            total += 2 * width * model.hidden_size + attention.head_dim
    return total


def test_every_family_with_a_class_is_held_against_it() -> None:
    assert {facts.model_config(name)["model_type"] for name in NAMES} == set(SMALLEST)
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    assert not NO_CLASS & set(causal)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in WITHOUT_CLASS])
def test_parameters_of_small_configs_are_those_of_the_class(name: str) -> None:
    """Families of which the catalogue has no row, and what its rows leave out."""
    parameters, buffers = class_count(SMALL[name])
    model = build(SMALL[name], name, name)
    extra = zero_experts(SMALL[name]) if name == "longcat_flash" else 0
    assert ours(model) + extra in {parameters, parameters + buffers}, (
        f"{ours(model) + extra - parameters - buffers:+,} or {buffers:,} more"
    )
    assert not model.warnings


SWITCHES_OF_CLASSES_ALONE = {
    "_remove_final_layer_norm": "of OPT: taken together with do_layer_norm_before",
    "tie_word_embeddings": "Kimi Linear's, Ling's and Step's classes never tie",
}


@pytest.mark.parametrize(
    "name", [name for name in SMALL if name not in WITHOUT_CLASS and name != "longcat_flash"]
)
def test_a_switch_adds_to_a_small_config_what_it_adds_to_the_class(name: str) -> None:
    """Every true-or-false key that the class's config has, the other way round: the count follows, or the
    config is refused."""
    given = SMALL[name]
    config = transformers.AutoConfig.for_model(**given)
    for key, value in json.loads(config.to_json_string(use_diff=False)).items():
        if not isinstance(value, bool) or key in SWITCHES_OF_CLASSES_ALONE:
            continue
        turned = {**given, key: not value}
        try:
            parameters, buffers = class_count(turned)
        except Exception:
            continue  # the class itself cannot be made so
        try:
            model = build(turned, name, name)
        except OomlessError:
            continue
        assert ours(model) in {parameters, parameters + buffers}, (
            f"{key}: {ours(model) - parameters - buffers:+,}"
        )


@pytest.mark.slow
def test_every_default_config_of_transformers_gives_an_answer_or_an_error_that_was_meant() -> None:
    """As transformers writes them: all keys, all model types, those of other kinds of network too."""
    answered = 0
    for model_type in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        try:
            values = json.loads(transformers.AutoConfig.for_model(model_type).to_json_string(use_diff=False))
        except Exception:
            continue  # some cannot be written without further ones
        try:
            answer = infer(build({**values, "torch_dtype": "bfloat16"}, model_type, model_type), "h200:8")
        except OomlessError as error:
            assert error.code in (1, 2, 4)
            assert 0 < len(str(error)) < 5000
            continue
        json.dumps(answer.to_json(), allow_nan=False)
        answered += 1
    assert answered > 80
