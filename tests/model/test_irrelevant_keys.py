"""A key that could change memory is read, or named in a warning: the common list holds no key of any
reader."""

import ast
import copy
from pathlib import Path
from typing import Any

import pytest

from oomless.errors import OomlessError
from oomless.model import families, irrelevant_keys
from oomless.model.families import FAMILIES, build
from oomless.model.irrelevant_keys import IRRELEVANT, SWITCHES
from small_configs import SMALL

MODEL = Path(families.__file__).parent.parent


def words_of(path: Path) -> set[str]:
    """Every text in a file's code."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_key_of_the_common_list_is_read_anywhere() -> None:
    readers = [path for path in MODEL.rglob("*.py") if path != Path(irrelevant_keys.__file__)]
    assert len(readers) > 40
    named = {path.name: found for path in readers if (found := words_of(path) & IRRELEVANT)}
    assert named == {}


def test_switches_are_no_common_keys_and_some_family_reads_each() -> None:
    assert not SWITCHES & IRRELEVANT
    read = set[str]().union(*map(words_of, Path(families.__file__).parent.glob("*.py")))
    assert read >= SWITCHES


ON: dict[str, Any] = {
    "attention_bias": True,
    "mlp_bias": True,
    "mlp_only_layers": [1],
    "num_nextn_predict_layers": 1,
    "use_sliding_window": True,
}


def test_every_switch_is_tried() -> None:
    assert ON.keys() == SWITCHES
    types = {str(config["model_type"]) for config in SMALL.values()}
    assert len(types) > 60
    assert types <= FAMILIES.keys()


def built(config: dict[str, Any]) -> tuple[object, str]:
    """What a model is made of, and what is said of its config."""
    try:
        found = build(config, "model", "config.json")
    except OomlessError as error:
        return None, str(error)
    return (found.tensors, found.layers, found.draft), " ".join(found.warnings)


def places(config: dict[str, Any]) -> list[tuple[str, ...]]:
    """Where a language model's keys stand: at the top, or in a section of it."""
    inner = [
        key for key in ("text_config", "language_config", "llm_config") if isinstance(config.get(key), dict)
    ]
    return [(key,) for key in inner] or [()]


def with_key(config: dict[str, Any], place: tuple[str, ...], key: str, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    target = changed
    for section in place:
        target = target[section]
    target[key] = value
    if key == "use_sliding_window" and value:
        target |= {"sliding_window": 64, "max_window_layers": 0}  # without these the switch says nothing
    return changed


@pytest.mark.parametrize("key", sorted(ON))
@pytest.mark.parametrize("name", SMALL)
def test_a_switch_that_is_on_counts_or_is_named(name: str, key: str) -> None:
    for place in places(SMALL[name]):
        off, _ = built(with_key(SMALL[name], place, key, type(ON[key])()))
        on, said = built(with_key(SMALL[name], place, key, ON[key]))
        assert (
            on != off
            or key in said
            or "MTP layers are not counted" in said
            or key in MEANS_NOTHING.get(name, ())
        )


MEANS_NOTHING = {
    "glm4v": ("attention_bias",),
    "glm46v": ("attention_bias",),
    "glm4v_moe": ("num_nextn_predict_layers",),
    "internvl": ("attention_bias",),
    "internvl_chat": ("attention_bias",),
    "dots1": ("use_sliding_window",),
    "step3p5": ("use_sliding_window",),
    "step3p7": ("use_sliding_window",),
}
"""Families whose reader knows that a switch changes nothing: GLM-4V's class and Qwen2 under InternVL have
biases at queries, keys and values whatever is said, GLM-4.5V is published without its MTP layer, dots and
Step have windows by other keys."""


@pytest.mark.parametrize("key", sorted(ON))
@pytest.mark.parametrize("name", SMALL)
def test_a_switch_that_is_off_says_nothing(name: str, key: str) -> None:
    for place in places(SMALL[name]):
        _, said = built(with_key(SMALL[name], place, key, type(ON[key])()))
        assert f"understood, which may change memory: {key}" not in said
