"""A question as an address puts it: names and texts in, the bytes that the command line prints out."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..errors import OomlessError, UsageError, did_you_mean, meant
from ..facts.options import Option
from ..facts.options.listing import ASKED as LISTS
from ..files import json_text
from ..run.choices import is_word, need_choice
from ..run.option_values import read
from ..run.options import TABLES, options_of

Pairs = Iterable[tuple[str, str]]
"""What stands behind the question mark of an address: name, text."""
Fields = dict[str, Any]
Names = tuple[str, ...]
"""Names of the files that came with a question."""
ASKED = tuple(name for name in TABLES if name != "trace")
"""Commands with a table of options of their own that need no model in memory."""
COMMANDS = (*ASKED, *LISTS)
NOT_OVER_HTTP = ("json", "strict", "explain", "evidence", "compare", "front", "against")
"""How a terminal is answered: an address gets the whole JSON. Nor what needs a package beside ours."""


class Reply(NamedTuple):
    """What goes back: a status of HTTP and one JSON object with the line end that the command line prints."""

    status: int
    content: bytes


STATUS = {1: 422, 2: 400, 4: 422, 5: 424}
"""Exit code of an error -> status of HTTP."""


def reply(command: str, pairs: Pairs, posted: Names = (), environ: Mapping[str, str] | None = None) -> Reply:
    """Return the answer to a question, or the error object that says why there is none.

    `posted` are the files of this folder that the question may name.

    >>> reply("infer", [("model", "deepseek-r1"), ("gpu", "h20:8"), ("tp", "0")]).status
    400
    """
    try:
        answer = document(command, pairs, posted, os.environ if environ is None else environ)
        return Reply(200, _bytes(answer))
    except OomlessError as error:
        return refusal(error)
    except Exception as error:  # a defect of ours: said as one, without what only its author can read
        return Reply(500, _bytes(meant(error).to_json()))


def refusal(error: OomlessError, status: int = 0) -> Reply:
    """Return an error as the contract's object."""
    return Reply(status or STATUS[error.code], _bytes(error.to_json()))


def _bytes(answer: object) -> bytes:
    return (json_text(answer) + "\n").encode()


def document(command: str, pairs: Pairs, posted: Names, environ: Mapping[str, str]) -> Any:
    """Return the object that the command prints with --json."""
    answer = asked(command, pairs, posted, environ)
    return answer if isinstance(answer, dict) else answer.to_json()


def asked(command: str, pairs: Pairs, posted: Names = (), environ: Mapping[str, str] = {}) -> Any:
    """Return the answer itself, from which a view is made; of a list, its object."""
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command[:60]!r}", did_you_mean(command[:60], list(COMMANDS)))
    model, fields = fields_of(command, pairs)
    need_no_file(command, model, fields, posted)
    return ANSWERS[command](model, fields, environ, posted)


@cache
def table_of(command: str) -> tuple[Option, ...]:
    """Return the options that a command takes over HTTP.

    >>> [option.field for option in table_of("models")]
    ['pattern']
    """
    if command in LISTS:
        return LISTS[command]
    return tuple(
        option
        for option in options_of(command)
        if option.names and option.file not in ("write", "names") and option.field not in NOT_OVER_HTTP
    )


@cache
def names_of(command: str) -> Mapping[str, Option]:
    """Return the options of a command by each spelling without dashes in front, and by field."""
    table = table_of(command)
    spelled = {name.lstrip("-"): option for option in table for name in option.names}
    return {option.field: option for option in table} | spelled


def fields_of(command: str, pairs: Pairs) -> tuple[str | None, Fields]:
    """Return MODEL and the fields that names and texts mean, read as flags are.

    >>> fields_of("infer", [("model", "deepseek-r1"), ("max-model-len", "32K"), ("enforce-eager", "")])
    ('deepseek-r1', {'max_model_len': 32768, 'enforce_eager': True})
    """
    known = names_of(command)
    model: str | None = None
    found: Fields = {}
    for name, text in pairs:
        if name == "model" and command in ASKED and command != "cost":
            if model is not None:
                raise UsageError("model is given twice", "one question is about one model", "model")
            need_text(name, text)
            model = text
            continue
        option = known.get(name)
        if option is None:
            raise unknown(command, name, known)
        if option.field in found and not option.several:
            raise UsageError(f"{option.flag} is given twice", "give it once", option.field)
        value = value_of(command, option, text)
        if value is not False and option.several:
            found[option.field] = (*found.get(option.field, ()), value)
        elif value is not False or option.kind == "onoff":
            found[option.field] = value
    return model, found


