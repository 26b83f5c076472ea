"""Recipes for other tools: what each is given is the mix that was planned."""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import yaml  # type: ignore[import-untyped,unused-ignore]

from command import call
from oomless import facts
from oomless.compress.recipe import TOOLS, recipe
from oomless.compress.weights import CompressRequest, plan
from oomless.errors import OomlessError

pytestmark = pytest.mark.torch
Folders = dict[str, Path]
MIX = (("*.down_proj", "int8-g128"),)


def asked(checkpoints: Folders, to: str = "int4", **more: Any) -> CompressRequest:
    return CompressRequest(str(checkpoints["llama"]), to, **more)


def literal(script: str, name: str) -> Any:
    """The value that a script gives a name, or an argument of that name."""
    for node in ast.walk(ast.parse(script)):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def test_llmcompressor_gets_the_groups_that_we_would_write(checkpoints: Folders) -> None:
    request = asked(checkpoints, formats=MIX, calibrate="gptq")
    document = yaml.safe_load(recipe(request, "llmcompressor").files["recipe.yaml"])
    (body,) = document["quant_stage"]["quant_modifiers"].values()
    assert list(document["quant_stage"]["quant_modifiers"]) == ["GPTQModifier"]
    bits = {group["weights"]["num_bits"]: group["targets"] for group in body["config_groups"].values()}
    assert sorted(bits[8]) == [f"model.layers.{layer}.mlp.down_proj" for layer in range(3)]
    named = {*bits[4], *bits[8]}
    assert named == {each.name for each in plan(request).target.weights if each.codec and not each.why}
    assert body["ignore"] == ["lm_head"]


def test_gptqmodel_and_autoround_get_bits_by_name(checkpoints: Folders) -> None:
    request = asked(checkpoints, formats=MIX)
    script = recipe(request, "gptqmodel").files["run.py"]
    dynamic = literal(script, "dynamic")
    assert (literal(script, "bits"), literal(script, "group_size")) == (4, 128)
    assert dynamic["-:^lm_head$"] == {}
    assert dynamic[r"+:^model\.layers\.0\.mlp\.down_proj$"] == {"bits": 8, "group_size": 128, "sym": True}
    layers = literal(recipe(request, "autoround").files["run.py"], "layers")
    assert layers["lm_head"] == {"bits": 16}
    assert sum(each["bits"] == 8 for each in layers.values()) == 3


def test_modelopts_last_entry_wins(checkpoints: Folders) -> None:
    entries = literal(recipe(asked(checkpoints, formats=MIX), "modelopt").files["run.py"], "config")[
        "quant_cfg"
    ]
    assert entries[0] == {"quantizer_name": "*", "enable": False}
    assert entries[1]["cfg"] == {"num_bits": 4, "block_sizes": {-1: 128}}
    assert entries[-1] == {"quantizer_name": "*lm_head.*", "enable": False}
    assert sum(entry.get("cfg", {}).get("num_bits") == 8 for entry in entries) == 3


def test_llama_quantize_gets_k_quants_and_tensors_by_name(checkpoints: Folders) -> None:
    request = asked(checkpoints, "q4_k_m", formats=(("*.ffn_down", "q6_k"),), keep=("blk.0.attn_q",))
    lines = recipe(request, "llama-quantize").files["run.sh"].splitlines()
    words = shlex.split(lines[-1])
    assert words[0] == "llama-quantize"
    assert words[-1] == "Q4_K_M"
    types = [words[place + 1] for place, word in enumerate(words) if word == "--tensor-type"]
    assert types[0] == r"^blk\.0\.attn_q\.weight$=bf16"
    assert r"^blk\.2\.ffn_down\.weight$=q6_k" in types
    assert shlex.split(lines[-2])[:2] == ["oomless", "compress"]


def test_needs_are_those_of_a_measured_run(checkpoints: Folders) -> None:
    request = asked(checkpoints)
    found = recipe(request, "llmcompressor").needs
    source = plan(request).source
    assert found is not None
    assert found.cpu_s == pytest.approx(source.num_bytes / 81e6)
    assert found.host_bytes < 2 * source.num_bytes
    assert recipe(request, "modelopt").needs is None
    assert {row["tool"] for row in facts.table("recipe_runs")} <= set(TOOLS)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_command_writes_or_prints_them(checkpoints: Folders, tool: str, tmp_path: Path) -> None:
    to = "q4_0" if tool == "llama-quantize" else "int4"
    words = ("compress", str(checkpoints["llama"]), "--to", to, "--recipe", tool)
    printed = call(*words)
    assert printed.code == 0, printed.err
    document = json.loads(call(*words, "--json").out)
    assert document["schema"] == "oomless/recipe/1"
    written = call(*words, "--out", str(tmp_path / "recipe"))
    assert written.code == 0, written.err
    assert {path.name for path in (tmp_path / "recipe").iterdir()} == set(document["files"])
    for name, content in document["files"].items():
        assert (tmp_path / "recipe" / name).read_text() == content
        assert content in printed.out
        if name.endswith(".py"):
            compile(content, name, "exec")


@pytest.mark.parametrize(
    ("to", "tool", "said"),
    [
        ("int4", "awq", "awq"),
        ("nvfp4", "gptqmodel", "integers"),
        ("nf4", "llmcompressor", "compressed-tensors"),
        ("fp8-block", "modelopt", "fp8-block"),
        ("int4", "llama-quantize", "int4"),
    ],
)
def test_what_a_tool_does_not_make_is_refused(checkpoints: Folders, to: str, tool: str, said: str) -> None:
    with pytest.raises(OomlessError, match=said):
        recipe(asked(checkpoints, to), tool)
