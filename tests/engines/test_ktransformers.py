"""KTransformers before SGLang: experts on the host, 4 bits on the card, and a head that is read last."""

import json
from typing import Any

import pytest

from command import call
from oomless.engines.ktransformers import KTRANSFORMERS
from oomless.engines.ktransformers.rules_file import rules_file
from oomless.errors import UnsupportedError, UsageError
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.units import GIB, MIB

CHAT = "python -m ktransformers.local_chat --model_path deepseek-ai/DeepSeek-R1 --gguf_path R1-Q4_K_M"
SERVER = (
    "python ktransformers/server/main.py --model_path DeepSeek-R1 --gguf_path DeepSeek-R1-Q4_K_M/ "
    "--optimize_config_path optimize_rules/DeepSeek-V3-Chat-serve.yaml --backend_type balance_serve"
)
MULTI = "--optimize_config_path optimize_rules/DeepSeek-V3-Chat-multi-gpu.yaml"


def pasted(command: str, version: str = "0.2.3", gpu: str = "rtx-4090", *more: str) -> Any:
    found = call("infer", "--gpu", gpu, "--engine-version", version, "--command", command, "--json", *more)
    return json.loads(found.out or found.err)


def refused(**flags: Any) -> str:
    asked = Asked(engine="ktransformers", **{key: flags[key] for key in flags if key != "name"})
    with pytest.raises((UnsupportedError, UsageError)) as told:
        KTRANSFORMERS.resolve(
            load(flags.get("name", "deepseek-r1")), parse_gpu("h100"), asked, asked.layout or Layout()
        )
    return str(told.value)


def test_the_host_has_the_experts_once_for_each_numa_node() -> None:
    """kvcache-ai/ktransformers#634: 380 GB of the host in all; #186: 904 GB with USE_NUMA=1 on two nodes."""
    alone = pasted(CHAT)["host"]["ram_bytes"]
    twice = pasted("USE_NUMA=1 " + CHAT)["host"]["ram_bytes"]
    assert 360 * GIB < alone < 380 * GIB
    assert 730 * GIB < twice < 760 * GIB


def test_a_card_holds_what_its_log_says() -> None:
    """kvcache-ai/ktransformers#186: 14,881 MiB of a 4090 in 0.2.1."""
    (rank,) = pasted(CHAT, "0.2.1", "rtx-4090", "--context", "1020")["ranks"]
    assert rank["low_bytes"] < 14881 * MIB < rank["high_bytes"]


def test_a_chat_has_room_for_its_answer_and_a_prompt() -> None:
    assert pasted(CHAT + " --max_new_tokens 3000")["request"]["context"] == 4000
    assert pasted(CHAT, "0.2.3", "rtx-4090", "--context", "4096")["request"]["context"] == 4096


def test_scores_of_a_whole_prompt_go_with_0_2_1() -> None:
    """doc/en/DeepseekR1_V3_tutorial.md: 8K on a 4090 ends in CUDA OOM in 0.2.0, and runs in 0.2.1."""
    verdicts = [pasted(CHAT, each, "rtx-4090", "--context", "7978")["verdict"] for each in ("0.2.0", "0.2.1")]
    assert verdicts[0] == "does_not_fit"
    assert verdicts[1] != "does_not_fit"


def test_a_head_that_is_packed_needs_most_while_it_is_read() -> None:
    """kvcache-ai/ktransformers#960: two cards of 12 GB, which an older release had done with."""
    gpu, command = "rtx-3080-ti-12gb:2", f"{CHAT} {MULTI} --max_new_tokens 100"
    assert pasted(command, "0.2.3", gpu)["verdict"] == "does_not_fit"
    assert pasted(command, "0.2.0", gpu, "--context", "500")["verdict"] != "does_not_fit"
    assert pasted(command, "0.2.3", gpu)["request"]["layout"]["pp"] == 2


def test_a_server_makes_the_cache_that_it_is_told() -> None:
    cache = pasted(SERVER + " --cache_lens 32768", "0.2.4")["kv_cache"]
    assert cache["max_tokens"] == 32768
    assert cache["pool_bytes"] == 32768 * 1152 * 61
    fixed = pasted(SERVER + " --cache_lens 32768", "0.3")["kv_cache"]["pool_bytes"]  # #1240
    assert 3.9 * GIB < fixed <= 4 * GIB


def test_a_file_whose_name_says_no_type_is_named() -> None:
    found = pasted(CHAT.replace("R1-Q4_K_M", "./DeepSeek-R1-GGUF"))
    assert any("--gguf_path ./DeepSeek-R1-GGUF" in each for each in found["warnings"])


def test_names_of_rules_files_say_what_they_do() -> None:
    found = rules_file("DeepSeek-V3-Chat-multi-gpu-fp8-linear-ggml-experts.yaml")
    assert (found.num_cards, found.fp8, found.serves) == (2, True, False)
    assert rules_file("DeepSeek-V3-Chat-multi-gpu-marlin.yaml").some_experts
    assert rules_file("DeepSeek-V3-Chat-fp8-linear-ggml-experts-serve-amx.yaml").expert_bytes == 0


def test_what_is_not_known_is_refused() -> None:
    assert "inside of SGLang" in refused(engine_version="0.4.1")
    assert "no rules for" in refused(name="qwen3-235b-a22b", engine_version="0.2.3")
    assert "no rules for" in refused(name="llama-3.1-8b")
    assert "are not known" in refused(optimize_config_path="mine.yaml")
    assert "is for 2 cards" in refused(optimize_config_path="DeepSeek-V3-Chat-multi-gpu.yaml")
    assert "has no balance_serve" in refused(engine_version="0.2.3", backend_type="balance_serve")
    fp8 = "DeepSeek-V3-Chat-fp8-linear-ggml-experts.yaml"
    assert "not published in FP8" in refused(name="deepseek-v2", optimize_config_path=fp8)
    assert "whole layers" in refused(layout=Layout(tp=2))


@pytest.mark.parametrize("words", ["speed", "tune", "plan"])
def test_how_fast_it_is_is_not_answered(words: str) -> None:
    load_of = () if words == "speed" else ("--context", "4096")
    found = call(words, "deepseek-r1", "--engine", "ktransformers", "--gpu", "rtx-4090", *load_of, "--json")
    assert found.code == 4
    assert "KTransformers keeps on the host" in found.err


def test_a_pool_as_large_as_it_was_asked_says_what_the_card_has_left() -> None:
    """A cache of 32K tokens for one sequence of 32K: "0 B to spare" of a card with 8 GiB free."""
    found = pasted(f"{SERVER} --cache_lens 32768", "0.3.2")
    assert (found["verdict"], found["headroom_bytes"]) == ("fits", 0)
    assert any(
        "as large as it was asked, 2.14 GiB: 8.38 GiB of the card" in each for each in found["warnings"]
    )
    chat = pasted(CHAT)
    assert not any("as large as it was asked" in each for each in chat["warnings"])
