"""Which commits changed frozen answers: how many lines, of which kinds, and why, as the history has it.

    python -m bench.frozen_answers > tests/surface/answers_changed.md

A line of tests/surface/answers.txt counts as changed by a commit where no parent has its answer, so a merge
counts what it decided itself and not what its parents did.
"""

import re
import subprocess
from collections import Counter
from typing import NamedTuple

ANSWERS = "tests/surface/answers.txt"
MOST_WORDS, MOST_KINDS = 120, 6
OF_A_MERGE = "Both parents change these answers: this is what they give together."
HEAD = """# Answers that changed on purpose

Made by `python -m bench.frozen_answers`: each commit after the first that changed answers in
`answers.txt`, oldest first. A structure change has none. *Changed* are questions whose answer is another one,
*new* and *gone* questions that were added or taken out. The reason is the commit's own.
"""


class Changes(NamedTuple):
    """What a commit did to the frozen answers."""

    commit: str
    date: str
    subject: str
    reason: str
    changed: Counter[str]
    new: int
    gone: int


def git(*words: str) -> str:
    """Return what git prints; nothing where it fails, as for a file that a commit does not have."""
    return subprocess.run(("git", *words), capture_output=True, text=True, check=False).stdout


def answers(commit: str) -> dict[str, str]:
    """Return the answer of each question in a commit."""
    lines = git("show", f"{commit}:{ANSWERS}").splitlines()
    return dict(line.split(" -> ", 1) for line in lines if " -> " in line)


def kind_of(question: str) -> str:
    """Return the command of a question, with the engine or framework that it names.

    >>> kind_of("infer deepseek-r1 --gpu h200:8 --engine sglang"), kind_of("plan deepseek-r1")
    ('infer sglang', 'plan')
    """
    named = re.search(r"--(?:engine|framework) (\S+)", question)
    return " ".join([question.split()[0], *([named[1]] if named else [])])


def changes_of(commit: str) -> Changes:
    """Return what a commit changed beside what its parents have."""
    text = git("log", "-1", "--date=short", "--format=%h%n%P%n%ad%n%s%n%b", commit).split("\n")
    short, parents, date, subject, *body = text
    before, after = [answers(parent) for parent in parents.split()], answers(commit)
    mine = {
        question for question, answer in after.items() if all(each.get(question) != answer for each in before)
    }
    known = {question for each in before for question in each}
    words = " ".join(" ".join(body).split()).split(" ")
    reason = " ".join(words[:MOST_WORDS]) + (" ..." if len(words) > MOST_WORDS else "")
    if len(before) > 1:
        reason = reason or OF_A_MERGE
    return Changes(
        short,
        date,
        subject,
        reason,
        Counter(kind_of(question) for question in mine & known),
        len(mine - known),
        len([question for question in known if question not in after]),
    )


def shown(found: Changes) -> str:
    """Return a commit as a section of the page."""
    most = sorted(found.changed.items(), key=lambda item: (-item[1], item[0]))[:MOST_KINDS]
    kinds = [f"{kind} {num}" for kind, num in most]
    rest = found.changed.total() - sum(num for _, num in most)
    counts = f"{found.changed.total()} changed"
    counts += f" ({', '.join(kinds)}{f', others {rest}' if rest else ''})" if kinds else ""
    counts += f", {found.new} new" if found.new else ""
    counts += f", {found.gone} gone" if found.gone else ""
    return f"## {found.subject}\n\n{found.date}, {found.commit}: {counts}.\n\n{found.reason}\n"


def main() -> None:
    """Print the page."""
    _, *later = git(
        "log", "--reverse", "--topo-order", "--format=%H", "--full-history", "--", ANSWERS
    ).split()
    found = (changes_of(commit) for commit in later)
    print(
        "\n".join([HEAD, *(shown(each) for each in found if each.changed or each.new or each.gone)]).rstrip()
    )


if __name__ == "__main__":
    main()
