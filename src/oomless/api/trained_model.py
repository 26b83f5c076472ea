"""The model that a file or a command of a training run names: one of the catalogue, what lies at a path, or
where no hub answers the one whose name is in its own."""

from ..model.catalogue_names import catalogue_name
from ..model.checkpoint_names import form_in_name, shape_within

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


def packed_as(word: str) -> str | None:
    """Return the form in which adapters stand on a checkpoint whose name says that it is packed; None: they
    stand on 16 bit.

    >>> packed_as("Qwen/Qwen1.5-72B-Chat-GPTQ-Int4"), packed_as("unsloth/Qwen3-8B-bnb-4bit"), packed_as("a/b")
    ('gptq-int4', 'nf4-dq', None)
    """
    return PACKED.get(form_in_name(word.rstrip("/").rpartition("/")[2]))
