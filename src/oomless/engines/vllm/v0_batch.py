"""How many tokens vLLM's first engine reads at a time where the question is silent: a long prompt in chunks,
where its features let it, or else the longest prompt whole."""

from ... import facts
from ...ledger import Line
from ...model.attention import MLA, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked
from ..overhead_lines import fitted_line
from .profile import ProfileRun
from .release import CHUNKS, VllmRules
from .v0_images import v0_profile_lines
from .v0_states import slots_lines

LONG_CONTEXT = 32768
"""Tokens of --max-model-len beyond which a prompt is read in chunks."""
LEAST_TOKENS = 2048
"""What a batch of whole prompts has at least."""


def v0_batch(model: Model, asked: Asked, hardware: Hardware, length: int, rules: VllmRules) -> int:
    """Return --max-num-batched-tokens of V0 (engine/arg_utils.py and config.py, SchedulerConfig, of 0.4.1 to
    0.8.5).

    Up to 0.5.2 a prompt is never cut unless --enable-chunked-prefill asks for it, and a short one at no time.
    A profile run of the whole length is what a long model ran out of: deepseek-coder-33b reads 65,536 tokens
    at once in 0.4.1 (vllm#4429).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> model, card = load("llama-3.1-8b"), parse_gpu("h100")
    >>> [
    ...     v0_batch(model, Asked(), card, 131072, RELEASES.at(version))
    ...     for version in ("0.5.2", "0.6.2", "0.6.6")
    ... ]
    [131072, 512, 2048]
    >>> v0_batch(model, Asked(), card, 8192, RELEASES.at("0.6.2 (chunks)"))
    512
    """
    images = any(tensor.part == "vision" for tensor in model.tensors)
    whole = max(length, LEAST_TOKENS)
    unasked = (
        rules.v0_cuts_unasked and length > LONG_CONTEXT and not reads_whole(model, asked, hardware, rules)
    )
    chunked = rules.v0_chunk and (unasked or CHUNKS in rules.text)
    return max(rules.v0_chunk if chunked else whole, rules.v0_tokens_of_images if images else 0)


def reads_whole(model: Model, asked: Asked, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether a feature keeps a release from cutting long prompts: a draft, adapters, windows, states
    in all of them, and any device but `cuda` (engine/arg_utils.py, is_gpu).

    In 0.7 latents switch the cutting off again, but only after the batch was chosen.
    """
    images = any(tensor.part == "vision" for tensor in model.tensors)
    return (
        asked.speculation is not None
        or asked.enable_lora
        or model.kinds.has(Sliding)
        or (model.kinds.has(Linear) and not rules.v0_cuts_states)
        or (asked.enable_prefix_caching and not rules.v0_cuts_cached_prefixes)
        or (images and not rules.v0_cuts_beside_images)
        or (model.kinds.has(MLA) and not rules.v0_cuts_latents)
        or (hardware.card.vendor == "AMD" and not rules.v0_cuts_on_rocm)
        or hardware.card.vendor == "Huawei"
    )


def v0_lines(run: ProfileRun, room: int) -> list[Line]:
    """Return what the profile run takes, with images too, and what lies beside it: results that one release
    holds, slots of states. `room`: bytes that a rank may use."""
    lines = v0_profile_lines(run, room)
    if run.rules.v0_holds_reduced and run.asked.layout.tp > 1:
        lines.append(held_line(run))
    return lines + slots_lines(run.model, run.asked, run.stage, run.rules)


def held_line(run: ProfileRun) -> Line:
    """Return the line of inputs of the all-reduces of the profile run, two a layer, which torch does not
    give out again before the ranks meet or the card is full.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout, Resolved
    >>> from ..rank import Stage
    >>> from .release import RELEASES
    >>> model, cards, rules = load("llama-2-70b"), parse_gpu("a100-80gb:8"), RELEASES.at("0.2.5")
    >>> asked = Resolved(dtype="bfloat16", max_num_batched_tokens=4096, layout=Layout(tp=8))
    >>> line = held_line(ProfileRun(model, asked, cards, Stage(0, 1, 0, 80), rules, ()))
    >>> line.bytes / 2**30, line.high_bytes / 2**30
    (10.0, 12.0)
    """
    hidden, layers = run.model.hidden_size, run.stage.stop - run.stage.start
    size = min(2 * layers * run.tokens * hidden * run.width, run.hardware.card.memory_bytes)
    spread = facts.constant("vllm", "reduced_spread", run.rules.release)
    formula = f"2 sums of {run.tokens:,} tokens x {hidden} in each of {layers} layers"
    return fitted_line("activations.profile_run", size, spread, formula, spread.source)._replace(
        key="fragmentation.reserved", category="fragmentation", what="all-reduce results that PyTorch holds"
    )
