"""Whole checkpoints: bytes as predicted, values as other packages read them, DeepSeek's own cast bit by
bit."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np
import torch
import transformers
from small_checkpoints import FAMILIES, own_cast, tensors_of

from oomless.compress.checkpoint.reader import MatrixBlock, Reader
from oomless.compress.checkpoint.run import Writing
from oomless.compress.checkpoint.source import read_source
from oomless.compress.checkpoint.stored_weight import stored_weights
from oomless.compress.codecs.registry import WORDS
from oomless.compress.weights import CompressRequest, compress, plan
from oomless.model.checkpoint import read_checkpoint

pytestmark = pytest.mark.torch
Folders = dict[str, Path]
SOURCES = (*FAMILIES, "deepseek_v3_fp8")
sources = pytest.mark.parametrize("family", SOURCES)


def written(folders: Folders, family: str, word: str, out: Path, **more: Any) -> Path:
    """A compressed checkpoint."""
    compress(plan(CompressRequest(str(folders[family]), word, **more)), out, writing=Writing(durable=False))
    return out


def decoded(folder: Path) -> dict[str, Any]:
    """Every matrix of a folder as oomless reads it, in bfloat16, by the name of its weight."""
    source = read_source(str(folder))
    reader, found = Reader(source.files), {}
    for weight in stored_weights(source):
        if weight.is_matrix:
            raw = reader.weight(weight, MatrixBlock(0, weight.shape[0], 0, weight.shape[1])).copy()
            tensor = torch.from_numpy(raw)
            narrow = tensor.view(torch.bfloat16) if raw.dtype == np.uint16 else tensor.to(torch.bfloat16)
            found[f"{weight.name}.weight"] = narrow
    reader.close()
    return found


@sources
@pytest.mark.parametrize("word", WORDS)
def test_predicted_bytes_are_written_to_the_byte(
    checkpoints: Folders, family: str, word: str, tmp_path: Path
) -> None:
    planned = plan(CompressRequest(str(checkpoints[family]), word))
    compress(planned, tmp_path, writing=Writing(durable=False))
    assert sum(tensor.num_bytes for tensor in read_checkpoint(tmp_path)) == planned.target.num_bytes
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.safetensors")}
    assert sizes == {file.name: file.num_bytes for file in planned.target.files}
    assert not [
        path.name for path in tmp_path.iterdir() if path.name.startswith(".") or path.suffix == ".part"
    ]


@pytest.mark.parametrize("family", ["llama", "deepseek_v2", "bert"])
@pytest.mark.parametrize(
    "word",
    "int8 int8-packed int8-g128 int4 int4-g32 int4-asym fp8-block fp8-channel fp8-tensor".split()
    + "mxfp4 mxfp8 nvfp4".split(),
)
def test_compressed_tensors_reads_what_we_read(
    checkpoints: Folders, family: str, word: str, tmp_path: Path
) -> None:
    """The package's own decompression of every module, by the scheme in the config that we wrote."""
    compressors = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    folder = written(checkpoints, family, word, tmp_path)
    section = json.loads((folder / "config.json").read_text())["quantization_config"]
    config = quantization.QuantizationConfig.model_validate(section)
    (scheme,) = config.config_groups.values()
    form = compressors.BaseCompressor.get_value_from_registry(section["format"])
    tensors, ours, seen = tensors_of(folder), decoded(folder), 0
    for name in [name for name in tensors if name.endswith(".weight_scale")]:
        module = name.removesuffix(".weight_scale")
        parts = {
            key.removeprefix(f"{module}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{module}.weight")
        }
        theirs = form.decompress(parts, scheme)["weight"].to(torch.bfloat16)
        assert torch.equal(theirs, ours[f"{module}.weight"]), module
        seen += 1
    assert seen >= 6


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "qwen3_moe", "deepseek_v2", "bert"])
@pytest.mark.parametrize("word", ["int4", "mxfp4", "bf16"])
def test_transformers_loads_it_and_computes_what_our_reading_says(
    checkpoints: Folders, family: str, word: str, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors")
    folder = written(checkpoints, family, word, tmp_path)
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    loaded = auto.from_pretrained(folder, dtype=torch.bfloat16)
    expected = auto.from_pretrained(checkpoints[family], dtype=torch.bfloat16)
    replace_weights(expected, decoded(folder))
    ids = torch.arange(24)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids)[0], expected(ids)[0])


def replace_weights(model: Any, weights: dict[str, Any]) -> None:
    """Put weights by their published names into a model of transformers, which keeps experts fused."""
    for name, parameter in model.named_parameters():
        base = name.rpartition(".")[0]
        if name.endswith("experts.gate_up_proj"):
            pairs = [
                torch.cat([weights[f"{base}.{e}.gate_proj.weight"], weights[f"{base}.{e}.up_proj.weight"]])
                for e in range(parameter.shape[0])
            ]
            parameter.data.copy_(torch.stack(pairs))
        elif name.endswith("experts.down_proj"):
            downs = [weights[f"{base}.{e}.down_proj.weight"] for e in range(parameter.shape[0])]
            parameter.data.copy_(torch.stack(downs))
        elif name in weights:
            parameter.data.copy_(weights[name])


