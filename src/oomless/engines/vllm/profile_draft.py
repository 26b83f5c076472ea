"""What another model or a head that drafts adds to vLLM's profile run, and what it keeps for its inputs."""

from typing import TYPE_CHECKING

from ...ledger import Line, ranged
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import Stage
from .profile_feed_forward import widest_inner
from .release import VllmRules

if TYPE_CHECKING:
    from .profile import ProfileRun


def with_draft(run: "ProfileRun", forward: int) -> int:
    """Return the peak of a forward pass after which another network drafts: the states of some layers live to
    the end of the model's own (models/llama.py, aux_hidden_states), and with what it returns while the draft
    tries as many tokens (gpu_model_runner.py, _dummy_run; spec_decode/eagle.py, dummy_run).

    draft = T * b * (returned + max(embedding, states, both joined, 3*ff + c*h)); both joined are as wide as
    the first layer's input.
    """
    drafter = run.model.drafter
    if drafter is None or run.rules.v0 or not run.stage.last:
        return forward
    states = kept_states(drafter, run.model) * run.model.hidden_size
    inner, gates = widest_inner(drafter, run.asked.layout)
    hidden = drafter.hidden_size
    row = run.hidden + states + max(5 * hidden, gates * inner + int(run.copies * hidden))
    return max(forward + run.tokens * run.width * states, run.tokens * run.width * row)


def kept_states(drafter: Model, model: Model) -> int:
    """Return how many layers' states a head reads, 0 where it reads the last one's as it is.

    >>> from ...model.draft_head import model_of_head, published_head
    >>> from ...model.load import load
    >>> target = load("llama-3.1-8b")
    >>> kept_states(model_of_head(published_head("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"), target, ""), target)
    3
    """
    joins = next((tensor for tensor in drafter.tensors if tensor.name == "model.fc.weight"), None)
    mapped = any(tensor.name == "model.hidden_norm.weight" for tensor in drafter.tensors)
    return joins.shape[1] // model.hidden_size if joins is not None and mapped else 0


def input_buffers(model: Model, asked: Resolved, stage: Stage, rules: VllmRules, second: bool) -> list[Line]:
    """What a draft keeps for its inputs, made before the model is loaded: states of a whole batch in all
    streams, but for DSpark of the second runner, which joins them first; of the first runner embeddings too
    (v1/spec_decode/llm_base_proposer.py, v1/worker/gpu/spec_decode of 0.32)."""
    if not (asked.speculation and stage.last and model.draft and rules.keeps_draft_inputs):
        return []
    hidden, tokens = (model.drafter or model).hidden_size, asked.max_num_batched_tokens or 0
    streams = 1 if second and asked.speculation.method.lower() == "dspark" else model.streams
    width = DTYPES[asked.dtype].bits // 8
    states, embedded = tokens * streams * hidden * width, 0 if second else tokens * hidden * width
    formula = f"{tokens:,} tokens x {streams + (not second)} x {hidden:,} x {width} B"
    ends = (states + embedded, states, states + embedded)
    source = "vllm/v1/spec_decode/llm_base_proposer.py, v1/worker/gpu/spec_decode"
    return [ranged("runtime.workspaces", "draft", "inputs of the draft", ends, "assumed", formula, source)]
