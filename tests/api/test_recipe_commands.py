"""Commands of public recipes: what they ask is what is answered, and what changes memory and is not computed
is named or refused; none ends in a number for something else."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from command import call

TABLE = Path(__file__).parent.parent / "tables" / "recipes.csv"
ROWS = list(csv.DictReader(TABLE.open(encoding="utf-8", newline="")))
REFUSED = "refused="


def said(request: dict[str, Any], path: str) -> Any:
    """What a request says of a field: of the layout, or under a path of names."""
    found: Any = {**request, **request["layout"]}
    for name in path.split("."):
        found = found[name]
    return found


def test_there_are_sixty_and_of_every_engine() -> None:
    assert len(ROWS) >= 60
    starts = ("vllm serve", "sglang", "llama-server", "ollama", "trtllm-serve", "ktransformers", "lmdeploy")
    for word in (*starts, "ascend"):
        assert any(word in row["command"] for row in ROWS), word


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['source']}: {row['command'][-40:]}")
def test_a_recipe_is_answered_as_it_is_written(row: dict[str, str]) -> None:
    model = (row["model"],) if row["model"] else ()
    words = ("infer", *model, "--gpu", row["gpu"], "--command", row["command"], "--offline", "--json")
    found = call(*words)
    if row["expected"].startswith(REFUSED):
        assert found.code in (1, 2, 4), found.out
        assert not found.out
        error = json.loads(found.err)["error"]
        assert row["expected"].removeprefix(REFUSED) in f"{error['message']} {error['hint']}"
        return
    assert found.code in (0, 3), found.err
    answer = json.loads(found.out)
    for pair in row["expected"].split(" "):
        path, _, value = pair.partition("=")
        assert str(said(answer["request"], path)) == value, path
    assert row["named"] in "\n".join(answer["warnings"])
    unknown = [note for note in answer["warnings"] if note.startswith("flags not known")]
    assert bool(unknown) <= bool(row["named"]) or row["source"].startswith("ik_llama"), unknown
