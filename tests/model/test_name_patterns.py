"""Patterns from outside mean what Python's `re` says they mean, and cost no more for being hostile."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budget import budget
from command import call
from oomless import facts
from oomless.model.name_expressions import How, PatternError
from oomless.model.name_patterns import NamePatterns

atoms = st.sampled_from(
    ["a", "b", ".", r"\.", "1", r"\d", r"\w", "[ab]", "[^a]", "[a-c1.]", r"[\d.]", "[]a]", "^", "$", "{", "-"]
)
repeats = st.sampled_from(["", "", "*", "+", "?", "*?", "+?", "{2}", "{0}", "{1,}", "{,2}", "{1,3}"])


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Groups of expressions: in a row, beside each other, again."""
    group = st.builds(
        lambda opened, piece: opened + piece + ")", st.sampled_from(["(", "(?:", "(?P<x>"]), inner
    )
    piece = st.builds(str.__add__, st.one_of(atoms, group), repeats)
    row = st.lists(piece, min_size=1, max_size=4).map("".join)
    return st.lists(row, min_size=1, max_size=3).map("|".join)


expressions = st.recursive(st.builds(str.__add__, atoms, repeats), deeper, max_leaves=8)
ahead = st.builds(lambda sign, part: f"(?{sign}{part})", st.sampled_from("=!"), expressions)
names = st.text("ab1.-{", max_size=9)


@given(
    st.lists(st.tuples(st.one_of(st.just(""), ahead), expressions), min_size=1, max_size=3),
    st.sampled_from(["match", "search", "fullmatch"]),
    names,
    st.sampled_from([("",), ("", "a."), ("a.b.", "1", ".")]),
)
def test_a_list_of_patterns_means_what_re_says(
    drawn: list[tuple[str, str]], how: How, name: str, prefixes: tuple[str, ...]
) -> None:
    written = [
        look + each if not look or how != "search" else f"^{look}{each}"
        for look, each in drawn
        if not look or "|" not in each
    ]
    try:
        compiled = [re.compile(each) for each in written]
    except re.error:
        return  # a group named twice
    expected = any(getattr(each, how)(prefix + name) for each in compiled for prefix in prefixes)
    assert NamePatterns(written, how, prefixes=prefixes).finds([name]) == expected, written


SHOWN = {
    "^(?!.*experts).*gate$": ("match", "model.layers.3.mlp.gate", "model.layers.3.mlp.experts.gate"),
    "(?i)LM_HEAD": ("match", "lm_head.weight", "model.head"),
    r"blk\.([0-9]|1[0-5])\.ffn_(up|down|gate)_exps\.": (
        "search",
        "x.blk.15.ffn_up_exps.weight",
        "blk.16.ffn_up_exps.weight",
    ),
    r".*\x6cm_head": ("match", "a.lm_head", "a.mm_head"),
}


@pytest.mark.parametrize("expression", SHOWN)
def test_forms_that_configs_and_commands_write(expression: str) -> None:
    how, found, passed = SHOWN[expression]
    assert NamePatterns([expression], how).finds([found])  # type: ignore[arg-type]
    assert not NamePatterns([expression], how).finds([passed])  # type: ignore[arg-type]


def published() -> list[str]:
    """Every expression in a quantization_config of the catalogue."""
    found: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(key)
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        elif isinstance(value, str) and value.startswith("re:"):
            found.add(value[3:])

    for row in facts.table("catalogue"):
        walk(facts.model_config(row["name"]).get("quantization_config"))
    return sorted(found)


def test_every_published_expression_is_read() -> None:
    expressions = published()
    assert len(expressions) >= 5
    named = [
        f"{prefix}layers.{layer}.{rest}"
        for prefix in ("", "model.", "model.language_model.")
        for layer in (0, 1, 33)
        for rest in ("mlp.gate", "self_attn.q_proj", "mlp.experts.7.up_proj", "mlp.shared_experts.down_proj")
    ]
    for each in expressions:
        pattern = NamePatterns([each], "match")
        assert [pattern.finds([name]) for name in named] == [bool(re.match(each, name)) for name in named]


