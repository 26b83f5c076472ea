"""Experts that KTransformers computes on the host: what SGLang then has on the cards (kt_ep_wrapper.py)."""

import json
from typing import Any

from command import call
from oomless.units import GB, GIB

V32 = (
    "python -m sglang.launch_server --model deepseek-ai/DeepSeek-V3.2 --kt-weight-path /w "
    "--kt-method AMXINT4 --kt-cpuinfer 60 --kt-threadpool-count 2 --kt-num-gpu-experts 1 "
    "--attention-backend triton --mem-fraction-static 0.98 --chunked-prefill-size 4096 "
    "--max-running-requests 32 --max-total-tokens 40000 --enable-mixed-chunk"
)
R1 = "python -m sglang.launch_server --model deepseek-ai/DeepSeek-R1-0528 --tp 8 --max-total-tokens 8192 "


def answer(command: str, gpu: str, *more: str) -> dict[str, Any]:
    found = call(
        "infer", "--gpu", gpu, "--engine-version", "0.5.6", "--command", command, "--context", "2048", *more
    )
    return {"code": found.code, "err": found.err} | (json.loads(found.out) if found.out else {})


def test_one_expert_of_a_layer_and_the_attention_take_27_gb() -> None:
    """kvcache-ai/ktransformers, deepseek-v3.2-sglang-tutorial.md: about 27 GB of an L20."""
    found = answer(V32, "l20", "--json")
    assert found["verdict"] == "fits"
    assert 25.5 * GB < sum(line["bytes"] for line in found["ranks"][0]["lines"]) < 29 * GB
    assert 310 * GIB < found["host"]["ram_bytes"] < 330 * GIB  # 640 billion parameters of 4 bit and scales


def test_experts_beyond_the_cards_run_out() -> None:
    """200 experts of FP8 on cards of 24 GB (sglang#12255); 20 fit."""
    said = [
        answer(f"{R1} --kt-num-gpu-experts {num}", "rtx-4090:8", "--json")["verdict"] for num in (200, 20)
    ]
    assert said == ["does_not_fit", "fits"]


def test_a_long_step_holds_a_layer_of_experts() -> None:
    """The threshold counts tokens of one step, which a smaller chunk never has."""
    keys = []
    for threshold in (1024, 65536):
        flags = f"--kt-num-gpu-experts 20 --kt-gpu-prefill-token-threshold {threshold}"
        lines = answer(R1 + flags, "rtx-4090:8", "--json")["ranks"][0]["lines"]
        keys.append({line["key"]: line["bytes"] for line in lines}.get("temporaries.running", 0))
    assert keys[1] == 0
    assert 1.3 * GIB < keys[0] < 1.4 * GIB  # 256 experts of 44 MB over 8 ranks


def test_what_else_moves_experts_is_refused() -> None:
    found = answer(R1 + "--kt-gpu-experts-ratio 0.1", "rtx-4090:8")
    assert found["code"] == 4
    assert "--kt-num-gpu-experts" in found["err"]


def test_no_speed_is_said_of_experts_on_the_host() -> None:
    found = call("speed", "--gpu", "rtx-4090:8", "--command", R1 + "--kt-num-gpu-experts 20")
    assert found.code == 4
    assert "KTransformers" in found.err
