"""When a GGUF file was made: llama-quantize's rules changed twice, converters keep more, and publishers have
habits.

Sources: src/llama-quant.cpp of November 2023 (llama.cpp before #4773), of March 2025 and of 2026;
conversion/qwen.py of 2026.
"""

import re
from functools import cache
from typing import NamedTuple

from .. import facts
from ..errors import UnsupportedError

USUAL = "2025-06"
"""A month between the two changes of the rules: most published files are of 2024 and 2025."""
SMALL_Q2_K_SINCE = "2024-01"
"""Before, Q2_K gave ffn_gate and ffn_up Q3_K."""
EXPERTS_SINCE = "2024-01-11"
"""Before, experts of ffn_down, which lay one by one, were given no more bits, nor the output of attention
beside eight of them (llama.cpp#4872: TheBloke's Q4_K_M of Mixtral has 26.44 GB, later ones 28.45)."""
VALUES_SINCE = "2026-03"
"""Since, attn_qkv and a whole attn_kv_b are treated as attn_v is."""
MTP_SINCE = "2026-06"
"""The last rows of `keeps_mtp` in facts/gguf_families.csv."""
BEFORE_MTP = "2026-05"
"""ggml-org's files: it publishes the MTP layer as a file of its own (convert_hf_to_gguf.py --no-mtp)."""


class Made(NamedTuple):
    """How a publisher makes files: `imatrix` None means i-quants alone."""

    imatrix: bool | None
    build: str = ""


def usual_build(name: str, family: str) -> str:
    """The month whose rules the published files of a model follow.

    >>> (
    ...     usual_build("llama-3.1-8b", "llama"),
    ...     usual_build("qwen3.8-27b", "qwen3_5"),
    ...     usual_build("qwen3.6-27b", "qwen3_5"),
    ... )
    ('2025-06', '2026-08', '2026-04')
    """
    rows = {row["model"]: row["build"] for row in facts.table("gguf_builds")}
    return rows.get(name) or rows.get(family) or USUAL


@cache
def has_rule(family: str, rule: str, month: str = "9") -> bool:
    """Return whether a rule of llama.cpp's converter or quantizer is for a family, in files of a month or of
    the newest (facts/gguf_families.csv).

    >>> [has_rule("qwen3_5", "keeps_mtp", month) for month in ("2026-05", "2026-06")]
    [False, True]
    """
    rows = facts.rows_with("gguf_families", family)
    return any(
        row["rule"] == rule and row["since"] <= month and family in row["families"].split() for row in rows
    )


WITH_MATRIX = ("bartowski", "lmstudio-community", "unsloth")
WITHOUT = (
    "TheBloke",
    "QuantFactory",
    "mradermacher",
    "tensorblock",
    "larenspear",
    "gpt4all",
    "second-state",
    "ggml-org",
    "Qwen/",
)
"""Publishers and whether they quantise with an importance matrix (mradermacher's files with one begin with
i1-)."""


def made_by(source: str) -> Made:
    """What the names of publishers say: bartowski alone uses a matrix for every file, together with others
    for i-quants at least.

    >>> (
    ...     made_by("model card of bartowski/gemma-2-9b-it-GGUF"),
    ...     made_by("TheBloke (2023)"),
    ...     made_by("bartowski, mradermacher"),
    ... )
    (Made(imatrix=True, build=''), Made(imatrix=False, build='2023-11'), Made(imatrix=None, build=''))
    """
    using = [name for name in WITH_MATRIX if name in source]
    without = [name for name in WITHOUT if name in source]
    if "TheBloke" in source:
        return Made(False, "2023-11")
    if using + without == ["ggml-org"]:
        return Made(False, BEFORE_MTP)
    year = re.search(r"\b(202[3-9])\b", source) if not using else None
    build = f"{year[1]}-11" if year and year[1] == "2023" else ""
    if using == ["bartowski"] and not without:
        return Made(True, build)
    return Made(None if using else False, build)


PLAIN_FILES = ("F32", "F16", "BF16", "Q8_0")
"""Files that have one type throughout, whoever makes them."""


def refuse_own_mix(source: str, family: str, word: str, name: str = "") -> None:
    """Refuse a file whose every named publisher chooses types for this family, or this model of it, by a rule
    of its own."""
    named = [each for each in (*WITH_MATRIX, *WITHOUT) if each in source]
    own = [row["publisher"] for row in own_mixes(family, name)]
    if named and all(each in own for each in named) and word.upper() not in PLAIN_FILES:
        hint = "give the file: its header says"
        raise UnsupportedError(
            f"{' and '.join(named)} choose the types of {family} files by a rule of their own", hint
        )


def own_mixes(family: str, name: str) -> list[dict[str, str]]:
    """The rows of publishers who choose types for this family, or this model of it, by a rule of their own.

    >>> [row["publisher"] for row in own_mixes("gemma4", "gemma-4-31b")]
    ['bartowski', 'unsloth']
    """
    return [
        row
        for row in facts.table("gguf_own_mixes")
        if family in row["families"].split() or name in row["models"].split()
    ]


def own_word(place: str, hub_id: str, family: str, name: str, word: str) -> str:
    """The word of a file by who made it: bartowski's repositories and files begin with the model's owner, and
    what he chose himself begins with his name.

    >>> own_word("google_gemma-4-31B-it-IQ3_XXS.gguf", "google/gemma-4-31B-it", "gemma4", "", "IQ3_XXS")
    'BARTOWSKI-IQ3_XXS'
    >>> own_word("gemma-4-31B-it-IQ3_XXS.gguf", "google/gemma-4-31B-it", "gemma4", "", "IQ3_XXS")
    'IQ3_XXS'
    """
    owner, file = hub_id.partition("/")[0].lower(), place.replace("\\", "/").lower()
    for row in own_mixes(family, name):
        his = f"{row['publisher']}/" in file or file.rpartition("/")[2].startswith(f"{owner}_")
        if row["share"] and his and word.upper() not in PLAIN_FILES:
            return f"{row['publisher'].upper()}-{word}"
    return word


def by_publisher(word: str) -> tuple[str, str]:
    """(publisher or "", the word that llama-quantize knows) of a file's word.

    >>> by_publisher("BARTOWSKI-IQ3_XXS"), by_publisher("IQ3_XXS")
    (('bartowski', 'IQ3_XXS'), ('', 'IQ3_XXS'))
    """
    first, _, rest = word.partition("-")
    return (first.lower(), rest) if first.lower() in WITH_MATRIX and rest else ("", word)


def bytes_per_token(family: str, vocab_size: int) -> float:
    """Bytes of a token in the header: its text and type, its merges or its score.

    Ignored: longer tokens of a fine-tune's own vocabulary. METADATA_BYTES_PER_TOKEN where the tokenizer is
    not known.

    >>> (
    ...     bytes_per_token("gemma2", 256000),
    ...     bytes_per_token("llama", 128256),
    ...     bytes_per_token("deepseek_v3", 129280),
    ... )
    (22.6, 61.0, 40.5)
    """
    for row in facts.table("gguf_vocabularies"):
        if (not row["families"] or family in row["families"].split()) and int(
            row["smallest"]
        ) <= vocab_size <= int(row["largest"]):
            return float(row["bytes_per_token"])
    return METADATA_BYTES_PER_TOKEN


METADATA_BYTES_PER_TOKEN = 40.0
"""Text, type and merge of a token: 12 + n and 8 + n + 1 bytes, n in UTF-8 of the byte alphabet, averaged over
the vocabularies of DeepSeek-V3 (40.5), Qwen2 (39.1), Llama-4 (41.6)."""
