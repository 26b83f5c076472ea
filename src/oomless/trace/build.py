"""A training question made ready to run: model with adapters, recomputation and types, optimizer, batch -
real or fake alike."""

import re
from collections.abc import Iterable
from inspect import signature
from typing import Any, NamedTuple

from ..errors import UnsupportedError, UsageError, need
from ..model.fused_modules import as_modules
from ..run.tracing import Prompt
from ..run.training import Optimizer, TrainingResolved, optimizer, recipe
from .models import function_model, transformers_model
from .packed import adapt, followed, pack
from .step import Stepping

WIDTH = {2: "bfloat16", 4: "float32"}


class ModelSource(NamedTuple):
    """Where the model comes from: a config, or a function of the user's."""

    name: str
    config: dict[str, Any] | None
    function: str | None = None


def build_model(
    source: ModelSource, asked: TrainingResolved, attention: str | None, meta: bool = True
) -> Any:
    """The model in the types and with the adapters and recomputation that were asked for, on the meta device
    or for real."""
    torch = need("torch", "trace")
    precision = recipe(asked.precision)
    dtype = "float16" if precision.name == "fp16" else WIDTH.get(precision.weight)
    if dtype is None or precision.master:
        raise UnsupportedError(
            f"a trace does not keep the master weights of --precision {precision.name}",
            "choose bf16, fp16, fp32, amp-bf16 or amp-fp16",
        )
    if source.function is not None:
        model = function_model(source.function, meta)
        model = model.to(getattr(torch, dtype))
    else:
        assert source.config is not None
        model = transformers_model(source.config, dtype, attention, source.name, meta)
    if asked.method == "qlora":
        product = (
            dtype if not precision.autocast else "float16" if precision.name.endswith("fp16") else "bfloat16"
        )
        model = pack(model, followed(asked.quantization), getattr(torch, product))
    if asked.method != "full":
        model = with_adapters(model, asked)
    elif asked.trained_layers:
        freeze_beside(model, asked.trained_layers)
    if asked.method == "qlora":
        model = adapt(model)
    if asked.recompute == "full":
        recompute_layers(model)
    elif asked.recompute == "selective":
        raise UnsupportedError(
            "a trace recomputes whole layers or nothing", "choose --recompute full or none"
        )
    if asked.dropout and hasattr(model, "config"):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = asked.dropout
    return model.train()


def freeze_beside(model: Any, layers: int) -> None:
    """Freeze all but the last so many layers, or of a number below zero the first ones, by the first number
    in the names of their weights."""
    numbers = {name: int(part[1]) for name, _ in model.named_parameters() if (part := NUMBERED.search(name))}
    num_layers = max(numbers.values(), default=-1) + 1
    chosen = range(-layers) if layers < 0 else range(num_layers - layers, num_layers)
    for name, weight in model.named_parameters():
        weight.requires_grad_(numbers.get(name, -1) in chosen)


NUMBERED = re.compile(r"\.(\d+)\.")


def with_adapters(model: Any, asked: TrainingResolved) -> Any:
    """Adapters of peft beside the matrices that were named; everything else is frozen."""
    peft = need("peft", "trace")
    family = getattr(getattr(model, "config", None), "model_type", "")
    named = list(as_modules(family, asked.lora_targets))
    targets = "all-linear" if "all-linear" in named else named or None
    config = peft.LoraConfig(
        r=asked.lora_rank,
        target_modules=targets,
        use_dora=asked.adapter == "dora",
        modules_to_save=["embed_tokens", "lm_head"] if asked.trained_ends else None,
        task_type="CAUSAL_LM" if hasattr(model, "config") else None,
    )
    try:
        return peft.get_peft_model(model, config, autocast_adapter_dtype=asked.adapter_dtype != "bfloat16")
    except ValueError as error:  # matrices that are not there, or that peft does not adapt
        raise UnsupportedError(
            f"peft {peft.__version__}: {error}", "name other matrices with --lora-targets"
        ) from None


def recompute_layers(model: Any) -> None:
    """Checkpointing of each layer, without re-entering autograd, as transformers does it."""
    settings = {"use_reentrant": False}
    try:
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
        elif hasattr(model, "gradient_checkpointing_enable"):  # its name before transformers 5.20
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
        else:
            raise UnsupportedError(
                "--recompute full is for models of transformers", "checkpoint inside the function instead"
            )
    except ValueError as error:
        raise UnsupportedError(str(error), "leave --recompute at none") from None


def build_optimizer(model: Any, asked: TrainingResolved, on_cpu: bool) -> Any:
    return make_optimizer(asked.optimizer, model.parameters(), on_cpu)


def stepping(asked: TrainingResolved) -> Stepping:
    """Micro-batches and the mixed-precision region of a question."""
    torch = need("torch", "trace")
    precision = recipe(asked.precision)
    dtype = (
        (torch.float16 if precision.name.endswith("fp16") else torch.bfloat16) if precision.autocast else None
    )
    return Stepping(asked.grad_accum, dtype)


