"""Releases compare as packaging says; every rule of facts/engine_rules.csv is one that its engine reads."""

import json
import shlex
from typing import Any

import pytest
from packaging.version import Version

from command import call
from oomless import facts
from oomless.engines.ktransformers.release import RELEASES as KTRANSFORMERS
from oomless.engines.llamacpp.release import IK_BUILDS, LLAMACPP_BUILDS, OLLAMA_BUILDS
from oomless.engines.lmdeploy.release import RELEASES as LMDEPLOY
from oomless.engines.mlx import RELEASES as MLX
from oomless.engines.releases import ByFamily, Families, Releases, RuleRow, first_with, rule_rows
from oomless.engines.sglang.release import RELEASES as SGLANG
from oomless.engines.transformers.release import RELEASES as TRANSFORMERS
from oomless.engines.trtllm.release import RELEASES as TRTLLM
from oomless.engines.vllm.release import RELEASES as VLLM
from oomless.engines.vllm_ascend import RELEASES as ASCEND
from oomless.engines.vllm_hpu import RELEASES as HPU
from oomless.errors import UsageError
from oomless.facts.release import Release, read_release
from oomless.model.families import FAMILIES

Known = Releases[Any]
ALL: tuple[Known, ...] = (
    VLLM,
    ASCEND,
    HPU,
    SGLANG,
    TRTLLM,
    LMDEPLOY,
    MLX,
    KTRANSFORMERS,
    TRANSFORMERS,
    LLAMACPP_BUILDS,
    IK_BUILDS,
    OLLAMA_BUILDS,
)
BY_NAME = {each.engine: each for each in ALL}


def fields_of(releases: Known) -> dict[str, object]:
    """Return the fields of an engine's rules with the values that they have where no row holds."""
    kind = type(releases.at(None))
    return {name: getattr(kind, name) for name in kind.__annotations__}


PLAIN = [
    "0.5",
    "0.5.5",
    "0.7.0",
    "0.9",
    "0.10",
    "0.10.1",
    "0.16.0",
    "0.33.0",
    "1.0",
    "4.57",
    "5.24",
    "10.0.0.1",
]
WRITTEN = ["v0.6.5", "0.8.5 (V0)", "0.8.5 (V1)", "0.11.0rc2", "0.19.0+cu128", "1.3.0.dev12"]


@pytest.mark.parametrize("first", PLAIN)
@pytest.mark.parametrize("second", PLAIN)
def test_versions_compare_as_packaging_says(first: str, second: str) -> None:
    ours, theirs = (
        (tuple(read_release(text)) for text in (first, second)),
        (Version(text).release for text in (first, second)),
    )

    def padded(numbers: Release) -> Release:
        return numbers + (0,) * (4 - len(numbers))

    one, two = (padded(each) for each in ours)
    three, four = (padded(each) for each in theirs)
    assert (one < two, one == two) == (three < four, three == four)


@pytest.mark.parametrize("text", WRITTEN)
def test_what_follows_the_numbers_does_not_count(text: str) -> None:
    assert read_release(text) == Version(text.partition(" ")[0]).release


@pytest.mark.parametrize("text", ["0.4.6.post2", "v0.8.5post1 (V0)"])
def test_a_post_release_comes_after_its_release(text: str) -> None:
    said = Version(text.partition(" ")[0])
    assert read_release(text) == (*said.release, said.post)


