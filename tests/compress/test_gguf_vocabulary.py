"""Vocabularies of SentencePiece in GGUF files: tokens, scores and kinds from which llama.cpp cuts a text as
the checkpoint's own tokenizer does."""

import json
import shutil
import struct
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from small_gguf import write_gguf_family
from test_other_engines import result

import oomless
from oomless.compress.calibration.sample import sample
from oomless.compress.gguf.sentence_pieces import ScoredToken, pieces_of_merges, pieces_of_model
from oomless.compress.gguf.vocabulary import sentence_pieces
from oomless.compress.weights import CompressRequest, plan
from oomless.errors import OomlessError

gguf: Any = import_module("gguf")
tokenizers: Any = import_module("tokenizers")
pytestmark = pytest.mark.torch
TEXTS = [sample()[:3000], "é über 漢字 🙂\n\tdef f(x):  return x", " leading", "", "a  b   c"]


def llama2_tokenizer() -> Any:
    """A tokenizer as Llama 2 has it, of 460 tokens: a space before the text, bytes for what no token has."""
    found = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = tokenizers.normalizers
    found.normalizer = steps.Sequence([steps.Prepend("▁"), steps.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=460, special_tokens=special, limit_alphabet=80, show_progress=False
    )
    found.train_from_iterator(sample().splitlines(), trainer)
    document = json.loads(found.to_str())
    kept = ("<unk>", "<s>", "</s>")  # bytes are tokens of the model, not of text
    document["added_tokens"] = [each for each in document["added_tokens"] if each["content"] in kept]
    return tokenizers.Tokenizer.from_str(json.dumps(document))


TOKENIZER = llama2_tokenizer()
MODEL = json.loads(TOKENIZER.to_str())["model"]


def cut(text: str, pieces: dict[str, ScoredToken]) -> list[str]:
    """What llama.cpp makes of a text: of all neighbours that are a token those with the highest score first,
    of equal ones the left ones; then bytes for characters without a token."""
    parts = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        neighbours = enumerate(a + b for a, b in pairwise(parts))
        pairs = [(-pieces[text].score, at) for at, text in neighbours if text in pieces]
        if not pairs:
            break
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [
        token
        for part in parts
        for token in ([part] if part in pieces else [f"<0x{byte:02X}>" for byte in part.encode()])
    ]


def by_text() -> dict[str, ScoredToken]:
    return {piece.text: piece for piece in pieces_of_merges(MODEL).values()}


@given(st.one_of(st.sampled_from(TEXTS[1:]), st.text(st.sampled_from("the aoin,.\né漢"), max_size=60)))
@settings(max_examples=60)
def test_scores_keep_the_order_of_merges(text: str) -> None:
    assert cut(text, by_text()) == TOKENIZER.encode(text, add_special_tokens=False).tokens


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with that tokenizer."""
    folder = write_gguf_family("llama", tmp_path_factory.mktemp("pieces") / "llama")
    TOKENIZER.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def written(source: Path, out: Path) -> Any:
    """The fields of the file that is written."""
    oomless.compress(str(source), "q8_0", str(out), fsync=False)
    return gguf.GGUFReader(next(out.glob("*.gguf"))).fields


def test_a_file_says_what_the_tokenizer_says(source: Path, tmp_path: Path) -> None:
    fields = written(source, tmp_path)
    said = {name.removeprefix("tokenizer.ggml."): field.contents() for name, field in fields.items()}
    assert (said["model"], said["pre"], said["add_space_prefix"]) == ("llama", "default", True)
    assert (said["bos_token_id"], said["eos_token_id"], said["unknown_token_id"]) == (1, 2, 0)
    assert said["tokens"][:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert len(said["tokens"]) == len(said["scores"]) == len(said["token_type"]) == 512
    kind = gguf.TokenType
    assert said["token_type"][:4] == [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, kind.BYTE]
    assert set(said["token_type"][259:460]) == {kind.NORMAL}
    assert set(said["token_type"][460:]) == {kind.UNUSED}
    assert "merges" not in said


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def model_file(pieces: list[ScoredToken], with_space: bool = True) -> bytes:
    """A tokenizer.model as SentencePiece writes it."""
    content = b"".join(
        field(1, field(1, piece.text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", piece.score)
              + (b"" if piece.kind == 1 else varint(3 << 3) + varint(piece.kind)))
        for piece in pieces
    )  # fmt: skip
    return content + field(2, b"") + field(3, varint(3 << 3) + varint(int(with_space)))


def test_a_model_of_sentencepiece_is_read(source: Path, tmp_path: Path) -> None:
    pieces, with_space = sentence_pieces(json.loads(TOKENIZER.to_str()), tmp_path / "none", 460)
    assert with_space
    assert pieces_of_model(model_file(pieces, False), "") == (pieces, False)
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.model").write_bytes(model_file(pieces))
    alone, both = written(copy, tmp_path / "alone"), written(source, tmp_path / "both")
    for name in ("tokens", "scores", "token_type", "add_space_prefix"):
        assert alone[f"tokenizer.ggml.{name}"].contents() == both[f"tokenizer.ggml.{name}"].contents(), name


@pytest.mark.parametrize("broken", [b"", b"\x0a\xff\x01", b"\x0f", b"\x0a\x02\x0a\x05", b"\xff" * 40])
def test_a_damaged_model_is_refused(source: Path, tmp_path: Path, broken: bytes) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.model").write_bytes(broken)
    with pytest.raises(OomlessError, match="no model of SentencePiece"):
        plan(CompressRequest(str(copy), "q8_0"))


def test_more_tokens_than_the_model_has_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="beyond the 300"):
        sentence_pieces(json.loads(TOKENIZER.to_str()), tmp_path / "none", 300)


@pytest.mark.slow
def test_llama_cpp_cuts_texts_as_the_tokenizer_does(source: Path, tmp_path: Path) -> None:
    oomless.compress(str(source), "q8_0", str(tmp_path), fsync=False)
    file = next(tmp_path.glob("*.gguf"))
    theirs = json.loads(result("llamacpp", "llamacpp_pieces.py", str(file), json.dumps(TEXTS)))
    assert theirs == [TOKENIZER.encode(text, add_special_tokens=False).ids for text in TEXTS]
