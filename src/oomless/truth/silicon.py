"""A steady load as NVIDIA's measured kernels give it: the tables of the package aiconfigurator-core, asked
directly where it is installed."""

from importlib.util import find_spec
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any, NamedTuple

from .. import facts
from ..engines import engine
from ..errors import UnsupportedError, need
from ..estimate.serving.estimate import Estimate
from ..facts.hardware import cards_by_full_name
from ..speed.serving import places

PACKAGE = "aiconfigurator_core"
EXTRA = "silicon"


class Silicon(NamedTuple):
    """The figures of a steady load, and whose tables they are of."""

    system: str
    ttft_s: float
    """A prompt read alone, and the step that runs."""
    tpot_s: float
    """Between two tokens, with the prompts of the others between them."""
    tokens_per_s: float
    """Of all replicas."""
    running: float
    """Sequences of one replica."""

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return self._asdict()


def silicon_speed(estimate: Estimate, *, input_len: int, output_len: int, concurrency: int) -> Silicon:
    """Return the speed that the measured kernels make: a request's prompt, and its tokens one by one with the
    prompts of the others between them."""
    handle, system = compiled(estimate)
    layout = estimate.request.layout
    groups = layout.dp if layout.enable_dp_attention else 1
    running = max(min(concurrency / estimate.replicas, places(estimate, input_len + output_len)), 1.0)
    here = max(round(running / groups), 1)
    try:
        prompt_s = handle.predict_prefill_latency(1, input_len) / 1000
        decode_s = handle.decode_step_latency(here, input_len, output_len) / 1000
    except Exception as error:  # its own kinds: a table or a shape that it lacks
        raise refused(error) from error
    cycle_s = here * prompt_s + (output_len - 1) * decode_s
    between_s = (cycle_s - prompt_s) / max(output_len - 1, 1)
    rate = here * groups * output_len / cycle_s * estimate.replicas
    return Silicon(system, prompt_s + (decode_s if here > 1 else 0.0), between_s, rate, running)


def compiled(estimate: Estimate) -> tuple[Any, str]:
    """Return (the model on these cards as the package knows it, the name of its system)."""
    kernels = need(f"{PACKAGE}.sdk.engine", EXTRA)
    getLogger(PACKAGE).setLevel(ERROR)  # it says of each table that it reads where from
    request, card = estimate.request, estimate.hardware.card
    row = cards_by_full_name().get(card.name)
    short = row["short_name"] if row else card.name
    system = next((each["system"] for each in facts.table("silicon") if each["card"] == short), None)
    if system is None:
        raise UnsupportedError(f"no kernels were measured on {card.name}", f"known are {', '.join(known())}")
    backend = engine(request.engine).speed_class
    hub_id = model_id(estimate.model.name)
    layout = request.layout
    groups = layout.dp if layout.enable_dp_attention else 1
    ranks = layout.tp * (1 if layout.enable_dp_attention else layout.dp)
    whole = layout.enable_expert_parallel or layout.ep_size > 1
    cache = "fp8" if request.cache_bits == 8 else "bfloat16"
    weights = {"fp8": "fp8", "nvfp4": "nvfp4"}.get(request.quantization or "")
    try:
        handle = kernels.EngineHandle.compile(
            hub_id,
            system,
            backend,
            tp_size=layout.tp // groups,
            pp_size=layout.pp,
            attention_dp_size=groups,
            moe_tp_size=1 if whole else ranks,
            moe_ep_size=ranks if whole else 1,
            gemm_quant_mode=weights,
            moe_quant_mode=weights,
            kvcache_quant_mode=cache,
            fmha_quant_mode="bfloat16",
        )
    except Exception as error:
        raise refused(error) from error
    return handle, system


def model_id(name: str) -> str:
    """Return the hub id of a model whose config comes with the package: no other is asked for, since it would
    be fetched."""
    row = next((row for row in facts.table("catalogue") if row["name"] == name), None)
    found = find_spec(PACKAGE)
    folder = Path(found.origin).parent / "model_configs" if found and found.origin else None
    for each in (row["hub_id"], *row["aliases"].split(";")) if row else ():
        if folder and (folder / f"{each.replace('/', '--')}_config.json").is_file():
            return each
    raise UnsupportedError(f"{PACKAGE} has no config of {name}", "ask for a model that it comes with")


def refused(error: Exception) -> UnsupportedError:
    """Return why the package has no answer, in its words."""
    words = (str(error).split(" at /")[0].splitlines() or [""])[0]
    return UnsupportedError(f"{PACKAGE} has no answer: {words[:200]}")


def known() -> list[str]:
    """Return the cards that kernels were measured on."""
    return [row["card"] for row in facts.table("silicon")]