@pytest.mark.parametrize("text", ["", "x", "0..1", "-1", "1e5", "0.19-1x", "9" * 5000, "0.1 || 0.2"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_release(text)


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_a_version_and_a_date_are_not_taken_for_each_other(releases: Known) -> None:
    other = "0.19.0" if releases in (LLAMACPP_BUILDS, IK_BUILDS, OLLAMA_BUILDS) else "2026-08"
    with pytest.raises(UsageError, match=r"is no (date|version)"):
        releases.at(other)


def test_every_row_is_of_an_engine_that_is_known_and_says_where_it_is_from() -> None:
    for row in facts.table("engine_rules"):
        assert set(row["engine"].split()) <= set(BY_NAME), row
        assert len(row["source"]) > 5, row
        if row["since"] and row["until"]:
            assert read_release(row["since"]) < read_release(row["until"]), row


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_every_rule_is_read_and_every_field_has_a_row(releases: Known) -> None:
    rules = {row.rule for row in rule_rows(releases.engine)}
    fields = set(fields_of(releases))
    assert rules <= fields
    if releases in (
        LLAMACPP_BUILDS,
        IK_BUILDS,
        OLLAMA_BUILDS,
    ):  # forks of one record: a rule may be of one of them alone
        fields = set()
    assert fields <= rules


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_at_most_one_row_of_a_rule_holds_at_once(releases: Known) -> None:
    rows = rule_rows(releases.engine)
    edges = {each for row in rows for each in (row.since, row.until) if each}
    for edge in edges | {()}:
        holding = [row.rule for row in rows if row.holds(edge) and not isinstance(row.value, tuple)]
        assert sorted(holding) == sorted(set(holding)), edge


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_what_a_rule_gives_is_of_the_type_of_its_field(releases: Known) -> None:
    defaults = fields_of(releases)
    for row in rule_rows(releases.engine):
        for kind in (bool, Families, ByFamily):
            assert isinstance(row.value, kind) == isinstance(defaults[row.rule], kind), row


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_families_of_a_rule_are_known_and_named_once_at_a_time(releases: Known) -> None:
    rows: list[tuple[RuleRow, list[str]]] = []
    for row in rule_rows(releases.engine):
        match row.value:
            case Families() as families:
                rows.append((row, [*families]))
            case ByFamily() as numbers:
                rows.append((row, [each for each, _ in numbers]))
    for row, names in rows:
        for each in names:
            assert any(family in Families((each,)) for family in FAMILIES), row
    for edge in {row.since for row, _ in rows}:
        named = [(row.rule, each) for row, names in rows if row.holds(edge) for each in names]
        assert sorted(named) == sorted(set(named)), edge


def test_families_of_several_rows_are_put_together() -> None:
    assert [*VLLM.at("0.15.1").adapts_ends] == ["llama", "mistral", "mixtral"]
    assert {"qwen3", "llama"} <= {*VLLM.at("0.16").adapts_ends}


def test_every_field_of_the_forks_has_a_row_of_one_of_them() -> None:
    rules = {
        row.rule for each in (LLAMACPP_BUILDS, IK_BUILDS, OLLAMA_BUILDS) for row in rule_rows(each.engine)
    }
    assert set(fields_of(LLAMACPP_BUILDS)) == rules


@pytest.mark.parametrize("releases", ALL, ids=lambda each: each.engine)
def test_releases_that_were_read_stand_in_order(releases: Known) -> None:
    numbers = [read_release(text) for text in releases.versions]
    assert numbers == sorted(numbers)
    assert releases.latest == releases.versions[-1]


def test_a_release_that_is_too_old_takes_the_first_rules_that_are_known() -> None:
    assert VLLM.at("0.1.7").release == (0, 2)
    assert SGLANG.at("0.0.9").release == (0, 1)


def test_a_version_of_two_numbers_is_the_newest_of_its_kind_in_sglang_alone() -> None:
    assert SGLANG.at("0.5").release == (0, 5, 23)
    assert SGLANG.at("0.4.6.post2").release == (0, 4, 6, 2)
    assert VLLM.at("0.8").release == (0, 8)


def test_the_first_engine_runs_where_it_is_the_default_or_named() -> None:
    assert [VLLM.at(text).v0 for text in ("0.7.3", "0.8.5", "0.8.5 (V0)", "0.10.2 (V0)", "0.11 (V0)")] == [
        True,
        False,
        True,
        True,
        False,
    ]


FALLS_BACK = {
    "--gpu t4 --dtype float16 --engine-version 0.10.0": True,
    "--gpu t4 --dtype float16 --engine-version 0.10.2": False,
    "--gpu l40s --kv-cache-dtype fp8 --engine-version 0.9.2": True,
    "--gpu h100 --kv-cache-dtype fp8 --engine-version 0.9.2": False,
    "--gpu b200 --kv-cache-dtype fp8 --engine-version 0.9.2": True,
    "--gpu b200 --kv-cache-dtype fp8 --engine-version 0.10.0": False,
    "--gpu l40s --kv-cache-dtype fp8 --engine-version 0.11.0": False,
    "--gpu l40s:2 --tp 1 --pp 2 --engine-version 0.8.5": True,
    "--gpu l40s:2 --tp 1 --pp 2 --engine-version 0.9.0": False,
    "--gpu mi300x --engine-version 0.8.5": True,
    "--gpu mi300x --engine-version 0.9.0": False,
    "--gpu l40s --kv-cache-dtype fp8 --engine-version '0.9.2 (V1)'": False,
}


@pytest.mark.parametrize("words", FALLS_BACK)
def test_what_the_second_engine_cannot_serve_falls_back_to_the_first(words: str) -> None:
    """engine/arg_utils.py of 0.8.5 to 0.10.2, _is_v1_supported_oracle."""
    answer = json.loads(
        call("infer", "qwen3-8b", *shlex.split(words), "--max-model-len", "4096", "--json").out
    )
    assert ("V0" in answer["request"]["engine_version"]) is FALLS_BACK[words]


@pytest.mark.parametrize(
    ("variable", "version"),
    [("VLLM_USE_V1=0", "0.8.5 (V0)"), ("VLLM_USE_V2_MODEL_RUNNER=1", "0.8.5 (MRV2)"), ("A=1", "0.8.5")],
)
def test_a_variable_before_the_program_chooses_the_engine(variable: str, version: str) -> None:
    words = (
        "infer",
        "--command",
        f"{variable} vllm serve Qwen/Qwen3-8B --max-model-len 4096",
        "--gpu",
        "l40s",
    )
    answer = json.loads(call(*words, "--engine-version", "0.8.5", "--json").out)
    assert answer["request"]["engine_version"] == version
    assert ("asked for by the command" in call(*words).out) is (variable != "A=1")


@pytest.mark.parametrize(
    ("started", "release"),
    [
        ("docker run vllm/vllm-openai:v0.10.2 --model m", "0.10.2 (FlashInfer)"),
        (
            "docker run -e VLLM_USE_FLASHINFER_SAMPLER=0 vllm/vllm-openai:v0.10.2 --model m",
            "0.10.2 (no FlashInfer)",
        ),
        ("docker run vllm/vllm-openai:v0.8.5 --model m", "0.8.5 (FlashInfer)"),
        ("docker run vllm/vllm-openai:v0.7.3 --model m", "0.7.3"),
    ],
)
def test_the_image_of_vllm_has_flashinfer(started: str, release: str) -> None:
    """0.8 sorts where FlashInfer is 0.2.3 or later, and its image has 0.2.1; later ones take any
    (topk_topp_sampler.py, docker/Dockerfile)."""
    words = ("infer", "llama-3.1-8b", "--command", started, "--gpu", "a100-80gb", "--json")
    assert json.loads(call(*words).out)["request"]["engine_version"] == release


def test_graphs_that_are_not_tried_leave_their_room_to_the_cache() -> None:
    """245,840 and 769,888 tokens of cache, 106.7 and 334.2 requests (vllm#45178), with the other flags of
    InferenceX minimaxm2.5_fp4_b200.sh."""
    words = ("infer", "--gpu", "b200:2", "--engine-version", "0.22.1", "--quantization", "nvfp4", "--json")
    start = (
        "vllm serve MiniMaxAI/MiniMax-M2.5 -dp 2 --enable-expert-parallel --max-model-len 2304 "
        "--gpu-memory-utilization 0.90 --kv-cache-dtype fp8 --max-cudagraph-capture-size 2048 "
        "--max-num-batched-tokens 2048 --no-enable-prefix-caching"
    )
    variable = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0"
    tried, untried = (
        json.loads(call(*words, "--command", each).out) for each in (start, f"{variable} {start}")
    )
    assert tried["kv_cache"]["max_tokens"] == pytest.approx(245_840, rel=0.02)
    assert untried["kv_cache"]["max_tokens"] == pytest.approx(769_888, rel=0.02)


def test_graphs_are_captured_whether_they_were_tried_or_not() -> None:
    """Qwen3.8-27B on consumer Blackwell takes 5 to 7 GiB while it captures (vLLM recipes#810, #831)."""
    words = ("infer", "qwen3.8-27b-fp8", "--gpu", "rtx-pro-6000", "--engine-version")
    assert json.loads(call(*words, "0.27.0 (graphs untried)", "--json").out)["verdict"] == "tight"


def test_rules_are_not_changed() -> None:
    with pytest.raises(AttributeError):
        VLLM.at("0.19.0").graph_step = 4


def test_where_a_rule_begins_is_written_as_people_write_it() -> None:
    assert first_with("sglang", "serves_v4") == "0.5.11"


@pytest.mark.parametrize(
    ("version", "text", "tokens", "eager"),
    [
        ("0.7.3", "0.7.3", 40960, True),
        ("0.8.5", "0.8.5 (V0)", 40960, True),
        ("0.8.5 (V1)", "0.8.5 (V1)", 2048, False),
        ("0.9.1", "0.9.1", 40960, False),
    ],
)
def test_ascend_runs_the_first_engine_without_graphs_or_chunks(
    version: str, text: str, tokens: int, eager: bool
) -> None:
    """Logs of 0.8.5: npu is experimental on VLLM_USE_V1=1, falling back to V0; NPU compilation support
    pending; the model's long length may cause OOM (vllm-ascend platform.py; engine/arg_utils.py, is_gpu)."""
    words = ("--gpu", "ascend-910b", "--engine", "vllm-ascend", "--engine-version", version, "--json")
    request = json.loads(call("infer", "qwen3-8b", *words).out)["request"]
    assert (request["engine_version"], request["max_num_batched_tokens"]) == (text, tokens)
    assert request["enforce_eager"] is eager


@pytest.mark.parametrize(
    ("rule", "without", "having"),
    [
        ("v0_fills_with_images", "0.5.0.post1", "0.5.1"),
        ("v0_tokens_of_images", "0.5.5", "0.6.0"),
        ("v0_cuts_cached_prefixes", "0.6.0", "0.6.1"),
        ("v1_caches_no_fp8", "0.8.2", "0.8.1"),
        ("fuses_qkv_a", "0.9.2", "0.10.0"),
        ("v1_serves_slots", "0.10.0", "0.10.1"),
        ("keeps_shared_experts_whole", "0.10.2", "0.11.0"),
        ("gathers_heads_of_images", "0.11.1", "0.11.0"),
        ("chooses_attention_by_order", "0.11.0", "0.11.1"),
        ("attends_turing_by_flashinfer", "0.11.0", "0.11.1"),
        ("splits_latents", "0.11.0", "0.11.1"),
        ("captures_with_and_without_adapters", "0.11.0", "0.11.1"),
        ("scans_by_flashinfer_on_hopper", "0.16.0", "0.17.0"),
        ("fuses_indexer_inputs", "0.19.1", "0.20.0"),
        ("raises_batch_to_items", "0.21.0", "0.22.0"),
        ("scans_by_flashinfer_on_sm10", "0.21.0", "0.22.0"),
        ("drafts_by_dspark", "0.24.0", "0.25.0"),
        ("scores_index_beside_queries", "0.27.1", "0.28.0"),
        ("scans_by_flashinfer_on_sm12", "0.29.0", "0.30.0"),
    ],
)
def test_a_rule_of_vllm_ends_and_begins_where_its_source_does(rule: str, without: str, having: str) -> None:
    assert (bool(getattr(VLLM.at(without), rule)), bool(getattr(VLLM.at(having), rule))) == (False, True)


def test_blackwell_has_blocks_of_128_latents_from_0_10_1_on() -> None:
    assert [VLLM.at(each).blackwell_mla_block for each in ("0.10.0", "0.10.1", "0.14.1", "0.16.0")] == [
        16,
        128,
        128,
        64,
    ]
