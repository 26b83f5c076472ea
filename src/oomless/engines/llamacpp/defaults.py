"""What llama-server, ik_llama.cpp and Ollama choose where the question is silent: context, micro-batch,
types, layers of each card."""

import re

from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, GQA, MLA, V4, V41
from ...model.gguf_types import TYPES
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB, MIB
from .. import Stage
from .placement import OUTPUT_FIRST_SINCE, check, deal

VERSIONS = ("2025-03", "2025-07", "2026-02", "2026-06", "2026-08")
LATEST = "2026-08"
CELLS = 256
"""The context is padded to a multiple of it (llama_kv_cache padding with flash attention)."""
AUTO_SLOTS, SLOTS_SINCE = 4, "2025-11"
"""llama-server's own number of slots, which then share one cache (tools/server/server.cpp; #17300 shows it in
November 2025)."""
HOSTS = ("generic", "Raspberry Pi")
"""Makers of "cards" that are the host itself."""
V4_SINCE = "2026-06"
"""#24162."""
LEGACY_FAMILIES = ("deepseek_v2", "deepseek_v3")
"""Models whose files in Ollama's library were made before kv_b was split (2025-04): every head's keys and
values are cached."""


def layouts(hardware: Hardware, expert_parallel: bool) -> list[Layout]:
    """Layers over one card, two ... all of them: a layer split is a pipeline of one sequence."""
    return [Layout(pp=num) for num in range(1, hardware.num_gpus + 1)]


def since(asked: Resolved, date: str) -> bool:
    """Whether a build is at least as new as a date; versions are dates of builds.

    >>> (
    ...     since(Resolved(engine_version="2026-02"), "2026-02"),
    ...     since(Resolved(engine_version="2025-12-31"), "2026-02"),
    ... )
    (True, False)
    """
    return asked.engine_version >= date


def is_ik(asked: Asked) -> bool:
    """ik_llama.cpp, which alone has -mla."""
    return asked.engine == "ik-llamacpp" or asked.mla_attn is not None


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """llama-server's defaults: context of the model, one slot, micro-batches of 512, flash attention where it
    can, cache in f16."""
    if layout.tp > 1 or layout.dp > 1:
        raise UsageError(
            "--tp and --dp are not llama.cpp's", "it deals layers out over cards: use --pp, or leave it out"
        )
    if asked.split_mode == "none":
        layout = layout._replace(pp=1)
    version = LATEST if asked.engine_version is None else asked.engine_version
    if not re.fullmatch(r"20\d\d-\d\d(-\d\d)?", version):
        raise UsageError(
            f"--engine-version {version!r} is no date",
            "llama.cpp has no releases: write the month of the build, 2026-08",
        )
    for kind in (asked.cache_type_k, asked.cache_type_v):
        if kind.upper() not in TYPES:
            raise UsageError(
                f"cache type {kind!r} is not known", "use f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl"
            )
    if isinstance(model.layers[0].attention, V41):
        raise UnsupportedError(
            f"{model.family} is not served by llama.cpp's own releases", "use --engine vllm or sglang"
        )
    if isinstance(model.layers[0].attention, V4) and (is_ik(asked) or version < V4_SINCE):
        raise UnsupportedError(
            f"{asked.engine} of {version} is not known to serve {model.name}",
            f"use llamacpp of {V4_SINCE} or later",
        )
    length = asked.max_model_len or asked.context or default_length(model, hardware, asked)
    mode = asked.mla_attn
    if mode is None and asked.engine == "ik-llamacpp":
        mode = 3 if any(isinstance(layer.attention, MLA | DSA) for layer in model.layers) else 0
    alone = (
        hardware.card.vendor in HOSTS
    )  # a build without cards takes no notice of -ngl: all is in the one memory
    found = Resolved.of(
        asked,
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or 0,
    )
    found = found._replace(
        quantization=asked.quantization
        or (None if model.quantization.startswith("gguf") else published_as(model)),
        n_gpu_layers=len(model.layers) + 1
        if asked.n_gpu_layers is None or alone
        else min(asked.n_gpu_layers, len(model.layers) + 1),
        mla_attn=mode,
        max_num_seqs=num_slots(found),
        kv_unified=asked.max_num_seqs is None and found.concurrency <= AUTO_SLOTS
        if asked.kv_unified is None
        else asked.kv_unified,
        tensor_split=asked.tensor_split or by_memory(hardware, layout.pp),
    )
    check(found)
    return found._replace(ubatch_size=asked.ubatch_size or default_ubatch(model, hardware, found))


