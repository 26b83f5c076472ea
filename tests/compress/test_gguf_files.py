"""GGUF files: bytes as predicted, tensors and vocabulary as other readers have them, nothing lost on the way,
and what llama.cpp computes is what transformers computes."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

import numpy as np
import torch
import transformers
from small_checkpoints import LATENT, tensors_of
from small_gguf import NAMES, write_gguf_family
from test_other_engines import result

import oomless
from oomless.compress.codecs.ggml import WRITES
from oomless.compress.codecs.registry import GGUF_WORDS
from oomless.compress.gguf.target import writable
from oomless.compress.gguf.vocabulary import patterns, splitting_of
from oomless.compress.weights import CompressRequest, plan
from oomless.errors import OomlessError, UnsupportedError, UsageError
from oomless.model.gguf_model import file_tensors
from oomless.model.gguf_types import TYPES

gguf: Any = import_module("gguf")
pytestmark = pytest.mark.torch
Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A function that gives the checkpoint of a name, written once."""
    root = tmp_path_factory.mktemp("gguf")

    def of(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else write_gguf_family(name, folder)

    return of


def written(source: Path, word: str, out: Path, **more: Any) -> tuple[Path, Any]:
    """(the file, the answer)"""
    answer = oomless.compress(str(source), word, str(out), fsync=False, **more)
    (file,) = out.glob("*.gguf")
    return file, answer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", ["gguf-f32", "q8_0", "q4_0"])
def test_predicted_bytes_are_written_and_read_back_as_the_same_model(
    made: Made, name: str, word: str, tmp_path: Path
) -> None:
    source = made(name)
    file, answer = written(source, word, tmp_path)
    assert answer.written_bytes == answer.predicted_bytes
    assert file.stat().st_size == answer.planned.target.file_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", file.name]
    before, after = oomless.load(str(source)), oomless.load(str(file))
    factors = 32 if name == "llama3" else 0  # of rotary frequencies, which the file stores
    assert (after.num_parameters - factors, after.warnings) == (before.num_parameters, ())
    reader = gguf.GGUFReader(file)
    assert sum(tensor.n_bytes for tensor in reader.tensors) == answer.predicted_bytes


@pytest.mark.parametrize("word", GGUF_WORDS)
def test_types_are_llama_quantizes_or_the_next_larger(made: Made, word: str, tmp_path: Path) -> None:
    source = made("llama")
    file, answer = written(source, word, tmp_path)
    mix = word.upper().removeprefix("GGUF-")
    by_rule = {piece.name: kind for piece, kind in file_tensors(oomless.load(str(source)), mix)}
    found = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert found == {name: writable(kind) for name, kind in by_rule.items()}
    changed = sum(writable(kind) != kind for kind in by_rule.values())
    assert sum(int(note.split()[0]) for note in answer.warnings) == changed


def test_what_is_written_instead_is_never_smaller() -> None:
    for name, kind in TYPES.items():
        if name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", *WRITES):
            other = TYPES[writable(name)]
            assert other.block_bytes / other.block >= kind.block_bytes / kind.block


@pytest.mark.parametrize(
    "name", ["llama", "llama3", "mixtral", "qwen2_moe", "deepseek_v3", "deepseek_v2_lite"]
)
@pytest.mark.parametrize("word", ["gguf-f32", "q8_0", "q4_0"])
def test_values_are_the_packages_own_quantization_of_the_converters_order(
    made: Made, name: str, word: str, tmp_path: Path
) -> None:
    """Each tensor in the order of rows that the converter gives it, quantised by the gguf package, to the
    byte."""
    source = made(name)
    file, _ = written(source, word, tmp_path)
    tensors = tensors_of(source)
    config = json.loads((source / "config.json").read_text())
    for stored in gguf.GGUFReader(file).tensors:
        expected = in_order(stored.name, tensors, config)
        if expected is not None:
            theirs = gguf.quants.quantize(expected.float().numpy(), stored.tensor_type)
            assert np.array_equal(stored.data.view(np.uint8).ravel(), theirs.view(np.uint8).ravel()), (
                stored.name
            )


def in_order(name: str, tensors: dict[str, Any], config: dict[str, Any]) -> Any:
    """A tensor of a checkpoint as the converter writes it; None for those that need no rule."""
    layer = f"model.layers.{name.split('.')[1]}" if name.startswith("blk.") else ""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    match name.split(".")[-2]:
        case "attn_q" | "attn_k" as part if config["model_type"] in ("llama", "mixtral"):
            weight = tensors[f"{layer}.self_attn.{part[-1]}_proj.{name.split('.')[-1]}"]
            count = heads if part == "attn_q" else kv_heads
            halves = weight.view(count, 2, weight.shape[0] // count // 2, *weight.shape[1:])
            return halves.transpose(1, 2).reshape(weight.shape)
        case "attn_k_b" | "attn_v_b" as part:
            whole = tensors[f"{layer}.self_attn.kv_b_proj.weight"].view(heads, -1, LATENT["kv_lora_rank"])
            keys, values = whole.split([LATENT["qk_nope_head_dim"], LATENT["v_head_dim"]], 1)
            return keys.transpose(1, 2).contiguous() if part == "attn_k_b" else values
        case "ffn_gate_exps" | "ffn_up_exps" | "ffn_down_exps" as part:
            names = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
            middle, last = "mlp", names[part]
            if config["model_type"] == "mixtral":
                middle, last = (
                    "block_sparse_moe",
                    {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}[last],
                )
            count = config.get("num_local_experts") or config.get("num_experts") or config["n_routed_experts"]
            return torch.stack(
                [tensors[f"{layer}.{middle}.experts.{each}.{last}.weight"] for each in range(count)]
            )
    return None


def test_fused_experts_are_taken_apart(made: Made, tmp_path: Path) -> None:
    """A checkpoint whose experts lie in one tensor becomes the same file."""
    from safetensors.torch import save_file

    source, fused = made("qwen2_moe"), tmp_path / "qwen2_moe"
    tensors = dict(tensors_of(source))
    for layer in range(3):
        base = f"model.layers.{layer}.mlp.experts"
        parts = {
            part: [tensors.pop(f"{base}.{each}.{part}.weight") for each in range(4)]
            for part in ("gate_proj", "up_proj", "down_proj")
        }
        pairs = [torch.cat(pair) for pair in zip(parts["gate_proj"], parts["up_proj"], strict=True)]
        tensors |= {
            f"{base}.gate_up_proj": torch.stack(pairs),
            f"{base}.down_proj": torch.stack(parts["down_proj"]),
        }
    fused.mkdir()
    save_file(tensors, fused / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, fused / name)
    one, _ = written(source, "q8_0", tmp_path / "one")
    other, _ = written(fused, "q8_0", tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_fp8_becomes_the_file_of_its_cast(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    cast = tmp_path / "cast" / "deepseek_v3_fp8"
    oomless.compress(str(checkpoints["deepseek_v3_fp8"]), "bf16", str(cast), fsync=False)
    one, _ = written(checkpoints["deepseek_v3_fp8"], "q8_0", tmp_path / "one")
    other, _ = written(cast, "q8_0", tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_transformers_computes_the_same_from_the_file(made: Made, tmp_path: Path) -> None:
    """Its reader leaves out of other files what they say of heads, experts and rotary scaling."""
    file, _ = written(made("llama"), "gguf-f32", tmp_path)
    auto: Any = transformers.AutoModelForCausalLM
    loaded = auto.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    expected = auto.from_pretrained(made("llama"), dtype=torch.float32)
    ids = torch.arange(24)[None]
    with torch.no_grad():
        assert torch.allclose(loaded(ids)[0], expected(ids)[0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_computes_what_transformers_computes(made: Made, name: str, tmp_path: Path) -> None:
    """Logarithms of probabilities behind a prompt, all but those of tokens that it does not list."""
    file, _ = written(made(name), "gguf-f32", tmp_path)
    ids = list(range(5, 29))
    theirs = json.loads(result("llamacpp", "llamacpp_tokens.py", str(file), json.dumps(ids)))
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(made(name), dtype=torch.float32)
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert len(theirs) > 400
    assert max(abs(float(ours[int(token)]) - value) for token, value in theirs.items()) < 5e-3


def test_the_vocabulary_is_the_tokenizers(made: Made, tmp_path: Path) -> None:
    source = made("qwen3")
    file, _ = written(source, "q8_0", tmp_path)
    fields = gguf.GGUFReader(file).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    assert {token: number for number, token in enumerate(tokens) if number < len(vocabulary)} == vocabulary
    assert set(kinds[: len(vocabulary)]) == {gguf.TokenType.NORMAL}
    assert set(kinds[len(vocabulary) :]) == {gguf.TokenType.UNUSED}
    assert fields["tokenizer.ggml.merges"].contents() == ["t h", "th e"]
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2


def test_splitting_is_told_apart_by_digits() -> None:
    llama = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    llama += "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

    def of(*regexes: str) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"type": "Split", "pattern": {"Regex": each}} for each in regexes]
        steps.append({"type": "ByteLevel", "use_regex": False})
        return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}

    assert splitting_of(of(llama), "") == "llama-bpe"
    assert splitting_of(of(llama.replace("{1,3}", "")), "") == "qwen2"
    assert splitting_of(of("\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", "a|b"), "") == "deepseek-v3"
    assert patterns(of("x")["pre_tokenizer"]) == ["x"]
    with pytest.raises(UnsupportedError, match="splits text"):
        splitting_of(of("x"), "")


def test_patterns_choose_types(made: Made, tmp_path: Path) -> None:
    request = CompressRequest(
        str(made("llama")), "q4_0", keep=("blk.0.attn_q",), formats=(("*.down_proj", "q8_0"),)
    )
    forms = {weight.name: weight.codec.name for weight in plan(request).target.weights if weight.codec}
    assert forms["blk.0.attn_q.weight"] == "bf16"
    assert forms["blk.1.attn_q.weight"] == "q4_0"
    assert {forms[f"blk.{layer}.ffn_down.weight"] for layer in range(3)} == {"q8_0"}
    with pytest.raises(UsageError, match="names no matrix"):
        plan(request._replace(keep=("nothing",)))


@pytest.mark.parametrize(
    ("name", "word", "more", "said"),
    [
        ("llama", "q8_0", {"formats": (("*.down_proj", "int8"),)}, "cannot be mixed"),
        ("llama", "q8_0", {"skip": ("lm_head",)}, "--skip"),
        ("llama", "q8_0", {"calibrate": "gptq"}, "--calibrate"),
        ("llama", "q8_0", {"quality": True}, "--quality"),
        ("gemma3_text", "q8_0", {}, "gemma3_text"),
    ],
)
def test_what_a_file_cannot_be_is_refused(
    made: Made, checkpoints: dict[str, Path], name: str, word: str, more: dict[str, Any], said: str
) -> None:
    source = checkpoints[name] if name == "gemma3_text" else made(name)
    with pytest.raises(OomlessError, match=said):
        oomless.compress(str(source), word, **more)


def test_a_tensor_without_a_place_is_an_error(made: Made, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = tmp_path / "source"
    shutil.copytree(made("llama"), source)
    for path in source.glob("*safetensors*"):
        path.unlink()
    tensors = dict(tensors_of(made("llama")))
    save_file(
        {**tensors, "model.layers.0.self_attn.extra.weight": torch.zeros(64, 64)},
        source / "model.safetensors",
    )
    with pytest.raises(OomlessError, match="extra has no place"):
        plan(CompressRequest(str(source), "q8_0"))
    tensors.pop("model.norm.weight")
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(OomlessError, match=r"model\.norm\.weight is missing"):
        plan(CompressRequest(str(source), "q8_0"))


def test_a_rule_of_experts_that_a_file_cannot_say_is_refused(made: Made, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(made("qwen3_moe"), source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "norm_topk_prob": False}))
    with pytest.raises(UnsupportedError, match="norm_topk_prob False"):
        plan(CompressRequest(str(source), "q8_0"))


def test_without_a_tokenizer_weights_alone_are_written(made: Made, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(made("llama"), source)
    (source / "tokenizer.json").unlink()
    file, answer = written(source, "q8_0", tmp_path / "out")
    assert any("no tokenizer.json" in note for note in answer.warnings)
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.model"].contents() == "no_vocab"


def test_parts_are_one_run(made: Made, tmp_path: Path) -> None:
    whole, _ = written(made("deepseek_v3"), "q4_0", tmp_path / "whole")
    for number in (3, 1, 2):
        oomless.compress(
            str(made("deepseek_v3")), "q4_0", str(tmp_path / "parts"), part=f"{number}/3", fsync=False
        )
        assert not list((tmp_path / "parts").glob("*.gguf"))
    from oomless.compress.request import join

    join(str(tmp_path / "parts"), fsync=False)
    assert (tmp_path / "parts" / whole.name).read_bytes() == whole.read_bytes()
