"""ik_llama.cpp by its builds: defaults, matrices of the host that cards are sent, drafts, its own types."""

from typing import Any

import pytest

import oomless
from oomless.engines.command_line import read_command
from oomless.model.gguf_model import as_gguf
from oomless.model.load import load
from oomless.truth.reconcile.log_model import model_name
from oomless.units import GIB, MIB

OF_629: dict[str, Any] = {
    "engine": "ik-llamacpp",
    "engine_version": "2025-07",
    "flash_attn": True,
    "ubatch_size": 2048,
    "max_num_seqs": 1,
    "context": 32768,
    "run_time_repack": True,
}


def buffers(found: oomless.ServingAnswer) -> list[float]:
    lines = ([line for line in each.lines if line.key.endswith("compute_buffer")] for each in found.ledgers)
    return [sum(line.bytes for line in of_card) / MIB for of_card in lines]


@pytest.mark.parametrize(
    ("quantization", "gpu", "override", "split", "logged"),
    [
        (
            "Q8_0",
            "rtx-5090+rtx-4090",
            r"blk\.(9|[1-8][0-9]|9[0-4])\.ffn_.*_exps=CPU",
            "11,89",
            [832.01, 1251],
        ),
        ("IQ3_K", "rtx-5090+rtx-4090", r"blk\.(3[5-9]|[4-9][0-9])\.ffn_.*_exps=CPU", "25,75", [1045, 1251]),
        ("IQ3_K", "rtx-5090", r"blk\.(1[5-9]|[2-9][0-9])\.ffn_.*_exps=CPU", None, [1264.01]),
    ],
)
def test_the_first_card_alone_is_sent_the_matrices_of_the_host(
    quantization: str, gpu: str, override: str, split: str | None, logged: list[float]
) -> None:
    """Logs of ik_llama.cpp#629, all with -rtr: no card reads interleaved rows of Q8_0, each those of IQ3_K;
    layers of the second card have their experts multiplied by the first."""
    found = oomless.infer(
        "qwen3-235b-a22b",
        gpu,
        quantization=quantization,
        override_tensor=override,
        tensor_split=split,
        **OF_629,
    )
    assert buffers(found) == pytest.approx(logged, rel=0.003)


def test_builds_by_default_kept_four_copies_of_the_host() -> None:
    """ik_llama.cpp#500 asked for 360,757 MiB on two cards, for 89,709 on the host; not so since #751."""
    rule = r"blk.1[2-9].ffn.=CPU,blk.[2-8][0-9].ffn.=CPU,blk.9[0-3].ffn.*=CPU"
    asked = {**OF_629, "ubatch_size": 512, "cache_type_k": "q8_0", "cache_type_v": "q8_0"}

    def most(day: str, gpu: str = "rtx-3090:2") -> float:
        words = {**asked, "engine_version": day, "quantization": "IQ3_K", "override_tensor": rule}
        found = oomless.infer("qwen3-235b-a22b", gpu, **words)
        return max(line.high_bytes for line in found.ledgers[0].lines if line.key.endswith("compute_buffer"))

    assert most("2025-06-05") / MIB == pytest.approx(360757, rel=0.01)
    assert most("2025-09-02") < 2 * GIB
    assert most("2025-06-05", "rtx-3090") < 2 * GIB


@pytest.mark.parametrize(
    ("day", "flash", "mode"),
    [("2025-05-01", False, 0), ("2025-05-10", False, 1), ("2025-10-26", True, 1), ("2025-11-12", True, 3)],
)
def test_defaults_came_one_after_the_other(day: str, flash: bool, mode: int) -> None:
    """#394, #863, #943."""
    found = oomless.infer(
        "deepseek-v3-0324", "rtx-5090", engine="ik-llamacpp", engine_version=day, cpu_moe=True, context=16384
    )
    assert (found.request.flash_attn, found.request.mla_attn) == (flash, mode)


def test_scores_without_flash_attention_are_counted() -> None:
    """A log of ik_llama.cpp#394: 510 MiB of cache for 15 layers, 4,522 MiB of buffer on the first card."""
    rule = "blk.(0|1|2|3|4|5|6).ffn.=CUDA0,ffn.*=CPU"
    found = oomless.infer(
        "deepseek-v3-0324",
        "rtx-5090",
        engine="ik-llamacpp",
        engine_version="2025-05",
        mla_attn=1,
        override_tensor=rule,
        quantization="Q2_K",
        context=16384,
    )
    assert buffers(found) == pytest.approx([4522], rel=0.001)


