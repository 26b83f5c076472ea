"""The model to trace: a transformers model of a config, or what a user's own function returns, on the meta
device."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import OomlessError, UnsupportedError, UsageError, address_space_limit, need
from ..recording.code_owner import is_of_model
from .foreign_code import nothing_fetched, plain_settings


@nothing_fetched()
def transformers_model(
    config: dict[str, Any], dtype: str, attention: str | None, name: str, meta: bool = True
) -> Any:
    """A causal language model of a config, every weight on the meta device (or real). No code of the model's
    own repository is run."""
    torch, transformers = need("torch", "trace"), need("transformers", "trace")
    settings = plain_settings(
        {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    )
    kind = settings.pop("model_type", None)
    if kind is None:
        raise OomlessError(f"{name}: the config has no model_type", "transformers needs it to choose a class")
    version = transformers.__version__
    named = next(iter(settings.get("architectures") or []), "")
    try:
        if kind in transformers.CONFIG_MAPPING or not hasattr(transformers, str(named)):
            parsed = transformers.AutoConfig.for_model(kind, **settings)
        else:  # a model type of its own over a class that transformers has, as Kimi-K2's over DeepSeek-V3's
            parsed = getattr(transformers, named).config_class(**settings)
    except Exception as error:  # its own checks of a config raise many kinds
        if isinstance(error, ValueError) and kind not in transformers.CONFIG_MAPPING:
            raise UnsupportedError(
                f"{name}: transformers {version} has no model class for {kind!r}",
                "a newer transformers may have it; oomless train and infer answer without it",
            ) from None
        raise OomlessError(
            f"{name}: transformers {version} refuses the config: {_first_line(_cause(error))}",
            "check the config",
        ) from None
    loader = next(
        (
            getattr(transformers, each)
            for each in ("AutoModelForCausalLM", "AutoModelForImageTextToText")
            if type(parsed) in getattr(transformers, each)._model_mapping
        ),
        None,
    )
    if loader is None:
        raise UnsupportedError(
            f"{name}: transformers {version} has no language model for {kind!r}",
            "trace a function that builds it",
        )
    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        with torch.device("meta" if meta else "cpu"):
            return loader.from_config(parsed, dtype=getattr(torch, dtype), **chosen)
    except Exception as error:
        raise OomlessError(
            f"{name}: transformers {version} cannot build it: {_first_line(error)}", "check the config"
        ) from None


def function_model(reference: str, meta: bool = True) -> Any:
    """What `module:function` returns: a model built with torch alone, under the meta device (or real)."""
    torch = need("torch", "trace")
    module_name, _, function_name = reference.partition(":")
    sys.path.insert(0, "")
    try:
        from importlib import import_module

        function = getattr(import_module(module_name), function_name)
    except ImportError as error:
        raise UsageError(
            f"{reference}: {_first_line(error)}", "name an importable module and a function in it"
        ) from None
    except AttributeError:
        raise UsageError(
            f"{reference}: {module_name} has no {function_name}", "name a function that returns a model"
        ) from None
    except (Exception, SystemExit) as error:
        raise OomlessError(
            f"{module_name} fails when it is imported: {_where(error)}", "run it with python first"
        ) from None
    finally:
        sys.path.pop(0)
    try:
        with torch.device("meta" if meta else "cpu"):
            model = function()
    except (Exception, SystemExit) as error:
        raise OomlessError(
            f"{reference} raises {_where(error)}",
            "it is called without arguments, under torch.device('meta')",
        ) from None
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{reference} returns {type(model).__name__}", "it must return a torch.nn.Module")
    return model


def materialized(model: Any, fake: Any, tie: bool = True) -> Any:
    """The model with fake storage behind every weight; weights that were one are one again."""
    with fake:
        model.to_empty(device="cpu")
        if tie and hasattr(model, "tie_weights"):
            model.tie_weights()
    return model


def experts_of(model: Any) -> tuple[int, int] | None:
    """(routed experts, experts a token) of a model's config, if it has any."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    num = next(
        (
            getattr(text, key)
            for key in ("n_routed_experts", "num_local_experts", "num_experts")
            if getattr(text, key, None)
        ),
        0,
    )
    chosen = next(
        (
            getattr(text, key)
            for key in ("num_experts_per_tok", "moe_topk", "top_k_experts")
            if getattr(text, key, None)
        ),
        0,
    )
    return (num, chosen) if num and chosen else None


@contextmanager
def failing_clearly(what: str, recorder: Any) -> Iterator[None]:
    """Turn what a traced model raises into an error that names its line."""
    fake_tensor = need("torch._subclasses.fake_tensor", "trace")
    try:
        yield
    except (OomlessError, KeyboardInterrupt):
        raise
    except (fake_tensor.DynamicOutputShapeException, fake_tensor.DataDependentOutputException) as error:
        raise UnsupportedError(
            f"{_place(error)}: {error.func} needs data, which a trace does not have",
            "rewrite what depends on values of tensors",
        ) from None
    except MemoryError:
        raise OomlessError(
            f"{what}: not enough memory on this machine for the trace",
            "trace fewer layers, or on a larger host",
        ) from None
    except (
        Exception,
        SystemExit,
    ) as error:  # an exit of a model's own would look like an answer: its code may be that of "fits"
        if (
            isinstance(error, SystemError) and address_space_limit() is not None
        ):  # an allocation that failed inside of Python
            raise OomlessError(
                f"{what}: not enough address space on this machine for the trace",
                "raise the limit (ulimit -v)",
            ) from None
        if recorder.asked:
            raise UnsupportedError(
                f"{recorder.asked}: reads a number from a tensor, which a trace does not have; "
                f"{what} then fails: {_where(error)}",
                "rewrite what depends on values of tensors",
            ) from error
        raise OomlessError(f"{what} fails: {_where(error)}", "run with --debug to see where") from error


def _cause(error: BaseException) -> BaseException:
    """What an error stands for: validators wrap the reason in words on themselves."""
    return error.__cause__ or error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _place(error: BaseException) -> str:
    """The innermost line of the traceback outside of torch and of this package."""
    place, trace = "", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if is_of_model(path):
            place = f"{path}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _where(error: BaseException) -> str:
    """What was raised, and on which line."""
    place = _place(error)
    return f"{type(error).__name__}: {_first_line(error)}{f' ({place})' if place else ''}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes that libraries print about configs and deprecations: what matters is in the
    answer. Nothing is fetched meanwhile."""
    import logging
    import warnings

    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), nothing_fetched():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