def vocabulary(model: Any) -> int:
    """Tokens that the model knows; 0 if it does not say."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "vocab_size", 0) or 0)


def training_batch(model: Any, asked: TrainingResolved, seed: int | None = None) -> dict[str, Any]:
    """Random token ids as a language model takes them; a user's model gets what its `example` says."""
    torch = need("torch", "trace")
    if hasattr(model, "example_inputs"):
        example: dict[str, Any] = model.example_inputs(asked.micro_batch, asked.seq_len)
        return example
    shape = (asked.micro_batch, asked.seq_len)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    ids = torch.randint(0, max(vocabulary(model), 2), shape, generator=generator)
    if not hasattr(model, "config"):
        takes_tokens(model)
        return {"input_ids": ids}
    return {"input_ids": ids, "labels": ids, "use_cache": False}


def takes_tokens(model: Any) -> None:
    """Refuse a user's model that does not take token ids by their name."""
    if not takes(model, "input_ids"):
        raise UsageError(
            f"{type(model).__name__}.forward takes "
            f"{', '.join(signature(model.forward).parameters) or 'nothing'}, and would get input_ids",
            "give the model a method example_inputs(micro_batch, seq_len) that returns "
            "a dictionary of its arguments",
        )


def takes(model: Any, *names: str) -> bool:
    """Whether a model's forward has arguments of these names."""
    parameters = signature(model.forward).parameters
    return set(names) <= set(parameters) or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def build_inference(source: ModelSource, prompt: Prompt, attention: str | None, meta: bool = True) -> Any:
    """The model for generation, on the meta device (or real)."""
    torch = need("torch", "trace")
    if source.function is not None:
        return function_model(source.function, meta).to(getattr(torch, prompt.dtype)).eval()
    assert source.config is not None
    return transformers_model(source.config, prompt.dtype, attention, source.name, meta).eval()


def prompt_batch(model: Any, prompt: Prompt) -> dict[str, Any]:
    """Token ids of the sequences to prefill."""
    torch = need("torch", "trace")
    if not hasattr(model, "config") and not takes(model, "input_ids", "past_key_values", "use_cache"):
        raise UnsupportedError(
            f"{type(model).__name__}.forward keeps no cache as models of transformers do "
            "(input_ids, past_key_values, use_cache)",
            "trace it with --for train",
        )
    return {"input_ids": torch.randint(0, max(vocabulary(model), 2), (prompt.concurrency, prompt.context))}


BLOCK = 256
"""Values that share a scale in 8-bit optimizers (facts/optimizers.csv)."""
MIN_QUANTIZED = 4096
"""Smaller tensors keep their moments in F32 (bitsandbytes, min_8bit_size)."""
RATE = 1e-3


def make_optimizer(name: str, parameters: Iterable[Any], on_cpu: bool) -> Any:
    """An optimizer over parameters, stepping as on the device: torch prefers foreach on CUDA and the loop on
    a CPU."""
    torch = need("torch", "trace")
    optim, trained = torch.optim, grouped([each for each in parameters if each.requires_grad])
    foreach = not on_cpu
    match name:
        case "adamw" | "adamw-foreach" | "adamw-loop":
            return optim.AdamW(
                trained, lr=RATE, foreach=name == "adamw-foreach" or (foreach and name == "adamw")
            )
        case "adamw-fused":
            return optim.AdamW(trained, lr=RATE, fused=True)
        case "adam":
            return optim.Adam(trained, lr=RATE, foreach=foreach)
        case "adam-fused":
            return optim.Adam(trained, lr=RATE, fused=True)
        case "sgd":
            return optim.SGD(trained, lr=RATE, momentum=0.9, foreach=foreach)
        case "sgd-plain":
            return optim.SGD(trained, lr=RATE, foreach=foreach)
        case "adafactor":
            library = need("transformers.optimization", "trace")
            return library.Adafactor(trained, lr=RATE, scale_parameter=False, relative_step=False)
        case "muon":
            raise UnsupportedError("a trace does not step muon", "choose adamw or another optimizer")
        case "galore" | "galore-8bit" | "apollo" | "adam-mini":
            raise UnsupportedError(f"a trace does not step {name}", "oomless train has a formula for it")
        case _:
            return _by_states(torch, optimizer(name), trained)


def grouped(trained: list[Any]) -> list[Any]:
    """Distributed tensors and others in groups of their own, since foreach takes no mixture; one kind alone
    stays a plain list."""
    cut = [each for each in trained if hasattr(each, "_local_tensor")]
    whole = [each for each in trained if not hasattr(each, "_local_tensor")]
    return [{"params": cut}, {"params": whole}] if cut and whole else trained


def _by_states(torch: Any, row: Optimizer, trained: list[Any]) -> Any:
    """An optimizer that keeps moments of so many bits, and works in place, one parameter after the other."""

    class MomentsOptimizer(torch.optim.Optimizer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(trained, {"lr": RATE})

        def step(self) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        state = self.state[parameter]
                        if not state:
                            for index in range(row.moments):
                                state |= moments(torch, row, parameter, index)

    return MomentsOptimizer()


def moments(torch: Any, row: Optimizer, parameter: Any, index: int) -> dict[str, Any]:
    """One moment of a parameter with its scales."""
    size = parameter.numel()
    if row.moment_bits in (0, 32) or size < MIN_QUANTIZED:
        dtype = torch.float32 if row.moment_bits else parameter.dtype
        return {f"moment_{index}": torch.zeros_like(parameter, dtype=dtype)}
    packed = torch.zeros(size * row.moment_bits // 8, dtype=torch.uint8)
    block = BLOCK if row.moment_bits == 8 else BLOCK // 2
    return {f"moment_{index}": packed, f"scale_{index}": torch.zeros(-(-size // block), dtype=torch.float32)}
