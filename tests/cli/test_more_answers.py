"""Comparisons, pictures, saved answers, and the changes that would make it fit."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import oomless
from command import call
from oomless.cli.answer import answer_infer


def answer(capsys: pytest.CaptureFixture[str], model: str | None, **options: object) -> tuple[int, str]:
    code = answer_infer(model, {name: value for name, value in options.items() if value is not None})
    return code, capsys.readouterr().out


def test_a_saved_answer_asks_the_same_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = answer(
        capsys, "deepseek-v3.2", gpu="h200:8", kv_cache_dtype="fp8", context=4096, concurrency=7, json=True
    )
    saved = tmp_path / "answer.json"
    saved.write_text(first)

    code, second = answer(capsys, None, from_file=str(saved), json=True)

    assert (code, json.loads(second)) == (0, json.loads(first))


def test_a_comparison_has_a_column_for_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answer(capsys, "deepseek-r1", gpu="h200:8", compare="kv-cache-dtype=auto,fp8", json=True)

    answers = json.loads(text)["answers"]
    assert code == 0
    assert [each["kv_cache"]["bytes_per_token"] for each in answers] == [70272, 35136]


def test_a_picture_is_well_formed_and_shows_every_rank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "answer.svg"

    answer(capsys, "deepseek-r1", gpu="h100:16", plot=str(target), json=True)

    words = " ".join(element.text or "" for element in ElementTree.parse(target).iter())
    assert "pipeline stage 0" in words
    assert "pipeline stage 1" in words
    assert list(tmp_path.iterdir()) == [target]


def test_every_change_that_is_offered_fits() -> None:
    estimate = oomless.infer("deepseek-r1-distill-qwen-7b", "rtx-4090")

    changes = estimate.changes

    assert estimate.verdict == "does_not_fit"
    assert {change.flags.split(" ")[0] for change in changes} >= {
        "--kv-cache-dtype",
        "--quantization",
        "--max-model-len",
    }
    shorter = next(
        int(change.flags.split(" ")[1]) for change in changes if change.flags.startswith("--max-model-len")
    )
    assert oomless.infer("deepseek-r1-distill-qwen-7b", "rtx-4090", max_model_len=shorter).verdict == "fits"


def test_what_fits_needs_no_change() -> None:
    assert oomless.infer("deepseek-r1", "h200:8").changes == ()


def test_instances_divide_a_card() -> None:
    one = oomless.infer("profile-deepseek-lite-0.7b", "jetson-agx-orin-32gb", max_num_seqs=16)
    three = oomless.infer("profile-deepseek-lite-0.7b", "jetson-agx-orin-32gb", max_num_seqs=16, instances=3)

    assert three.hardware.card.memory_bytes == one.hardware.card.memory_bytes // 3
    assert three.kv_cache.pool_bytes < one.kv_cache.pool_bytes / 3


def test_every_change_is_one_to_the_question_as_it_was_asked() -> None:
    """Defaults that were resolved for the question (its batch, its share) are not kept for the changed
    one."""
    asked: dict[str, Any] = {"gpu": "l4", "engine_version": "0.5.5"}
    changes = oomless.infer("deepseek-r1-distill-llama-8b", **asked).changes
    shorter = next(
        int(change.flags.split(" ")[1]) for change in changes if change.flags.startswith("--max-model-len")
    )
    assert oomless.infer("deepseek-r1-distill-llama-8b", max_model_len=shorter, **asked).verdict == "fits"


def test_data_parallel_ranks_divide_the_load() -> None:
    one, eight = (
        oomless.infer(
            "qwen3-8b", f"h100:{dp}", tp=1, dp=dp, concurrency=64, context=1024, max_model_len=8192
        ).kv_cache.needed_bytes
        for dp in (1, 8)
    )
    assert eight < one / 7


@pytest.mark.parametrize(
    ("model", "gpu", "more"),
    [
        ("deepseek-v3", "m3-max", {"engine": "vllm"}),
        ("deepseek-r1", "mi250x:16", {}),
        ("gpt-oss-20b", "h100", {"engine_version": "0.6.6"}),
        ("deepseek-v3", "h200:8", {"engine": "vllm-ascend"}),
        ("glm-5", "910c:64", {"engine": "vllm-ascend", "kv_cache_dtype": "fp8", "tp": 32}),
    ],
)
def test_what_cannot_run_is_refused(model: str, gpu: str, more: dict[str, Any]) -> None:
    with pytest.raises(oomless.UnsupportedError):
        oomless.infer(model, gpu, **more)


def test_a_damaged_answer_is_refused(tmp_path: Path) -> None:
    answer = oomless.infer("deepseek-coder-1.3b", "t4").to_json()
    for name, value in (("concurrency", "x"), ("engine", 3), ("layout", [])):
        damaged = json.loads(json.dumps(answer))
        damaged["request"][name] = value
        path = tmp_path / "answer.json"
        path.write_text(json.dumps(damaged))
        with pytest.raises(oomless.OomlessError, match=name):
            answer_infer(None, {"from_file": str(path)})


def test_gpt_oss_stays_mxfp4_under_llama_cpp() -> None:
    assert oomless.infer("gpt-oss-20b", "rtx-4090", engine="llamacpp", context=8192).verdict == "fits"


@pytest.mark.parametrize(
    "nonsense",
    [
        {"engine": "llamacpp", "ubatch_size": -5},
        {"engine": "llamacpp", "n_gpu_layers": -1},
        {"engine": "llamacpp", "mla_attn": 9},
        {"engine": "llamacpp", "kv_cache_dtype": "fp8"},
        {"indexer_kv_dtype": "foo"},
    ],
)
def test_nonsense_of_every_engine_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(oomless.UsageError):
        oomless.infer("deepseek-v2-lite", "h100", **nonsense)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp", "trtllm", "transformers"])
def test_every_engine_s_answer_can_be_asked_again(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = answer(capsys, "deepseek-v2-lite", gpu="h100:2", engine=engine, context=2048, json=True)
    saved = tmp_path / "answer.json"
    saved.write_text(first)

    _, second = answer(capsys, None, from_file=str(saved), json=True)

    assert json.loads(second) == json.loads(first)


def test_a_saved_question_on_other_cards_has_no_values_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """max_num_seqs of a desktop card is 256, of an H100 1024: a default belongs to its card and its
    engine."""
    _, first = answer(
        capsys, "llama-3.1-8b", gpu="rtx-4090", engine_version="0.19.0", context=4096, json=True
    )
    saved = tmp_path / "answer.json"
    saved.write_text(first)

    _, second = answer(capsys, None, from_file=str(saved), gpu="h100", json=True)
    _, third = answer(capsys, None, from_file=str(saved), engine="sglang", json=True)

    requests = [json.loads(text)["request"] for text in (first, second, third)]
    assert [request["context"] for request in requests] == [4096] * 3
    assert [request["max_num_seqs"] for request in requests[:2]] == [256, 1024]
    assert (requests[1]["engine_version"], requests[2]["engine"]) == ("0.19.0", "sglang")
    assert requests[0]["given"] == ["context"]


def test_a_comparison_goes_on_after_a_variant_that_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"gpu": "h200:8", "compare": "kv-cache-dtype=auto,nvfp4_ds_mla"}
    code, text = answer(capsys, "deepseek-v3.2", **asked, json=True)
    answers = json.loads(text)["answers"]
    assert code == 0
    assert answers[0]["kv_cache"]["bytes_per_token"] == 78_324
    assert answers[1]["error"]["exit_code"] == 4
    assert "Blackwell" in answers[1]["error"]["message"]

    _, table = answer(capsys, "deepseek-v3.2", **asked)
    assert "cannot run" in table
    assert "nvfp4_ds_mla: " in table


def test_a_comparison_without_any_answer_fails_as_its_first_variant_does() -> None:
    with pytest.raises(oomless.OomlessError, match="nowhere"):
        answer_infer("deepseek-v3", {"gpu": "h200:8", "compare": "model=nowhere,nothing"})


def test_strict_counts_in_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"gpu": "h200:8", "context": 65536, "concurrency": 8, "compare": "kv-cache-dtype=auto,bfloat16"}
    codes = [answer(capsys, "deepseek-v3.2", **asked, **strict)[0] for strict in ({}, {"strict": True})]
    verdict = oomless.infer("deepseek-v3.2", "h200:8", context=65536, concurrency=8).verdict
    assert codes == [0, 3 if verdict == "tight" else 0]


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        ("qwen3-8b", {"num_redundant_experts": 4}, "has no experts"),
        ("qwen3-8b", {"tp": 1, "enable_expert_parallel": True}, "has no experts"),
        ("deepseek-v3", {"num_redundant_experts": 32, "tp": 8}, "only with --enable-expert-parallel"),
        ("qwen3-8b", {"speculative_config": "mtp"}, "no MTP or draft layers"),
        ("qwen3-8b", {"indexer_kv_dtype": "mxfp4"}, "no indexer"),
        ("qwen3-8b", {"limit_mm_per_prompt": "image=2"}, "reads no images"),
    ],
)
def test_a_flag_that_does_nothing_is_said(model: str, flags: dict[str, Any], said: str) -> None:
    warnings = oomless.infer(model, "h200:8", **flags).warnings
    assert [note for note in warnings if said in note]
    del flags[next(reversed([name for name in flags if name != "tp"]))]
    assert not [note for note in oomless.infer(model, "h200:8", **flags).warnings if said in note]


def test_a_pasted_command_takes_a_known_model_from_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answer(
        capsys, None, command="vllm serve deepseek-ai/DeepSeek-R1 -tp 8", gpu="h200:8", json=True
    )
    found = json.loads(text)
    assert (code, found["request"]["model"]) == (0, "deepseek-r1")
    assert [
        note
        for note in found["warnings"]
        if "deepseek-ai/DeepSeek-R1 is deepseek-r1 of the catalogue" in note
    ]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("llama.cpp", "mean llamacpp"),
        ("TensorRT-LLM", "mean trtllm"),
        ("sglng", "mean sglang"),
        ("mindie", "vllm-ascend"),
    ],
)
def test_an_engine_s_other_names_are_refused_with_ours(engine: str, said: str) -> None:
    refused = call("infer", "deepseek-v3", "--gpu", "h200:8", "--engine", engine)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_a_latent_that_every_tensor_rank_repeats_may_lie_apart() -> None:
    """V3.2 for 64 sequences of 32K on 8 B200: tensor parallelism repeats the cache, data-parallel attention
    with whole experts does not."""
    asked: dict[str, Any] = {"gpu": "b200:8", "kv_cache_dtype": "fp8", "context": 32768, "concurrency": 64}
    found = oomless.infer("deepseek-v3.2", **asked)
    assert found.verdict == "does_not_fit"
    change = next(each for each in found.changes if each.flags == "--tp 1 --dp 8 --enable-expert-parallel")
    other = oomless.infer("deepseek-v3.2", tp=1, dp=8, enable_expert_parallel=True, **asked)
    assert (other.verdict, other.headroom_bytes) == ("fits", change.headroom_bytes)
    dense = oomless.infer("deepseek-r1-distill-llama-70b", "h100:8", tp=2)
    assert not any("--dp" in each.flags for each in dense.changes)


def test_a_longest_sequence_below_the_one_that_is_held_is_said_to_be_the_certain_one() -> None:
    """llama.cpp's buffers grow with the context: 84,736 tokens fit for certain where 122,880 are tight."""
    words = "infer qwen3.5-27b --quantization Q4_K_M --gpu rtx-3090 --max-num-seqs 1 --engine-version 2025-11"
    tight, fits = (call(*words.split(), "--context", length).out for length in ("122880", "32768"))
    assert "1.05 sequences of 122,880, one of at most 84,736 for certain" in tight
    assert "for certain" not in fits


def test_rules_of_single_tensors_add_up() -> None:
    words = ("--gpu", "rtx-3090:2", "--engine", "llamacpp", "-ot", "blk.3.=CUDA1", "-ot", "exps=CPU")
    found = call("infer", "deepseek-v2-lite", *words, "--json")
    assert json.loads(found.out)["request"]["override_tensor"] == "blk.3.=CUDA1,exps=CPU"
