"""A GGUF file in vLLM (quantization/gguf.py, in the tree up to 0.23 and a package of its own since): linear
layers and the embedding stay as the file has them."""

from ...kept import Kept
from ...model.model import Model
from ...model.quantization_scheme import is_of_files_alone
from ...run.serving import Resolved


def stored(model: Model, asked: Resolved) -> Model:
    """The model as its file stores it where --quantization is a file type, else as it is.

    >>> from ...model.load import load
    >>> model = load("qwen2.5-7b-instruct")
    >>> round(stored(model, Resolved(quantization="Q4_K_M")).checkpoint_bytes / 2**30, 2)  # 4.3752 loaded
    4.36
    """
    word = asked.quantization
    if word is None or not is_of_files_alone(word):
        return model
    from ...model.gguf_model import as_gguf  # a file's types, which no other question needs

    return _FILES.of(model, word, lambda: as_gguf(model, word))


_FILES = Kept[Model](most=16)
"""Files by model and type: every stage asks again."""
