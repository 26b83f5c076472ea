"""`infer`: options -> answer on stdout -> exit code. Used by both readers of the command line."""

import os
import sys
from typing import TYPE_CHECKING, Any

from ..api.command_question import put_serving, serving_answer
from ..api.serving import ServingAnswer, infer
from ..files import json_text
from ..ledger import Verdict

if TYPE_CHECKING:
    from ..api.training_answer import TrainingAnswer


def answer_infer(model: str | None, options: dict[str, Any]) -> int:
    """Print the answer as text or JSON; nothing reaches stdout before all of it is known."""
    if options.get("compare"):
        return compare(model, options)
    put = put_serving(model, options, os.environ)
    how = put.how
    estimate = serving_answer(put, os.environ)
    if how["plot"]:
        write_plot(estimate, how["plot"])
    if how["json"]:
        sys.stdout.write(json_text(with_evidence(estimate, how)) + "\n")
    else:
        from ..report.estimate_text import print_estimate
        from .terminal import colour, width

        print_estimate(estimate, how["explain"], colour(), width())
        print_evidence(estimate, how)
    return exit_code(estimate.verdict, bool(how["strict"]))


def with_evidence(answer: "ServingAnswer | TrainingAnswer", how: dict[str, Any]) -> dict[str, Any]:
    """The answer's JSON, with the measured runs nearest to it where they are asked for."""
    document = answer.to_json()
    if how["evidence"]:
        from ..api.nearest_runs import nearest_runs

        document["evidence"] = [each.to_json() for each in nearest_runs(answer)]
    return document


def print_evidence(answer: "ServingAnswer | TrainingAnswer", how: dict[str, Any]) -> None:
    """The measured runs nearest to an answer, where they are asked for."""
    if how["evidence"]:
        from ..api.nearest_runs import nearest_runs
        from ..report.estimate_text import evidence_text

        sys.stdout.write(evidence_text(nearest_runs(answer)) + "\n")


def exit_code(verdict: Verdict, strict: bool) -> int:
    """0 fits or tight, 3 does not fit; tight is 3 too if asked for."""
    match verdict:
        case "fits":
            return 0
        case "tight":
            return 3 if strict else 0
        case "does_not_fit":
            return 3


def compare(model: str | None, options: dict[str, Any]) -> int:
    """Several answers side by side, which differ in one flag, the cards or the model; each is asked as
    alone."""
    from ..api.compare import variants
    from ..errors import OomlessError, UsageError, told_by

    asked_for = variants("infer", options["compare"], "kv-cache-dtype=auto,fp8")
    if options.get("plot") or options.get("explain"):
        raise UsageError("--compare has neither --plot nor --explain", "ask for one variant alone")
    found: list[ServingAnswer | OomlessError] = []
    models = asked_for.field == "model"
    for value in asked_for.values:
        changed = {} if models else {asked_for.field: value}
        try:
            put = put_serving(
                value if models and "command" not in options else model, {**options, **changed}, os.environ
            )
            with told_by(put.words):
                found.append(infer(value if models else put.model, **put.asked))
        except OomlessError as error:  # one that cannot run is an answer too, beside others
            found.append(error)
    answered = [each for each in found if not isinstance(each, OomlessError)]
    if not answered:
        raise next(each for each in found if isinstance(each, OomlessError))
    if options.get("json"):
        from ..report.estimate_text import variant_json

        document = {
            "schema": "oomless/compare/1",
            "flag": asked_for.flag,
            "values": list(asked_for.words),
            "answers": list(map(variant_json, found)),
        }
        sys.stdout.write(json_text(document) + "\n")
    else:
        from ..report.estimate_text import print_comparison
        from .terminal import colour, width

        print_comparison(list(asked_for.words), found, width(), colour())
    return min(exit_code(estimate.verdict, bool(options.get("strict"))) for estimate in answered)


def write_plot(answer: ServingAnswer, path: str) -> None:
    """The picture of an answer."""
    from ..report.estimate_svg import estimate_svg
    from .files import write_svg

    write_svg(path, estimate_svg(answer))
