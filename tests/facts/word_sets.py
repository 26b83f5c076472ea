"""Questions to a table whose rows hold under conditions: cells, releases, and sets of words that can hold
together by conditions.csv."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, product

from oomless import facts
from oomless.facts import ConditionalRow, conditional_rows
from oomless.facts.selection import KEYS, Version

ELSEWHERE = "elsewhere"
"""A cell that no row names."""
AFTER = (9999,)


@cache
def words() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Each word -> (what it implies, what it excludes)."""
    return {
        row["word"]: (frozenset(row["implies"].split()), frozenset(row["excludes"].split()))
        for row in facts.table("conditions")
    }


def consistent(chosen: frozenset[str], among: frozenset[str]) -> bool:
    """Whether these words, and of `among` no others, can hold together."""
    return all(words()[word][0] & among <= chosen and not words()[word][1] & chosen for word in chosen)


def word_sets(rows: Iterable[ConditionalRow]) -> list[frozenset[str]]:
    """All sets of the words of these rows that can hold together: grown word by word, since what excludes one
    another stays apart in every larger set."""
    among = frozenset(chain.from_iterable(row.when | row.unless for row in rows))
    found: list[frozenset[str]] = [frozenset()]
    for word in sorted(among):
        excluded = words()[word][1]
        found += [chosen | {word} for chosen in found if not excluded & chosen]
    return [chosen for chosen in found if consistent(chosen, among)]


def versions(rows: Iterable[ConditionalRow]) -> set[Version]:
    """A release from each stretch of releases in which the same rows apply."""
    return {(0,), *(row.first for row in rows)} | {(*row.last, *AFTER) for row in rows if row.last}


def competitors(table: str) -> list[tuple[str, list[ConditionalRow]]]:
    """The rows of a table in groups that can apply to one question, each with a name: alike in the key
    columns that no row leaves empty."""
    rows = conditional_rows(table)
    filled = [index for index in range(len(KEYS[table])) if all(row.where[index] for row in rows)]
    groups: dict[str, list[ConditionalRow]] = defaultdict(list)
    for row in rows:
        groups[" ".join((table, *(row.where[index] for index in filled)))].append(row)
    return list(groups.items())


def places(rows: list[ConditionalRow]) -> Iterator[tuple[str, ...]]:
    """The cells that a question can have: those that rows name, and one that none does where a row holds for
    all."""
    columns = [
        {cell or ELSEWHERE for cell in column} for column in zip(*(row.where for row in rows), strict=True)
    ]
    yield from product(*map(sorted, columns))


def questions(rows: list[ConditionalRow]) -> Iterator[list[ConditionalRow]]:
    """The rows that apply to each question: at each place in each stretch of releases, under all words of the
    rows of that place that can hold together. Questions to which the same rows apply are one."""
    asked: set[tuple[int, ...]] = set()
    for where in places(rows):
        mine = [
            row for row in rows if all(cell in ("", at) for cell, at in zip(row.where, where, strict=True))
        ]
        sets = word_sets(mine)
        for version in versions(mine):
            then = [row for row in mine if row.holds(where, row.when, version)]
            for conditions in sets:
                applying = [row for row in then if row.when <= conditions and not row.unless & conditions]
                if applying and (key := tuple(map(id, applying))) not in asked:
                    asked.add(key)
                    yield applying
