"""Which hardware? A plan with what is asked beside its rows, and the object that `plan --json` prints."""

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError

if TYPE_CHECKING:
    from ..plan.answer import Plan
    from ..plan.crossbar import InMemory
    from ..plan.disaggregate import Disaggregated, Side
    from ..plan.inverse import LargestModel
    from ..plan.launch import Launch
    from ..plan.prices import Price
    from ..plan.training_answer import TrainingPlan

VIEWS = ("largest_model", "longest_context", "disaggregate", "weights_in_memory")
"""Questions beside the rows, or in place of them."""
OF_THE_ANSWER = ("front", "plot", "write", "json")


class PlanAnswer(NamedTuple):
    """A plan, and what was asked beside its rows."""

    plan: "Plan | TrainingPlan"
    disaggregated: "Disaggregated | None" = None
    in_memory: "InMemory | None" = None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `plan --json` prints."""
        found = self.plan.to_json()
        if self.disaggregated is not None:
            found["disaggregated"] = disaggregated_json(self.disaggregated)
        if self.in_memory is not None:
            found["weights_in_memory"] = self.in_memory._asdict()
        return found


class LargestModels(NamedTuple):
    """The reverse question: the largest models that the cards hold."""

    found: "tuple[LargestModel, ...]"

    def to_json(self) -> dict[str, Any]:
        """Return the object that `plan --largest-model --json` prints."""
        return largest_json(self.found)


def own_prices(words: tuple[str, ...]) -> "tuple[tuple[Price, ...] | None, list[str]]":
    """Return the prices of the user's files; most plans go by those of the tables."""
    if not words:
        return None, []
    from .cost import price_table

    return price_table(words)


def plan_answer(model: str | None, options: dict[str, Any]) -> PlanAnswer | LargestModels:
    """Return the answer to a question of `plan`, with the fields of the table of options as keywords."""
    asked = {name: value for name, value in options.items() if name not in (*VIEWS, *OF_THE_ANSWER)}
    views = {name: bool(options.get(name)) for name in VIEWS}
    purpose = asked.pop("purpose", "infer")
    table, notes = own_prices(asked.pop("prices", ()))
    offline, revision = asked.pop("offline", False), asked.pop("revision", None)
    least = asked.pop("least_quantized", False)
    if views["largest_model"]:
        return largest(model, purpose, asked, table)
    if model is None:
        raise UsageError(
            "MODEL is missing",
            "name a model: oomless plan deepseek-r1; --largest-model asks which models the cards hold",
        )
    need_serving(purpose, {**views, "least_quantized": least})
    found = (
        longest(model, purpose, asked, table, offline, revision)
        if views["longest_context"]
        else _plan_for(purpose, model, asked, table, offline, revision)
    )
    if least:
        found = _least(found)
    return beside(
        found._replace(warnings=(*found.warnings, *notes)), views["disaggregate"], views["weights_in_memory"]
    )


def need_serving(purpose: str, views: dict[str, bool]) -> None:
    """Refuse what only a plan for serving can be asked."""
    flags = ("disaggregate", "least_quantized", "weights_in_memory")
    more = [f"--{name.replace('_', '-')}" for name in flags if views[name]]
    if more and purpose == "train":
        raise UsageError(f"{more[0]} belongs to --for infer", "leave it out, or ask for that")


def largest(
    model: str | None, purpose: str, asked: dict[str, Any], table: "tuple[Price, ...] | None"
) -> LargestModels:
    """Return which models the cards hold."""
    from ..plan.inverse import largest_models, largest_trained
    from ..plan.request import asked_of

    if model is not None:
        raise UsageError("--largest-model stands in place of MODEL", "leave one of them out")
    wanted, training = asked_of(purpose, asked)
    return LargestModels(
        largest_models(wanted, table) if training is None else largest_trained(wanted, training, table)
    )


def longest(
    model: str,
    purpose: str,
    asked: dict[str, Any],
    table: "tuple[Price, ...] | None",
    offline: bool,
    revision: str | None,
) -> "Plan | TrainingPlan":
    """Return the plan of the longest sequences that fit; of one short step if not even that does."""
    from ..model.load import load
    from ..plan.answer import plan_serving
    from ..plan.inverse import STEP, longest_context, longest_trained
    from ..plan.request import asked_of
    from ..plan.training_answer import plan_training

    wanted, training = asked_of(purpose, asked)
    if training is not None:
        if "seq_len" in asked:
            raise UsageError("--longest-context and --seq-len contradict each other", "leave one of them out")
        loaded = load(model, offline=offline, revision=revision)
        trained = longest_trained(loaded, wanted, training, table)
        return trained or plan_training(loaded, wanted, training._replace(seq_len=STEP), table)
    found = longest_context(model, wanted, table, offline=offline, revision=revision)
    return found or plan_serving(
        model, wanted._replace(context=STEP), table, offline=offline, revision=revision
    )


def beside(answer: "Plan | TrainingPlan", disaggregated: bool, in_memory: bool) -> PlanAnswer:
    """Return a plan with what is asked beside its rows, where it has any."""
    from ..plan.answer import Plan

    found = PlanAnswer(answer)
    if not isinstance(answer, Plan) or not answer.rows:
        return found
    if disaggregated and answer.search is not None:
        from ..plan.disaggregate import disaggregate

        found = found._replace(disaggregated=disaggregate(answer.search, answer.all_rows))
    if in_memory:
        from ..plan.crossbar import weights_in_memory

        found = found._replace(in_memory=weights_in_memory(answer.rows[0].row.estimate))
    return found


def _plan_for(*question: Any) -> "Plan | TrainingPlan":
    from ..plan.request import plan_for

    return plan_for(*question)


def _least(answer: "Plan | TrainingPlan") -> "Plan | TrainingPlan":
    from ..plan.answer import Plan
    from ..plan.inverse import least_quantized

    return least_quantized(answer) if isinstance(answer, Plan) else answer


def largest_json(found: "tuple[LargestModel, ...]") -> dict[str, Any]:
    """Return the largest models as one JSON object."""
    rows = [
        {
            "model": held.name,
            "num_parameters": held.num_parameters,
            "bits_a_weight": held.bits_a_weight,
            "gpu": held.row.gpu,
            "engine": held.row.runner,
            "quantization": held.row.asked.quantization,
            "headroom_bytes": held.row.headroom_bytes,
            "tokens_per_s": held.row.rate,
        }
        for held in found
    ]
    return {"schema": "oomless/largest/1", "rows": rows}


def disaggregated_json(found: "Disaggregated") -> dict[str, Any]:
    """Return both sides as an object."""
    launch, apart = found.launch, ("prefill", "decode", "launch")
    return {
        **{name: getattr(found, name) for name in found._fields if name not in apart},
        "prefill": side_json(found.prefill, launch.prefill),
        "decode": side_json(found.decode, launch.decode),
        "router": {"launch": launch.router.command, "note": launch.router.note},
        "files": launch.files,
    }


def side_json(side: "Side", launch: "Launch") -> dict[str, Any]:
    """Return a side as an object."""
    return {
        "gpu": side.row.gpu,
        "num": side.num,
        "requests_per_s": side.requests_per_s,
        "launch": launch.command,
        "note": launch.note,
    }
