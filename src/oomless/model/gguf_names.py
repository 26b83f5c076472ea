"""What the name of a GGUF file says of its type."""

import re

PART = re.compile(r"-\d{5}-of-\d{5}$")
"""One of several files of a model (llama.cpp's gguf-split)."""
TYPE = re.compile(
    r"(?:^|[-_. ])((?:UD[-_]|i1[-_])?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|F32))"
    r"(?:[-_. ](?:MTP|imat(?:rix)?|v\d))?$",
    re.IGNORECASE,
)
"""Words of a type as publishers write them, at the end of a name, or before a word of what else it has."""


def type_in_name(path: str) -> str | None:
    """Return the type that a GGUF file's name ends with, or else its folder's; None where neither says one.

    >>> type_in_name("DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"), type_in_name("/m/model.gguf")
    ('Q4_K_M', None)
    >>> (
    ...     type_in_name("R1/UD-Q2_K_XL/DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf"),
    ...     type_in_name("a.i1-IQ4_XS.gguf"),
    ... )
    ('UD-Q2_K_XL', 'I1-IQ4_XS')
    >>> type_in_name("Qwen3.6-35B-A3B-UD-Q4_K_M-MTP.gguf"), type_in_name("Qwen3.6-27B-Q5_K_M-mtp.gguf")
    ('UD-Q4_K_M', 'Q5_K_M')
    """
    for part in reversed(path.replace("\\", "/").split("/")[-2:]):
        stem = part[: -len(".gguf")] if part.lower().endswith(".gguf") else part
        if found := TYPE.search(PART.sub("", stem)):
            return found[1].upper()
    return None
