"""What llama-server changes by itself (common/fit.cpp): the layers that do not fit stay on the host."""

import json
import re
from typing import Any

import pytest

from command import call
from oomless import infer
from oomless.api.screen import verdict_line
from oomless.api.serving import ServingAnswer
from oomless.errors import UsageError
from oomless.units import GIB, MIB

LLAMA_70B = "deepseek-r1-distill-llama-70b"


def asked(model: str, gpu: str, **flags: Any) -> ServingAnswer:
    given: dict[str, Any] = {"engine": "llamacpp", "quantization": "Q4_K_M", "max_model_len": 8192, **flags}
    return infer(model, gpu, offline=True, **given)


def without_experts(answer: ServingAnswer) -> list[int]:
    """The layers whose experts, or a part of them, the answer's rules leave out."""
    names = re.findall(r"blk\\\.(\(?[\d|]+\)?)", answer.request.override_tensor or "")
    return sorted(int(layer) for name in names for layer in name.strip("()").split("|"))


def test_a_dense_model_keeps_as_many_layers_on_the_card_as_leave_a_gib_free() -> None:
    found = asked(LLAMA_70B, "rtx-4090")
    assert found.verdict == "fits"
    assert found.headroom_bytes >= GIB
    layers = found.request.n_gpu_layers or 0
    assert 0 < layers < 81
    one_more = asked(LLAMA_70B, "rtx-4090", n_gpu_layers=layers + 1)
    assert one_more.headroom_bytes < GIB
    assert f"{layers} of 81 layers on the cards; the rest is on the host" in found.warnings[0]
    assert found.ram_bytes > (81 - layers) * 400 * MIB


def test_more_of_it_stays_on_more_memory() -> None:
    layers = [
        asked(LLAMA_70B, gpu).request.n_gpu_layers or 0 for gpu in ("rtx-3060", "rtx-4090", "rtx-4090:2")
    ]
    assert layers == sorted(layers)
    assert layers[0] < layers[1] < layers[2]


@pytest.mark.parametrize("flags", [{"n_gpu_layers": 81}, {"n_gpu_layers": "all"}, {"fit": False}])
def test_what_is_set_by_hand_is_an_oom(flags: dict[str, object]) -> None:
    found = asked(LLAMA_70B, "rtx-4090", **flags)
    assert (found.verdict, found.starts) == ("does_not_fit", False)


def test_builds_before_it_do_not() -> None:
    assert asked(LLAMA_70B, "rtx-4090", engine_version="2025-11").verdict == "does_not_fit"
    assert asked(LLAMA_70B, "rtx-4090", engine_version="2026-02").verdict == "fits"
    assert asked(LLAMA_70B, "rtx-4090", engine="ik-llamacpp").verdict == "does_not_fit"


def test_what_was_fitted_has_no_doubt_of_what_was_weighed() -> None:
    """ollama#12846, a picture's buffer too: the engine measures it. llama.cpp#18181: --fit counted no mmproj,
    and #18111 ran out of memory."""
    weighed = infer("qwen3-vl-30b-a3b", "rtx-3090", engine="ollama", engine_version="0.12.7", offline=True)
    assert weighed.verdict == "fits"
    assert weighed.ledgers[0].low_bytes == weighed.ledgers[0].high_bytes == weighed.ledgers[0].total_bytes
    words = ("infer", "--gpu", "rtx-3060-12gb", "--engine-version", "b7437", "--json", "--command")
    server = "llama-server -m gemma-3-27b-it-q4_0.gguf"
    found = (call(*words, server + more) for more in ("", " --mmproj mmproj-27B.gguf"))
    assert [json.loads(each.out)["verdict"] for each in found] == ["fits", "tight"]


def test_fit_ignored_what_drafts_for_some_weeks() -> None:
    """llama.cpp#23472, #23485: the context was fitted as if no layer drafted."""

    def length(build: str) -> int:
        words = "llama-server -m Qwen3.6-27B-MTP-Q4_K_M.gguf -np 1 --spec-type draft-mtp --fit on"
        found = call("infer", "--gpu", "rtx-3090", "--engine-version", build, "--json", "--command", words)
        return int(json.loads(found.out)["request"]["max_model_len"])

    assert length("b9297") > length("b9305") + 8192


def test_ik_fits_where_it_is_told() -> None:
    """ik_llama.cpp#1501 of March 2026: --fit takes all layers, whatever -ngl says."""
    for month, fit, verdict in (("2026-05", True, "fits"), ("2026-02", True, "does_not_fit")):
        words = {"engine": "ik-llamacpp", "engine_version": month, "fit": fit, "n_gpu_layers": 999}
        assert asked(LLAMA_70B, "rtx-4090", **words).verdict == verdict
    assert asked(LLAMA_70B, "rtx-4090", engine="ik-llamacpp", engine_version="2026-05").starts is False
    server = "llama-server -m Qwen3.6-35B-A3B-IQ4_K.gguf -mtp --fit --fit-margin 3072"
    said = call("infer", "--gpu", "rtx-3090", "--engine-version", "2026-05", "--command", server, "--json")
    told = json.loads(said.out)
    assert (told["request"]["engine"], told["request"]["fit_target"]) == ("ik-llamacpp", 3072)
    assert any(line["owner"] == "draft" for line in told["ranks"][0]["lines"])


