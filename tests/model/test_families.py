"""Families: every catalogue config builds and has the hub's number of elements; bad configs end in a clear
error; runtime rules of kinds."""

import copy
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from oomless import facts, infer
from oomless.engines.vllm import VLLM
from oomless.engines.vllm.sparse import captured_bytes
from oomless.errors import OomlessError, UnsupportedError
from oomless.estimate.serving.weights import weight_lines
from oomless.model.attention import DSA, GQA, Linear, Sliding
from oomless.model.families import FAMILIES, READERS, build
from oomless.model.feedforward import Dense, MoE
from oomless.model.load import load
from oomless.model.model import Model
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.units import GIB
from small_configs import SMALL

ROWS = {row["name"]: row for row in facts.table("catalogue")}
COUNTED = [name for name, row in ROWS.items() if row["checked"] == "yes" and row["parameters_hub"]]

ROTARY_AND_MASKS = "rotary frequencies and attention masks are stored as buffers"
HUB_COUNTS_MORE = {
    "a.x-k1": (-4352, "a norm of the dense layer, which the class has not, and no router biases: 60 x 192"),
    "deepseek-v4-flash-base": (17669120, "scales of experts, which models_index.csv counts apart"),
    "deepseek-v4-pro-base": (97408000, "scales of experts, which models_index.csv counts apart"),
    "devstral-small-2-24b": (560, "one scale a quantised matrix and input"),
    "diffusiongemma-26b-a4b": (-2334, "the hub counts no scalars of layers and no scale of the tower"),
    "glm-4.6": (-1551892480, "the hub's count has no copies of embedding and head with the MTP layer"),
    "kimi-k2-instruct": (3416, "rotary frequencies"),
    "kimi-k2-instruct-0905": (62503000, "scales and rotary frequencies"),
    "kimi-k2-thinking": (7808, "rotary frequencies"),
    "kimi-k3": (8352, "69 x 96 and 27 x 64 elements that no class here has: 3e-9 of the whole"),
    "kimi-vl-a3b": (1728, "rotary frequencies: 27 layers x 64"),
    "lfm2-8b-a1b": (-704, "the hub's count has no router biases: 22 layers x 32"),
    "mistral-small-4": (19008, "scales of weights and of inputs: 36 layers x 2 x (128 x 2 + 8)"),
    "llama-2-7b": (2048, "rotary frequencies: 32 layers x 64"),
    "llama-2-13b": (2560, "rotary frequencies: 40 layers x 64"),
    "llama-2-70b": (5120, "rotary frequencies: 80 layers x 64"),
    "moonlight-16b-a3b": (1728, "rotary frequencies: 27 layers x 64"),
    "nemotron-3-nano-30b-a3b": (-2944, "the hub's count has no router biases: 23 layers x 128"),
    "paddleocr-vl": (52987088, "a pooling head and a second table of positions, which engines leave out"),
    "phi-4-multimodal": (830472192, "two adapters, which engines load beside the model or not at all"),
    "solar-open-100b": (-6144, "the hub's count has no router biases: 48 layers x 128"),
}


def test_a_model_type_has_one_reader() -> None:
    assert sum(len(types.split()) for types in READERS.values()) == len(FAMILIES)


def config_of(name: str) -> dict[str, Any]:
    return facts.model_config(name)


def elements(model: Model) -> int:
    return sum(tensor.num_parameters for tensor in model.tensors)


def scales(model: Model) -> int:
    return sum(tensor.num_tensors * tensor.format.num_scales(tensor.shape) for tensor in model.tensors)


