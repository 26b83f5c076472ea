"""The forms in which mlx_lm.convert stores weights: what its names and its configs say of them.

Affine: `bits` a value, a scale and a bias of 16 bits for each group of columns (mlx/ops.cpp, quantize);
mxfp4, mxfp8 and nvfp4: one scale of 8 bits. All that has to_quantized takes it: matrices, experts, what
tokens are looked up in, the head (mlx_lm/utils.py, quantize_model).
"""

import re

from .config import Config
from .model import EMBEDDING, HEAD, Tensor
from .quantization_scheme import Scheme, StorageRule
from .storage import FP4_E8M0, FP8_ROW32_E8M0, NVFP4, Format

MODES = {"mxfp4": FP4_E8M0, "mxfp8": FP8_ROW32_E8M0, "nvfp4": NVFP4}
BITS, GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
MADE_BY_IT = re.compile(r"(^|[-_./])mlx([-_./]|$)")
"""What the name of a repository has that mlx_lm.convert made."""
NAMED = re.compile(
    r"(?<![\d.])([234568])[-_]?bits?(?:-(?:dwq-?)?gs?(32|64|128))?(?![\da-z])"
    r"|(mxfp4|mxfp8|nvfp4)(?:-q(\d))?(?![\da-z])"
)

DISTILLED = "-dwq"
"""mlx_lm.dwq trains scales and biases. In 3 bit such files have groups of 32: GLM-4.5-Air's takes 50,986 MiB
by MLX's own note, 4.00 bits a value (lmstudio-ai/mlx-engine#207); Qwen3-235B-A22B-2507's about 110 GiB (code
index id 11137195067)."""


def affine(bits: int, group: int) -> Format:
    """Return the form of so many bits a value, in groups of so many columns.

    >>> affine(4, 64).num_bytes((2048, 7168)) * 8 / (2048 * 7168)
    4.5
    """
    return Format(f"int{bits} by {group} (MLX)", bits, (1, group), 16, 16)


def mlx_form(name: str) -> str:
    """Return the form that the name of a checkpoint of MLX says; "" if it is none, or says none.

    >>> [mlx_form(f"mlx-community/{name}") for name in ("DeepSeek-R1-4bit", "Qwen3-4B-5bit-g32", "R1-bf16")]
    ['4bit', '5bit-g32', '']
    >>> mlx_form("mlx-community/gpt-oss-20b-MXFP4-Q8"), mlx_form("org/GLM-5.1-MLX-4.5bit")
    ('mxfp4-q8', '')
    >>> mlx_form("mlx-community/GLM-4.5-Air-3bit-DWQ"), mlx_form("mlx-community/Qwen3-4B-4bit-DWQ")
    ('3bit-g32', '4bit')
    >>> mlx_form("RedHatAI/Qwen3-8B-4bit"), mlx_form("lmstudio-community/Qwen3-8B-MLX-4bit")
    ('', '4bit')
    """
    found = NAMED.search(name.lower()) if MADE_BY_IT.search(name.lower()) else None
    if found is None:
        return ""
    bits, group, mode, beside = found.groups()
    if bits == "3" and not group and name.lower().startswith(DISTILLED, found.end()):
        group = "32"
    begun = "".join((bits, "bit")) if bits else mode
    return begun + (f"-g{group}" if group and group != "64" else "") + (f"-q{beside}" if beside else "")


def is_unread(name: str) -> bool:
    """Return whether the name of a checkpoint of MLX says no form whose bytes are known, nor 16 bit.

    >>> [is_unread(f"mlx-community/R1-{form}") for form in ("4bit", "bf16", "qx64-hi", "4.5bit")]
    [False, False, True, True]
    """
    lower = name.lower()
    made = MADE_BY_IT.search(lower) is not None
    return made and not mlx_form(name) and not re.search(r"[-_](bf16|fp16)$", lower)


def form_of(word: str, tensor: Tensor | None = None) -> Format | None:
    """Return the form that a word says of a tensor (None: of any matrix); None: it stays as it is, or the
    word says none.

    >>> form_of("4bit").name, form_of("5bit-g32").block, form_of("mxfp4-q8").name, form_of("awq")
    ('int4 by 64 (MLX)', (1, 32), 'int8 by 64 (MLX)', None)
    """
    begun, _, beside = word.lower().partition("-")
    bits = begun.removesuffix("bit")
    if tensor is not None and tensor.role == "plain" and tensor.name not in (EMBEDDING, HEAD):
        return None
    if begun in MODES:
        plain = affine(int(beside[1:]), 64) if beside[:1] == "q" and beside[1:].isdecimal() else None
        return MODES[begun] if plain is None or (tensor and tensor.role == "expert") else plain
    if not bits.isdecimal() or int(bits) not in BITS:
        return None
    group = int(beside[1:]) if beside[:1] == "g" and beside[1:].isdecimal() else 64
    return affine(int(bits), group)


def read_mlx_packed(section: Config, config: Config) -> Scheme:
    """Return the scheme of MLX's `quantization`: one form for all, and those of modules by name; False: as
    it was."""
    form = _form(section)
    rules = []
    for name, said in section.values.items():
        name = name.replace("switch_mlp.", "experts.0.")
        if said is False:
            rules.append(StorageRule((name,), None))
        elif isinstance(said, dict):
            rules.append(StorageRule((name,), _form(section.section(name))))
    everywhere = StorageRule(("model.embed_tokens", "lm_head"), form)
    return Scheme(form, form, (*rules, everywhere))


def _form(section: Config) -> Format:
    bits, group = section.size("bits", 4), section.size("group_size", 64)
    mode = str(section.values.get("mode", "affine"))
    if mode in MODES:
        return MODES[mode]
    if mode != "affine" or bits not in BITS or group not in GROUPS:
        section.fault(f"{bits} bits in groups of {group}, {mode[:20]}, are none of MLX's")
        return affine(4, 64)
    return affine(bits, group)
