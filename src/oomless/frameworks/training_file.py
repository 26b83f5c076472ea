"""A configuration file of a training framework -> the question that it puts: what it says, what its framework
takes by default, and what in it is not understood and might change memory."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import OomlessError, UnsupportedError, UsageError
from ..run.from_answer import SCHEMA, question
from ..run.options import by_keyword
from ..run.text_files import content_of, flat, json_of, toml_of, yaml_of
from ..run.training import TrainingAsked
from . import BY_COMMAND, CONFIGURED, framework
from .entries import Entries


class TrainingFile(NamedTuple):
    """What a file asks for."""

    framework: str
    model: str | None
    """A catalogue name, hub id or path; None: the file names no model."""
    training: TrainingAsked
    num_gpus: int | None
    """Ranks, where the file fixes them."""
    read: tuple[str, ...]
    defaults: tuple[str, ...]
    """Entries that the file leaves out, with what its framework then takes."""
    warnings: tuple[str, ...]
    gpu: str | None = None
    """Cards, where the file says which."""
    beside: Mapping[str, Any] = MappingProxyType({})
    """What stands beside the policy, by flag."""
    missing: OomlessError | None = None
    """What is wrong unless flags beside the file say how ranks divide states."""


ENDINGS = (".toml", ".json", ".yaml", ".yml")


def read_training_file(path: Path, version: str | None = None) -> TrainingFile:
    """Return the question that a framework's configuration file, or a saved answer, puts; `version`: the
    releases that read it."""
    values = values_of(path)
    if values.get("schema") == SCHEMA:
        of, gpu, asked, beside = question(values, path)
        return TrainingFile(asked.framework, of, asked, None, (), (), (), gpu, beside)
    return question_of(framework_of(values, path), flat(values, path), path, version)


def values_of(path: Path) -> dict[str, Any]:
    """Return the entries of a file, by its ending."""
    content = content_of(path)
    match path.suffix.lower():
        case ".toml":
            return toml_of(content, path)
        case ".json":
            return json_of(content, path)
        case ".yaml" | ".yml":
            return yaml_of(content, path)
    raise OomlessError(
        f"{path}: its name ends in none of {', '.join(ENDINGS)}", "rename the file by what it holds"
    )


def question_of(name: str, values: dict[str, Any], path: Path, version: str | None = None) -> TrainingFile:
    """Return the question that entries put to a framework; `path` is what faults call their place."""
    entries = Entries(path, name, values, version)
    reads = framework(name).reads
    assert reads is not None
    model, training, num_gpus = reads(entries)
    training = training._replace(keep_gathered=entries.keeps_gathered)
    need_meant(training, entries)
    return TrainingFile(
        name,
        model,
        training,
        num_gpus,
        tuple(entries.read),
        tuple(entries.defaults),
        entries.warnings(),
        beside=entries.beside,
        missing=entries.missing,
    )


def need_meant(training: TrainingAsked, entries: Entries) -> None:
    """Refuse what no framework can mean, by the name of the one entry that says it."""
    try:
        training.check()
    except UsageError as error:
        said = entries.named(training.value(error.field))
        error.words = {by_keyword("train")[error.field].flag: said} if said else {}
        raise


def framework_of(values: Mapping[str, Any], path: Path) -> str:
    """Return whose file it is: the framework that knows most of its entries.

    >>> framework_of({"base_model": "deepseek-ai/deepseek-llm-7b-base", "adapter": "lora"}, Path("x.yaml"))
    'axolotl'
    """
    records = [framework(name) for name in CONFIGURED]
    for each in (*records, *map(framework, BY_COMMAND)):
        if each.refuses is not None and (reason := each.refuses(values)):
            raise UnsupportedError(f"{path}: {reason}", "ask by flags, or with its usual file")
    found = {each.name: sum(mark in values for mark in each.marks) for each in records}
    best = max(found, key=lambda name: found[name])
    if not found[best]:
        *first, last = (each.title for each in records)
        raise OomlessError(
            f"{path}: not a file of {', '.join(first)} or {last}",
            "; ".join(f"{each.name} has {' or '.join(each.marks)}" for each in records),
        )
    return best