@pytest.mark.parametrize(
    ("model", "word", "published_gib"),
    [
        ("glm-4.5-air", "IQ4_KSS", 54.1),
        ("glm-4.5-air", "IQ5_K", 77.7),
        ("glm-4.5", "IQ4_KSS", 176.5),
        ("glm-4.5", "IQ2_KT", 109.3),
    ],
)
def test_mixes_of_its_types_have_about_the_published_size(
    model: str, word: str, published_gib: float
) -> None:
    """Cards of ubergarm's and AesSedai's files; their recipes are in no table."""
    file = as_gguf(load(model), word)
    assert file.size_spread is not None
    low, high = (
        sum(
            each.num_bytes
            * (file.size_spread.experts if each.role == "expert" else file.size_spread.others)[end]
            for each in file.tensors
        )
        for end in (0, 1)
    )
    assert low < published_gib * GIB < high
    assert file.checkpoint_bytes / GIB == pytest.approx(published_gib, rel=0.04)


@pytest.mark.parametrize(
    "said",
    ["llama-sweep-bench -m x.gguf -c 8192 -fmoe", "server -v -t 5 --mlock -m /m/x.gguf -c 8192 -ngl 4"],
)
def test_its_bench_and_the_server_of_2024_are_known(said: str) -> None:
    found = read_command(said)
    assert (found.engine, found.flags["max_model_len"], found.unknown) == ("llamacpp", 8192, ())


def test_a_stage_of_its_speculation_drafts() -> None:
    found = read_command(
        "llama-server -m x.gguf -mla 3 --spec-type ngram-mod:n_max=64 --spec-type mtp:n_max=3"
    )
    assert found.engine == "ik-llamacpp"
    assert found.flags["speculation"].tokens == 3


def test_a_file_of_its_types_names_model_and_engine() -> None:
    file = "/m/Qwen3-235B-A22B-mix-IQ3_K-00001-of-00003.gguf"
    assert read_command(f"llama-server -m {file} -ngl 99").engine == "ik-llamacpp"
    assert read_command("llama-server -m x-Q4_K_M.gguf -ngl 99").engine == "llamacpp"
    assert model_name(file) == "qwen3-235b-a22b"


@pytest.mark.parametrize("mode", ["graph", "attn"])
def test_its_own_ways_to_cut_layers_are_counted_as_layers(mode: str) -> None:
    words: dict[str, Any] = {"engine": "ik-llamacpp", "quantization": "Q4_K_M", "context": 8192}
    found = oomless.infer("qwen3-32b", "rtx-3090:2", split_mode=mode, **words)
    assert found.verdict == "fits"
    assert len(found.ledgers) == 2


def drafting(**words: Any) -> oomless.ServingAnswer:
    """The command of club-3090's ik-llama/mtp.yml of May 2026, as far as it counts."""
    asked: dict[str, Any] = {
        "engine": "ik-llamacpp",
        "engine_version": "2026-05",
        "quantization": "IQ4_KS",
        "max_num_seqs": 1,
        "ubatch_size": 1024,
        "context": 163840,
        "cache_type_k": "q4_0",
        "cache_type_v": "q4_0",
        "speculation": '{"method": "mtp", "num_speculative_tokens": 2}',
        "flash_attn": True,
    }
    return oomless.infer("qwen3.6-27b", "rtx-3090", **{**asked, **words})


def test_a_file_that_drafts_has_the_layer_that_does() -> None:
    """ik_llama.cpp#1953: 12,777.18 MiB of layers and 1,718.71 of the output and the layer that drafts."""
    found = drafting().ledgers[0].by_category()["weights"]
    assert found / MIB == pytest.approx(12777.18 + 1718.71, rel=5e-4)
    assert drafting(speculation=None).ledgers[0].by_category()["weights"] / MIB == pytest.approx(
        14060.6, rel=1e-4
    )


def test_its_flash_attention_copies_what_is_not_f16() -> None:
    """Of the model and of its draft, whose cache has the model's types: 160 Ki cells x 1,024 x 2 x 2 B."""
    sizes = {line.key: line.bytes / MIB for line in drafting().ledgers[0].lines}
    assert sizes["temporaries.running"] == 2 * 640
    assert sizes["activations.draft_context"] == pytest.approx(180 + 1072, abs=1)
    keys = [line.key for line in drafting(cache_type_k="f16", cache_type_v="f16").ledgers[0].lines]
    assert "temporaries.running" not in keys
