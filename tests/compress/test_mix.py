"""Mixes of formats: what each matrix costs is what the model's own gradient says, and the search spends it
well."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from oomless.compress.calibration.sample import sample
from oomless.compress.checkpoint.run import Writing
from oomless.compress.checkpoint.source import read_source
from oomless.compress.mix.damage import Damage
from oomless.compress.mix.search import search
from oomless.compress.mix.slopes import SEED, Slopes, SlopesRun
from oomless.compress.quality.language import CHUNK, Quality, compare_models, token_ids
from oomless.compress.quality.lazy_model import LazyModel
from oomless.compress.weights import CompressRequest, compress, mixed, plan

pytestmark = pytest.mark.torch
TOKENS = 256
EXPERTS = {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1), "down_proj": ("down_proj", 0)}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def slopes_of(folder: Path) -> tuple[dict[str, Slopes], list[Any]]:
    found: dict[str, Slopes] = {}
    lazy = LazyModel(read_source(str(folder)))
    sequences = token_ids(lazy.source, sample(), TOKENS, 64)
    SlopesRun(lazy, lambda number, matrices: found.update(matrices)).run(sequences)
    lazy.close()
    return found, sequences


def real_gradients(folder: Path, sequences: list[Any]) -> dict[str, Any]:
    """Gradients of all parameters, by the whole model and torch alone."""
    lazy = LazyModel(read_source(str(folder)))
    is_encoder = lazy.model.get_output_embeddings() is None
    auto: Any = transformers.AutoModel if is_encoder else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    chance = torch.Generator().manual_seed(SEED)
    for ids in sequences:
        if is_encoder:
            hidden = model(ids).last_hidden_state
            length = hidden.detach().norm(dim=-1, keepdim=True)
            (hidden * torch.randn(hidden.shape, generator=chance) / length).sum().backward()
            continue
        logs: Any = torch.log_softmax(model(ids).logits[0], -1)
        for begin in range(0, len(logs), CHUNK):
            mine: Any = logs[begin : begin + CHUNK]
            drawn = torch.multinomial(mine.detach().exp(), 1, generator=chance)
            mine.gather(1, drawn).sum().backward(retain_graph=True)
    lazy.close()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def real_gradient(gradients: dict[str, Any], name: str) -> Any:
    """The gradient of a matrix of the target, which may lie among those of its layer's experts."""
    if f"{name}.weight" in gradients:
        return gradients[f"{name}.weight"]
    module, number, part = name.rsplit(".", 2)
    fused, half = EXPERTS[part]
    found = gradients[f"{module}.{fused}"][int(number)]
    return found.chunk(2)[half] if fused == "gate_up_proj" else found


@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "gemma3_text", "qwen3_moe", "deepseek_v2", "deepseek_v3", "bert"]
)
def test_slopes_are_those_of_the_whole_model(checkpoints: dict[str, Path], family: str) -> None:
    """Inputs and slopes of a matrix, multiplied over all tokens, are its gradient."""
    folder = checkpoints[family]
    found, sequences = slopes_of(folder)
    gradients = real_gradients(folder, sequences)
    planned = plan(CompressRequest(str(folder), "int8"))
    compressed = {weight.name for weight in planned.target.weights if weight.codec and not weight.why}
    assert all(".experts." in name for name in compressed - found.keys())  # those that no token reached
    for name, slopes in found.items():
        expected = real_gradient(gradients, name)
        mine = slopes.outputs.T @ slopes.inputs
        assert torch.allclose(mine, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())), name


def test_a_mix_keeps_its_size_and_is_better_than_one_format(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = str(checkpoints["llama"])
    size = plan(CompressRequest(source, "int4-g32")).target.num_bytes * 21 // 20
    request, mix = mixed(CompressRequest(source, ""), size, sample(), lambda progress: None)
    planned = plan(request)
    assert 0.97 * size <= planned.target.num_bytes == mix.num_bytes <= size
    assert mix.alone == "int4-g32"
    assert mix.error < mix.alone_error
    compress(planned, tmp_path, writing=Writing(durable=False))
    assert "--budget" in (tmp_path / "README.md").read_text()
    section = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert section["format"] in ("mixed-precision", "pack-quantized")
    found = compare_models(read_source(source), read_source(str(tmp_path)), sample(), TOKENS)
    assert isinstance(found, Quality)
    assert found.kl_per_token > 0


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=12),
    errors=st.lists(st.floats(0.001, 1), min_size=12, max_size=12),
    share=st.floats(0, 1),
)
def test_a_mix_never_passes_its_size(sizes: list[int], errors: list[float], share: float) -> None:
    table = {
        f"module.{number}": {
            "int4": Damage(size, error),
            "int8-g128": Damage(2 * size, error / 200),
            "bf16": Damage(4 * size, 0),
        }
        for number, (size, error) in enumerate(zip(sizes, errors, strict=False))
    }
    budget = int(sum(sizes) * (1 + 3 * share))
    mix = search(table, {name: name for name in table}, 7, budget + 7)
    chosen = dict(mix.formats)
    assert mix.num_bytes == 7 + sum(table[name][word].num_bytes for name, word in chosen.items())
    assert mix.num_bytes <= budget + 7
    assert mix.error == pytest.approx(sum(table[name][word].error for name, word in chosen.items()))
    assert share < 1 or set(chosen.values()) == {"bf16"}