def test_fp8_to_bf16_is_deepseeks_own_cast_bit_by_bit(checkpoints: Folders, tmp_path: Path) -> None:
    before = tensors_of(checkpoints["deepseek_v3_fp8"])
    after = tensors_of(written(checkpoints, "deepseek_v3_fp8", "bf16", tmp_path))
    seen = 0
    for name, tensor in before.items():
        if name.endswith("_scale_inv"):
            continue
        if f"{name}_scale_inv" in before:
            assert torch.equal(after[name], own_cast(tensor, before[f"{name}_scale_inv"])), name
            seen += 1
        else:
            assert torch.equal(after[name], tensor)
    assert seen >= 60
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("word", ["int4", "int8", "nvfp4", "mxfp4", "fp8-channel"])
def test_what_is_made_from_fp8_is_what_is_made_from_its_cast(
    checkpoints: Folders, word: str, tmp_path: Path
) -> None:
    """Dequantising and quantising in one pass gives the bytes of doing it in two."""
    directly = tensors_of(written(checkpoints, "deepseek_v3_fp8", word, tmp_path / "directly"))
    cast = written(checkpoints, "deepseek_v3_fp8", "bf16", tmp_path / "cast")
    in_two = tensors_of(written({"cast": cast}, "cast", word, tmp_path / "in_two"))
    assert directly.keys() == in_two.keys()
    for name, tensor in directly.items():
        assert torch.equal(tensor.view(torch.uint8), in_two[name].view(torch.uint8)), name


def test_deepseeks_own_format_is_the_default_for_deepseek(checkpoints: Folders, tmp_path: Path) -> None:
    folder = written(checkpoints, "deepseek_v3", "fp8", tmp_path)
    section = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert section["quant_method"] == "fp8"
    assert section["weight_block_size"] == [128, 128]
    ours, theirs = tensors_of(folder), tensors_of(checkpoints["deepseek_v3_fp8"])
    scaled = [name for name in ours if name.endswith("_scale_inv")]
    assert len(scaled) >= 60
    for name in scaled:
        assert torch.equal(ours[name], theirs[name])
        weight = name.removesuffix("_scale_inv")
        assert torch.equal(ours[weight].view(torch.uint8), theirs[weight].view(torch.uint8))


def test_what_engines_fuse_shares_nvfp4s_global_scale(checkpoints: Folders, tmp_path: Path) -> None:
    """q, k and v lie in one shard or in two: either way they have one number, and so have gate and up."""
    tensors = tensors_of(written(checkpoints, "qwen3", "nvfp4", tmp_path))
    for layer in range(3):
        for group in (("self_attn", ("q_proj", "k_proj", "v_proj")), ("mlp", ("gate_proj", "up_proj"))):
            names = [f"model.layers.{layer}.{group[0]}.{name}.weight_global_scale" for name in group[1]]
            assert len({float(tensors[name]) for name in names}) == 1
    assert float(tensors["model.layers.0.mlp.down_proj.weight_global_scale"]) != float(
        tensors["model.layers.0.mlp.up_proj.weight_global_scale"]
    )


def test_rules_for_a_mixture_of_experts(checkpoints: Folders) -> None:
    """Router, norms, head, embedding and the dense layers before the experts stay."""
    planned = plan(CompressRequest(str(checkpoints["deepseek_v3"]), "int4"))
    forms = {name: form for name, form, _, _ in planned.modules()}
    assert forms["model.layers.1.mlp.experts.3.gate_proj"] == "int4-g128"
    assert forms["model.layers.1.mlp.shared_experts.gate_proj"] == "int4-g128"
    assert forms["model.layers.0.self_attn.o_proj"] == "int4-g128"
    staying = (
        "model.layers.0.mlp.gate_proj model.layers.1.mlp.gate lm_head model.embed_tokens model.norm.weight"
    )
    assert {forms[name] for name in staying.split()} == {"bf16"}


def test_patterns_choose_modules(checkpoints: Folders, tmp_path: Path) -> None:
    folder = written(
        checkpoints,
        "llama",
        "int4",
        tmp_path,
        keep=("model.layers.0.*",),
        skip=("lm_head",),
        formats=(("*.down_proj", "int8-g128"),),
    )
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision"
    assert "model.layers.0.self_attn.q_proj" in config["ignore"]
    names = tensors_of(folder).keys()
    assert "lm_head.weight" not in names
    assert "model.layers.0.mlp.down_proj.weight_packed" in names  # a format for a pattern counts before keep
    assert sorted(group["weights"]["num_bits"] for group in config["config_groups"].values()) == [4, 8]
    again = {name: form for name, form, _, _ in plan(CompressRequest(str(folder), "bf16")).modules()}
    assert set(again.values()) == {"bf16"}


@sources
def test_a_result_is_a_source_again(checkpoints: Folders, family: str, tmp_path: Path) -> None:
    """Back to bfloat16 from every format: what is cast is what our reading says."""
    first = written(checkpoints, family, "int4", tmp_path / "int4")
    back = written({"int4": first}, "int4", "bf16", tmp_path / "back")
    tensors = tensors_of(back)
    for name, tensor in decoded(first).items():
        assert torch.equal(tensors[name], tensor), name
    if family != "deepseek_v3_fp8":
        assert tensors.keys() == tensors_of(checkpoints[family]).keys(), "biases too"
