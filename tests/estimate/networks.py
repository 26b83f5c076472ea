"""Small networks that real ranks train and that the estimate reads, from one config."""

import json
from pathlib import Path
from typing import Any

from oomless.model.load import load
from oomless.model.model import Model

LLAMA: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def read(config: dict[str, Any], folder: Path) -> Model:
    """The network as oomless reads it from a config.json."""
    written = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "float32",
        "hidden_act": "silu",
        **config,
    }
    (folder / "config.json").write_text(json.dumps(written))
    return load(str(folder / "config.json"))
