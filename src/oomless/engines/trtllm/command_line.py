"""TensorRT-LLM's words in ours."""

from typing import Any


def as_trtllm(flags: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return (flags, what of them is not known): experts are whole on their rank where as many ranks divide
    them as there are, and cut where one does; what lies between is not computed.

    >>> as_trtllm({"tp": 8, "moe_ep_size": 8}), as_trtllm({"tp": 8, "moe_ep_size": 2})
    (({'tp': 8, 'enable_expert_parallel': True}, []), ({'tp': 8}, ['--ep-size 2']))
    """
    rest = {name: value for name, value in flags.items() if name != "moe_ep_size"}
    size = flags.get("moe_ep_size", 1)
    if size == 1:
        return rest, []
    if size == rest.get("tp", 1):
        return {**rest, "enable_expert_parallel": True}, []
    return rest, [f"--ep-size {size}"]
