"""Counts of every release, to the unit: parameters, what a token uses, tensors and bytes of the published
checkpoint."""

import csv
from pathlib import Path

import pytest

from oomless import facts
from oomless.facts.tables import config_names
from oomless.model.catalogue_names import catalogue_name, repository_of
from oomless.model.load import load
from oomless.model.model import Model, Part

INDEX = list(csv.DictReader(Path(__file__).with_name("models_index.csv").open(encoding="utf-8")))
CATALOGUE = facts.table("catalogue")
TWICE = {row["model"] for row in facts.table("stored_copies")}
"""Checkpoints that store a tied head too: in their rows the index counts it in checkpoint_bytes and in no
other column."""
CONFIGS = list(config_names())

PARTS: dict[str, Part] = {
    "mtp_or_draft_params": "mtp",
    "engram_params": "engram",
    "vision_params": "vision",
}

NUM_TENSORS = {
    "deepseek-v3": 91_991,
    "deepseek-v4-flash": 69_187,
    "deepseek-v4-flash-0731": 72_317,
    "deepseek-v4-pro-0813": 149_782,
    "deepseek-v4.1-flash": 96_085,
}
"""Entries of the published index files (knowledge: models.md 1)."""


def ids(row: dict[str, str]) -> str:
    return row.get("model") or row["name"]


@pytest.mark.parametrize("row", INDEX, ids=ids)
def test_parameters_of_every_part_are_exact(row: dict[str, str]) -> None:
    model = load(row["model"])
    assert model.num_parameters == int(row["main_params"])
    assert {part: model.parameters_of(part) for part in PARTS.values()} == {
        part: int(row[column]) for column, part in PARTS.items()
    }


@pytest.mark.parametrize("row", [row for row in INDEX if row["active_excl_embed"]], ids=ids)
def test_active_parameters_are_exact(row: dict[str, str]) -> None:
    model = load(row["model"])
    assert model.num_active_parameters == int(row["active_excl_embed"])
    embedding = sum(
        t.num_parameters for t in model.tensors if t.name == "model.embed_tokens.weight" and t.part == "main"
    )
    assert model.num_active_parameters + embedding == int(row["active_incl_embed_head"])


@pytest.mark.parametrize("row", [row for row in INDEX if row["checkpoint_bytes"]], ids=ids)
def test_checkpoint_bytes_are_exact(row: dict[str, str]) -> None:
    model = load(row["model"])
    assert model.checkpoint_bytes == int(row["checkpoint_bytes"])
    assert model.checkpoint_bytes == sum(tensor.num_bytes for tensor in model.tensors)


@pytest.mark.parametrize(
    "row", [row for row in INDEX if row["checkpoint_gib"] and row["model"] not in TWICE], ids=ids
)
def test_checkpoint_size_agrees_with_the_published_one_to_its_digits(row: dict[str, str]) -> None:
    digits = len(row["checkpoint_gib"].partition(".")[2])
    size = load(row["model"]).checkpoint_bytes / 2**30
    assert abs(size - float(row["checkpoint_gib"])) <= 0.51 * 10**-digits


@pytest.mark.parametrize("row", INDEX, ids=ids)
def test_checkpoint_elements_and_scales_are_exact(row: dict[str, str]) -> None:
    model = load(row["model"])
    stored = (t for t in model.tensors if not (t.copy_of and row["model"] in TWICE))
    assert sum(t.num_parameters for t in stored) == int(row["checkpoint_elements"])
    assert num_scales(model) == int(row["scale_elements"])


def num_scales(model: Model) -> int:
    return sum(t.num_tensors * t.format.num_scales(t.shape) for t in model.tensors)


@pytest.mark.parametrize("name", NUM_TENSORS)
def test_tensors_of_the_checkpoint_are_exact(name: str) -> None:
    assert load(name).num_checkpoint_tensors == NUM_TENSORS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_of_the_catalogue_builds(name: str) -> None:
    model = load(name)
    assert model.name == name
    assert 0 < model.num_active_parameters <= model.num_parameters
    assert model.layers
    assert model.max_positions > 0


def test_catalogue_and_configs_are_the_same_set() -> None:
    names = [row["name"] for row in CATALOGUE]
    assert sorted(names) == CONFIGS
    assert len(set(names)) == len(names)


def test_every_model_of_the_index_is_in_the_catalogue() -> None:
    assert {row["model"] for row in INDEX} <= set(CONFIGS)


def test_a_spelling_means_one_model() -> None:
    meanings: dict[str, set[str]] = {}
    for row in CATALOGUE:
        for spelling in (row["hub_id"], *row["aliases"].split(";")):
            if spelling:
                meanings.setdefault(spelling.lower(), set()).add(row["name"])
    assert {spelling: names for spelling, names in meanings.items() if len(names) > 1} == {}


@pytest.mark.parametrize("row", CATALOGUE, ids=ids)
def test_every_spelling_finds_its_model(row: dict[str, str]) -> None:
    for spelling in (row["name"], row["hub_id"], *row["aliases"].split(";")):
        if spelling:
            assert catalogue_name(spelling) == row["name"]
            assert catalogue_name(spelling.upper()) == row["name"]


SPELLINGS = {spelling for row in CATALOGUE for spelling in row["aliases"].lower().split(";")}


@pytest.mark.parametrize("row", CATALOGUE, ids=ids)
def test_a_spelling_is_served_from_the_repository_that_it_names(row: dict[str, str]) -> None:
    """`vllm serve` of a chat model must not start the base model of the same shape."""
    for spelling in (row["hub_id"], *row["aliases"].split(";")):
        owner, _, short = spelling.rpartition("/")
        if owner and short.lower() not in CONFIGS:
            found = repository_of(row["name"], short.lower())
            assert found.rpartition("/")[2].lower() == short.lower()


@pytest.mark.parametrize("row", CATALOGUE, ids=ids)
def test_a_hub_id_without_its_owner_needs_no_spelling(row: dict[str, str]) -> None:
    own = row["aliases"].lower().split(";")
    bare = {each.rpartition("/")[2] for each in (row["hub_id"].lower(), *own) if "/" in each} - set(CONFIGS)
    assert bare.isdisjoint(own)
    assert {catalogue_name(each) for each in bare - SPELLINGS} <= {row["name"]}


CHECKED = [row for row in CATALOGUE if row["checked"] == "yes" and row["parameters_hub"] and not row["note"]]


@pytest.mark.parametrize("row", CHECKED, ids=ids)
def test_the_hubs_count_is_ours(row: dict[str, str]) -> None:
    """The hub counts elements of the checkpoint, copies too, and for some repositories the scales with
    them."""
    model = load(row["name"])
    elements = sum(t.num_parameters for t in model.tensors)
    assert int(row["parameters_hub"]) in (elements, elements + num_scales(model))


def test_the_releases_that_a_plan_tries_are_those_with_their_parameters() -> None:
    counted = {row["model"]: row["main_params"] for row in INDEX if row["main_params"]}
    assert {row["model"]: row["main_params"] for row in facts.table("models_index")} == counted


@pytest.mark.parametrize(
    ("name", "means"),
    [("llama3.1", "llama-3.1-8b"), ("gemma4:26b", "gemma-4-26b-a4b"), ("minicpm-v", "minicpm-v-2.6")],
)
def test_a_name_of_ollamas_library_is_read_and_said(name: str, means: str) -> None:
    model = load(name)
    assert model.name == means
    assert model.warnings[-1] == f"{name} is read as {means} of the catalogue, as Ollama's library means it"
