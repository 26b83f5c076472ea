"""quantization_config -> how each weight is stored: what a method makes of matrices, and which modules it
leaves out or treats otherwise."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import UnsupportedError
from .config import Config
from .model import EMBEDDING, HEAD, Model, Tensor
from .quantization_scheme import Scheme
from .scope import Storage
from .storage import Format

if TYPE_CHECKING:
    from .quantization_names import Names


NESTED = ("text_config", "language_config", "llm_config")
"""Where a config keeps its language model's part, and sometimes the quantisation with it."""


def read_storage(config: Config, plain: Format) -> tuple[Storage, str]:
    """How the checkpoint stores its weights but for the rules (`with_rules`), and the method that its config
    names ("" = none)."""
    section = section_of(config)
    if not section.values:
        return Storage(plain, plain, plain), ""
    scheme, method = read_scheme(section, config)
    return Storage(plain, scheme.linear or plain, scheme.expert or plain), method


def section_of(config: Config) -> Config:
    """Return the part of a config that says how weights are stored; MLX's first have it under another key."""
    quantization = config.section("quantization_config")
    first = not quantization.values and isinstance(config.values.get("quantization"), dict)
    return config.section("quantization") if first else quantization


def read_scheme(section: Config, config: Config) -> tuple[Scheme, str]:
    """The scheme of a quantization_config, with the name of its method."""
    from .quantization_methods import METHODS, method_of, read_method  # most configs have none

    method = method_of(section)
    config.check()
    if method not in METHODS:
        raise UnsupportedError(
            f"{config.where}: quant_method {method!r} is not known", f"known are {', '.join(METHODS)}"
        )
    scheme = read_method(method, section, config)
    section.check()
    return scheme, method


def with_rules(model: Model, config: Config) -> Model:
    """The model with the modules stored otherwise that its quantization_config names, layer by layer."""
    inner = [config.section(key) for key in NESTED if isinstance(config.values.get(key), dict)]
    sections = [found for each in (config, *inner) if (found := section_of(each)).values]
    if not sections or not model.quantization:
        return model
    rules = read_scheme(sections[0], config)[0].rules
    if not rules:
        return model
    from .block_pattern import mixer_blocks
    from .quantization_names import Names

    matchers = [(Names(rule.patterns, config.where), rule.form) for rule in rules]
    blocks = mixer_blocks(config)
    tensors: list[Tensor] = []
    for tensor in model.tensors:
        tensors += _ruled(tensor, model, matchers, blocks)
    return model._replace(tensors=tuple(tensors))


def _ruled(
    tensor: Tensor, model: Model, matchers: list[tuple["Names", Format | None]], blocks: list[int]
) -> Iterator[Tensor]:
    """A group of tensors, divided by how its layers are stored."""
    from .quantization_names import module_names

    if tensor.name in (HEAD, EMBEDDING) and tensor.part == "main":
        module = tensor.name.removeprefix("model.").removesuffix(".weight")
        forms = [form for names, form in matchers if form and names.says(module)]
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
