"""What the first start of vLLM takes to compile a model, until its code is on disk."""

from ... import facts
from ...ledger import Line
from ...model.attention import V4, V41
from ...model.model import Model
from ...run.serving import Resolved
from ...units import GIB, gib
from ..overhead_lines import fitted_line
from ..rank import Stage
from ..runtime_formats import runtime_format
from .rank_tensors import shard
from .release import VllmRules


def compiling_lines(
    model: Model,
    asked: Resolved,
    stage: Stage,
    rules: VllmRules,
    tags: tuple[str, ...],
    charged: list[Line],
) -> list[Line]:
    """What compiling takes beyond the peak of the profile run, within which it happens: the larger of both is
    charged. From the second start on compiled code is read from disk, and nothing comes on top (vllm#54122).

    Since vllm#26682 the compiler times kernels that it may join on random copies of all that they read
    (torch/_inductor/codegen/triton_combo_kernel.py, get_args), of which the table of embeddings is the
    largest. A model that sees images is compiled without it: it gets embeddings. Cards of other makers have
    compilers of their own.
    """
    elsewhere = "other_vendor" in tags and "amd" not in tags
    skipped = asked.enforce_eager or elsewhere or rules.is_compiled
    table = 0 if skipped else compiled_table(model, asked, stage, rules)
    if not table:
        return []
    share, beside = (
        facts.constant("vllm", each, rules.release, *tags) for each in ("first_start", "first_start_kernels")
    )
    value, most_tried = (
        int(table * getattr(share, end) + getattr(beside, end) * GIB) for end in ("value", "high")
    )
    if not value:
        return []
    shares = share._replace(low=0.0, high=most_tried / value)
    formula = f"a table of {gib(table):.3f} GiB that kernels are tried with"
    line = fitted_line("activations.profile_run", value, shares, formula, share.source)
    peaks = [each for each in charged if each.category in ("activations", "logits")]
    peak, most = sum(each.bytes for each in peaks), sum(each.high_bytes for each in peaks)
    more = max(line.bytes - peak, 0)
    high = max(line.high_bytes - most, more)
    if not high:
        return []
    return [
        line._replace(
            what="compiling at the first start",
            bytes=more,
            low_bytes=0,
            high_bytes=high,
            formula=f"{line.formula}, less a peak of {peak:,} to {most:,} B",
        )
    ]


def compiled_table(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> int:
    """Return the bytes of the largest table that tokens are looked up in within what is compiled, of a rank.

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(dtype="bfloat16", layout=Layout(tp=8))
    >>> compiled_table(load("deepseek-v3"), asked, Stage(0, 1, 0, 61), RELEASES.at("0.28.0"))
    231669760
    """
    uncompiled = rules.runs_v4_uncompiled and model.kinds.has(V4, V41)
    images = model.vision is not None and asked.images_per_prompt != 0
    if not rules.tries_joined_kernels or rules.v0 or uncompiled or images:
        return 0
    return max(
        (
            runtime_format(tensor, model, asked).num_bytes(shard(tensor, asked, rules, True)[0])
            for tensor in model.tensors
            if tensor.lookup and tensor.part == "main" and not tensor.layers and stage.first
        ),
        default=0,
    )
