"""Vision towers: the encoders that several families share, as tensors of the part "vision", fused and cut as
engines hold them."""

from ..config import MAX_LAYERS, Config
from ..model import VOCABULARY, WHOLE, Cut, Tensor
from ..scope import columns, rows
from ..storage import BF16, Format, Shape


class Tower:
    """Collects the tensors of an encoder; `repeat` counts its layers."""

    def __init__(self, width: int, dtype: Format = BF16) -> None:
        self.width = width
        self.dtype = dtype
        self.tensors: list[Tensor] = []

    def add(self, name: str, shape: Shape, cut: Cut = WHOLE, repeat: int = 1) -> None:
        if repeat:
            self.tensors.append(Tensor(f"vision.{name}", shape, self.dtype, cut, (), repeat, part="vision"))

    def linear(
        self, name: str, out: int, into: int, cut: Cut = WHOLE, bias: bool = True, repeat: int = 1
    ) -> None:
        self.add(f"{name}.weight", (out, into), cut, repeat)
        if bias:
            self.add(f"{name}.bias", (out,), cut if cut.how == "column" else WHOLE, repeat)

    def norm(self, name: str, width: int, bias: bool = True, repeat: int = 1) -> None:
        self.add(f"{name}.weight", (width,), repeat=repeat)
        if bias:
            self.add(f"{name}.bias", (width,), repeat=repeat)

    def blocks(
        self,
        num_layers: int,
        inner: int,
        heads: int,
        *,
        bias: bool = True,
        gated: bool = False,
        norm_bias: bool = True,
        attention_width: int = 0,
        keys: int = 0,
        mlp_bias: bool | None = None,
        whole: bool = False,
    ) -> None:
        """Encoder layers: merged query, key and value, output, a plain or gated MLP, two norms; `keys`: width
        of keys and of values where it is not that of queries; `whole`: every rank holds all of it."""
        inside, width = attention_width or self.width, self.width
        mlp_bias = bias if mlp_bias is None else mlp_bias
        by_heads, by_inner = (WHOLE, WHOLE) if whole else (columns(heads), columns(inner))
        from_heads, from_inner = (WHOLE, WHOLE) if whole else (rows(heads), rows(inner))
        self.linear("blocks.attn.qkv", inside + 2 * (keys or inside), width, by_heads, bias, num_layers)
        self.linear("blocks.attn.out", width, inside, from_heads, bias, num_layers)
        self.linear("blocks.fc1", inner * (2 if gated else 1), width, by_inner, mlp_bias, num_layers)
        self.linear("blocks.fc2", width, inner, from_inner, mlp_bias, num_layers)
        self.norm("blocks.norm1", width, norm_bias, num_layers)
        self.norm("blocks.norm2", width, norm_bias, num_layers)


def siglip(vision: Config, dtype: Format = BF16) -> Tower:
    """SigLIP: biases and LayerNorms throughout, a position table, and in some releases an attention-pooling
    head.

    >>> tower = siglip(Config({"image_size": 896, "vision_use_head": False}, "example"))
    >>> sum(tensor.num_parameters for tensor in tower.tensors)  # SO400M of Gemma 3
    416866032
    """
    width = vision.size("hidden_size", 1152)
    num_layers = vision.size("num_hidden_layers", 27, most=MAX_LAYERS)
    inner, heads = vision.size("intermediate_size", 4304), vision.size("num_attention_heads", 16)
    patch, image = vision.size("patch_size", 14), vision.size("image_size")
    tower = Tower(width, dtype)
    tower.add("patch_embedding.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add("patch_embedding.bias", (width,))
    tower.add("position_embedding.weight", ((image // patch) ** 2, width), VOCABULARY)
    tower.blocks(num_layers, inner, heads)
    tower.norm("post_layernorm", width)
    if vision.flag("vision_use_head", True):
        tower.add("head.probe", (1, 1, width))
        tower.linear("head.attention.in_proj", 3 * width, width)
        tower.linear("head.attention.out_proj", width, width)
        tower.linear("head.mlp.fc1", inner, width)
        tower.linear("head.mlp.fc2", width, inner)
        tower.norm("head.layernorm", width)
    return tower


def clip(vision: Config, dtype: Format = BF16) -> Tower:
    """CLIP's ViT: a class token, norms before and after, no bias on the patches.

    >>> large = {
    ...     "hidden_size": 1024,
    ...     "intermediate_size": 4096,
    ...     "num_hidden_layers": 24,
    ...     "num_attention_heads": 16,
    ... }
    >>> tower = clip(Config({**large, "patch_size": 14, "image_size": 336}, "example"))
    >>> sum(tensor.num_parameters for tensor in tower.tensors)  # CLIP-L/14 at 336 pixels, of LLaVA 1.5
    303507456
    """
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    tower = Tower(width, dtype)
    tower.add("class_embedding", (width,))
    tower.add("patch_embedding.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add("position_embedding.weight", ((vision.size("image_size") // patch) ** 2 + 1, width))
    tower.norm("pre_layernorm", width)
    tower.norm("post_layernorm", width)
    vision.has("projection_dim")
    num_layers = vision.size("num_hidden_layers", most=MAX_LAYERS)
    tower.blocks(num_layers, vision.size("intermediate_size"), vision.size("num_attention_heads"))
    return tower


def pixtral(vision: Config, dtype: Format = BF16) -> Tower:
    """Pixtral's ViT: gated blocks of RMS norms without biases, a norm before them, and no position table.

    >>> large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 16}
    >>> tower = pixtral(Config({**large, "num_attention_heads": 16}, "example"))
    >>> sum(tensor.num_parameters for tensor in tower.tensors)  # Pixtral 12B
    403489792
    """
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    tower = Tower(width, dtype)
    tower.add("patch_conv.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.norm("ln_pre", width, bias=False)
    tower.blocks(
        vision.size("num_hidden_layers", most=MAX_LAYERS),
        vision.size("intermediate_size"),
        vision.size("num_attention_heads"),
        bias=False,
        gated=True,
        norm_bias=False,
    )
    return tower
