"""The OpenAPI text of the server, made from the tables of options."""

from typing import Any

from .. import __version__
from ..facts.options import Option
from ..run.option_values import choices_of
from .question import ASKED, COMMANDS, table_of

SUMMARIES = {
    "infer": "Will it serve: memory by category and rank, capacity of the cache.",
    "speed": "How fast it serves: first token, each token, tokens a second.",
    "plan": "Which cards and which setting, ranked; each with its launch command.",
    "tune": "The best setting of an engine's own flags on given cards.",
    "guide": "From a model's files to a server whose log was reconciled, as commands with numbers.",
    "cost": "Buy or rent: month by month, break-even, what it hangs on.",
    "train": "Will it train: memory by category and rank at the worst moment of a step.",
    "reconcile": "What a log says, beside what was predicted.",
    "models": "Models of the catalogue.",
    "gpus": "Cards, their names and what a process sees of their memory.",
    "engines": "Serving engines and the versions whose rules are known.",
    "claims": "The guide's numbers, with verdict and evidence.",
    "accuracy": "How far predictions were off: blind rounds, every table now, and known misses.",
}
NUMBERS = {
    "whole": "integer",
    "number": "number",
    "positive": "number",
    "share": "number",
    "gib": "number",
    "switch": "boolean",
}
"""Kinds whose texts JSON's own types describe; the others are texts with a form of their own."""


def schema_of(option: Option) -> dict[str, Any]:
    """Return what a value of an option may be, as JSON Schema.

    >>> from ..run.options import by_flag
    >>> schema_of(by_flag("infer")["--tp"])
    {'type': 'integer', 'minimum': 1, 'maximum': 65536}
    """
    one: dict[str, Any] = {"type": NUMBERS.get(option.kind, "string")}
    if option.kind == "onoff":
        one["enum"] = ["on", "off"]
    elif choices := choices_of(option):
        one["enum"] = [int(word) if option.kind == "whole" else word for word in choices]
    elif option.kind in ("whole", "number"):
        one |= {"minimum": option.least, "maximum": option.most}
    elif option.kind == "share":
        one |= {"exclusiveMinimum": 0, "maximum": 1}
    elif one["type"] == "string" and option.default != "":
        one["minLength"] = 1
    return {"type": "array", "items": one} if option.several else one


def parameter(name: str, text: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    """Return one thing that stands behind the question mark."""
    return {"name": name, "in": "query", "required": required, "description": text, "schema": schema}


def parameters(command: str) -> list[dict[str, Any]]:
    """Return what a command may be asked, under the name of its first long flag."""
    found = []
    if command in ASKED and command != "cost":
        found.append(
            parameter("model", "A name of the catalogue, or a hub id.", {"type": "string", "minLength": 1})
        )
    return [
        *found,
        *(
            parameter(option.flag.lstrip("-") or option.field, option.help, schema_of(option))
            for option in table_of(command)
        ),
    ]


SIZES = {"type": "array", "items": {"type": "integer", "minimum": 0}}
FILES = (
    parameter(
        "file", "The name of each file.", {"type": "array", "items": {"type": "string", "minLength": 1}}
    ),
    parameter("bytes", "How many bytes of the body are each file's own [of one file, all].", SIZES),
    parameter("whole", "How many bytes each file has, where only its head is sent [no more].", SIZES),
)
"""What says which files a body holds."""


def operation(command: str, posts: bool) -> dict[str, Any]:
    """Return what a path does under GET, or with a file under POST."""
    answers: dict[str, Any] = {
        "200": {"description": f"What `oomless {command} --json` prints.", "content": _json("Answer")}
    }
    answers |= {
        status: {"description": why, "content": _json("Error")}
        for status, why in (
            ("400", "The question was put wrongly."),
            ("422", "It cannot be answered: a file, a network, or what nothing here can run."),
            ("4XX", "Refused: too large, too slow, from another page, or an extra that is missing."),
            ("503", "Too many questions at once."),
        )
    }
    found: dict[str, Any] = {
        "operationId": f"{command}{'_file' if posts else ''}",
        "summary": SUMMARIES[command],
        "parameters": parameters(command),
        "responses": answers,
    }
    if posts:
        found["parameters"] = [*FILES, *found["parameters"]]
        binary = {"type": "string", "format": "binary"}
        found["requestBody"] = {
            "required": True,
            "description": "A config.json, the head of a checkpoint, a file that starts a run, or a log; "
            "several files lie one after the other.",
            "content": {"application/octet-stream": {"schema": binary}},
        }
    return found


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def openapi() -> dict[str, Any]:
    """Return the whole text.

    >>> sorted(openapi()["paths"])[0]
    '/api/accuracy'
    """
    methods = {
        command: {
            **({} if command == "reconcile" else {"get": operation(command, False)}),
            **({"post": operation(command, True)} if command in (*ASKED, "reconcile") else {}),
        }
        for command in COMMANDS
    }
    text_or_null = {"type": ["string", "null"]}
    error = {"code": {"type": "integer"}, "field": text_or_null, "message": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "oomless", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": {f"/api/{command}": found for command, found in methods.items()},
        "components": {
            "schemas": {
                "Answer": {"type": "object", "required": ["schema"]},
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "field", "message", "hint"],
                            "properties": {**error, "hint": {"type": "string"}},
                        }
                    },
                },
            }
        },
    }
