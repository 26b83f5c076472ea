"""A measured row of training speed -> tokens a second of a card, predicted from its configuration."""

import re
from math import gcd
from typing import NamedTuple, cast

from ..errors import UnsupportedError
from ..facts import table
from ..facts.hardware import cards_by_full_name, first_number
from ..frameworks import framework
from ..model.model import Model
from ..run.cards import Card, Hardware, left_by_driver
from ..run.training import Mesh, Recompute, Sharding, TrainingAsked
from ..speed.training import training_speed
from ..units import GIB, MIB
from .speed_row_models import model_of
from .speed_rows import card_of
from .tables import Incomplete


class MeasuredRecipe(NamedTuple):
    """What rows of an engine were trained with, as far as speed goes (facts/speed_recipes.csv)."""

    framework: str
    sharding: Sharding
    sharded: Sharding
    """What FSDP means in its rows."""
    kernels: str
    ones_from: str
    """The month from which a pipeline cuts a row's local batch into micro-batches of one sequence, before
    into as many as it has stages; "": the local batch is a micro-batch."""
    precision: str | None = None
    """The recipe of states of its published runs; None: the framework's default."""
    precision_sharded: str | None = None
    """The same under FSDP."""
    precision_narrow: str | None = None
    """The same with moments in BF16."""
    loss: str | None = None


def recipe_of(word: str) -> MeasuredRecipe:
    """Return what an engine of a table trains with, by the first letters of its name.

    >>> recipe_of("NeMo 25.04").sharding, recipe_of("llm-foundry").kernels
    ('distopt', 'eager')
    """
    for row in table("speed_recipes"):
        if word.lower().startswith(row["words"]):
            rules = framework(row["framework"])
            own = cast(Sharding, row["sharding"]) if row["sharding"] else None
            kernels = row["kernels"] or rules.kernels
            return MeasuredRecipe(
                rules.name,
                own or rules.sharding,
                own or rules.rows.fsdp,
                kernels,
                row["ones_from"],
                row["precision"] or None,
                row["precision_sharded"] or None,
                row["precision_narrow"] or None,
                row["loss"] or None,
            )
    raise UnsupportedError(f"the training speed of {word} is not known: its recipe is not modelled")


def predict_training_rate(row: dict[str, str], unit: str) -> tuple[float, float, float]:
    """Return tokens a second of a card, with its band."""
    if not unit.startswith("tok"):
        raise Incomplete(f"{unit} is no rate of tokens")
    model, asked, hardware = question_of(row)
    found = training_speed(model, asked, hardware).tokens_per_s
    share = slowed(row.get("setting", ""), hardware.card)
    share /= hardware.num_gpus if "per GPU" in row["metric"] else 1
    return found.value * share, found.low * share, found.high * share


def question_of(row: dict[str, str]) -> tuple[Model, TrainingAsked, Hardware]:
    """Return what a row was trained with: the model, the question and the cards."""
    card, num_gpus = card_of(row["gpu"]), int(row["n_gpus"] or 1)
    recipe = recipe_of(row["engine"])
    model = model_of(row)
    if model is None:
        raise Incomplete(f"the config of {row['model']} is not known")
    if not row["input_len"].strip().isdecimal():
        raise Incomplete("how long sequences are is not given")
    if size := _number(r"(\d+) GB HBM", row.get("setting", "")):
        card = card._replace(memory_bytes=int(left_by_driver(size * GIB / MIB) * MIB))
    hardware = Hardware(card, num_gpus, min(card.gpus_per_node, num_gpus))
    return model, training_of(row, recipe, num_gpus), hardware


