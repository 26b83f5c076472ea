"""What SGLang's server chooses where the question is silent: share, chunk, batch, graphs, pages, types
(server_args.py; arg_groups/)."""

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, MLA, V4, V41
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB, MIB
from .. import Stage
from ..vllm.defaults import default_length, resolve_dtype
from .release import LATEST, Release, release

V4_SINCE, V41_SINCE, DSA_SINCE = (0, 5, 11), (0, 5, 23), (0, 5, 3)
CARD_CLASSES = (
    (20, 2048, 8, 8),
    (35, 2048, 16, 80),
    (60, 4096, 32, 160),
    (90, 8192, 256, 512),
    (160, 8192, 256, 512),
)
"""(memory in GiB below which, chunked_prefill_size, cuda_graph_max_bs below TP4 and from TP4 on), 0.5.3."""
CARD_CLASSES_0523 = (CARD_CLASSES[0], (35, 4096, 48, 160), *CARD_CLASSES[2:])
LARGEST_CLASS = (16384, 512)
SHARES_04 = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))
"""mem_fraction_static by the number of ranks, 0.4."""
DEFAULT_REQUESTS, V4_REQUESTS, SPECULATIVE_REQUESTS = 2048, 256, 48


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with every default that SGLang's server would choose."""
    version = LATEST if asked.engine_version is None else asked.engine_version
    now = release(version)
    attention = model.layers[-1].attention
    check_kind(model, now)
    layout = resolve_layout(model, now, layout, asked)
    length = asked.max_model_len or default_length(model)
    if length > max(default_length(model), model.max_positions):
        raise UsageError(
            f"--context-length {length} is more than the {default_length(model)} positions of {model.name}",
            "SGLang refuses it too; give at most the model's own length, or other "
            "positions by --hf-overrides",
        )
    found = Resolved.of(
        asked._replace(engram="gpu" if asked.engram == "auto" else asked.engram),
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or 0,
        max_num_batched_tokens=asked.max_num_batched_tokens or 0,
    )
    chunk, graphs = default_chunk(found, hardware, now)
    found = found._replace(cuda_graph_max_bs=0 if asked.enforce_eager else asked.cuda_graph_max_bs or graphs)
    divided = layout.dp if layout.enable_dp_attention else 1
    share = asked.mem_fraction_static
    if share is None:
        share = default_share(model, found, hardware, now, chunk)
    if any(t.part == "vision" for t in model.tensors) and not now.since(0, 4, 7):
        share *= facts.constant(
            "sglang", "multimodal_share", now.numbers
        ).value  # model_runner.py: whoever chose the share
    requests = asked.max_num_seqs or (V4_REQUESTS if isinstance(attention, V4 | V41) else DEFAULT_REQUESTS)
    if asked.speculative and not asked.max_num_seqs and not isinstance(attention, V4 | V41):
        requests = SPECULATIVE_REQUESTS
    return found._replace(
        dtype=resolve_dtype(model, asked.dtype, hardware),
        kv_cache_dtype=resolve_cache_dtype(model, asked.kv_cache_dtype, hardware, now),
        max_num_seqs=requests,
        max_num_batched_tokens=max(chunk // divided, 1),
        mem_fraction_static=share,
        block_size=asked.block_size or default_page(model, hardware, now),
    )


def check_kind(model: Model, now: Release) -> None:
    """The first release that serves each kind of attention."""
    for attention in {layer.attention for layer in model.layers}:
        since = (
            DSA_SINCE if isinstance(attention, DSA) else V41_SINCE if isinstance(attention, V41) else V4_SINCE
        )
        if isinstance(attention, DSA | V4 | V41) and not now.since(*since):
            raise UnsupportedError(
                f"sglang before {'.'.join(map(str, since))} cannot serve {model.name}", "use a later version"
            )


def resolve_layout(model: Model, now: Release, layout: Layout, asked: Asked) -> Layout:
    """0.5.3 serves V3.2 with data-parallel attention alone; sizes must divide each other."""
    forced = isinstance(model.layers[-1].attention, DSA) and not now.since(0, 5, 4)
    if forced and layout.tp > 1:
        layout = layout._replace(dp=layout.tp, enable_dp_attention=True)
    if layout.enable_dp_attention and layout.tp % layout.dp:
        raise UsageError(
            f"--dp {layout.dp} does not divide --tp {layout.tp}",
            "data-parallel attention lies inside of the tensor ranks",
        )
    if layout.ep_size and layout.tp % layout.ep_size:
        raise UsageError(
            f"--ep-size {layout.ep_size} does not divide --tp {layout.tp}", "choose a size that divides it"
        )
    if layout.pp > len(model.layers):
        raise UsageError(
            f"--pp {layout.pp} is more than the {len(model.layers)} layers of {model.name}",
            "use fewer stages",
        )
    return layout


def driver_mib(hardware: Hardware) -> int:
    """The card's size in MiB as nvidia-smi says it, by which SGLang chooses; a card not in the table has its
    own."""
    for row in facts.table("hardware"):
        if row["name"] == hardware.card.name and row["mem_mib_nvidia_smi"].split("-")[0].strip().isdigit():
            return int(row["mem_mib_nvidia_smi"].split("-")[0])
    return hardware.card.memory_bytes // MIB


def default_chunk(asked: Resolved, hardware: Hardware, now: Release) -> tuple[int, int]:
    """(chunked_prefill_size, cuda_graph_max_bs) by the card's size.

    >>> from ...run.hardware import parse_gpu
    >>> default_chunk(Resolved(layout=Layout(tp=8)), parse_gpu("h200:8"), release("0.5.3"))
    (8192, 512)
    """
    tp, memory = asked.layout.tp, driver_mib(hardware)
    if not now.since(0, 5):
        small = memory < SMALL_MIB_04
        chunk, graphs = (2048 if small else 8192), ((8 if tp < 4 else 80) if small else 160)
    else:
        chunk, graphs = LARGEST_CLASS
        for below, tokens, few, many in CARD_CLASSES_0523 if now.since(0, 5, 23) else CARD_CLASSES:
            if memory < below * GIB // MIB:
                chunk, graphs = tokens, few if tp < 4 else many
                break
    if now.since(0, 5, 23) and asked.max_num_seqs:
        graphs = min(graphs, asked.max_num_seqs)
    return asked.max_num_batched_tokens or chunk, graphs


SMALL_MIB_04 = 25_000


def default_share(model: Model, asked: Resolved, hardware: Hardware, now: Release, chunk: int) -> float:
    """mem_fraction_static: by ranks in 0.4; from 0.5 on 1 - reserve / memory, in MiB, to three digits.

    reserve = 512 + 1.5 * chunk + 2 * graphs + ranks * 128 (+ padding of data-parallel attention),
    at least 10 GiB on large cards,
    + 2 GiB for a draft (0.5.3), + 1.5 GiB for MLA's prefill graphs (0.5.23).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(layout=Layout(tp=8), cuda_graph_max_bs=512)
    >>> default_share(load("deepseek-r1"), asked, parse_gpu("h200:8"), release("0.5.3"), 8192)
    0.897
    """
    layout, memory = asked.layout, driver_mib(hardware)
    ranks = layout.tp * layout.pp
    attention = model.layers[-1].attention
    if not now.since(0, 5):
        share = next(value for least, value in SHARES_04 if ranks >= least)
        if now.since(0, 4, 6) and memory > 80 * GIB // MIB:
            share = SHARES_04[-1][1]
            if memory > 96 * GIB // MIB:
                share = min(
                    share + 48 * GIB // MIB * (1 - share) / memory, (memory - 18 * GIB // MIB) / memory
                )
        return share
    if isinstance(attention, DSA) and not now.since(0, 5, 4):
        return DSA_SHARE_053
    graphs = asked.cuda_graph_max_bs or 0
    reserve = 512 + 1.5 * max(chunk, 2048) + 2 * graphs + ranks * 128
    if layout.enable_dp_attention:
        reserve += graphs * layout.dp * (3 if graphs <= 300 else 4.5)
    mla = isinstance(attention, MLA | DSA | V4 | V41)
    if now.since(0, 5, 23) and not asked.enforce_eager:
        reserve += 1536 if mla else 8 * len(prefill_sizes(chunk))
    if memory > 60 * GIB // MIB:
        reserve = max(reserve, 10 * GIB // MIB)
    if asked.speculative and not now.since(0, 5, 23):
        reserve += 2 * GIB // MIB
    if asked.moe_a2a_backend == "deepep" and now.since(0, 5, 23):
        reserve += 2 * GIB // MIB
    share = round((memory - reserve) / memory, 3)
    if share <= 0:
        raise UsageError(
            f"{hardware.card.name} has less memory than SGLang keeps for one chunk of {chunk} tokens",
            "lower --chunked-prefill-size",
        )
    vision = any(t.part == "vision" for t in model.tensors)
    return share * facts.constant("sglang", "multimodal_share", now.numbers).value if vision else share


DSA_SHARE_053 = 0.8


def prefill_sizes(chunk: int) -> list[int]:
    """Token counts of 0.5.23's prefill graphs (cuda_graph_hook.py).

    >>> len(prefill_sizes(8192))
    58
    """
    ranges = (
        range(4, 33, 4),
        range(48, 257, 16),
        range(288, 513, 32),
        range(576, 1025, 64),
        range(1280, 4097, 256),
    )
    return [size for each in (*ranges, range(4608, chunk + 1, 512)) for size in each if size <= chunk]


CACHE_DTYPES = ("auto", "bfloat16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla")


def resolve_cache_dtype(model: Model, asked: str, hardware: Hardware, now: Release) -> str:
    """The type of the cache. Sparse MLA takes FP8 on Blackwell by itself, V4 always."""
    if asked not in CACHE_DTYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked!r} is not known to SGLang", f"known are {', '.join(CACHE_DTYPES)}"
        )
    attention = model.layers[-1].attention
    word = {"bf16": "bfloat16", "fp8": "fp8_e4m3"}.get(asked, asked)
    blackwell = 10 <= hardware.card.capability < 11
    match attention:
        case V4() | V41():
            if word == "fp8_e5m2":
                raise UnsupportedError("--kv-cache-dtype fp8_e5m2 is not for V4", "use fp8_e4m3 or bfloat16")
            return word if word == "bfloat16" else "mxfp8_ds_mla" if blackwell else "fp8_ds_mla"
        case DSA():
            if word == "fp8_e5m2":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_e5m2 is not for sparse MLA", "use fp8_e4m3 or bfloat16"
                )
            if word == "auto":
                word = "fp8_e4m3" if hardware.card.capability >= 10 else "bfloat16"
            if word == "bfloat16":
                return word
            raw = hardware.card.capability >= 10 and now.since(0, 5, 23) and word != "fp8_ds_mla"
            return (
                "fp8_e4m3" if raw else "fp8_ds_mla"
            )  # trtllm's kernels, Blackwell's default of 0.5.23, take plain rows
        case _:
            if word == "fp8_ds_mla":
                raise UnsupportedError(
                    "--kv-cache-dtype fp8_ds_mla is for sparse MLA alone", "use fp8_e4m3 or auto"
                )
            return word


def default_page(model: Model, hardware: Hardware, now: Release) -> int:
    """Tokens a page: 1, or what the attention backend of the model needs."""
    match model.layers[-1].attention:
        case V4() | V41():
            return 256
        case DSA():
            return 64
        case MLA():
            return 64 if now.since(0, 5) and 10 <= hardware.card.capability < 12 else 1
        case _:
            return 1


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a pipeline stage: the remainder goes to the last stage, from 0.5.4 on to as many last stages
    (distributed/utils.py).

    >>> from ...model.load import load
    >>> asked = Resolved(engine_version=LATEST, layout=Layout(pp=2))
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), asked)]
    [30, 31]
    """
    now = release(asked.engine_version)
    pp, num_layers = asked.layout.pp, len(model.layers)
    even, rest = divmod(num_layers, pp)
    ends = [0]
    for index in range(pp):
        more = int(index >= pp - rest) if now.since(0, 5, 4) else rest * (index == pp - 1)
        ends.append(ends[-1] + even + more)
    return [Stage(index, pp, ends[index], ends[index + 1]) for index in range(pp)]
