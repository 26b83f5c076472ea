"""Code that a config could make transformers load or fetch: none of it.

What names code is a text, so texts of a config reach transformers under the keys below alone: kernels,
attention implementations, maps of classes and whatever a next release invents are not among them. Numbers,
switches and shapes pass.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import need

TEXTS = frozenset(
    (
        "activation_func activation_function architectures attention_type dtype expert_dtype hidden_act "
        "hidden_activation hybrid_override_pattern indexer_types layer_types layers_block_type "
        "mamba_hidden_act mamba_ssm_cache_dtype mamba_ssm_dtype mlp_hidden_act mlp_layer_types mlp_type "
        "model_type moe_layers_enum moe_router_activation_func moe_router_dtype mtp_hybrid_override_pattern "
        "mtp_layers_block_type norm_type output_gate_type position_embedding_type projector_hidden_act "
        "qk_norm_type rope_type scoring_func sliding_window_pattern sparse_score_type topk_method "
        "torch_dtype type use_bidirectional_attention vision_feature_select_strategy"
    ).split()
)
"""Keys whose texts choose among what transformers has itself: activations, kinds of layers, rotary forms."""
WORD = re.compile(r"[\w.,*|-]{1,20000}")
LEFT_OUT = frozenset(["quantization_config", "auto_map", "id2label", "label2id"])
OFF = "NO"


def plain_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config may reach transformers.

    >>> plain_settings({"hidden_size": 8, "hidden_act": "silu", "_attn_implementation": "org/kernel"})
    {'hidden_size': 8, 'hidden_act': 'silu'}
    >>> plain_settings({"text_config": {"attn_implementation": {"": "org/kernel"}}, "hidden_act": "a/b"})
    {'text_config': {'attn_implementation': {}}}
    """
    return {
        key: _plain(value, key)
        for key, value in config.items()
        if key not in LEFT_OUT and _is_plain(value, key)
    }


def _is_plain(value: Any, key: str) -> bool:
    if isinstance(value, str):
        return key in TEXTS and WORD.fullmatch(value) is not None
    return not isinstance(value, list) or all(_is_plain(each, key) for each in value)


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return plain_settings(value)
    return [_plain(each, key) for each in value] if isinstance(value, list) else value


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Within it, transformers takes no kernels from a hub and its client asks no network."""
    constants = need("huggingface_hub.constants", "trace")
    before, kernels = constants.HF_HUB_OFFLINE, os.environ.get("USE_HUB_KERNELS")
    constants.HF_HUB_OFFLINE, os.environ["USE_HUB_KERNELS"] = True, OFF
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if kernels is None:
            del os.environ["USE_HUB_KERNELS"]
        else:
            os.environ["USE_HUB_KERNELS"] = kernels