def unknown(command: str, name: str, known: Mapping[str, Option]) -> UsageError:
    """Return the error of a name that a command does not have."""
    if name.lstrip("-") in NOT_OVER_HTTP:
        return UsageError(f"{name} is for a terminal", "leave it out: the whole JSON is the answer", name)
    return UsageError(
        f"unknown option {name[:60]!r}",
        did_you_mean(name[:60], ["model", *known], f"oomless {command} --help"),
        name[:60],
    )


def need_text(name: str, text: str) -> None:
    """Refuse an empty value, which would answer another question."""
    if not text.strip():
        raise UsageError(f"{name} is empty", "give a value, or leave the option out", name)


def value_of(command: str, option: Option, text: str) -> Any:
    """Return what a text means, in the form in which the command line keeps it."""
    if option.kind == "switch" and not text:
        return True
    if option.default != "":
        need_text(option.flag, text)
    if is_word(option):
        return need_choice(option, text, option.flag, f"oomless {command}")
    found = read(option, text, option.flag)
    return text if found is None or option.several else found


def need_no_file(command: str, model: str | None, fields: Fields, posted: Names) -> None:
    """Refuse words that would read a file of the machine that answers, other than the posted ones."""
    from ..model.load import is_local

    words = {each: fields.get(each) for each in ("reward_model", "value_model")} | {"model": model}
    if command == "reconcile":
        words["model"] = fields.get("model")
    wrong = [(name, word) for name, word in words.items() if word and word not in posted and is_local(word)]
    if "command" in fields:
        wrong += [each for each in opened(fields["command"], model) if each[1] not in posted]
    for option in table_of(command):
        if option.file == "read" and option.field in fields:
            value = fields[option.field]
            texts = value if isinstance(value, tuple) else (value,)
            wrong += [(option.flag, word) for word in texts if word.rpartition("=")[2] not in posted]
    if wrong:
        name, word = wrong[0]
        raise UsageError(
            f"{name} {word[:80]!r} is a file, and no file of this machine is read here",
            "send it: POST its content with file=NAME, and name it so; or name a model of the catalogue",
            name.lstrip("-"),
        )


def opened(command: str, model: str | None) -> list[tuple[str, str]]:
    """Return what a pasted command would open of this machine, without opening it, each with the field that
    says so: a path that is not here opens nothing, and is answered for as on the command line."""
    from ..engines.command_line import files_of, read_command

    found = [("command", name) for name in files_of(command) if os.path.exists(name)]
    if found or model is not None:
        return found
    served = read_command(command).model or ""
    return [("model", served)] if os.path.exists(os.path.expanduser(served)) else []


Answer = Callable[[str | None, Fields, Mapping[str, str], Names], Any]


def _infer(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import put_serving, serving_answer

    return serving_answer(put_serving(model, fields, environ), environ)


def _speed(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import speed_answer

    return speed_answer(model, fields, environ)


def _tune(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import tune_answer

    return tune_answer(model, fields, environ)


def _guide(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import guide_answer

    return guide_answer(model, fields, environ)


def _train(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import training_answer

    return training_answer(model, fields, environ)


def _plan(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.plan import plan_answer

    return plan_answer(model, fields)


def _cost(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.command_question import cost_answer

    if fields.pop("list_prices", False):
        from ..api.catalogues import price_rows, rows_json
        from ..api.cost import price_table

        return rows_json("prices", price_rows(fields.get("gpu"), price_table(fields.get("prices", ()))[0]))
    return cost_answer(fields)


def _reconcile(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.reconcile import reconcile

    if not posted:
        raise UsageError("no log is given", "POST its text, with file=server.log for its name")
    return reconcile(posted[0], **{name: value for name, value in fields.items() if value})


def _claims(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.catalogues import claims_json
    from ..claims import claim, claims

    return claims_json((claim(fields["id"]),) if fields.get("id") else claims())


def _accuracy(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
    from ..api.accuracy import accuracy_json

    return accuracy_json()


def _listed(kind: str) -> Answer:
    def listed(model: str | None, fields: Fields, environ: Mapping[str, str], posted: Names) -> Any:
        from ..api import catalogues

        rows = {
            "models": lambda: catalogues.model_rows(fields.get("pattern") or ""),
            "gpus": lambda: catalogues.gpu_rows(fields.get("pattern") or ""),
            "engines": catalogues.engine_rows,
        }
        return catalogues.rows_json(kind, rows[kind]())

    return listed


ANSWERS: dict[str, Answer] = {
    "infer": _infer,
    "speed": _speed,
    "train": _train,
    "plan": _plan,
    "tune": _tune,
    "guide": _guide,
    "cost": _cost,
    "reconcile": _reconcile,
    "claims": _claims,
    "accuracy": _accuracy,
    **{kind: _listed(kind) for kind in ("models", "gpus", "engines")},
}
