"""Every table of facts: a key that no two rows share, a source, numbers in order, and names that exist."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from oomless import facts
from oomless.facts.options import ENGINE_NAMES
from oomless.facts.tables import config_names, stored_config
from oomless.ledger import Category, Key
from oomless.model.families import FAMILIES
from oomless.speed.machine import DeviceClass

FOLDER = Path(facts.__file__).parent
TABLES = sorted(path.stem for path in FOLDER.glob("*.csv"))

KEYS = {
    "accepted_lengths": "model method lengths",
    "accuracy": "about made table quantity",
    "accuracy_verdicts": "made kind",
    "adapters": "adapter",
    "attention_kernels": "kernel",
    "bands": "kind when",
    "catalogue": "name",
    "cluster_names": "card",
    "compressed": "subject what",
    "conditions": "word",
    "counted_traffic": "what ranks tokens hidden",
    "draft_heads": "hub_id",
    "efficiencies": "quantity device engine when",
    "engine_flags": "engine flag",
    "engine_pairs": "engine",
    "engine_rules": "engine rule since until",
    "engines": "engine quantity first last when",
    "frameworks": "framework",
    "expert_kernels": "engine kernels weights families condition",
    "fused_modules": "family module",
    "gguf_builds": "model",
    "gguf_dynamic": "model",
    "gguf_families": "rule since",
    "gguf_mixes": "model word",
    "gguf_own_mixes": "publisher families",
    "gguf_pretokenizers": "pre",
    "gguf_vocabularies": "families smallest",
    "gpu_aliases": "alias",
    "gpu_shares": "machine from_gib",
    "guide_claims": "id",
    "habits": "package habit until framework",
    "hardware": "short_name",
    "hosts": "name",
    "kept_by_makers": "method families",
    "kernel_curves": "product device architecture engine type kernels",
    "kernel_releases": "engine condition since until experts",
    "kernels": "engine block when",
    "known_misses": "title_en",
    "launch_keys": "framework keys",
    "launch_losses": "launch loss",
    "launch_optimizers": "launch optimizer",
    "llamacpp_builds": "program build",
    "losses": "loss framework",
    "measured": "device engine kind",
    "measured_frameworks": "framework words",
    "measured_quantities": "engine quantity",
    "measured_runs": "model engine engine_version stored card tp pp length quantity measured source",
    "mig": "card profile",
    "models_index": "model",
    "ollama_tags": "tag",
    "optimizer_classes": "class",
    "optimizer_words": "framework word",
    "optimizers": "optimizer",
    "other_frameworks": "word",
    "power": "machine",
    "precision_words": "pattern",
    "price_cards": "name mem_gb sku_has",
    "prices": "kind provider region sku gpu mem_gb n_gpus tier unit source note",
    "recipe_runs": "tool format",
    "recipes": "recipe",
    "releases": "package release",
    "silicon": "card",
    "speed_recipes": "words",
    "stored_copies": "model name",
    "support": "engine first last model weights cache cards runs",
    "torchtitan_flavors": "name flavor",
    "torchtune_configs": "config",
    "traced": "claim key",
    "training_keys": "framework key",
    "watched": "claim key tool",
    "workspaces": "operators capability_from rule",
}
"""The columns of each table that together name a row."""

SOURCES = {
    "traced": "made_with",
    "conditions": "meaning",
    "guide_claims": "section",
}
"""The column that says where a row is from, where it is not called `source`."""
OWN = (
    *("gpu_aliases", "price_cards", "models_index"),
    *("accuracy", "accuracy_verdicts", "known_misses"),
)
"""Tables of our own readings of words, and of what tests/model/test_models_index.py and test_docs.py work out
again."""


@cache
def column(table: str, name: str) -> frozenset[str]:
    return frozenset(row[name] for row in facts.table(table))


@cache
def models() -> frozenset[str]:
    return frozenset(config_names())


NAMES: dict[tuple[str, str], Callable[[], frozenset[str] | set[str]]] = {
    ("catalogue", "name"): models,
    **{
        (table, "card"): lambda: column("hardware", "short_name")
        for table in ("gpu_aliases", "mig", "power", "cluster_names", "price_cards")
    },
    **{
        (table, "model"): lambda: column("catalogue", "name")
        for table in (
            "stored_copies",
            "gguf_dynamic",
            "gguf_mixes",
            "ollama_tags",
            "torchtitan_flavors",
            "torchtune_configs",
            "models_index",
        )
    },
    ("gguf_builds", "model"): lambda: column("catalogue", "name") | FAMILIES.keys(),
    ("gguf_own_mixes", "models"): lambda: column("catalogue", "name"),
    ("gguf_own_mixes", "families"): lambda: {*FAMILIES},
    ("gguf_families", "families"): lambda: {*FAMILIES},
    ("gguf_vocabularies", "families"): lambda: {*FAMILIES},
    ("frameworks", "optimizer"): lambda: column("optimizers", "optimizer"),
    ("frameworks", "precision"): lambda: column("recipes", "recipe"),
    ("frameworks", "precision_lora"): lambda: column("recipes", "recipe"),
    ("frameworks", "loss"): lambda: column("losses", "loss"),
    ("speed_recipes", "framework"): lambda: column("frameworks", "framework"),
    ("silicon", "card"): lambda: column("hardware", "short_name"),
    ("optimizer_words", "optimizer"): lambda: column("optimizers", "optimizer"),
    ("traced", "claim"): lambda: column("guide_claims", "id"),
    ("watched", "claim"): lambda: column("guide_claims", "id"),
    ("engine_flags", "engine"): lambda: {*ENGINE_NAMES},
    ("engines", "engine"): lambda: {*ENGINE_NAMES, "training", "megatron"},
    ("efficiencies", "engine"): lambda: {*ENGINE_NAMES, "train"},
    ("kernels", "engine"): lambda: {*ENGINE_NAMES, "train"},
    ("measured", "engine"): lambda: {*ENGINE_NAMES},
    ("measured", "device"): lambda: {*get_args(DeviceClass)},
    ("measured", "kind"): lambda: column("bands", "kind"),
    ("measured_quantities", "parts"): lambda: {*get_args(Category), *get_args(Key)},
    ("support", "engine"): lambda: {*ENGINE_NAMES},
    ("conditions", "implies"): lambda: column("conditions", "word"),
    ("conditions", "excludes"): lambda: column("conditions", "word"),
    ("hardware", "confidence"): lambda: {"A", "B", "C", "D"},
}
"""What the words of a column must be, a word or several in each cell; an empty cell says nothing."""


def test_every_table_is_known() -> None:
    assert sorted(KEYS) == TABLES


@pytest.mark.parametrize("table", TABLES)
def test_a_row_is_a_line_and_found_by_its_words(table: str) -> None:
    lines = (FOLDER / f"{table}.csv").read_text(encoding="utf-8").splitlines()
    rows = facts.table(table)
    assert len(lines) == 1 + len(rows), "a cell of several lines would hide its row from rows_with"
    key = rows[-1][KEYS[table].split()[0]]
    assert rows[-1] in facts.rows_with(table, key)


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_all_cells_and_no_others(table: str) -> None:
    with (FOLDER / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert len(set(header)) == len(header)
    assert rows
    assert [number for number, row in enumerate(rows, 2) if len(row) != len(header)] == []
    assert [cell for row in rows for cell in row if cell != cell.strip()] == []


@pytest.mark.parametrize("table", TABLES)
def test_no_two_rows_have_one_key(table: str) -> None:
    keys = Counter(tuple(row[name] for name in KEYS[table].split()) for row in facts.table(table))
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize("table", [each for each in TABLES if each not in OWN])
def test_every_row_has_a_source(table: str) -> None:
    name = SOURCES.get(table, "source")
    without = [row for row in facts.table(table) if not row[name]]
    assert [row for row in without if not row.get("note", "").startswith("GAP: ")] == []


@pytest.mark.parametrize("table", ["engines", "efficiencies", "kernels", "bands"])
def test_constants_lie_in_their_interval_and_have_a_unit(table: str) -> None:
    for row in facts.table(table):
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        assert low <= value <= high, row
        assert row["unit"], row
        assert row["num_runs"] == "" or int(row["num_runs"]) >= 0, row
        if row["num_runs"] == "":  # read in a document or a source: nothing was measured
            assert table == "engines", row
            assert row["unit"] in ("share", "tokens"), row


def test_first_releases_come_before_last_ones() -> None:
    for row in facts.conditional_rows("engines"):
        assert row.first, row
        assert not row.last or row.first[: len(row.last)] <= row.last, row


def test_priors_are_positive_and_what_has_none_is_not_fitted() -> None:
    for row in facts.table("efficiencies"):
        prior, spread = float(row["prior"]), float(row["spread"])
        assert spread >= 0, row
        assert prior > 0 or spread == 0, row
        assert row["prior_source"], row
        assert spread > 0 or prior == float(row["value"]), row
        assert spread > 0 or int(row["num_runs"]) == 0, row


def test_bands_are_wider_for_what_is_known_less() -> None:
    """More conditions never make a band narrower than the row of the kind alone."""
    alone = {row["kind"]: float(row["value"]) for row in facts.table("bands") if not row["when"]}
    assert alone.keys() == column("bands", "kind")
    for row in facts.table("bands"):
        assert float(row["value"]) >= alone[row["kind"]] >= 1, row


@pytest.mark.parametrize(("table", "name"), NAMES, ids=lambda each: each)
def test_names_exist(table: str, name: str) -> None:
    known = NAMES[table, name]()
    used = {word for row in facts.table(table) for word in row[name].split()}
    assert used <= known, used - known


NUMBERS = {
    "hardware": "mem_gb_marketed bw_gbs fp32_tflops bf16_tflops num_sms tdp_w launch_year",
    "prices": "mem_gb n_gpus price price_per_gpu_hour_usd",
    "power": "num_gpus power_kw",
    "hosts": "sockets channels mega_transfers most_gib",
    "gpu_shares": "from_gib numerator denominator",
    "mig": "num_sms mem_gib per_gpu",
    "counted_traffic": "ranks tokens hidden counted_bytes",
    "measured": "num_rows",
    "optimizers": "moments moment_bits",
    "recipes": "weight gradient master moment compute",
}
NUMBER = re.compile(r"(~?\d+(\.\d+)?([-/ ]+\d+(\.\d+)?)*.*)?")


@pytest.mark.parametrize("table", NUMBERS)
def test_numbers_begin_as_numbers(table: str) -> None:
    for row in facts.table(table):
        for name in NUMBERS[table].split():
            assert NUMBER.fullmatch(row[name]) or row[name] in ("none", "any"), (row[name], row)


def test_dates_of_releases_are_days_in_order() -> None:
    rows = facts.table("releases")
    days = [date.fromisoformat(row["date"]) for row in rows if row["package"] == "transformers"]
    assert days == sorted(days)
    assert column("releases", "package") == {
        "transformers",
        "accelerate",
        "axolotl",
        "torch",
        "deepspeed",
        "torchtitan",
        "trl",
        "unsloth",
        "verl",
        "llamafactory",
        "ms-swift",
        "sglang",
        "bitsandbytes",
        "vllm",
        "transformer-engine",
    }


def test_a_config_that_names_another_holds_what_differs() -> None:
    assert list(config_names()) == sorted(config_names())
    for name in config_names():
        config = stored_config(name)
        other = config.pop("like", None)
        if other is None:
            continue
        whole = "like" not in stored_config(other)
        assert whole or name.startswith(f"{other}-"), "or its name is the beginning of this one, so no circle"
        base = facts.model_config(other)
        assert [
            key
            for key, value in config.items()
            if base.get(key, "") == value and type(base[key]) is type(value)
        ] == []


def test_no_config_is_written_twice() -> None:
    whole = [
        json.dumps(config, sort_keys=True)
        for name in config_names()
        if "like" not in (config := stored_config(name))
    ]
    assert len(set(whole)) == len(whole)
