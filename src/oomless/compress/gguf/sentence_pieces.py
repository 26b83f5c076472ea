"""Vocabularies of SentencePiece with single bytes to fall back to (Llama 2, Mistral): tokens with the scores
by which llama.cpp merges them.

llama.cpp joins, of all neighbours whose text is a token, those first whose token has the highest score
(src/llama-vocab.cpp, the class of LLAMA_VOCAB_TYPE_SPM). tokenizer.model holds these scores. tokenizer.json
holds the same order as a list of merges: a token's score is the place of the first merge that makes it,
negated; its converter gives every token of such a file one score, which loses the order.
"""

import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import OomlessError, need

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds, as tokenizer.model and GGUF files count them; llama.cpp has the numbers from there."""
LAST = -1000.0
"""What llama.cpp's converter gives tokens that were added to a vocabulary, and places that are not used."""
ONE_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class ScoredToken(NamedTuple):
    """A token, its score and its kind."""

    text: str
    score: float
    kind: int


def pieces_of_model(content: bytes, where: str) -> tuple[list[ScoredToken], bool]:
    """Return the pieces of a tokenizer.model by number, and whether a text begins with a space.

    Source: sentencepiece_model.proto: ModelProto.pieces is field 1, its normalizer_spec 3; of a piece the
    text is field 1, the score 2, the kind 3; add_dummy_prefix is field 3 of the normalizer, true where it is
    left out.
    """
    try:
        found, with_space = [], True
        for field, value in fields_of(content):
            if field == 1:
                parts = dict(fields_of(value))
                (score,) = struct.unpack("<f", parts.get(2, bytes(4)))
                found.append(ScoredToken(parts[1].decode(), score, parts.get(3, NORMAL)))
            elif field == 3:
                with_space = bool(dict(fields_of(value)).get(3, 1))
        if not found:
            raise ValueError("no piece")
        return found, with_space
    except (KeyError, IndexError, ValueError, AttributeError, TypeError, struct.error):
        raise OomlessError(f"{where}: no model of SentencePiece", "fetch the file again") from None


def fields_of(content: bytes) -> Iterator[tuple[int, Any]]:
    r"""Yield number and value of each field of a message of protocol buffers: whole numbers as int, all else
    as bytes.

    >>> list(fields_of(b"\x0a\x02hi\x18\x96\x01"))
    [(1, b'hi'), (3, 150)]
    """
    place = 0
    while place < len(content):
        key, place = number_at(content, place)
        match key & 7:
            case 0:
                value: Any
                value, place = number_at(content, place)
            case 1 | 5 as kind:
                end = place + (8 if kind == 1 else 4)
                value, place = content[place:end], end
            case 2:
                size, place = number_at(content, place)
                if place + size > len(content):
                    raise ValueError("a field ends beyond its message")
                value, place = content[place : place + size], place + size
            case other:
                raise ValueError(f"a field of kind {other}")
        yield key >> 3, value


def number_at(content: bytes, place: int) -> tuple[int, int]:
    """Return the number of seven bits a byte that begins at a place, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


def pieces_of_merges(model: dict[str, Any]) -> dict[int, ScoredToken]:
    """Return the pieces of the `model` of a tokenizer.json by number: merged ones in the order of the merges.

    >>> model = {"vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "ab": 4}, "merges": [["a", "b"]]}
    >>> [tuple(piece) for piece in pieces_of_merges(model | {"unk_token": "<unk>"}).values()]
    [('<unk>', -2.0, 2), ('<0x0A>', -2.0, 6), ('a', -2.0, 1), ('b', -2.0, 1), ('ab', -1.0, 1)]
    """
    last = -float(len(model["merges"]) + 1)
    scores: dict[str, float] = {}
    for rank, merge in enumerate(model["merges"], 1):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        scores.setdefault(left + right, -float(rank))
    found = {}
    for text, number in model["vocab"].items():
        kind = UNKNOWN if text == model.get("unk_token") else BYTE if ONE_BYTE.fullmatch(text) else NORMAL
        found[number] = ScoredToken(text, scores.get(text, last), kind)
    return found


def begins_with_space(document: dict[str, Any]) -> bool:
    """Return whether a tokenizer.json sets a space before a text.

    >>> begins_with_space({"normalizer": {"type": "Prepend", "prepend": "▁"}})
    True
    >>> begins_with_space(
    ...     {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}}
    ... )
    False
    """
    normalizer, splitter = document.get("normalizer") or {}, document.get("pre_tokenizer") or {}
    steps = [*normalizer.get("normalizers", [normalizer]), *splitter.get("pretokenizers", [splitter])]
    return any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", scheme(step)) != "never")
        for step in steps
    )


def scheme(step: dict[str, Any]) -> str:
    """Return what older files call `add_prefix_space`, in the words of newer ones."""
    return "always" if step.get("add_prefix_space", True) else "never"


def add_pieces(writer: Any, pieces: list[ScoredToken], with_space: bool) -> None:
    """Add tokens, scores and kinds to a writer of the gguf package."""
    kind = need("gguf.constants", "compress").TokenType
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.text for piece in pieces])
    writer.add_token_scores([piece.score for piece in pieces])
    writer.add_token_types([int(kind(piece.kind)) for piece in pieces])
    writer.add_add_space_prefix(with_space)
