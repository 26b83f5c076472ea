"""quantization_config: every method and packing is read right or refused by name; what it leaves out stays as
it was, layer by layer."""

import json
from pathlib import Path
from typing import Any

import pytest

from oomless.errors import OomlessError, UnsupportedError
from oomless.model.families import build
from oomless.model.load import load
from oomless.model.model import Model

HIDDEN, FF, VOCAB, LAYERS = 1024, 4096, 1000, 4
LINEAR = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * FF
"""Of one layer."""
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "vocab_size": VOCAB,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
MOE: dict[str, Any] = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
    "head_dim": 128,
    "mlp_only_layers": [0],
}
PLAIN = 2 * VOCAB * HIDDEN + (2 * LAYERS + 1) * HIDDEN


def read(quantization: dict[str, Any], base: dict[str, Any] = LLAMA) -> Model:
    return build({**base, "quantization_config": quantization}, "x", "config.json")


def ct(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A compressed-tensors config as llm-compressor writes it."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **more,
    }


def quark(dtype: str, by: str, **more: Any) -> dict[str, Any]:
    weight = {"dtype": dtype, "qscheme": by, **more}
    return {
        "quant_method": "quark",
        "global_quant_config": {"weight": weight, "input_tensors": None},
        "exclude": ["lm_head"],
    }


def ao(kind: str, **data: Any) -> dict[str, Any]:
    return {
        "quant_method": "torchao",
        "quant_type": {"default": {"_type": kind, "_version": 1, "_data": data}},
    }


def hqq(bits: int, group: int) -> dict[str, Any]:
    numbers = {"nbits": bits, "group_size": group, "quant_zero": False}
    return {
        "quant_method": "hqq",
        "quant_config": {"weight_quant_params": numbers},
        "skip_modules": ["lm_head"],
    }


