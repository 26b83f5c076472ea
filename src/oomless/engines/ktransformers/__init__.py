"""KTransformers before it ran inside of SGLang: routed experts stay on the host and compute there, the rest
is on a card, or dealt over a few by a rules file.

Read in kvcache-ai/ktransformers of 0.1.4 to 0.3.2.
"""

from collections.abc import Iterator

from ...errors import UnsupportedError, UsageError
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ..defaults import default_length, resolve_dtype
from ..lmdeploy.cache import max_tokens
from ..rank import Stage
from ..record import Candidates, CardMakers, Engine, EngineRows, Start
from ..trtllm.cache import longest_sequence, needed_bytes, sequences
from .budget import budget_lines
from .cache import cache_layout, made_pool
from .release import RELEASES, rules_of
from .rules_file import rules_file
from .weights import host_bytes, placed_weights

NUM_CARDS = (1, 2, 4, 8)
"""Cards of the rules files that come with it."""
TOKENS, SERVED_TOKENS = 8192, 256
"""Tokens of a step: of a chat, and of balance_serve (local_chat.py; configs/config.yaml)."""
SEQUENCES = 4
"""Of balance_serve."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with KTransformers' defaults."""
    rules, file = rules_of(asked.engine_version), rules_file(asked.optimize_config_path)
    release = RELEASES.latest if asked.engine_version is None else asked.engine_version
    if model.family not in rules.has_class:
        raise UnsupportedError(
            f"KTransformers {release} has no rules for {model.name}", "use --engine llamacpp --cpu-moe"
        )
    if layout.num_ranks != layout.pp:
        raise UnsupportedError("KTransformers deals whole layers over cards", "use --pp")
    if asked.optimize_config_path is not None and file.num_cards != layout.pp:
        raise UsageError(
            f"--optimize-config-path {asked.optimize_config_path} is for {file.num_cards} cards, --pp "
            f"{layout.pp} for {layout.pp}",
            "leave out --pp",
        )
    if file.fp8 and model.quantization != "fp8":
        raise UnsupportedError(f"{model.name} is not published in FP8", "leave out --optimize-config-path")
    backend = asked.backend_type or ("balance_serve" if file.serves else "ktransformers")
    if backend == "balance_serve" and not rules.serves_batches:
        raise UnsupportedError(f"KTransformers {release} has no balance_serve", "it came with 0.2.4")
    found = asked._replace(
        dtype=resolve_dtype(model, asked.dtype, hardware),
        backend_type=backend,
        max_total_tokens=asked.max_total_tokens or (rules.cache_lens if file.serves else None),
    )
    served, own = backend == "balance_serve", default_length(model)
    cut = SERVED_TOKENS if served else TOKENS
    return Resolved.of(
        found,
        engine_version=release,
        layout=layout,
        max_model_len=asked.max_model_len or min(own, found.max_total_tokens or own),
        max_num_seqs=asked.max_num_seqs or SEQUENCES if served else 1,
        max_num_batched_tokens=asked.max_num_batched_tokens or cut if rules.cuts_prompts else 0,
    )


def layouts(hardware: Hardware, asked: Layout) -> list[Layout]:
    """Layers over as many cards as there are rules files for."""
    return [Layout(pp=num) for num in NUM_CARDS if num <= hardware.num_gpus]


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers of a card, as the rules files deal them: as many on each, the rest on the last.

    >>> from ...model.load import load
    >>> [[s.start for s in stages(load("deepseek-r1"), Resolved(layout=Layout(pp=n)))] for n in (2, 4)]
    [[0, 30], [0, 15, 30, 45]]
    """
    num, total = asked.layout.pp, len(model.layers)
    if num > total:
        raise UsageError(f"--pp {num} is more than the {total} layers of {model.name}", "use fewer stages")
    each = min(round(total / num), (total - 1) // max(num - 1, 1))
    starts = [each * index for index in range(num)]
    return [
        Stage(index, num, start, stop)
        for index, (start, stop) in enumerate(zip(starts, [*starts[1:], total], strict=True))
    ]


def tried(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield the same on one machine."""
    if hardware.num_nodes == 1:
        yield from ((layout, 1) for layout in layouts(hardware, Layout()))


KTRANSFORMERS = Engine(
    name="ktransformers",
    label="KTransformers",
    versions=RELEASES.versions,
    cards=CardMakers(only=("NVIDIA",)),
    candidates=Candidates(tried, forms=("q8_0", "q4_k_m")),
    start=Start(image="approachingai/ktransformers:v{version}", port=10002),
    rows=EngineRows(words=("KTransformers", "ktransformers")),
    speed_class="llamacpp",
    layouts=layouts,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_lines=budget_lines,
    cache_layout=cache_layout,
    made_pool=made_pool,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    host_bytes=host_bytes,
    axis="pp",
    file_types=True,
    hosts_experts=True,
    host_memory_at="last rank",
    cache_types=("auto",),
)
