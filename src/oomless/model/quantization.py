"""quantization_config -> how each weight is stored: what a method makes of matrices, and which modules it
leaves out or treats otherwise."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UnsupportedError
from .config import Config
from .model import HEAD, Model, Tensor
from .storage import FP4_E8M0, FP8_CHANNEL, FP8_TENSOR, INT8_CHANNEL, NF4, NVFP4, Format
from .weights import Storage

if TYPE_CHECKING:
    from .quantization_names import Names

NESTED = ("text_config", "language_config", "llm_config")
"""Where a config keeps its language model's part, and sometimes the quantisation with it."""


class Rule(NamedTuple):
    """Modules whose names match a pattern are stored in `form`; None: as they were."""

    patterns: tuple[str, ...]
    form: Format | None


class Scheme(NamedTuple):
    """What a method makes of linear layers and of routed experts, and the rules that come before: the first
    that matches counts."""

    linear: Format | None
    expert: Format | None
    rules: tuple[Rule, ...] = ()


def read_storage(config: Config, plain: Format) -> tuple[Storage, str]:
    """How the checkpoint stores its weights but for the rules (`with_rules`), and the method that its config
    names ("" = none)."""
    section = config.section("quantization_config")
    if not section.values and isinstance(config.values.get("quantization"), dict):
        section = config.section("quantization")  # MLX's first configs have it under this key alone
    if not section.values:
        return Storage(plain, plain, plain), ""
    scheme, method = read_scheme(section, config)
    return Storage(plain, scheme.linear or plain, scheme.expert or plain), method


def read_scheme(section: Config, config: Config) -> tuple[Scheme, str]:
    """The scheme of a quantization_config, with the name of its method."""
    from .quantization_methods import METHODS, method_of  # most configs have none

    method = method_of(section)
    config.check()
    if method not in METHODS:
        raise UnsupportedError(
            f"{config.where}: quant_method {method!r} is not known", f"known are {', '.join(METHODS)}"
        )
    scheme = METHODS[method](section, config)
    section.check()
    return scheme, method


def with_rules(model: Model, config: Config) -> Model:
    """The model with the modules stored otherwise that its quantization_config names, layer by layer."""
    inner = [config.section(key) for key in NESTED if isinstance(config.values.get(key), dict)]
    sections = [
        each.section("quantization_config")
        for each in (config, *inner)
        if each.values.get("quantization_config")
    ]
    if not sections or not model.quantization:
        return model
    rules = read_scheme(sections[0], config)[0].rules
    if not rules:
        return model
    from .quantization_names import Names

    matchers = [(Names(rule.patterns, config.where), rule.form) for rule in rules]
    blocks = block_numbers(config)
    tensors: list[Tensor] = []
    for tensor in model.tensors:
        tensors += _ruled(tensor, model, matchers, blocks)
    return model._replace(tensors=tuple(tensors))


def _ruled(
    tensor: Tensor, model: Model, matchers: list[tuple["Names", Format | None]], blocks: list[int]
) -> Iterator[Tensor]:
    """A group of tensors, divided by how its layers are stored."""
    from .quantization_names import module_names

    if tensor.name == HEAD and tensor.part == "main":
        forms = [form for names, form in matchers if form and names.says("lm_head")]
        yield tensor._replace(format=forms[0]) if forms else tensor
        return
    if tensor.role == "plain" or tensor.part not in ("main", "mtp"):
        yield tensor
        return
    by_form: dict[Format, list[int]] = {}
    for layer in tensor.layers:
        names_of_layer = module_names(
            tensor, layer, len(model.layers), blocks, model.family.startswith("gemma4")
        )
        form = tensor.format
        for names, other in matchers:
            if any(names.matches(name) for name in names_of_layer):
                form = other or model.dtype
                break
        by_form.setdefault(form, []).append(layer)
    if len(by_form) < 2:
        yield tensor._replace(format=next(iter(by_form), tensor.format))
        return
    for form, layers in by_form.items():
        yield tensor._replace(format=form, layers=tuple(layers))


def block_numbers(config: Config) -> list[int]:
    """Nemotron-H counts mixers and feed-forward parts as blocks of their own: the block of each mixer.
    Elsewhere nothing."""
    if config.values.get("model_type") != "nemotron_h":
        return []
    from .families.mamba_attention import read_pattern

    return [index for index, block in enumerate(read_pattern(config)) if block in "M*"]


def grouped(bits: int, group: int, zeros: bool, scale_bits: int) -> Format:
    """Integers of `bits`, one scale (and zero) for `group` columns of a row; 0 = the whole row."""
    return Format(f"int{bits} by {group or 'row'}", bits, (1, group), scale_bits, bits if zeros else 0)


REQUANTISED: dict[str, Format] = {
    "fp8": FP8_TENSOR,
    "fp8-dynamic": FP8_CHANNEL,
    "w8a8": INT8_CHANNEL,
    "awq": grouped(4, 128, zeros=True, scale_bits=16),
    "gptq": grouped(4, 128, zeros=True, scale_bits=16),
    "w4a16": grouped(4, 128, zeros=False, scale_bits=16),
    "bitsandbytes": NF4,
    "mxfp4": FP4_E8M0,
    "nvfp4": NVFP4,
}
"""What a model that is published in 16 bit becomes under each name: embeddings, head, norms and routers stay
as they are."""
