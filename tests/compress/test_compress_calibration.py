"""Calibration, quality and mixes on small models: less error where it counts, the same bytes after death."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np
import torch
import transformers

import oomless
from oomless.compress import weights as compressing
from oomless.compress.calibration import run as calibrating
from oomless.compress.calibration.grid import Adjustable, adjustable, rounded
from oomless.compress.calibration.inputs import LayerInputs
from oomless.compress.calibration.sample import sample
from oomless.compress.calibration.solve import Moments, by_diagonal, by_gptq, spread_steps
from oomless.compress.checkpoint.run import Writing
from oomless.compress.checkpoint.source import read_source
from oomless.compress.codecs.registry import codec
from oomless.compress.quality.encoder import EncoderQuality, of_vectors
from oomless.compress.quality.language import Quality, compare_models, token_ids
from oomless.compress.quality.lazy_model import LazyModel
from oomless.compress.quality.lockstep import Lockstep
from oomless.compress.weights import CompressRequest, compress, digest, mixed, plan
from oomless.errors import OomlessError, UnsupportedError, UsageError
from oomless.model.checkpoint import read_checkpoint
from oomless.report.compress_text import compress_text

pytestmark = pytest.mark.torch
TOKENS = 256
WORDS = ("int4", "int4-asym", "int2-g32", "mxfp4", "nvfp4")


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing, "CALIBRATION_TOKENS", TOKENS)
    torch.set_num_threads(1)


def adjusted(word: str) -> Adjustable:
    found = adjustable(codec(word, "BF16"))
    assert found is not None
    return found


def lost(error: Any, moments: Moments) -> float:
    """The squared error of a layer's output."""
    return float(np.einsum("ij,jk,ik->", error, moments.array, error, optimize=True))


@pytest.mark.parametrize("word", WORDS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=3)
def test_gptq_loses_less_than_the_diagonal_and_that_less_than_nearest(word: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    values = chance.standard_normal((48, 128)).astype(np.float32)
    mixing = chance.standard_normal((128, 128)).astype(np.float32) * np.exp(chance.standard_normal(128) * 0.8)
    fed = (chance.standard_normal((512, 128)) @ mixing).astype(np.float32)
    moments = Moments.of((fed.T @ fed / len(fed)).astype(np.float32))
    each, known = adjusted(word), np.abs(values).max().reshape(1, 1)
    diagonal = by_diagonal(each, values, moments, known)
    nearest = by_diagonal(each, values, Moments.of(np.eye(128, dtype=np.float32)), known)
    assert lost(diagonal.values - values, moments) <= lost(nearest.values - values, moments)
    gptq = by_gptq(each, values, moments, known)
    assert lost(gptq.values - values, moments) < lost(diagonal.values - values, moments)
    again = rounded(each, gptq.values, *spread_steps(each, gptq.steps, 128))
    assert np.allclose(again, gptq.values, rtol=1e-5, atol=0), "each value is one that the format holds"


@pytest.mark.parametrize(
    ("family", "word", "method"),
    [
        ("llama", "int4", "gptq"),
        ("llama", "int4-asym", "diagonal"),
        ("qwen3_moe", "mxfp4", "gptq"),
        ("qwen3_moe", "nvfp4", "gptq"),
        ("deepseek_v3_fp8", "int4", "gptq"),
    ],
)
def test_what_is_written_loses_less_of_each_output(
    checkpoints: dict[str, Path], family: str, word: str, method: str, tmp_path: Path
) -> None:
    """The codes on the disk, read back by another path, beside nearest rounding: same bytes, less error."""
    source = str(checkpoints[family])
    near, found = tmp_path / "near", tmp_path / "found"
    compress(plan(CompressRequest(source, word)), near, writing=Writing(durable=False))
    request = CompressRequest(source, word, calibrate=method, text_digest=digest(sample()))
    compress(plan(request), found, writing=Writing(durable=False), text=sample())
    sizes = [sum(tensor.num_bytes for tensor in read_checkpoint(each)) for each in (near, found)]
    assert sizes[0] == sizes[1] == plan(request).target.num_bytes
    assert "text" in (found / "README.md").read_text()
    before, after = (output_errors(checkpoints[family], each) for each in (near, found))
    assert before.keys() == after.keys()
    assert sum(after.values()) < sum(before.values()) * (0.97 if method == "gptq" else 1)


def output_errors(source: Path, other: Path) -> dict[str, float]:
    """What each matrix of a checkpoint loses of its output, on the text that it was calibrated with."""
    lazy, found = LazyModel(read_source(str(source))), LazyModel(read_source(str(other)))
    errors: dict[str, float] = {}

    def visit(number: int, module: Any, calls: Any, run: Any) -> Any:
        inputs = LayerInputs(lazy, module)
        out = inputs.run(module, calls, run)
        for name, moments in inputs.matrices():
            if name in found.weights and name in lazy.weights:
                error = (found.tensor(found.weights[name]) - lazy.tensor(lazy.weights[name])).numpy()
                errors[name] = lost(error, moments())
        return out

    Lockstep(lazy, visit).run(token_ids(lazy.source, sample(), TOKENS))
    lazy.close()
    found.close()
    assert len(errors) >= 10
    return errors


def test_a_calibration_that_dies_goes_on_to_the_same_bytes(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CompressRequest(
        str(checkpoints["llama"]), "int4", calibrate="gptq", text_digest=digest(sample())
    )
    compress(plan(request), tmp_path / "whole", text=sample())
    real, layers = calibrating.CalibrationRun.layer, [0]

    def dies(self: calibrating.CalibrationRun, *words: Any) -> None:
        layers[0] += 1
        if layers[0] == 2:
            raise KeyboardInterrupt
        real(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(calibrating.CalibrationRun, "layer", dies)
        with pytest.raises(KeyboardInterrupt):
            compress(plan(request), tmp_path / "again", text=sample())
    assert not (tmp_path / "again" / "config.json").exists()
    with pytest.raises(OomlessError, match="is not done"):
        compressing.finish_parts(plan(request), tmp_path / "again", 1)
    layers[0] = 2
    monkeypatch.setattr(calibrating.CalibrationRun, "layer", counted := Counted(real))
    compress(plan(request), tmp_path / "again", text=sample())
    assert counted.num == 2, "the first layer was done and is not done again"
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "again")
    )
    assert one == two


class Counted:
    """A method that counts its calls."""

    def __init__(self, real: Any) -> None:
        self.real, self.num = real, 0

    def __get__(self, owner: Any, kind: Any) -> Any:
        def call(*words: Any) -> None:
            self.num += 1
            self.real(owner, *words)

        return call


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "deepseek_v3"])
def test_layer_by_layer_is_the_whole_model(checkpoints: dict[str, Path], family: str) -> None:
    """Perplexity of the streamed model is that of transformers' own; a model beside itself has no error."""
    source = read_source(str(checkpoints[family]))
    found = compare_models(source, source, sample(), TOKENS)
    assert isinstance(found, Quality)
    assert (found.kl_per_token, found.top1_agreement) == (0, 1)
    assert not any(found.layers)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[family], dtype=torch.float32)
    losses = []
    with torch.no_grad():
        for ids in token_ids(source, sample(), TOKENS):
            logits = model(ids).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:]).item())
    assert found.perplexity_before == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)


