"""The language model inside of another one: where its config stands, what the outer one adds to it, and which
of its keys nobody read."""

from importlib import import_module

from ...errors import UnsupportedError
from ...files import listed
from ..config import Config
from ..model import Model
from . import FAMILIES


def with_outer(config: Config, key: str) -> Config:
    """The config of the language model inside of another one, with dtype and tying of the outer where it has
    none; the outer's quantisation counts first (vllm, model_loader/weight_utils.py, get_quant_config)."""
    inner = config.section(key)
    config.check()
    if not inner.values:
        config.fault(f"{key} is missing")
        config.check()
    for shared in ("torch_dtype", "dtype", "quantization_config", "tie_word_embeddings"):
        config.used.add(shared)
        first = shared == "quantization_config" or inner.values.get(shared) is None
        if first and config.values.get(shared) is not None:
            inner.values = {**inner.values, shared: config.values[shared]}
    if inner.values.get("torch_dtype") is None and inner.values.get("dtype") is None:
        vision = config.values.get("vision_config")
        if isinstance(vision, dict) and vision.get("torch_dtype"):
            inner.values = {**inner.values, "torch_dtype": vision["torch_dtype"]}
    return inner


def text_of(config: Config) -> Config:
    """Return the config of the decoder: under text_config, or spelled out beside the towers' sections."""
    return with_outer(config, "text_config") if config.has("text_config") else config


def read_nested(text: Config, name: str, **said: object) -> Model:
    """Return the model of a config inside of another one, read as if it had the keys that the outer class
    says. It shares its faults; the caller reports its unread keys."""
    own = text.values
    text.values = {**own, **said}
    model_type = text.word("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedError(
            f"{text.where}: model_type {model_type!r} is not known", "oomless models --families"
        )
    model: Model = import_module(f".{FAMILIES[model_type]}", __package__).read(text, name)
    text.values = own
    return model


def unread_inside(inner: Config, outer: Config | None = None) -> tuple[str, ...]:
    """Return the warning about keys of a nested config that no reader knows, if there are any; none where the
    decoder is spelled out in the outer one, whose own keys are reported as those of any config."""
    unread = inner.unread() if inner is not outer else ()
    if not unread:
        return ()
    place = inner.where.rpartition(": ")[2]
    return (f"keys not understood, which may change memory: {listed(unread)} ({place})",)
