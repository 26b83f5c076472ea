"""The Python interface: what the command line does, under the flags' names as keywords."""

from typing import Any

from ..engines import default_engine, engine
from ..errors import UsageError
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..estimate.serving.stage_rank import Adjust
from ..model.load import load
from ..model.model import Model
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.serving import serving_question


def infer(
    model: str | Model,
    gpu: str | Hardware,
    *,
    offline: bool = False,
    revision: str | None = None,
    adjust: Adjust | None = None,
    **flags: Any,
) -> Estimate:
    """Will `model` serve on `gpu`? The flags are those of `oomless infer`.

    >>> answer = infer("deepseek-r1", "h200:8", tp=8, engine_version="0.19.0")
    >>> answer.verdict, answer.kv_cache.bytes_per_token
    ('fits', 70272)
    """
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    if flags.get("engine") is None:
        is_gguf = model.endswith(".gguf") if isinstance(model, str) else model.quantization.startswith("gguf")
        flags["engine"] = default_engine(hardware.card.vendor, is_gguf)
    asked = serving_question(**flags)
    if asked.hf_overrides is None:
        found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    elif isinstance(model, Model):
        raise UsageError(
            "hf_overrides changes the config of a model that is named, not one that is there",
            "give its name",
            "hf_overrides",
        )
    else:
        from ..model.overrides import load_with

        found = load_with(model, asked.hf_overrides, offline=offline, revision=revision)
    estimate = estimate_serving(found, asked, hardware, adjust)
    if engine(estimate.request.engine).buffers_follow_context:
        from ..estimate.serving.contexts import longest_context  # a search, which the others need not make

        estimate = estimate._replace(
            kv_cache=estimate.kv_cache._replace(longest_sequence=longest_context(estimate))
        )
    return estimate._replace(
        model_word=model if isinstance(model, str) else "", gpu_word=gpu if isinstance(gpu, str) else ""
    )