def test_an_encoder_is_judged_by_its_vectors(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    source = read_source(str(checkpoints["bert"]))
    alone = compare_models(source, source, sample(), TOKENS)
    assert isinstance(alone, EncoderQuality)
    assert (alone.num_pieces, alone.num_tokens, alone.neighbour_agreement) == (4, TOKENS, 1)
    assert alone.least_cosine == pytest.approx(1, abs=1e-6)
    model: Any = transformers.AutoModel.from_pretrained(checkpoints["bert"], dtype=torch.float32)
    vectors = []
    for word in ("int8", "int4"):
        answer = oomless.compress(
            str(checkpoints["bert"]), word, str(tmp_path / word), fsync=False, quality=True, text=None
        )
        assert isinstance(answer.quality, EncoderQuality)
        assert "the same nearest neighbour" in compress_text(answer)
        vectors.append(answer.quality.cosine)
    assert vectors[1] < vectors[0] <= 1 + 1e-6
    with torch.no_grad():
        ids = token_ids(source, sample(), TOKENS, 64)
        expected = [model(each).last_hidden_state for each in ids]
    assert of_vectors(expected, expected, ()).cosine == pytest.approx(1)
    lazy = LazyModel(source)
    found = Lockstep(lazy).run(ids)
    lazy.close()
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, expected, strict=True))


def test_fp8_is_as_good_as_its_cast(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    source = read_source(str(checkpoints["deepseek_v3_fp8"]))
    compress(
        plan(CompressRequest(str(checkpoints["deepseek_v3_fp8"]), "bf16")),
        tmp_path,
        writing=Writing(durable=False),
    )
    found = compare_models(source, read_source(str(tmp_path)), sample(), TOKENS)
    assert isinstance(found, Quality)
    assert found.kl_per_token == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_calibrated_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    source = str(checkpoints["llama"])
    with pytest.raises(UnsupportedError, match="gains from"):
        plan(CompressRequest(source, "int8", calibrate="gptq"))
    with pytest.raises(UsageError, match="--calibrate awq"):
        plan(CompressRequest(source, "int4", calibrate="awq"))
    with pytest.raises(UsageError, match="tokens"):
        compress(plan(CompressRequest(source, "int4", calibrate="gptq")), tmp_path / "out", text="short")
    with pytest.raises(OomlessError, match="hold no mix"):
        mixed(CompressRequest(source, ""), 1000, sample(), lambda progress: None)
