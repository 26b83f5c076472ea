"""The model that a file or a command of a training run names: one of the catalogue, what lies at a path, or
where no hub answers the one whose name is in its own."""

import re

from .. import facts
from ..model.catalogue_names import catalogue_name
from ..model.checkpoint_names import OTHER_SHAPE, form_in_name

PACKED = {
    "gptq": "gptq-int4",
    "awq": "gptq-int4",
    "w4a16": "gptq-int4",
    "w8a16": "gptq-int8",
    "bitsandbytes": "nf4-dq",
}
"""How matrices of a checkpoint in a form are held under adapters: transformers trains adapters on what these
pack (quantizers/quantizer_gptq.py, quantizer_awq.py, quantizer_bnb_4bit.py: is_trainable)."""


def trained_model(word: str, offline: bool) -> tuple[str, tuple[str, ...]]:
    """Return (MODEL, notes) of a model's word in a training file: a hub id stays one where a hub answers.

    >>> trained_model("deepseek-ai/DeepSeek-V3", offline=True)
    ('deepseek-v3', ('deepseek-ai/DeepSeek-V3 is deepseek-v3 of the catalogue; give MODEL to read the hub',))
    """
    if word.startswith((".", "/", "~")):
        from .pasted import from_path

        return from_path(word)[0], ()
    known = catalogue_name(word)
    if known is not None:
        note = f"{word} is {known} of the catalogue; give MODEL to read the hub"
        return known, (note,) if known != word else ()
    shape = shape_within(word) if "/" in word else ""
    if shape:
        from ..model.hub import is_silent

        if is_silent(word, offline, None):
            return shape, (f"no hub answers: {word} is read by its name as {shape} of the catalogue",)
    return word, ()


def shape_within(repo_id: str) -> str:
    """Return the model of the catalogue whose name, with a size, stands in that of a repository: what is made
    of a model has its shape; "" if none does.

    >>> shape_within("AI-ModelScope/Skywork-Reward-Llama-3.1-8B-v0.2"), shape_within("org/EAGLE3-LLaMA3-8B")
    ('llama-3.1-8b', '')
    >>> shape_within("unsloth/DeepSeek-R1-0528-BF16"), shape_within("Qwen/Qwen2.5-VL-72B-Instruct-GPTQ-Int4")
    ('deepseek-r1-0528', 'qwen2.5-vl-72b')
    """
    name = repo_id.rpartition("/")[2].lower()
    found = [
        (at.end() - at.start(), row["name"], name[at.end() :])
        for row in facts.table("catalogue")
        for short in (row["name"], row["hub_id"].rpartition("/")[2].lower().removesuffix("-bf16"))
        if short and (at := _word(short, name))
    ]
    _, shape, rest = max(found, default=(0, "", ""))
    return "" if re.search(OTHER_SHAPE, rest) or re.search(DRAFTS, name) else shape


DRAFTS = r"(^|[-_.])(eagle|dflash|medusa|mtp|draft|reap|pruned)"
"""Names of heads that draft for a model, and of what has fewer experts or layers."""


def _word(short: str, name: str) -> "re.Match[str] | None":
    """Return where a model's name stands in another, as a word of its own: at its beginning, or with a size
    that no other name has by chance."""
    sized = re.search(r"-\d+(\.\d+)?b($|-)", short)
    begins = r"^(meta-)?" if not sized else r"(?:^|(?<=[-_.]))"
    return re.search(begins + re.escape(short) + r"(?=[-_.]|$)", name)


def packed_as(word: str) -> str | None:
    """Return the form in which adapters stand on a checkpoint whose name says that it is packed; None: they
    stand on 16 bit.

    >>> packed_as("Qwen/Qwen1.5-72B-Chat-GPTQ-Int4"), packed_as("unsloth/Qwen3-8B-bnb-4bit"), packed_as("a/b")
    ('gptq-int4', 'nf4-dq', None)
    """
    return PACKED.get(form_in_name(word.rstrip("/").rpartition("/")[2]))
