"""The model that a log names -> the catalogue's name."""

import re

from ... import facts
from ...engines import GGUF_ENGINE
from ...model.catalogue_names import catalogue_name
from ...model.checkpoint_names import form_in_name, is_widened, shape_by_name, shape_of_size, shape_within
from ...model.gguf_names import type_in_name
from ..row_models import PACKED

CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
"""A folder of the hub's cache: owner and name."""
FILE_WORDS = re.compile(
    r"[-_. ](?:(?:i1|ud)[-_.])?(?:i?q\d[a-z0-9_]*|f16|bf16|f32|mxfp4|q8_0|mxfp4_moe|gguf|\d{5}-of-\d{5})$"
)
"""What a GGUF file's name says behind the model's."""
TUNING = re.compile(
    r"[-_.](?:per-channel|per-token|quarot|(?:native-)?mtp(?:-preserved)?|modelslim|mindie|ascend|npu|dummy|qat|merged|mix|smol|v\d)$"
)
"""What makers of copies write behind a name: for NPUs, trained for the packing, adapters laid in, mixes."""
BETWEEN_FIGURES = re.compile(r"(?<=\d)_(?=\d)")
"""Qwen1_5 of makers who write no point into a file's name."""
SIZED = re.compile(r"-(\d+(?:\.\d+)?b)$")
"""Sizes as people write them: Ollama's deepseek-r1:14b as a folder's name."""
TUNED = ("-instruct", "-chat", "-it", "-base", "-hf")


def model_name(printed: str) -> str | None:
    """Return the catalogue's name of a model as a log prints it: a hub id, a path, a cache's folder, the
    title of a GGUF file.

    >>> model_name("/home/user/models/Qwen3-235B-A22B-FP8"), model_name("Qwen2.5 Coder 32B Instruct")
    ('qwen3-235b-a22b-fp8', 'qwen2.5-coder-32b')
    >>> model_name("/models/qwen/Qwen2___5-3B"), model_name("Qwen2.5-3B-Instruct.Q4_K_M.gguf")
    ('qwen2.5-3b', 'qwen2.5-3b')
    >>> model_name("/models/qwen1_5-72b-chat-q3_k_m.gguf")
    'qwen1.5-72b'
    """
    parts = parts_of(printed)
    words = ["/".join(parts[-2:]), parts[-1]]
    for word in words:
        if found := catalogue_name(word):
            return found
    name = BETWEEN_FIGURES.sub(".", bare(parts[-1]))
    maker, _, rest = name.partition("_")
    for each in (name, rest if maker.isalpha() else ""):  # bartowski's repositories begin with the maker
        for word in (
            each,
            SIZED.sub(r":\1", each),
            *(each.removesuffix(tuned) for tuned in TUNED if each.endswith(tuned)),
        ):
            if found := catalogue_name(word):
                return found
    return None


def parts_of(printed: str) -> list[str]:
    """Return the parts of a path or hub id; a folder of a cache stands for its repository."""
    text = printed.strip().replace("\\", "/").replace("___", ".").rstrip("/")
    if cached := CACHED.search(text):
        text = f"{cached[1]}/{cached[2]}"
    return text.split("/")


def published_as(place: str) -> tuple[str, str]:
    """Return (model of the catalogue, what follows its name) of a folder that is called as a repository is:
    one of the catalogue, or a form of one of its models. Two empty words: what lies there may be anything.

    >>> published_as("/data/Qwen2.5-32B-Instruct/"), published_as("~/m/Qwen3-30B-A3B-AWQ-mine")
    (('qwen2.5-32b-instruct', ''), ('qwen3-30b-a3b', '-awq-mine'))
    >>> published_as("/m/R1")
    ('', '')
    """
    name = parts_of(place)[-1]
    if (known := catalogue_name(name)) and is_published(name.lower(), known):
        return known, ""
    shape, rest = shape_by_name(name)
    return (shape, rest) if form_in_name(rest) or is_widened(rest, shape) else ("", "")


