"""A guide on one plain screen: a block a step."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .guide import GuideAnswer


def guide_lines(answer: "GuideAnswer") -> list[str]:
    """Return the steps as lines: what each is about here, and its commands."""
    lines = [f"{answer.model.name} on {answer.gpu_word}"]
    for number, step in enumerate(answer.steps, 1):
        lines += ["", f"{number}. {step.name}", *(f"   {each}" for each in step.says)]
        lines += [f"   $ {each}" for each in step.commands]
    notes = [f"note: {note}" for note in answer.warnings]
    return [*lines, *([""] if notes else []), *notes]
