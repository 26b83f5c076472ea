"""What the name of a GGUF file says of its type."""

import re

PART = re.compile(r"-\d{5}-of-\d{5}$")
"""One of several files of a model (llama.cpp's gguf-split)."""
TYPE = re.compile(
    r"(?:^|[-_. ])((?:UD[-_]|i1[-_])?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|F32))$",
    re.IGNORECASE,
)
"""Words of a type as publishers write them, at the end of a name."""


def type_in_name(path: str) -> str | None:
    """Return the type that a GGUF file's name ends with, or else its folder's; None where neither says one.

    >>> type_in_name("DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"), type_in_name("/m/model.gguf")
    ('Q4_K_M', None)
    >>> (
    ...     type_in_name("R1/UD-Q2_K_XL/DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf"),
    ...     type_in_name("a.i1-IQ4_XS.gguf"),
    ... )
    ('UD-Q2_K_XL', 'I1-IQ4_XS')
    """
    for part in reversed(path.replace("\\", "/").split("/")[-2:]):
        stem = part[: -len(".gguf")] if part.lower().endswith(".gguf") else part
        if found := TYPE.search(PART.sub("", stem)):
            return found[1].upper()
    return None