def is_published(word: str, known: str) -> bool:
    """Return whether a word is the catalogue's name of a model, or that of a repository of it: nobody
    publishes under the other spellings.

    >>> is_published("qwen2.5-32b-instruct", "qwen2.5-32b-instruct"), is_published("r1", "deepseek-r1")
    (True, False)
    """
    row = next(row for row in facts.table("catalogue") if row["name"] == known)
    repositories = (row["hub_id"], *row["aliases"].split(";"))
    return word == known or any(each.lower().rpartition("/")[1:] == ("/", word) for each in repositories)


OF_GGUF = re.compile(r"\.gguf$|[-_.]i?q\d\w*$", re.IGNORECASE)
"""How the name of a file of llama.cpp ends; types like NVFP4 other formats have too."""


def bare(title: str) -> str:
    """Return the title of a file without what stands behind the model's name.

    >>> bare("Qwen3.6 35B A3B-MTP-Q6_K.gguf")
    'qwen3.6-35b-a3b'
    """
    name = "-".join(title.lower().split())
    while (shorter := PACKED.sub("", FILE_WORDS.sub("", TUNING.sub("", name)))) != name:
        name = shorter
    return name


def model_of_file(place: str) -> str:
    """Return the catalogue's name of a GGUF file's model, or of what it was made of; "" for none.

    >>> model_of_file("/m/Qwen3.6-35B-A3B-Heretic-Native-MTP-Preserved-Q4_K_M.gguf"), model_of_file("m.gguf")
    ('qwen3.6-35b-a3b', '')
    >>> (
    ...     model_of_file("MythoMax-L2-13B.Q4_K_M.gguf"),
    ...     model_of_file("Nous-Hermes-2-Mixtral-8x7B-DPO.Q4_K_M.gguf"),
    ... )
    ('llama-2-13b', 'mixtral-8x7b')
    """
    name = bare(parts_of(place)[-1])
    return model_name(place) or shape_within(name) or shape_of_size(name)


def gguf_by_name(word: str) -> tuple[str, str, str]:
    """Return (model of the catalogue, type, engine) of what llama.cpp's -hf and Ollama call a model, and of
    the name of a GGUF file; three empty words for any other name.

    >>> gguf_by_name("unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M")
    ('deepseek-r1-distill-qwen-7b', 'Q4_K_M', 'llamacpp')
    >>> gguf_by_name("bartowski/google_gemma-3-27b-it-GGUF:Q8_0")[0]
    'gemma-3-27b'
    >>> gguf_by_name("mradermacher/Qwen3-8B-abliterated-GGUF:Q4_K_M")[:2]
    ('qwen3-8b', 'Q4_K_M')
    >>> gguf_by_name("deepseek-r1:14b-qwen-distill-q8_0"), gguf_by_name("deepseek-r1:14b")[1:]
    (('deepseek-r1-distill-qwen-14b', 'Q8_0', 'ollama'), ('Q4_K_M', 'ollama'))
    >>> (
    ...     gguf_by_name("DeepSeek-R1-0528-UD-IQ1_S-00001-of-00004.gguf")[:2],
    ...     gguf_by_name("org/qwen3-8b-Q4_0")[0],
    ... )
    (('deepseek-r1-0528', 'UD-IQ1_S'), 'qwen3-8b')
    """
    place, colon, tag = word.removeprefix("https://").partition(":")
    if colon and tag and "/" not in place:
        from ...engines.llamacpp.ollama_command import RUNS_TAGS, tagged  # few names have a tag

        known, of_file = tagged(word)
        return (known, of_file, RUNS_TAGS) if catalogue_name(known) else ("", "", "")
    kind = type_in_name(tag or place)
    if kind is None or catalogue_name(word):
        return "", "", ""
    if not colon and not OF_GGUF.search(place):
        return "", "", ""
    known = model_of_file(place)
    return (known, kind, GGUF_ENGINE) if known else ("", "", "")