def packed(model: Model) -> set[int]:
    """Elements where two of 4 bits are one: without scales, with those of blocks, and with the two of a
    whole matrix."""
    nibbles = [tensor for tensor in model.tensors if tensor.format.bits == 4]
    bytes_ = elements(model) - sum(tensor.num_parameters // 2 for tensor in nibbles)
    blocks = sum(tensor.num_parameters // 16 for tensor in nibbles)
    return {bytes_, bytes_ + blocks, bytes_ + blocks + 2 * sum(tensor.num_tensors for tensor in nibbles)}


def stored_again(model: Model) -> int:
    """A tied embedding that some checkpoints store as head too."""
    return model.vocab_size * model.hidden_size if model.tied else 0


def test_mistral_publishes_medium_and_small_in_fp8() -> None:
    """133.6 GB on the hub (Medium); vLLM's recipes of both."""
    assert load("mistral-medium-3.5").checkpoint_bytes / 1e9 == pytest.approx(133.6, abs=0.05)
    assert load("mistral-small-4").checkpoint_bytes / 1e9 == pytest.approx(120.9, abs=0.05)


def test_mistral_publishes_large_3_in_nvfp4_with_attention_in_16_bit() -> None:
    """403.2 GB on the hub; 673B and a tower of 2.5B."""
    assert load("mistral-large-3-nvfp4").checkpoint_bytes / 1e9 == pytest.approx(403.2, abs=0.1)
    assert load("mistral-large-3").num_parameters / 1e9 == pytest.approx(673, abs=0.5)


def test_glm_with_delta_attention_is_as_large_as_its_files() -> None:
    """GLM-5.3-Flash: 306 GB as du counts (vllm#53963); its indexers pool sixteen keys to one."""
    model = load("glm-5.3-flash")
    assert model.checkpoint_bytes / 2**30 == pytest.approx(306.5, abs=0.6)
    pooled = [each for each in model.kinds.attentions if isinstance(each, DSA)]
    assert (len(model.layers), pooled[0].index_pool) == (45, 16)
    rows = 512 * (1048576 // 16) * 4
    assert captured_bytes(model, Resolved(max_model_len=1048576), 512) == rows


def test_experts_of_2024_have_a_dense_block_beside_them() -> None:
    """Arctic: 128 experts of 4,864 beside a block as wide as the hidden state; 479B and 269.5B on the hub."""
    arctic, grok = load("arctic"), load("grok-2")
    assert [round(each.num_parameters / 1e9, 1) for each in (arctic, grok)] == [478.6, 269.5]
    beside = [each.layers[0].ffn for each in (arctic, grok)]
    assert [isinstance(each, MoE) and each.dense_width for each in beside] == [7168, 32768]
    faulty = {**config_of("arctic"), "moe_layer_frequency": 2}
    with pytest.raises(OomlessError, match="moe_layer_frequency"):
        build(faulty, "x", "x")


def test_of_what_hears_and_speaks_the_thinker_counts() -> None:
    """Qwen2.5-Omni as it is published, with a talker; bytes as vLLM loads them (16.6 GiB)."""
    thinker = facts.model_config("qwen2.5-omni-7b")
    whole = {
        "model_type": "qwen2_5_omni",
        "thinker_config": thinker,
        "talker_config": {},
        "enable_talker": True,
    }
    model = build({**whole, "torch_dtype": "bfloat16"}, "omni", "omni")
    assert model.tensors == load("qwen2.5-omni-7b").tensors
    assert [warning[:11] for warning in model.warnings] == ["what speaks"]


@pytest.mark.parametrize("name", COUNTED)
def test_has_the_elements_that_the_hub_counts(name: str) -> None:
    model, hub = load(name), int(ROWS[name]["parameters_hub"])
    expected = {elements(model), elements(model) + scales(model), *packed(model)}
    if name in HUB_COUNTS_MORE:
        expected.add(elements(model) + HUB_COUNTS_MORE[name][0])
    if "tied head" in ROWS[name]["note"] or "embedding and head stay" in ROWS[name]["note"]:
        expected |= {total + stored_again(model) for total in set(expected)}
    if "attention mask buffers" in ROWS[name]["note"]:
        assert 0 < hub - elements(model) < 0.4 * hub, ROTARY_AND_MASKS
        return
    assert hub in expected, (
        f"{hub - elements(model):+,} beside {elements(model):,} elements and {scales(model):,} scales"
    )


@pytest.mark.parametrize("name", list(ROWS))
def test_every_key_of_the_catalogue_is_understood(name: str) -> None:
    assert not [warning for warning in load(name).warnings if "not understood" in warning]


def test_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="minimax_m9"):
        build({"model_type": "minimax_m9"}, "x", "x")


FAMILY_SAMPLES = {ROWS[name]["name"]: config_of(name)["model_type"] for name in ROWS}


def samples() -> list[str]:
    """The smallest config text of each family."""
    best: dict[str, str] = {}
    for name, family in FAMILY_SAMPLES.items():
        if family not in best or len(json.dumps(config_of(name))) < len(json.dumps(config_of(best[family]))):
            best[family] = name
    return sorted(best.values())


def paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict) and len(above) < 2:
            yield from paths(value, (*above, key))


BROKEN: tuple[Any, ...] = (None, -1, 0, 2**70, "x", [], [0], {}, {"a": 1}, 1.5, True)


@pytest.mark.parametrize("most", [200, pytest.param(1 << 30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*samples(), *(f"small {name}" for name in SMALL)])
def test_a_broken_value_gives_a_clear_error_or_a_model(name: str, most: int) -> None:
    original = SMALL[name.removeprefix("small ")] if name.startswith("small ") else config_of(name)
    places = list(product(paths(original), BROKEN))
    for path, value in Random(name).sample(places, min(most, len(places))):
        values = copy.deepcopy(original)
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        try:
            build(values, name, name)
        except OomlessError as error:
            assert error.message


def test_every_family_is_in_the_catalogue_or_has_a_small_config() -> None:
    nested = {
        "gemma3_text",
        "gemma3n_text",
        "internlm3",
        "muse_glimmer_text",
        "qwen3_5_text",
        "qwen3_5_moe_text",
        "qwen3_8_flash_next",
        "qwen3_8_flash_next_text",
        "qwen4_exp_text",
    }
    small = {config["model_type"] for config in SMALL.values()}
    assert set(FAMILIES) - set(FAMILY_SAMPLES.values()) - small <= nested


@pytest.mark.parametrize("name", SMALL)
def test_small_configs_are_understood_and_served(name: str) -> None:
    model = build(SMALL[name], name, name)
    assert not model.warnings
    assert model.num_parameters >= model.num_active_parameters > 0
    answer = infer(model, "h100:2", tp=2)
    assert json.loads(json.dumps(answer.to_json(), allow_nan=False))["ranks"]


def kinds(model: Model) -> dict[str, int]:
    found: dict[str, int] = {}
    for layer in model.layers:
        found[layer.attention.kind] = found.get(layer.attention.kind, 0) + 1
    return found


@pytest.mark.parametrize(
    ("name", "key"), [("glm-4.5-air", "partial_rotary_factor"), ("stablelm-3b-4e1t", "partial_rotary_factor")]
)
def test_a_number_that_no_dimension_can_be_multiplied_with_is_an_error(name: str, key: str) -> None:
    with pytest.raises(OomlessError, match=key):
        build({**config_of(name), key: 1e308}, "x", "x")


def test_layers_have_the_kinds_that_their_configs_say() -> None:
    assert kinds(load("gemma-3-27b")) == {"sliding": 52, "gqa": 10}
    assert kinds(load("qwen3.5-27b")) == {"linear": 48, "gqa": 16}
    assert kinds(load("llama-4-scout")) == {"sliding": 36, "gqa": 12}
    assert kinds(load("nemotron-3-nano-30b-a3b")) == {"linear": 23, "gqa": 6}
    assert kinds(load("lfm2-1.2b")) == {"linear": 10, "gqa": 6}
    local = load("llama-4-scout").layers[0].attention
    assert isinstance(local, Sliding)
    assert local.chunked
    across = load("llama-3.2-11b-vision").layers[3].attention
    assert isinstance(across, GQA)
    assert across.cross


def test_feed_forward_blocks() -> None:
    assert load("phi-2").layers[0].ffn == Dense(10240, bias=True, gated=False)
    granite = load("granite-4.0-h-small").layers[0].ffn
    assert isinstance(granite, MoE)
    assert (granite.num_experts, granite.num_active_experts, granite.shared_width) == (72, 10, 1536)
    state = load("granite-4.0-h-small").layers[0].attention
    assert isinstance(state, Linear)
    assert (state.variant, state.conv_width, state.state_size) == ("mamba2", 8448, 1048576)


def weights_gib(name: str, version: str, tp: int, card: str) -> float:
    model, hardware = load(name), parse_gpu(card)
    asked = VLLM.resolve(model, hardware, Asked(engine_version=version), Layout(tp=tp))
    stage = VLLM.stages(model, asked)[0]
    lines = weight_lines(VLLM.placed_weights(model, asked, hardware, stage), VLLM.counts, "test")
    return sum(line.bytes for line in lines) / GIB


@pytest.mark.parametrize(
    ("name", "version", "tp", "measured"),
    [
        ("gpt-oss-20b", "0.11.0", 1, 13.47),
        ("gpt-oss-120b", "0.11.0", 1, 64.38),
        ("gpt-oss-20b", "0.19.0", 2, 7.01),
    ],
)
def test_experts_of_gpt_oss_on_hopper_keep_their_scales_twice(
    name: str, version: str, tp: int, measured: float
) -> None:
    assert weights_gib(name, version, tp, "h100:2") == pytest.approx(measured, rel=0.0025)


def test_experts_of_gpt_oss_are_padded_for_marlin_before_hopper() -> None:
    triton, marlin = (
        weights_gib("gpt-oss-20b", "0.33.0", 1, "h100"),
        weights_gib("gpt-oss-20b", "0.33.0", 1, "a100-80gb"),
    )
    assert triton < marlin < 1.08 * triton


def test_states_are_paged_as_blocks_of_the_cache() -> None:
    """vLLM 0.21 printed 619,202 tokens for 9.84 GiB (TP2), 0.24 printed 569,878 for 6.01 GiB: both exact with
    the second page of a state, which belongs to prefix caching."""
    for name, tp, version, length, pool, tokens in (
        ("qwen3.6-27b", 2, "0.21.0", 262144, 9.84, 619202),
        ("qwen3.6-35b-a3b", 1, "0.24.0", 131072, 6.01, 569878),
    ):
        model, hardware = load(name), parse_gpu("h100:2")
        serving = Asked(engine_version=version, kv_cache_dtype="fp8", max_model_len=length)
        serving = serving._replace(enable_prefix_caching=True)
        asked = VLLM.resolve(model, hardware, serving, Layout(tp=tp))
        layout = VLLM.cache_layout(model, asked, VLLM.stages(model, asked)[0])
        assert VLLM.max_tokens([layout], [int(pool * GIB)], asked) == tokens


def test_requantised_models_weigh_less_in_order() -> None:
    model, hardware = load("llama-3.1-8b"), parse_gpu("h100")

    def gib(quantization: str | None) -> float:
        asked = VLLM.resolve(
            model, hardware, Asked(engine_version="0.19.0", quantization=quantization), Layout()
        )
        placed = VLLM.placed_weights(model, asked, hardware, VLLM.stages(model, asked)[0])
        return sum(each.total_bytes for each in placed) / GIB

    assert gib("bitsandbytes") < gib("awq") < gib("nvfp4") < gib("fp8") < gib("w8a8") < gib(None)


def test_gemma_4_e_models_lend_caches_and_embed_each_layer() -> None:
    """The last 18 of E4B's 42 layers read caches of earlier ones; their weights are stored all the same."""
    model = load("gemma-4-e4b")
    inner = [
        layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        for layer in model.layers
    ]
    assert [isinstance(each, GQA) and each.borrows_cache for each in inner] == [False] * 24 + [True] * 18
    table = next(tensor for tensor in model.tensors if "embed_tokens_per_layer" in tensor.name)
    assert (table.shape, table.lookup) == ((262144, 42 * 256), True)
    widths = [
        layer.ffn.intermediate_size for layer in load("gemma-4-e2b").layers if isinstance(layer.ffn, Dense)
    ]
    assert widths == [6144] * 15 + [12288] * 20


def test_an_open_limit_in_a_published_config_is_no_fault(tmp_path: Path) -> None:
    """Nemotron-H writes `time_step_limit: [0.0, Infinity]`; as a size Infinity is refused, NaN everywhere."""
    values = {**config_of("nemotron-h-56b"), "time_step_limit": [0.0, float("inf")]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    assert load(str(path)).num_parameters == load("nemotron-h-56b").num_parameters
    path.write_text(json.dumps({**values, "hidden_size": float("inf")}))
    with pytest.raises(OomlessError, match="hidden_size is Infinity"):
        load(str(path))


def test_configs_that_transformers_5_saves_say_experts_and_their_biases() -> None:
    """It writes num_local_experts for Qwen3-MoE, and no topk_method for DeepSeek-V3."""
    config = facts.model_config("qwen3-30b-a3b")
    renamed = {key: value for key, value in config.items() if key != "num_experts"}
    renamed["num_local_experts"] = config["num_experts"]
    assert build(renamed, "x", "x").num_parameters == build(config, "x", "x").num_parameters
    config = facts.model_config("deepseek-v3")
    without = {key: value for key, value in config.items() if key != "topk_method"}
    assert build(without, "x", "x").tensors == build(config, "x", "x").tensors