def test_what_fits_is_left_alone() -> None:
    found = asked("qwen3-8b", "rtx-4090")
    assert (found.request.n_gpu_layers, found.request.override_tensor) == (37, None)
    assert not [note for note in found.warnings if "--fit" in note]


def test_what_is_tight_by_hand_has_layers_on_the_host_before() -> None:
    flags = {"quantization": "UD-Q4_K_XL", "engine_version": "b9849"}
    assert asked("qwen3.5-9b", "6GiB", fit=False, **flags).verdict == "tight"
    found = asked("qwen3.5-9b", "6GiB", **flags)
    assert (found.verdict, found.headroom_bytes >= GIB) == ("fits", True)
    assert "of 33 layers on the cards" in found.warnings[0]


def test_a_context_that_nobody_set_is_shortened_first() -> None:
    found = asked("deepseek-r1-distill-qwen-32b", "rtx-4090", max_model_len=None)
    assert (found.verdict, found.request.n_gpu_layers) == ("fits", 65)
    assert 4096 < found.request.max_model_len < 131072
    assert found.request.max_model_len % 256 == 0
    longer = asked(
        "deepseek-r1-distill-qwen-32b", "rtx-4090", max_model_len=found.request.max_model_len + 256, fit=False
    )
    assert longer.headroom_bytes < GIB
    least = asked(LLAMA_70B, "rtx-4090", max_model_len=None, fit_ctx=8192)
    assert least.request.max_model_len == 8192
    assert "a context of 8,192 tokens, " in least.warnings[0]


def test_experts_of_the_last_layers_stay_on_the_host() -> None:
    found = asked("qwen3-30b-a3b", "rtx-3060", max_model_len=16384)
    assert (found.verdict, found.request.n_gpu_layers) == ("fits", 49)
    away = without_experts(found)
    assert away == list(range(away[0], 49))  # the output, as llama.cpp counts it, has none
    assert f"{len(away)} of them without their experts" in found.warnings[0]
    assert found.headroom_bytes >= GIB


def test_a_card_too_small_for_all_but_the_experts_leaves_layers_too() -> None:
    found = asked("deepseek-r1", "rtx-3060", max_model_len=4096)
    assert found.verdict in ("fits", "tight")
    assert (found.request.n_gpu_layers or 0) < 62
    assert found.ram_bytes > 340 * GIB


def test_several_cards_are_filled_one_by_one() -> None:
    found = asked("deepseek-r1", "h100:4")
    shares = [int(share) for share in (found.request.tensor_split or "").split(",")]
    assert (found.verdict, sum(shares)) == ("fits", 62)
    assert min(ledger.headroom_bytes for ledger in found.ledgers) >= GIB
    assert shares[-1] == max(shares)  # the last one has the layers without experts


def test_ollama_always_does_so_and_keeps_its_context() -> None:
    found = infer(LLAMA_70B, "rtx-4090", engine="ollama", offline=True)
    assert (found.verdict, found.request.max_model_len) == ("fits", 32768)
    assert 0 < (found.request.n_gpu_layers or 0) < 81


@pytest.mark.parametrize(
    ("release", "gpu", "layers", "slots"),
    [("0.1.48", "rtx-4090", 33, 1), ("0.5.7", "rtx-4090", 20, 4), ("0.5.7", "rtx-4060", 20, 1)],
)
def test_four_sequences_need_room_for_the_layers_asked(
    release: str, gpu: str, layers: int, slots: int
) -> None:
    """PredictServerFit of llm/memory.go; to 0.1.48 it was one sequence (17b7186cd came with 0.2.0)."""
    words = {"engine": "ollama", "engine_version": release, "n_gpu_layers": layers}
    assert asked("llama-3.1-8b", gpu, **words).request.max_num_seqs == slots


def test_ollama_took_four_sequences_where_all_layers_then_fit() -> None:
    """server/sched.go of 0.2.0 to 0.6.6: each has the whole context; where they do not fit it is one."""
    old = "0.5.7"
    small = infer("llama-3.1-8b", "rtx-4090", engine="ollama", engine_version=old, offline=True)
    assert small.kv_cache.needed_bytes == 4 * 2048 * small.kv_cache.bytes_per_token
    large = infer(
        "llama-3.1-8b", "rtx-4060:1", engine="ollama", engine_version=old, context=8192, offline=True
    )
    assert (large.verdict, large.request.max_num_seqs) == ("fits", 1)
    later = infer("llama-3.1-8b", "rtx-4090", engine="ollama", engine_version="0.12.9", offline=True)
    assert later.kv_cache.needed_bytes == 4096 * later.kv_cache.bytes_per_token