def num_slots(asked: Resolved) -> int:
    """Sequences that the server makes room for: as many as are asked at once, llama-server four if it is not
    told.

    >>> (
    ...     num_slots(Resolved(engine="llamacpp", engine_version="2026-08", concurrency=1)),
    ...     num_slots(Resolved(engine="ollama", concurrency=1)),
    ...     num_slots(Resolved(engine="llamacpp", engine_version="2026-08", concurrency=9)),
    ... )
    (4, 1, 9)
    """
    auto = AUTO_SLOTS if asked.engine == "llamacpp" and not is_ik(asked) and since(asked, SLOTS_SINCE) else 1
    return asked.max_num_seqs or max(asked.concurrency, auto)


def by_memory(hardware: Hardware, cards: int) -> str:
    """The shares of the cards where none are given: as their free memory.

    >>> from ...run.hardware import parse_gpu
    >>> by_memory(parse_gpu("rtx-3090:2"), 2), by_memory(parse_gpu("80GiB+20GiB"), 2)
    ('1,1', '81920,20480')
    """
    memories = hardware.memories(cards)
    return ",".join("1" if len(set(memories)) == 1 else str(memory // MIB) for memory in memories)


def default_length(model: Model, hardware: Hardware, asked: Asked) -> int:
    """llama-server takes the model's own length, Ollama one by the memory of all cards (server/routes.go)."""
    if asked.engine != "ollama":
        return model.max_positions
    total = hardware.card.memory_bytes * hardware.num_gpus
    return min(262144 if total >= 47 * GIB else 32768 if total >= 23 * GIB else 4096, model.max_positions)


def default_ubatch(model: Model, hardware: Hardware, asked: Resolved) -> int:
    """512; Ollama takes more for long contexts, if its own estimate leaves room (server/sched.go
    automaticGenerationBatch).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine="ollama", quantization="Q4_0", context=32768, concurrency=1)
    >>> default_ubatch(load("deepseek-v2-lite"), parse_gpu("rtx-3090"), asked)
    1024
    """
    total = asked.context * asked.concurrency
    if asked.engine != "ollama" or total <= 4096:
        return 512
    from .weights import stored  # the file's size, which only Ollama's guess needs

    first = model.layers[0].attention
    heads = first.num_kv_heads if isinstance(first, GQA) else first.num_heads if isinstance(first, MLA) else 1
    query_heads = getattr(first, "num_heads", 1)
    cache = 4 * len(model.layers) * heads * (model.hidden_size // max(query_heads, 1)) * total
    predicted, available = (
        stored(model, asked).checkpoint_bytes + cache,
        hardware.card.memory_bytes * hardware.num_gpus,
    )
    for batch, most, surcharge in ((2048, 0.6, 2 * GIB), (1024, 0.75, 768 * MIB)):
        if batch == 2048 and total <= 32768:
            continue
        if predicted <= most * available and surcharge <= 0.8 * available - predicted:
            return batch
    return 512


def published_as(model: Model) -> str:
    """The file type that a checkpoint is converted to where none is asked for: its own 16 bits, but MXFP4
    stays as it is.

    >>> from ...model.load import load
    >>> [published_as(load(name)) for name in ("gpt-oss-20b", "deepseek-v4-flash", "deepseek-v3")]
    ['MXFP4', 'MXFP4', 'BF16']
    """
    if any(tensor.role == "expert" and tensor.format.bits == 4 for tensor in model.tensors):
        return "MXFP4"  # experts in FP4 with a scale for 32 are repacked as they are
    return "F16" if model.dtype.name == "float16" else "BF16"


def num_cells(asked: Resolved) -> int:
    """The context is shared by all slots, so it is their number times the length of one."""
    return -(-asked.context * asked.concurrency // CELLS) * CELLS


def expands(model: Model, asked: Resolved) -> bool:
    """Whether the cache of MLA holds the keys and values of every head: -mla 0, or a file whose kv_b is
    whole."""
    if is_ik(asked):
        return asked.mla_attn == 0
    return asked.engine == "ollama" and model.family in LEGACY_FAMILIES


def flash(model: Model, asked: Resolved) -> bool:
    """Whether flash attention runs. llama.cpp's kernels have none for keys wider than values, so there it
    turns itself off."""
    heads_differ = expands(model, asked) and any(
        isinstance(layer.attention, MLA | DSA) for layer in model.layers
    )
    return asked.flash_attn and (is_ik(asked) or not heads_differ)


def output_first(asked: Resolved) -> bool:
    """Whether -ngl counts the output as the first layer to go to a card, or as the last."""
    return not is_ik(asked) and since(asked, OUTPUT_FIRST_SINCE)


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers of each card."""
    return deal(len(model.layers), asked, output_first(asked))