ROWS = 4 * HIDDEN + 2 * FF + HIDDEN
"""Output rows of the matrices of a layer: scales by row are so many."""
BLOCKS = 4 * 8 * 8 + 3 * 8 * 32
SCHEMES: dict[str, tuple[dict[str, Any], float]] = {
    "fp8 blocks": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, LINEAR + 4 * BLOCKS),
    "fp8 tensor": ({"quant_method": "fp8", "activation_scheme": "static"}, LINEAR + 4 * 7),
    "fbgemm fp8": ({"quant_method": "fbgemm_fp8"}, LINEAR + 4 * ROWS),
    "mxfp8": ({"quant_method": "mxfp8", "weight_block_size": [1, 32]}, LINEAR * 33 / 32),
    "mxfp8 as fp8": ({"quant_method": "fp8", "weight_block_size": [1, 32]}, LINEAR * 33 / 32),
    "gptq 4 by 128": (
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        LINEAR * (4 + 20 / 128) / 8 + 4 * (6 * HIDDEN + FF),
    ),
    "gptq 8 by row": (
        {"quant_method": "gptq", "bits": 8, "group_size": -1},
        LINEAR + 3 * ROWS + 4 * (6 * HIDDEN + FF),
    ),
    "awq 4 by 128": (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
        LINEAR * (4 + 20 / 128) / 8,
    ),
    "awq under its old keys": (
        {"quant_method": "awq", "w_bit": 4, "q_group_size": 64},
        LINEAR * (4 + 20 / 64) / 8,
    ),
    "auto-round": (
        {"quant_method": "intel/auto-round", "bits": 4, "group_size": 128},
        LINEAR * (4 + 20 / 128) / 8,
    ),
    "nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, LINEAR * (4 + 32 / 64) / 8),
    "nf4 double": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        LINEAR * (4 + 8 / 64) / 8,
    ),
    "int8 of bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, LINEAR + 4 * ROWS),
    "w8a8": (ct({"num_bits": 8, "type": "int", "strategy": "channel"}), LINEAR + 4 * ROWS),
    "w4a16": (
        ct({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}),
        LINEAR * (4 + 16 / 128) / 8,
    ),
    "w4a16 with zeros": (
        ct({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": False}),
        LINEAR * (4 + 20 / 128) / 8,
    ),
    "fp8 dynamic": (ct({"num_bits": 8, "type": "float", "strategy": "channel"}), LINEAR + 4 * ROWS),
    "fp8 by blocks of compressed-tensors": (
        ct({"num_bits": 8, "type": "float", "strategy": "block"}),
        LINEAR + 4 * BLOCKS,
    ),
    "nvfp4": (
        ct({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}),
        LINEAR * 4.5 / 8,
    ),
    "mxfp4": (ct({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}), LINEAR * 4.25 / 8),
    "modelopt fp8": (
        {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head"]},
        LINEAR + 4 * 7,
    ),
    "modelopt without a method": ({"quant_algo": "FP8", "ignore": ["lm_head"]}, LINEAR + 4 * 7),
    "modelopt fp8 a row": (
        {"quant_method": "modelopt", "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"},
        LINEAR + 4 * ROWS,
    ),
    "modelopt nvfp4": ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4"}, LINEAR * 4.5 / 8),
    "modelopt mxfp8": ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, LINEAR * 33 / 32),
    "quark fp8": (quark("fp8_e4m3", "per_tensor"), LINEAR + 4 * 7),
    "quark fp8 a row": (quark("fp8_e4m3", "per_channel"), LINEAR + 4 * ROWS),
    "quark mxfp4": (quark("fp4", "per_group", group_size=32), LINEAR * 4.25 / 8),
    "quark int8": (quark("int8", "per_channel"), LINEAR + 4 * ROWS),
    "quark int4": (quark("int4", "per_group", group_size=128), LINEAR * (4 + 16 / 128) / 8),
    "hqq 4 by 64": (hqq(4, 64), LINEAR * (4 + 32 / 64) / 8),
    "torchao int8": (ao("Int8WeightOnlyConfig"), LINEAR + 5 * ROWS),
    "torchao int4": (ao("Int4WeightOnlyConfig", group_size=64), LINEAR * (4 + 32 / 64) / 8),
    "torchao int4, as it was": (
        {
            "quant_method": "torchao",
            "quant_type": "int4_weight_only",
            "quant_type_kwargs": {"group_size": 128},
        },
        LINEAR * (4 + 32 / 128) / 8,
    ),
    "torchao fp8": (ao("Float8WeightOnlyConfig"), LINEAR + 4 * ROWS),
    "quanto": ({"quant_method": "quanto", "weights": "int8"}, LINEAR + 2 * ROWS),
    "eetq": ({"quant_method": "eetq", "weights": "int8"}, LINEAR + 2 * ROWS),
    "bitnet": ({"quant_method": "bitnet"}, LINEAR / 4 + 2 * 7),
    "fp_quant": ({"quant_method": "fp_quant", "forward_dtype": "mxfp4"}, LINEAR * 4.25 / 8),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_bytes_of_each_packing(name: str) -> None:
    quantization, layer_bytes = SCHEMES[name]
    assert read(quantization).checkpoint_bytes == 2 * PLAIN + LAYERS * layer_bytes


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "aqlm": ({"quant_method": "aqlm"}, "aqlm"),
    "spqr": ({"quant_method": "spqr"}, "spqr"),
    "vptq": ({"quant_method": "vptq"}, "vptq"),
    "higgs": ({"quant_method": "higgs"}, "higgs"),
    "exl2": ({"quant_method": "exl2", "bits": 4.0}, "exl2"),
    "exl3": ({"quant_method": "exl3", "bits": 4.0}, "exl3"),
    "gguf": ({"quant_method": "gguf"}, "gguf"),
    "a new algorithm of modelopt": ({"quant_method": "modelopt", "quant_algo": "W2A8_X"}, "W2A8_X"),
    "mixed without a list": (
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
        "quantized_layers",
    ),
    "blocks of another size": ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "64"),
    "a scheme of compressed-tensors": (ct({"num_bits": 6, "type": "float", "strategy": "group"}), "6 bits"),
    "compressed-tensors without groups": ({"quant_method": "compressed-tensors"}, "config_groups"),
    "quark by another scheme": (quark("fp6_e2m3", "per_group", group_size=32), "fp6_e2m3"),
    "hqq of 3 bits": (hqq(3, 64), "3 bits"),
    "torchao by module": (ao("ModuleFqnToConfig"), "ModuleFqnToConfig"),
    "torchao without a type": ({"quant_method": "torchao"}, "torchao"),
    "gptq of some modules": (
        {
            "quant_method": "gptq",
            "bits": 4,
            "group_size": 128,
            "modules_in_block_to_quantize": [["self_attn.q_proj"]],
        },
        "modules_in_block_to_quantize",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(name: str) -> None:
    quantization, words = REFUSED[name]
    with pytest.raises(UnsupportedError, match=words) as caught:
        read(quantization)
    assert caught.value.code == 4


def stored(model: Model, name: str) -> dict[int, str]:
    """The format of a module in each layer."""
    return {
        layer: t.format.name
        for t in model.tensors
        if name in t.name and t.part == "main"
        for layer in t.layers
    }


FP8 = "fp8, one F32 scale a tensor"
BF16 = "bfloat16"


@pytest.mark.parametrize(
    "pattern",
    [
        "model.layers.1.self_attn",
        "model.layers.1.self_attn*",
        "model.layers.1.self_attn.*",
        "language_model.model.layers.1.self_attn*",
        "re:.*layers\\.1\\.self_attn.*",
        "*layers.1.self_attn*",
    ],
)
def test_one_layers_attention_left_out(pattern: str) -> None:
    model = read({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": [pattern, "lm_head"]})
    assert stored(model, "self_attn.q_proj.weight") == {0: FP8, 1: BF16, 2: FP8, 3: FP8}
    assert set(stored(model, "mlp.up_proj").values()) == {FP8}


def test_names_between_dots_and_whole_layers_left_out() -> None:
    model = read(
        {"quant_method": "fp8", "modules_to_not_convert": ["o_proj", "model.layers.0*", "gate", "lm_head"]}
    )
    assert set(stored(model, "o_proj").values()) == {BF16}
    assert stored(model, "mlp.gate_proj") == {0: BF16, 1: FP8, 2: FP8, 3: FP8}


def test_skipped_modules_of_bitsandbytes_stay_in_16_bits() -> None:
    """As unsloth's dynamic 4-bit repositories list them."""
    model = read(
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "llm_int8_skip_modules": ["lm_head", "model.layers.2.mlp"],
        }
    )
    assert [layer for layer, form in stored(model, "mlp.down_proj").items() if form == BF16] == [2]


def test_experts_and_attention_each_with_their_own_format() -> None:
    listed = {
        f"model.layers.{i}.mlp.experts.{e}.{m}_proj": {"quant_algo": "NVFP4"}
        for i in (1, 2, 3)
        for e in range(4)
        for m in ("up", "gate", "down")
    }
    listed |= {
        f"model.layers.{i}.self_attn.{m}_proj": {"quant_algo": "FP8"} for i in range(4) for m in "qkvo"
    }
    model = read(
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": listed}, MOE
    )
    assert set(stored(model, "experts.up_proj").values()) == {"fp4 1x16, FP8 scales"}
    assert set(stored(model, "k_proj").values()) == {FP8}
    assert stored(model, "mlp.up_proj") == {0: BF16}


def test_groups_of_compressed_tensors_side_by_side() -> None:
    groups = {
        "group_0": {
            "targets": ["re:.*self_attn.*"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "tensor"},
        },
        "group_1": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
        },
    }
    model = read(
        {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["re:.*down_proj"]}
    )
    assert set(stored(model, "q_proj").values()) == {FP8}
    assert set(stored(model, "up_proj").values()) == {"int4 by 32"}
    assert set(stored(model, "down_proj").values()) == {BF16}


def test_other_bits_for_some_modules_of_gptq_and_auto_round() -> None:
    dynamic = {"-:.*mlp\\.down_proj": {}, "+:.*layers\\.0\\..*": {"bits": 8}}
    model = read({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": dynamic})
    assert stored(model, "up_proj") == {0: "gptq int8", 1: "gptq int4", 2: "gptq int4", 3: "gptq int4"}
    assert set(stored(model, "down_proj").values()) == {BF16}
    extra = {"model.layers.3.mlp.up_proj": {"bits": 16}, "model.layers.2.mlp.up_proj": {"bits": 8}}
    model = read({"quant_method": "auto-round", "bits": 4, "group_size": 128, "extra_config": extra})
    assert stored(model, "up_proj") == {
        0: "auto-round int4",
        1: "auto-round int4",
        2: "auto-round int8",
        3: BF16,
    }


def test_modelopt_of_old_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert load(str(tmp_path)).quantization == ""
    beside = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    }
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    assert load(str(tmp_path)).checkpoint_bytes == 2 * PLAIN + LAYERS * (LINEAR + 28)


@pytest.mark.parametrize("ignored", ["lm_head", [1], {"a": 1}, 5])
def test_a_list_of_modules_that_is_none(ignored: object) -> None:
    with pytest.raises(OomlessError, match="no list of names"):
        read({"quant_method": "fp8", "ignored_layers": ignored})