def training_of(row: dict[str, str], recipe: MeasuredRecipe, num_gpus: int) -> TrainingAsked:
    """Return the question of a row: FSDP32 TP8, TP4 PP8 VP5 EP64 CP2; "local batch 16", "GBS 128 MBS 1"."""
    axes = {
        axis: int(size)
        for axis, size in re.findall(r"(FSDP|TP|PP|VP|CP|EP|DP)\s?=?(\d+)", row["parallelism"])
    }
    setting, batch = row.get("setting", ""), row["concurrency_or_batch"]
    tp, pp, cp = axes.get("TP", 1), axes.get("PP", 1), axes.get("CP", 1)
    dp = max(num_gpus // (tp * pp * cp), 1)
    micro = _number(r"(?:MBS|local batch(?: size)?|micro[- ]?batch(?: size)?)\s?=?(\d+)", batch)
    micro = micro or _number(r"(?<!global )batch(?: size)?\s?=?(\d+)", batch) or 1
    whole = _number(r"(?:GBS|global batch(?: size)?)\s?=?(\d+)", batch)
    accumulated = max(whole // (micro * dp), 1) if whole else 1
    pieces = pieces_of(recipe, row.get("date", ""), micro, pp)
    mesh = Mesh(
        dp=dp,
        tp=tp,
        pp=pp,
        cp=cp,
        ep=axes.get("EP", 1),
        sequence_parallel=tp > 1,
        schedule="interleaved" if axes.get("VP", 1) > 1 else "1f1b",
        virtual_stages=axes.get("VP", 1),
    )
    again, sharded = recomputed(setting), "FSDP" in row["parallelism"]
    stage = _number(r"ZeRO-(\d)", row["parallelism"])
    precision = recipe.precision_sharded if sharded else recipe.precision
    narrow = recipe.precision_narrow if "moments in BF16" in setting else None
    return TrainingAsked(
        framework=recipe.framework,
        precision=narrow or precision,
        method="lora" if re.search(r"\blora\b", f"{setting} {row['model']}", re.IGNORECASE) else "full",
        mesh=mesh,
        micro_batch=micro // pieces,
        seq_len=int(row["input_len"]),
        grad_accum=accumulated * pieces,
        sharding=cast(Sharding, f"zero{stage}") if stage else recipe.sharded if sharded else recipe.sharding,
        recompute=again,
        loss=recipe.loss,
        offload=offloaded(setting),
        offload_layers=_number(r"activations of (\d+) layers on", setting) or None,
        recompute_modules=modules_of(setting) if again == "selective" else (),
        kernels="compiled" if recipe.kernels == "eager" and "compile" in setting else recipe.kernels,
        products=products_of(row["quant"]),
    )


def pieces_of(recipe: MeasuredRecipe, date: str, batch: int, stages: int) -> int:
    """Return the micro-batches into which a pipeline cuts a row's local batch.

    >>> of_titan = recipe_of("torchtitan")
    >>> (
    ...     [pieces_of(of_titan, date, 32, 8) for date in ("2024-12", "2025-06")],
    ...     pieces_of(of_titan, "2024", 32, 1),
    ... )
    ([8, 32], 1)
    """
    if stages == 1 or not recipe.ones_from:
        return 1
    return gcd(batch, stages) if "" < date < recipe.ones_from else batch


def recomputed(setting: str) -> Recompute:
    """Return what is computed again.

    >>> (
    ...     recomputed("full checkpointing"),
    ...     recomputed("no recomputation"),
    ...     recomputed("activation checkpointing"),
    ... )
    ('full', 'none', 'full')
    """
    words = setting.lower()
    if re.search(r"\b(?:no|without) (?:activation )?(?:re|check)", words):
        return "none"
    if "selective" in words:
        return "selective"
    again = r"full (?:activation )?(?:recomp|check)|activation checkpointing|recompute[- ]block"
    return "full" if re.search(again, words) else "none"


def offloaded(setting: str) -> tuple[str, ...]:
    """Return what lies on the host.

    >>> offloaded("optimizer and params on the host"), offloaded("activations of 8 layers on the host")
    (('optimizer', 'params'), ('activations',))
    """
    found = re.search(r"([\w ]+) on the host", setting)
    words = ("optimizer", "params", "activations")
    return tuple(word for word in words if found and word in found[1])


def modules_of(setting: str) -> tuple[str, ...]:
    """Return what is computed again, by its names.

    >>> modules_of("selective recomputation of layernorm and moe_act; balanced"), modules_of("selective")
    (('layernorm', 'moe_act'), ())
    """
    found = re.search(r"selective recomputation of ([\w ]+)", setting)
    return tuple(word for word in found[1].split() if word != "and") if found else ()


def products_of(quant: str) -> str | None:
    """Return the type of matrix products that a row's words name.

    >>> products_of("FP8-MX"), products_of("NVFP4"), products_of("BF16")
    ('mxfp8', 'nvfp4', None)
    """
    word = quant.upper()
    if "MX" in word:
        return "mxfp8"
    return "nvfp4" if "FP4" in word else "fp8" if "FP8" in word else None


def slowed(setting: str, card: Card) -> float:
    """Return what a power cap leaves of the speed: the root of its share, as clocks fall with voltage."""
    watts, most = _number(r"(\d+) W\b", setting), first_number(cards_by_full_name()[card.name]["tdp_w"])
    return float(min((watts / most) ** 0.5, 1.0)) if watts and most else 1.0


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0
