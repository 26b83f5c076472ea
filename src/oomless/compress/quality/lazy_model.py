"""LazyModel: transformers' own class of a checkpoint, without memory until a layer's weights are put in and
after they are taken out again."""

import re
from typing import Any

from ...errors import OomlessError, UnsupportedError, need
from ..arithmetic.scratch import numpy
from ..checkpoint.blocks import blocks
from ..checkpoint.error import as_float
from ..checkpoint.reader import Reader
from ..checkpoint.source import Checkpoint
from ..checkpoint.stored_weight import StoredWeight, stored_weights
from ..checkpoint.views import Whole

REMOTE = ("auto_map", "quantization_config", "torch_dtype", "dtype", "transformers_version", "_name_or_path")
"""Keys of a config that say nothing about the network, or that would run code of others."""
EXPERTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
"""Fused parameters of transformers' experts, and the matrices of each expert that checkpoints store."""
PREFIXES = ("", "model.", "bert.", "model.language_model.", "language_model.model.", "transformer.")
"""What stands before a name in a checkpoint and not in the class, or the other way round."""


def network_config(source: Checkpoint) -> dict[str, Any]:
    """Return what the class needs of a config, and nothing by which a config could load code."""
    kept = {key: value for key, value in source.config.items() if key not in REMOTE}
    return {key: value for key, value in kept.items() if "attn_implementation" not in key}


class LazyModel:
    """A model on no device, whose modules get their weights one at a time, in float32."""

    def __init__(self, source: Checkpoint) -> None:
        self.source, self.reader = source, Reader(source.files)
        self.weights = {weight.name: weight for weight in stored_weights(source)}
        self.model = build(source)
        self.names = {id(module): name for name, module in self.model.named_modules()}
        self.model.eval()

    def close(self) -> None:
        self.reader.close()

    def layers(self) -> Any:
        """Return the list of the network's layers: the longest list of modules."""
        torch = need("torch", "compress")
        lists = [module for module in self.model.modules() if isinstance(module, torch.nn.ModuleList)]
        wanted = getattr(self.model.config, "num_hidden_layers", 0)
        found = [each for each in lists if len(each) == wanted] or sorted(lists, key=len)
        if not found:
            raise UnsupportedError(f"{self.source.folder}: the class has no list of layers", "give a decoder")
        return found[0] if len(found) == 1 or wanted else found[-1]

    def fill(self, module: Any) -> None:
        """Put the checkpoint's weights into a module."""
        torch = need("torch", "compress")
        prefix = self.names[id(module)]
        for name, parameter in list(module.named_parameters()):
            full = f"{prefix}.{name}" if prefix else name
            values = self.parameter(full, tuple(parameter.shape))
            set_parameter(module, name, torch.nn.Parameter(values, requires_grad=False))

    def empty(self, module: Any) -> None:
        """Take the weights out again."""
        torch = need("torch", "compress")
        for name, parameter in list(module.named_parameters()):
            gone = torch.empty_like(parameter, device="meta")
            set_parameter(module, name, torch.nn.Parameter(gone, requires_grad=False))

    def parameter(self, full: str, shape: tuple[int, ...]) -> Any:
        """Return a parameter by the name that the class gives it, from what the checkpoint stores."""
        torch = need("torch", "compress")
        found = self.find(full)
        if found is None:
            base, _, last = full.rpartition(".")
            for names in EXPERTS.get(last, ()):
                if self.find(f"{base}.0.{names[0]}.weight") is not None:
                    stacked = [
                        torch.cat(
                            [self.tensor(self.need(f"{base}.{number}.{name}.weight")) for name in names]
                        )
                        for number in range(shape[0])
                    ]
                    return torch.stack(stacked)
            found = self.need(full)
        values = self.tensor(found)
        if tuple(values.shape) != shape:
            raise OomlessError(
                f"{self.source.folder}: {full[:80]} is {list(values.shape)}, the class expects {list(shape)}",
                "config and weights are of different models",
            )
        return values

    def find(self, full: str) -> StoredWeight | None:
        """Return the stored weight of a parameter, whatever stands before its name."""
        name = full.removesuffix(".weight")
        for one in PREFIXES:
            short = name.removeprefix(one)
            for other in PREFIXES:
                for spelled in (other + short, f"{other}{short}.weight"):
                    if spelled in self.weights:
                        return self.weights[spelled]
        return None

    def need(self, full: str) -> StoredWeight:
        """Return the stored weight of a parameter; a tied head is the embedding."""
        found = self.find(full)
        if found is None and re.search(r"(^|\.)(lm_head|decoder)\.weight$", full):
            for name in self.weights:
                if re.search(r"(embed_tokens|word_embeddings|wte|embed_in)$", name):
                    return self.weights[name]
        if found is None:
            raise OomlessError(f"{self.source.folder}: no weight for {full[:80]}", "is the checkpoint whole?")
        return found

    def tensor(self, weight: StoredWeight) -> Any:
        """Return a stored weight in float32."""
        torch, np = need("torch", "compress"), numpy()
        if weight.codec is None:
            raise UnsupportedError(
                f"{weight.name[:80]} is {weight.parts[0].stored.dtype}", "no floating type"
            )
        shape = weight.shape if len(weight.shape) == 2 else (1, int(np.prod(weight.shape)))
        view = Whole(weight._replace(shape=shape))
        values = np.empty(shape, np.float32)
        for block in blocks(view, None):
            raw = view.read(self.reader, block)
            into = values[block.row : block.end_row, block.column : block.end_column]
            np.copyto(into, as_float(raw, self.reader.scratch, "lazy"))
        return torch.from_numpy(values.reshape(weight.shape))


def set_parameter(module: Any, name: str, value: Any) -> None:
    """Replace a parameter of a module or of one below it."""
    owner, _, last = name.rpartition(".")
    target = module.get_submodule(owner) if owner else module
    target._parameters[last] = value


def build(source: Checkpoint) -> Any:
    """Return transformers' model of a checkpoint's config: matrices without memory, tables of positions
    real."""
    torch, transformers = need("torch", "compress"), need("transformers", "compress")
    overrides = need("torch.overrides", "compress")

    class OnMeta(overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        """Weights are made by torch.empty; everything else is small and is needed."""

        def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if function is torch.empty:
                kwargs["device"] = "meta"
            return function(*args, **kwargs)

    values = network_config(source)
    kind = values.pop("model_type", None)
    try:
        config = transformers.AutoConfig.for_model(kind, **values)
    except (KeyError, ValueError, TypeError) as error:
        raise UnsupportedError(
            f"{source.folder}: transformers knows no model_type {kind!r} ({str(error)[:80]})",
            "quality needs a class of transformers; bytes do not",
        ) from None
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    auto = (
        transformers.AutoModelForCausalLM
        if kind in causal and not is_encoder(values)
        else transformers.AutoModel
    )
    with OnMeta():
        model = auto.from_config(config, attn_implementation="sdpa")
    return model.float()


def is_encoder(config: dict[str, Any]) -> bool:
    """Return whether a config is of an encoder of sentences, which its publisher loads as a bare model."""
    names = config.get("architectures") or [""]
    return not any("CausalLM" in name or "LMHead" in name or "ForConditional" in name for name in names)
