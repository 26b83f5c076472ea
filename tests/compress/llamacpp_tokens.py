"""Prints the logarithms of probabilities that llama.cpp gives the tokens behind a prompt:
`python llamacpp_tokens.py FILE PROMPT`, with the interpreter of an environment that has xllamacpp."""

import json
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    engine: Any = import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 256, 1, False
    params.cpuparams.n_threads = 1
    server = engine.Server(params)
    asked = {"prompt": json.loads(sys.argv[2]), "n_predict": 1, "temperature": 0, "n_probs": 512}
    forced = {
        "logit_bias": [[0, 1e6]],
        "ignore_eos": True,
    }  # a character that can be printed; its odds are not
    answer = server.handle_completions({**asked, **forced, "cache_prompt": False})
    first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    print("\nRESULT", json.dumps({each["id"]: each["logprob"] for each in first if each["logprob"] > -50}))


if __name__ == "__main__":
    main()