def test_ollama_left_whole_layers_to_the_host_before_it_ran_llama_server() -> None:
    """assignLayers of llm/server.go to 0.24.0 counts a layer with its experts; 0.30.0 starts llama-server."""
    old, new = (
        infer("qwen3-30b-a3b", "rtx-4080", engine="ollama", engine_version=release, offline=True)
        for release in ("0.24.0", "0.30.0")
    )
    assert (old.verdict, old.request.override_tensor) == ("fits", None)
    assert 0 < (old.request.n_gpu_layers or 0) < 49
    assert not [note for note in old.warnings if "--fit" in note or "experts" in note]
    assert (new.request.n_gpu_layers, bool(without_experts(new))) == (49, True)
    for placed in ({"cpu_moe": True}, {"n_cpu_moe": 8}, {"override_tensor": "exps=CPU"}):
        with pytest.raises(UsageError, match="whole layers"):
            infer("qwen3-30b-a3b", "rtx-4080", engine="ollama", engine_version="0.24.0", **placed)


def test_experts_of_the_host_are_of_no_use_to_a_dense_model() -> None:
    found = asked("qwen3-8b", "rtx-4090", n_cpu_moe=8)
    assert "--n-cpu-moe does nothing: qwen3-8b has no experts" in found.warnings
    assert not [
        note for note in asked("qwen3-30b-a3b", "rtx-4090", n_cpu_moe=8).warnings if "nothing" in note
    ]


def test_one_memory_gains_nothing() -> None:
    assert asked("deepseek-r1", "m4-max-128gb").verdict == "does_not_fit"


def test_a_mapped_file_keeps_experts_of_the_host_in_its_span() -> None:
    """ggml-org/Llama-macOS#58: on a Mac of 16 GB experts went to the host, and it ran out of memory."""
    assert asked("gpt-oss-20b", "m4-16gb@10922MiB", quantization=None).verdict == "does_not_fit"
    whole, away = (
        asked("gpt-oss-20b", "m4-24gb", quantization=None, n_gpu_layers=24, cpu_moe=moved)
        for moved in (False, True)
    )
    assert held(whole) == held(away)
    assert whole.ram_bytes == away.ram_bytes
    shorter = asked("gpt-oss-20b", "m4-16gb", quantization=None, n_gpu_layers=17)
    assert shorter.verdict == "fits"  # the last layers alone are one span


def held(answer: ServingAnswer) -> int:
    return sum(line.bytes for line in answer.ledger.lines if line.category == "weights")


def test_the_margin_is_what_is_asked_for() -> None:
    wide = asked(LLAMA_70B, "rtx-4090", fit_target=4096)
    assert wide.headroom_bytes >= 4 * GIB
    assert (wide.request.n_gpu_layers or 0) < (asked(LLAMA_70B, "rtx-4090").request.n_gpu_layers or 0)


def test_ten_cards_of_one_machine_are_filled_and_the_verdict_says_how_far() -> None:
    """Ten were read as two machines of five, where nothing is moved to the host."""
    found = infer("deepseek-r1-0528", "rtx-3090:10", engine="ollama", context=2048)
    assert found.verdict == "fits"
    little = infer("deepseek-r1-distill-qwen-32b", "rtx-4080", engine="ollama", max_model_len=16384)
    layers = little.request.n_gpu_layers
    assert layers is not None
    assert 0 < layers < 65
    assert f"{layers} of 65 layers on the cards" in verdict_line(little)


def test_the_layers_said_are_those_of_the_file() -> None:
    found = infer("qwen3.8-27b", "rtx-3090", engine="llamacpp", quantization="Q4_K_M", n_gpu_layers=40)
    assert "40 of 66 layers on the cards" in verdict_line(found)  # one drafts


def test_a_buffer_that_finds_no_room_is_tried_without_pipelined_micro_batches() -> None:
    """A rig's notes of Qwen3-Coder-30B-A3B at 131,072 cells of q4_0: 808.35 MiB on each of two cards, and
    408.09 after "retrying without pipeline parallelism" (llama.cpp#16748)."""

    def buffers(gpu: str, version: str = "2026-09", **flags: Any) -> tuple[str, list[float]]:
        given: dict[str, Any] = {"n_gpu_layers": 99, "cache_type_k": "q4_0", "cache_type_v": "q4_0"} | flags
        found = asked(
            "qwen3-30b-a3b", gpu, **given, max_model_len=131072, engine_version=version, max_num_seqs=1, pp=2
        )
        lines = [line for ledger in found.ledgers for line in ledger.lines if line.what == "compute buffer"]
        return found.verdict, [line.bytes / MIB for line in lines]

    verdict, sizes = buffers("24GiB:2")
    assert verdict == "fits"
    assert sizes == pytest.approx([808.35] * 2, abs=0.03)
    verdict, sizes = buffers("11.7GiB:2")
    assert verdict == "fits"
    assert sizes == pytest.approx([408.09] * 2, abs=0.03)
    assert buffers("12GiB:2", "2025-10-28")[0] == "fits"
    assert buffers("12GiB:2", "2025-10-27")[0] == "does_not_fit"
    first = asked(
        "qwen3-30b-a3b", "11.7GiB:2", max_model_len=131072, cache_type_k="q4_0", cache_type_v="q4_0"
    )
    assert "4 of them without their experts" in first.warnings[0]  # those go to the host first
