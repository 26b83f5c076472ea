"""Which modules of a checkpoint a pattern of a quantization_config means, whatever its publisher's prefix and
spelling."""

import re
from collections.abc import Iterator
from itertools import accumulate

from .model import Tensor
from .name_patterns import NamePatterns

PREFIXES = (
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "model.",
    "backbone.",
    "transformer.",
)
"""Before `layers.`; a pattern may have any of them."""


def _experts(part: str, old: str) -> tuple[str, ...]:
    """The first expert's matrix as families call it: by its part, or w1, w2, w3."""
    named = tuple(
        f"{block}experts.0.{part}" for block in ("mlp.", "feed_forward.", "block_sparse_moe.", "mixer.", "")
    )
    numbered = tuple(f"{block}experts.0.{old}" for block in ("block_sparse_moe.", "ffn."))
    return (*named, *numbered, *(("mlp.experts.gate_up_proj",) if part != "down_proj" else ()))


SPELLINGS = (
    (
        "mlp.shared_experts.",
        (
            "mlp.shared_expert.",
            "feed_forward.shared_expert.",
            "block_sparse_moe.shared_experts.",
            "ffn.shared_experts.",
        ),
    ),
    ("mlp.experts.gate_proj", _experts("gate_proj", "w1")),
    ("mlp.experts.up_proj", _experts("up_proj", "w3")),
    ("mlp.experts.down_proj", _experts("down_proj", "w2")),
    ("mlp.gate_proj", ("mlp.gate_up_proj", "feed_forward.gate_proj", "ffn.gate_proj")),
    ("mlp.up_proj", ("mlp.gate_up_proj", "feed_forward.up_proj", "ffn.up_proj")),
    ("mlp.down_proj", ("feed_forward.down_proj", "ffn.down_proj")),
    ("self_attn.q_proj", ("self_attn.qkv_proj", "attention.wqkv")),
    ("self_attn.k_proj", ("self_attn.qkv_proj", "attention.wqkv")),
    ("self_attn.v_proj", ("self_attn.qkv_proj", "attention.wqkv")),
    ("linear_attn.in_proj_q", ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz")),
    ("linear_attn.in_proj_k", ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz")),
    ("linear_attn.in_proj_v", ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz")),
    ("linear_attn.in_proj_z", ("linear_attn.in_proj_qkvz",)),
)
"""Other names of the same module: by family, and where a checkpoint stores several in one."""


class Names:
    """A list of patterns: names, beginnings of names, pieces between dots, with stars, or `re:` and an
    expression."""

    def __init__(self, patterns: tuple[str, ...], where: str) -> None:
        self.exact: set[str] = set()
        others: list[str] = []
        for pattern in patterns:
            if pattern.startswith("re:"):
                others.append(pattern[3:])
            elif (
                "*" in pattern[:-1]
                or "?" in pattern
                or (pattern.endswith("*") and not pattern[:-1].strip("."))
            ):
                others.append(of_stars(pattern))
            else:
                self.exact.add(canonical(pattern.rstrip("*").rstrip(".")))
        prefixes = ("", *PREFIXES)
        self.expressions = NamePatterns(others, "match", where, True, prefixes) if others else None

    def says(self, name: str) -> bool:
        """Whether this very name is in the list."""
        return name in self.exact

    def matches(self, name: str) -> bool:
        """Whether a pattern means the module of this name, which begins with `layers.N.` or `mtp.`: all of
        it, or whole pieces of it."""
        if self.exact and not self.exact.isdisjoint(parts_of(name)):
            return True
        return self.expressions is not None and self.expressions.finds([name])


def parts_of(name: str) -> Iterator[str]:
    """Yield what whole pieces of a name spell: its beginnings, and all inside the layer.

    >>> [*parts_of("layers.0.mlp.gate")]
    ['layers', 'layers.0', 'layers.0.mlp', 'layers.0.mlp.gate', 'mlp', 'mlp.gate', 'gate']
    """
    pieces = name.split(".")
    inside = 2 if pieces[1].isdigit() else 3
    for start in (0, *range(inside, len(pieces))):  # mtp.layers.0 is not layers.0
        yield from accumulate(pieces[start:], "{}.{}".format)


def of_stars(pattern: str) -> str:
    """Return a pattern with stars as an expression of whole names.

    >>> of_stars("model.layers.*.mlp?")
    'model\\\\.layers\\\\..*\\\\.mlp.$'
    """
    others = {"*": ".*", "?": "."}
    return "".join(others.get(char) or re.escape(char) for char in pattern) + "$"


def canonical(pattern: str) -> str:
    """A name without the prefix before its layers."""
    for prefix in PREFIXES:
        if pattern.startswith(prefix):
            return pattern[len(prefix) :]
    return pattern


def module_names(
    tensor: Tensor, layer: int, num_layers: int, blocks: list[int], beside: bool = False
) -> list[str]:
    """What a checkpoint may call the module of one layer's tensor, without prefix.

    `beside`: experts stand beside the feed-forward block (Gemma-4). `blocks`: the number of each layer's
    mixer where mixers and feed-forward parts are counted apart (Nemotron-H).
    """
    inside = tensor.name.rpartition("{}.")[2].removesuffix(".weight")
    if ".beside." in inside:  # Gemma-4 has its experts beside the dense block, not in it
        inside = inside.replace("mlp.beside.", "mlp.")
    elif beside and inside.startswith("mlp.experts."):
        return [
            f"layers.{layer}.experts.0.{inside.rpartition('.')[2]}",
            f"layers.{layer}.moe.experts.0.{inside.rpartition('.')[2]}",
        ]
    spelled = [inside]
    for part, others in SPELLINGS:
        if inside.startswith(part):
            spelled += [other + inside[len(part) :] for other in others]
            break
    if tensor.part == "mtp":
        draft = layer - num_layers
        own = [name for each in spelled for name in (f"mtp.layers.{draft}.{each}", f"mtp.{draft}.{each}")]
        return own if blocks else own + [f"layers.{layer}.{each}" for each in spelled]
    if blocks:
        mixes = not inside.startswith("mlp.")
        number = blocks[layer] + (0 if mixes else 1)
        rest = (
            inside.partition(".")[2]
            .replace("experts.up_proj", "experts.0.up_proj")
            .replace("experts.down_proj", "experts.0.down_proj")
        )
        return [f"layers.{number}.mixer.{rest.replace('shared_experts.0.', 'shared_experts.')}"]
    return [f"layers.{layer}.{each}" for each in spelled]
