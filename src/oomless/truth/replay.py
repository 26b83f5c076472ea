"""The command behind a row of a table: what `oomless validate` asks where it predicts the row, as words to
paste."""

import shlex
from pathlib import Path
from typing import Any

from .. import facts
from ..errors import UnsupportedError, UsageError, did_you_mean
from ..files import shown
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.option_values import choices_of, text_of
from ..run.options import by_keyword
from ..run.training import Mesh, TrainingAsked
from .tables import Incomplete, MeasuredRow, read_table
from .training_ops import is_operation
from .training_rows import question as training_question
from .verdicts import VerdictCase, is_verdict_table, read_cases


def replay(path: Path, row_id: str) -> str:
    """Return the command behind the row of a table that has an id.

    A case of a verdict table is a command already; where it names no release, those of its day stand behind
    it. Of rows whose doubt is more than one question has (a length that is only bounded), it is the question
    of the middle value.
    """
    rows: dict[str, VerdictCase | MeasuredRow] = {}
    for each in read_cases(path) if is_verdict_table(path) else read_table(path):
        rows.setdefault(each.id, each)
    if row_id not in rows:
        hint = did_you_mean(row_id, list(rows), f"oomless validate {shown(path.name)} --json")
        raise UsageError(f"{shown(path.name)} has no row {shown(row_id)}", hint, "replay")
    row = rows[row_id]
    if row.fault:
        raise UsageError(row.fault, "correct the row", "replay")
    if isinstance(row, VerdictCase):
        return shlex.join(["oomless", *(word for word in row.arguments if word != "--json")])
    try:
        return command_of(row)
    except Incomplete as error:
        raise UsageError(f"row {shown(row_id)} puts no question: {error}", "", "replay") from error


def command_of(row: MeasuredRow) -> str:
    """Return the question of a measured row as a command. Rows of serving have none: the memory of their card
    is the one that their log prints."""
    if row.kind != "training" or is_operation(row.configuration["model"]):
        raise UnsupportedError(
            f"rows about {row.kind} are predicted from their table alone: no command asks them",
            "rows of trained models and cases with an outcome have one",
            "replay",
        )
    of = training_question(row.configuration, row.quantity)
    return written("train", of.model.name, of.hardware, changed(of.asked))


def changed(asked: TrainingAsked) -> dict[str, Any]:
    """Return the fields of a question that differ from the defaults; those of its ranks stand among them."""
    return {
        field: value
        for each, usual in ((asked, TrainingAsked()), (asked.mesh, Mesh()))
        for field, value in each._asdict().items()
        if field != "mesh" and value != getattr(usual, field)
    }


def written(command: str, model: str, hardware: Hardware, fields: dict[str, Any]) -> str:
    """Return a question as a command; a field that no option has makes it no command.

    >>> asked = {"method": "lora", "lora_targets": ("q_proj",), "packed": True}
    >>> written("train", "deepseek-v2-lite", parse_gpu("h100:8"), asked)
    'oomless train deepseek-v2-lite --gpu h100-80gb-sxm5:8 --method lora --lora-targets q_proj --packed'
    """
    known, words = by_keyword(command), ["oomless", command, model, "--gpu", cards_of(hardware)]
    for field, value in fields.items():
        option = known.get(field)
        if option is None or not option.flags or (option.kind == "switch" and value is not True):
            raise UnsupportedError(
                f"{field} {shown(str(value))} has no option: no command asks it", "", "replay"
            )
        text = text_of(option, value)
        if (
            option.kind == "text"
            and not option.several
            and choices_of(option)
            and text not in choices_of(option)
        ):
            raise UnsupportedError(f"{field} {shown(str(value))} is no choice of {option.flag}", "", "replay")
        words += [option.flag] if text is None else [option.flag, text]
    return shlex.join(words)


def cards_of(hardware: Hardware) -> str:
    """Return hardware as --gpu has it; a card that the table does not have is one of its size.

    >>> [cards_of(parse_gpu(each)) for each in ("rtx-4090", "h100:8x2", "80GiB:4")]
    ['rtx-4090:1', 'h100-80gb-sxm5:8x2', '85899345920B:4']
    """
    names = (row["short_name"] for row in facts.table("hardware"))
    name = next((each for each in names if parse_gpu(each).card == hardware.card), None)
    nodes = f"x{hardware.num_nodes}" if hardware.num_nodes > 1 else ""
    return f"{name or f'{hardware.card.memory_bytes}B'}:{hardware.per_node}{nodes}"