REFUSED = {
    r"(a)\1": "looks at what stands elsewhere",
    r"a(?=b)": "is not matched here",
    r"a(?<!b)": "is not matched here",
    r"\bmlp": "looks at what stands elsewhere",
    "a++": "possessive",
    "a{5000}": "positions",
    "((a{50}){50}){50}": "positions",
    "(" * 50 + "a" + ")" * 50: "groups within each other",
    "a" * 2_000: "more than 1,000 characters",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_cannot_be_matched_in_time_is_refused_with_its_reason(expression: str) -> None:
    with pytest.raises(PatternError, match=REFUSED[expression]) as found:
        NamePatterns([expression], "match", "config.json")
    assert found.value.valid
    assert found.value.message.startswith("config.json ")


@pytest.mark.parametrize("expression", ["a(", "a)", "[a", "*a", "a{3,1}", "a\\", "[b-a]", "(?P<x>a", "a|*"])
def test_what_is_no_expression_is_said(expression: str) -> None:
    with pytest.raises(PatternError) as found:
        NamePatterns([expression], "match")
    assert not found.value.valid


BOMBS = [
    "(?:[a-z_.0-9]|l|.)+Z",
    "(.*)*(.*)*(.*)*(.*)*(a|aa|[a-z]|.)*Z",
    "(b|bl|blk|l|k|[a-z]|.)*z",
    "(.*)*(.*)*(a|aa|[a-z]|.)*Z",
    "(a+)+$",
    "([a-zA-Z.]+)*Z",
    "(a|aa)+Z",
    "(a|a?)+Z",
    "(.*a){25}Z",
    ".*.*.*.*.*.*.*.*.*.*Z",
    "(\\w+\\.?)+Z",
    "(\\w*)*Z",
    "((\\w+)+)+Z",
    "(.+)+(.+)+Z",
    "(?:.|\\.|[.l])*?Z",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y|(.+.+)+Z",
    "(.{1,30}){1,30}Z",
    "([^Z]*[^Z]*)*Z",
    "(l*a*y*e*r*s*.*)*Z",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_whatever_way_they_come(bomb: str, tmp_path: Path) -> None:
    """From a config, an engine's command and a training file. Refused or answered: within the budget."""
    config = facts.model_config("deepseek-coder-1.3b") | {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {
                "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}
            },
            "ignore": ["re:" + bomb],
        }
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "axolotl.yaml").write_text(
        "base_model: deepseek-ai/DeepSeek-V2-Lite\nadapter: lora\nmicro_batch_size: 1\nsequence_len: 4096\n"
        f"lora_target_modules: {json.dumps(bomb)}\n",
        encoding="utf-8",
    )
    with budget(2.0):
        answers = [
            call("infer", str(tmp_path), "--gpu", "h200"),
            call(
                "infer", "--command", f"llama-server -m deepseek-v2-lite -ot '{bomb}=CPU'", "--gpu", "h200:8"
            ),
            call("train", "--gpu", "h100:8", "--from", str(tmp_path / "axolotl.yaml")),
        ]
    for answer in answers:
        assert answer.code in (0, 1, 2, 3, 4)
        assert "internal error" not in answer.err


def test_a_long_list_of_patterns_is_answered_or_refused(tmp_path: Path) -> None:
    config = facts.model_config("deepseek-coder-1.3b")
    for number in (1_000, 60_000):
        ignored = [f"re:x{each}.*y" for each in range(number)]
        config["quantization_config"] = {"quant_method": "fp8", "modules_to_not_convert": ignored}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with budget(2.0):
            answer = call("infer", str(tmp_path), "--gpu", "h200")
        assert answer.code in (0, 4), answer.err
