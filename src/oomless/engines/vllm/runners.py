"""Which of vLLM's two model runners a model is served by: they profile their sampler differently.

config/vllm.py of 0.22 to 0.33, use_v2_model_runner.
"""

from ...model.attention import V4, V41, Linear
from ...model.model import Model
from ...run.serving import Resolved
from .release import VllmRules


def may_run_second(model: Model, asked: Resolved, rules: VllmRules) -> bool:
    """Return whether the second model runner may serve the model: of 0.22 and 0.23 a few dense models in 16
    bit, of 0.25 every dense one without states, of 0.29 all, unless the release's text says which was chosen.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> [may_run_second(load("qwen3-8b"), Resolved(), RELEASES.at(text)) for text in ("0.21.0", "0.22.0")]
    [False, True]
    >>> [may_run_second(load("deepseek-v3"), Resolved(), RELEASES.at(text)) for text in ("0.28.0", "0.29.0")]
    [False, True]
    """
    if not rules.has_second_runner:
        return False
    if rules.runner_chosen is not None:
        return rules.runner_chosen
    drafter = asked.speculation.method.lower() if asked.speculation else ""
    if rules.second_runner_takes_all or (rules.second_runner_takes_dense and drafter == "dspark"):
        return True
    if model.kinds.has(Linear):
        return False
    if model.kinds.has(V4, V41):
        return rules.second_runner_takes_v4
    if rules.second_runner_takes_dense and not model.kinds.has_experts:
        return True
    in_16_bit = asked.quantization is None
    return model.family in rules.second_runner_takes and (in_16_bit or rules.second_runner_takes_quantised)


def runs_second(model: Model, asked: Resolved, rules: VllmRules, tags: tuple[str, ...]) -> bool:
    """Return whether the second runner serves the model on these cards where nobody asks for the other:
    Ascend and Gaudi have runners of their own, and ROCm keeps V4 on the first (config/vllm.py of 0.28).

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> flash, rules = load("deepseek-v4-flash"), RELEASES.at("0.28.0")
    >>> [runs_second(flash, Resolved(), rules, tags) for tags in ((), ("other_vendor", "amd"))]
    [True, False]
    """
    if "other_vendor" in tags and ("amd" not in tags or model.kinds.has(V4, V41)):
        return False
    return may_run_second(model, asked, rules)
