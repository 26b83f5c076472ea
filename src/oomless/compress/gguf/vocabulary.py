"""The vocabulary of a GGUF file: tokens, their kinds, merges or scores, special tokens and chat template,
from tokenizer.json and tokenizer.model; and how llama.cpp must split text before it looks for tokens."""

import json
from pathlib import Path
from typing import Any

from ... import facts
from ...errors import OomlessError, UnsupportedError, need
from ...files import read_whole
from .sentence_pieces import (
    CONTROL,
    LAST,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    ScoredToken,
    add_pieces,
    begins_with_space,
    pieces_of_merges,
    pieces_of_model,
)

MAX_TOKENIZER_BYTES = 256 << 20
NO_VOCABULARY = "no_vocab"
"""llama.cpp's word for a file without tokens: it takes and gives numbers alone."""
HINT = (
    "llama.cpp's own converter knows more tokenizers; without the tokenizer's files weights alone are written"
)
STRANGERS = "the tokenizer and the model do not belong together"


def add_vocabulary(writer: Any, folder: Path, vocab_size: int) -> bool:
    """Add the vocabulary of a folder to a writer of the gguf package; return whether there is one."""
    path, model = folder / "tokenizer.json", folder / "tokenizer.model"
    if not path.is_file() and not model.is_file():
        writer.add_tokenizer_model(NO_VOCABULARY)
        return False
    try:
        document = json.loads(read(path)) if path.is_file() else None
        has_scores = document is None or document["model"].get("byte_fallback")
        if document is None or has_scores:
            add_pieces(writer, *sentence_pieces(document, model, vocab_size))
        else:
            add_merged_bytes(writer, document, vocab_size, str(path))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise OomlessError(f"{path}: no tokenizer as the tokenizers library writes it", HINT) from None
    special = need("gguf.vocab", "compress").SpecialVocab(
        folder, load_merges=not has_scores, n_vocab=vocab_size
    )
    special.add_to_gguf(writer, quiet=True)
    return True


def add_merged_bytes(writer: Any, document: dict[str, Any], vocab_size: int, where: str) -> None:
    """Add a vocabulary of merged bytes: tokens, kinds, how text is split."""
    tokens, kinds = tokens_of(document, vocab_size, where)
    splitting = splitting_of(document, where)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)


def read(path: Path) -> bytes:
    """Return a tokenizer's file."""
    return read_whole(path, MAX_TOKENIZER_BYTES, "give a tokenizer of the usual size")


def sentence_pieces(
    document: dict[str, Any] | None, model: Path, vocab_size: int
) -> tuple[list[ScoredToken], bool]:
    """Return the pieces of a SentencePiece vocabulary by number, with what tokenizer.json adds to them and
    places that are not used; and whether a text begins with a space."""
    with_space, document = True, document or {}
    if model.is_file():
        pieces, with_space = pieces_of_model(read(model), str(model))
        found = dict(enumerate(pieces))
    else:
        found = pieces_of_merges(document["model"])
    for added in document.get("added_tokens") or ():
        number, text = added["id"], added["content"]
        if number not in found or found[number].kind == NORMAL or found[number].text != text:
            is_control = added.get("special") or looks_special(text)
            kind, text = (CONTROL, text) if is_control else (USER_DEFINED, text.replace("▁", " "))
            found[number] = ScoredToken(text, LAST, kind)
    beyond = [number for number in found if not 0 <= number < vocab_size]
    if beyond:
        raise OomlessError(
            f"{model.parent}: token {max(beyond):,} is beyond the {vocab_size:,} of config.json", STRANGERS
        )
    places = [found.get(number, ScoredToken(f"[PAD{number}]", LAST, UNUSED)) for number in range(vocab_size)]
    return places, begins_with_space(document) if document else with_space


def tokens_of(document: dict[str, Any], vocab_size: int, where: str) -> tuple[list[str], list[int]]:
    """Return token and kind by number: what the model does not have is a place that is not used."""
    kind = need("gguf.constants", "compress").TokenType
    model = document["model"]
    if model.get("type") != "BPE" or not model.get("merges"):
        raise UnsupportedError(f"{where}: no vocabulary of merged bytes", HINT)
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    kinds = [int(kind.UNUSED)] * vocab_size
    named = [(text, number, kind.NORMAL) for text, number in model["vocab"].items()]
    for added in document.get("added_tokens") or ():
        is_control = added.get("special") or looks_special(added["content"])
        named.append((added["content"], added["id"], kind.CONTROL if is_control else kind.USER_DEFINED))
    for text, number, each in named:
        if not 0 <= number < vocab_size:
            raise OomlessError(
                f"{where}: token {number:,} is beyond the {vocab_size:,} of config.json", STRANGERS
            )
        tokens[number], kinds[number] = text, int(each)
    return tokens, kinds


def looks_special(text: str) -> bool:
    """Return whether a token is written as control tokens are, though its tokenizer does not say so."""
    return text.startswith(("<|", "<｜")) and text.endswith(("|>", "｜>"))


def splitting_of(document: dict[str, Any], where: str) -> str:
    """Return llama.cpp's word for how a tokenizer splits text before it merges."""
    found = set(patterns(document.get("pre_tokenizer") or {}))
    rows = [(set(json.loads(row["patterns"])), row["pre"]) for row in facts.table("gguf_pretokenizers")]
    held = [(len(wanted), word) for wanted, word in rows if wanted <= found]
    if not held:
        raise UnsupportedError(f"{where}: splits text in a way that is not known here", HINT)
    return max(held)[1]


def patterns(step: dict[str, Any]) -> list[str]:
    """Return the patterns by which a pre-tokenizer of the tokenizers library splits.

    >>> patterns({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "use_regex": False}]})
    []
    """
    match step.get("type"):
        case "Sequence":
            return [each for inner in step["pretokenizers"] for each in patterns(inner)]
        case "Split":
            return list(step["pattern"].values())
        case "ByteLevel" if step.get("use_regex", True):
            return ["ByteLevel"]
    return []
