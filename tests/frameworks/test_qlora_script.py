"""`train --command 'python qlora.py ...'`: QLoRA's own script has defaults of its own."""

import json
from typing import Any

from command import call

USUAL = "python qlora.py --model_name_or_path huggyllama/llama-65b --source_max_len 384 --target_max_len 128"


def asked(words: str = "") -> dict[str, Any]:
    found = call("train", "--gpu", "rtx-a6000", "--command", f"{USUAL} {words}", "--json", "--offline")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def test_what_it_leaves_out_is_its_own() -> None:
    answer = asked("--per_device_train_batch_size 4 --data_seed 42 --mmlu_split eval")
    request = answer["request"]
    assert (request["method"], request["quantization"], request["lora_rank"]) == ("qlora", "nf4-dq", 64)
    assert (request["optimizer"], request["recompute"], request["seq_len"]) == ("paged-adamw", "full", 512)
    assert not any("not understood" in each for each in answer["warnings"])


def test_without_bf16_it_computes_in_float32() -> None:
    wide, narrow = (asked(f"--per_device_train_batch_size 4 {each}") for each in ("", "--bf16"))
    held = [each["ranks"][0]["by_category"]["activations"] for each in (wide, narrow)]
    assert wide["request"]["precision"] == "fp32"
    assert held[0] > 1.5 * held[1]
    assert wide["ranks"][0]["by_category"]["weights"] > narrow["ranks"][0]["by_category"]["weights"]


def test_whole_models_and_eight_bits() -> None:
    assert asked("--full_finetune --bits 16 --bf16")["request"]["method"] == "full"
    assert asked("--bits 8 --bf16")["request"]["quantization"] == "int8"
    assert asked("--bits 16 --bf16")["request"]["method"] == "lora"


def test_its_name_is_enough() -> None:
    """Without a flag of lengths it trained nothing that is known, or was any script with a Trainer."""
    words = "python qlora.py --model_name_or_path huggyllama/llama-7b --bits 4"
    for more in ("", " --per_device_train_batch_size 1 --gradient_accumulation_steps 4"):
        found = call("train", "--gpu", "rtx-3090", "--command", words + more, "--json", "--offline")
        request = json.loads(found.out)["request"]
        assert (request["method"], request["seq_len"], request["quantization"]) == ("qlora", 1280, "nf4-dq")
