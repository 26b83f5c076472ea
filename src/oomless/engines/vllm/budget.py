"""What vLLM sets aside before the cache: the peak of its profile run, non-torch memory, CUDA graphs; and the
budget itself.

The profile run executes max_num_batched_tokens tokens and then samples max_num_seqs rows; the peak is the
larger phase.
"""

from math import ceil, prod

from ... import facts
from ...ledger import Category, Key, Line, exact, ranged, sums
from ...model.attention import DSA, MLA, V4, V41, Linear
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB
from ..overhead_lines import context_line, measured
from ..rank import Budget, CacheLayout, Stage
from .cache import TURBOQUANT, scratch
from .compiling import compiling_lines
from .flashinfer import workspace_bytes, workspace_line
from .graphs import (
    beyond_trial,
    captures_whole,
    captures_wide,
    estimates_graphs,
    graph_lines,
    largest_graph,
)
from .hccl import moves_experts, with_buffers
from .profile import ProfileRun, profile_lines, warm_up_lines
from .profile_attention import context_chunk
from .profile_feed_forward import MEGA_MOE, has_nvfp4_experts
from .rank_tensors import shard, stage_layers
from .release import COMPILED, DRIVER, FLASHINFER, RELEASES, SORTS, UNSCORED, UNTRIED, VllmRules
from .runners import runs_second
from .weights import released_ends, uncharged_weights


def budget_bytes(asked: Resolved, hardware: Hardware) -> int:
    """What vLLM allows itself: utilisation of the card's total, what others hold of it with it; which takes
    of the share where all that the card has less of is charged.

    >>> from ...run.hardware import parse_gpu
    >>> asked, card = Resolved(gpu_memory_utilization=0.9, reserve="8GiB"), parse_gpu("72GiB")
    >>> [budget_bytes(asked._replace(engine_version=each), card) / 2**30 for each in ("0.9.0", "0.9.1")]
    [64.0, 72.0]
    """
    others = asked.reserve_bytes // asked.instances
    share = ceil((hardware.card.memory_bytes + others) * (asked.gpu_memory_utilization or 0))
    return share - others if others and charges_card(asked, hardware) else share


def charges_card(asked: Resolved, hardware: Hardware) -> bool:
    """Return whether all that the card has less of is charged to the share."""
    rules = RELEASES.at(asked.engine_version)
    if rules.v0:
        return rules.v0_charges_context
    on_ascend = hardware.card.vendor == "Huawei"
    return rules.charges_context_on_ascend if on_ascend else rules.charges_context


def made_pool(layout: CacheLayout, asked: Resolved, left: int) -> int:
    """The pool as the question says it, or else all that is left of the budget: so many blocks
    (kv_cache_utils.py, may_override_num_blocks), or so many bytes (gpu_worker.py, determine_available_memory,
    which then asks no share of the card). What is too much for the card is found out when it is made.

    >>> made_pool(CacheLayout((), 4096, 0, 0, 4096, "", ""), Resolved(num_gpu_blocks_override=512), 10**9)
    2097152
    """
    if asked.num_gpu_blocks_override:
        return asked.num_gpu_blocks_override * layout.block_bytes
    return asked.kv_cache_memory_bytes or left


def host_bytes(model: Model, asked: Resolved, hardware: Hardware) -> int:
    """Engram tables and weights that live on the host, and what is set aside there for cache: V0's swap
    space, a tier of blocks."""
    tables = sum(t.num_bytes for t in model.tensors if t.part == "engram") if asked.engram == "host" else 0
    ranks = asked.layout.num_ranks
    if asked.cpu_offload_gb:
        from .offload import most_on_host

        tables += most_on_host(
            asked, ranks, sum(t.num_bytes for t in model.tensors if t.part == "main" and t.layers)
        )
    swap = 0 if hardware.card.shared_bytes else swap_gib(asked)
    return tables + int((swap * ranks + asked.kv_offloading_size) * GIB)


def swap_gib(asked: Resolved) -> float:
    """--swap-space of a rank, which V0 pins after the pool (worker/worker.py, initialize_cache): on memory
    that is the host's too it is no part of what is left for the pool."""
    unsaid = RELEASES.at(asked.engine_version).v0 and asked.swap_space is None
    return SWAP_GIB if unsaid else asked.swap_space or 0


SWAP_GIB = 4
"""V0's own."""


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Everything but weights and cache. CUDA graphs are charged where they are estimated, the context in
    0.2.5 to 0.3.0 and 0.6.4, in the second engine of 0.8, and on Ascend up to 0.17."""
    rules = RELEASES.at(asked.engine_version)
    tags = conditions(model, asked, hardware, stage, rules)
    fused: list[Line] = []
    if asked.moe_backend == MEGA_MOE:
        from .mega_moe import mega_moe_lines  # one backend's buffer

        fused = mega_moe_lines(model, asked, hardware, rules)
    run = ProfileRun(model, asked, hardware, stage, rules, tags)
    charged = [
        *beside_weights(model, asked, stage, rules, tags),
        *tried_lines(run),
        *fused,
    ]
    beside: list[Line] = []
    others = with_buffers(_measured("runtime.non_torch", "non_torch", rules, tags), rules, tags)
    (beside if rules.charges_torch_alone else charged).append(others)
    context = _measured("runtime.context", "context", rules, tags)
    context = context_line(context, "vllm", rules.release, tags, hardware.card)
    (charged if charges_card(asked, hardware) else beside).append(context)
    estimated = estimates_graphs(model, asked, rules, tags)
    untried = ("untried",) if rules.charges_graphs and not estimated else ()
    if asked.kv_cache_dtype.startswith(TURBOQUANT):
        (beside if rules.shares_codes_scratch else charged).append(scratch(model, asked, stage, rules))
    graphs = graph_lines(model, asked, hardware, stage, rules, (*tags, *untried))
    (charged if estimated else beside).extend(graphs)
    if estimated:
        beside.extend(beyond_trial(model, asked, stage, rules, tags, largest_graph(hardware, rules)))
    second = runs_second(model, asked, rules, tags)
    charged.extend(compiling_lines(model, asked, stage, rules, tags, charged))
    beside.extend(beside_pool(run, charged))
    beside.extend(uncharged_weights(model, asked, stage, rules))
    if asked.speculative:
        from .profile_draft import input_buffers

        inputs = input_buffers(model, asked, stage, rules, second)
        (charged if rules.charges_made_before_loading else beside).extend(inputs)
    if stage.last and second:
        held = sum(line.bytes for line in charged if line.category in ("activations", "logits"))
        held += sum(line.bytes for line in graphs) if rules.warms_up_before_graphs else 0
        beside.extend(warm_up_lines(run, held))
        state = sampler_state(asked.max_num_seqs, model.num_logits)
        (charged if rules.charges_made_before_loading else beside).append(state)
    own = hardware.card.shared_bytes or {"ascend", "tpu"} & set(tags)
    return Budget(
        tuple(charged),
        tuple(beside),
        unused_peak(run),
        tuple(released_ends(model, asked, stage, rules)),
        budget_bytes(asked, hardware) if rules.wants_share_free and not rules.v0 and not own else 0,
    )


def sampler_state(rows: int, vocab: int) -> Line:
    """Return what the second runner's sampler keeps of each sequence.

    >>> sampler_state(256, 129280).bytes
    136519680
    """
    return exact(
        "runtime.sampler_state",
        "engine",
        "sampler state",
        rows * vocab * 33 // 8,
        f"{rows} sequences x {vocab} x (4 B of counts + 1 bit of mask)",
        "vllm/v1/worker/gpu/sample/penalties.py",
    )


def unused_peak(run: ProfileRun) -> tuple[int, int, int]:
    """Return (the least, the middle, the most) that the profile run's peak has over that of the largest batch
    which the asked load can make.

    The run reads max_num_batched_tokens whatever is asked; what is captured after it, and lies beside the
    pool, may take what no request of the load will. Rows that are sampled are tried again after the capture,
    but on Ascend (vllm_ascend/worker/worker.py, compile_or_warm_up_model). The first engine tries images
    with more sequences than the load has.

    open-r1 serves DeepSeek-R1 with --max-num-batched-tokens 262144 and prompts of at most 32,768: its graphs
    lie where 15 of the 18 GiB of the peak were.
    """
    asked, on_a_rank = run.asked, -(-(run.asked.concurrency or 1) // run.asked.layout.dp)
    rows = asked.max_num_seqs if "ascend" not in run.tags else min(on_a_rank, asked.max_num_seqs)
    tokens = min(max((asked.context or 1) * on_a_rank, rows), asked.max_num_batched_tokens or 0)
    few = asked._replace(max_num_batched_tokens=tokens, max_num_seqs=rows)
    pictured = run.rules.v0 and run.model.vision
    seen = few._replace(max_num_seqs=min(on_a_rank, rows or 0)) if pictured else few
    if few == seen == asked:
        return 0, 0, 0
    taken = [tried_lines(run), tried_lines(run._replace(asked=seen))]
    if seen != few:  # its texts are sampled with all rows
        taken.append(profile_lines(run._replace(asked=few)))
    ends = zip(*map(ends_of, taken), strict=True)
    low, middle, high = (max(mine - max(needed), 0) for mine, *needed in ends)
    return min(low, middle, high), middle, max(low, middle, high)


def ends_of(lines: list[Line]) -> tuple[int, int, int]:
    """Return the least, the middle and the most that lines take together."""
    middle, low, high = sums(lines)
    return low, middle, high


def beside_pool(run: ProfileRun, charged: list[Line]) -> list[Line]:
    """What comes only after the cache is cut, graphs aside: buffers of Ascend's later groups of ranks, what
    linear attention scans and sparse attention sums, workspaces of a cached context and of FlashInfer."""
    model, asked, hardware, stage, rules, tags = run
    found: list[Line] = []
    if hardware.card.shared_bytes and (swap := swap_gib(asked)):
        what, said = "swap space, in the host's memory, which is the card's", f"{swap:g} GiB, after the pool"
        source = "vllm/worker/worker.py, initialize_cache"
        found.append(exact("weights.on_host", "engine", what, int(swap * GIB), said, source))
    workspace = workspace_bytes(model, asked, hardware, stage, rules)
    if workspace and not captures_whole(model, asked, hardware, rules):
        found.append(workspace_line(workspace))
    if "moves_experts" in tags and not rules.tries_moved_experts:
        later = measured("vllm", "runtime.non_torch", "late_buffers", rules.release, tags, "communication")
        what = "buffers of groups that talk after the profile run"
        found.append(later._replace(key="communication.buffers", what=what))
    if stage.kinds(model).has(Linear) and not rules.v0:
        from .scan import scan_line  # few models have such layers

        found.append(scan_line(run, charged))
    if model.vision is not None:
        from .profile_images import untried_lines  # most models see nothing

        found.extend(untried_lines(run))
    if model.canvas and stage.last:
        from .canvases import canvas_lines

        found.extend(canvas_lines(model, asked, rules))
    if stage.kinds(model).has(DSA):
        from .sparse import sum_lines

        found.extend(sum_lines(model, asked, hardware, rules, charged))
    dense = stage.kinds(model).of(MLA)
    if dense and rules.expands_context_when_profiled:
        size = context_chunk(asked) * max(each.latent_dim for each in dense) * run.width
        formula = f"latents of {context_chunk(asked):,} tokens, made after the cache is cut"
        found.append(
            exact(
                "runtime.workspaces",
                "engine",
                "workspace of cached context",
                size,
                formula,
                "vllm mla/common.py, mla_attention.py",
            )
        )
    return found


def beside_weights(
    model: Model, asked: Resolved, stage: Stage, rules: VllmRules, tags: tuple[str, ...]
) -> list[Line]:
    """What counts as weights and is no tensor that is known: remains of loading on ROCm, what another's
    checkpoint may keep, and on Ascend before 0.8 up to another copy of experts in 8 bits: 0.7.3 with MindIE
    Turbo loaded DeepSeek-R1 and V3 over 16 NPUs until 60.3 GiB were given out, of 42 to 45."""
    found = (
        [measured("vllm", "fragmentation.loading", "load_extra", rules.release, tags)]
        if "amd" in tags
        else []
    )
    if asked.quantization in (None, model.quantization):
        return found
    from ..requantised import AUTOAWQ, MODELSLIM, kept_line  # few are asked for in a format of others

    parts = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers:
            shape, repeat = shard(tensor, asked, rules, tensor.part == "main")
            parts.append((tensor, shape, repeat * len(layers)))
    if {"ascend", "experts"} <= {*tags} and rules.runs_v0 and asked.quantization == "w8a8":
        copies = sum(prod(shape) * repeat for tensor, shape, repeat in parts if ".experts." in tensor.name)
        formula, source = "another copy of experts in 8 bits", "vllm-ascend#1127, vllm-ascend#2378"
        what, ends = "experts that loading turns", (0, 0, copies)
        found.append(ranged("fragmentation.loading", "engine", what, ends, "assumed", formula, source))
    by_autoawq = (
        asked.quantization == "awq" and rules.reads_awq_of_autoawq_alone and not model.kinds.latents
    )  # DeepSeek's was written by a copy of it (vllm#15014)
    maker = AUTOAWQ if by_autoawq else MODELSLIM if "ascend" in tags else ""
    return found + kept_line(model, asked.quantization, parts, maker)


SMALL_GRAPHS_DRIVER, BLACKWELL_DRIVER, OLD_DRIVER = 550, 570, 535
"""The first driver (CUDA 12.4) whose captured graphs hold little (vllm#5517), the first for Blackwell, and
the commonest before both."""


def unsaid(text: str, hardware: Hardware) -> tuple[tuple[str, ...], ...]:
    """Return what the text of a release leaves open, each as the words that would say it.

    >>> from ...run.hardware import parse_gpu
    >>> [unsaid("0.28.0 (FlashInfer, flash_attn)", parse_gpu(each)) for each in ("h100", "rtx-5090")]
    [(('driver 570', 'driver 535'), ('warm',), ('graphs untried',)), (('warm',), ('graphs untried',))]
    """
    drivers = tuple(f"{DRIVER}{each}" for each in (BLACKWELL_DRIVER, OLD_DRIVER))
    any_driver = hardware.card.vendor == "NVIDIA" and hardware.card.capability < 10
    found = {
        DRIVER: drivers if any_driver else (),
        FLASHINFER: (FLASHINFER, SORTS),
        UNSCORED: (UNSCORED, f"no {UNSCORED}"),
        COMPILED: (COMPILED,),
        "graphs": (UNTRIED,),
    }
    return tuple(words for sign, words in found.items() if words and sign not in text)


def conditions(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules
) -> tuple[str, ...]:
    """The conditions of engines.csv that hold here."""
    layout = asked.layout
    kinds = stage.kinds(model)
    driver = rules.driver or (BLACKWELL_DRIVER if hardware.card.capability >= 10 else 0)
    together = layout.tp * (
        layout.dp if model.kinds.has_experts else 1
    )  # experts are divided over data-parallel ranks too, so those communicate
    found = {
        "tp": together > 1,
        "tp4": together >= 4,
        "tp8": together >= 8,
        "pp": layout.pp > 1,
        "multi_node": layout.num_ranks > hardware.per_node,
        "remote": layout.num_ranks > hardware.per_node and not stage.first,
        "v0": rules.v0,
        "v1": not rules.v0,
        "mla": kinds.has(MLA, DSA),
        "v4": kinds.has(V4, V41),
        "float32": asked.dtype == "float32",
        "eager": asked.enforce_eager,
        "granite": model.family.startswith("granite"),
        "before_hopper": 0 < hardware.card.capability < 9,
        "hopper": hardware.card.vendor == "NVIDIA" and hardware.card.major == 9,
        "meshed": hardware.card.link.startswith("NVLink") and "bridge" not in hardware.card.link,
        "bridged": hardware.card.vendor == "NVIDIA" and "bridge" in hardware.card.link,
        "no_link": hardware.card.has_no_link,
        "old_driver": hardware.card.vendor == "NVIDIA" and 0 < driver < SMALL_GRAPHS_DRIVER,
        "new_driver": hardware.card.vendor == "NVIDIA" and driver >= SMALL_GRAPHS_DRIVER,
        "other_vendor": not hardware.card.is_nvidia,
        "amd": hardware.card.vendor == "AMD",
        "radeon": hardware.card.vendor == "AMD" and not hardware.card.link,
        "ascend": hardware.card.vendor == "Huawei",
        "tpu": hardware.card.vendor == "Google",
        "xpu": hardware.card.vendor == "Intel GPU",
        "moves_experts": moves_experts(model, asked, hardware, rules),
        "unified": hardware.card.shared_bytes > 0,
        "sm12": hardware.card.major == 12,
        "hybrid": kinds.has(Linear),
        "experts": model.kinds.has_experts,
        "dp_experts": model.kinds.has_experts and layout.dp > 1,
        "nvfp4_sm10": hardware.card.major == 10 and has_nvfp4_experts(model, asked),
    }
    found["nvfp4_wide"] = found["nvfp4_sm10"] and captures_wide(asked, hardware, rules)
    samplers = () if found["other_vendor"] else rules.samplers
    return (*(name for name, holds in found.items() if holds), *samplers)


def _measured(key: Key, quantity: str, rules: VllmRules, tags: tuple[str, ...]) -> Line:
    """A line that is a row of engines.csv; on cards of makers without rows of their own it is only assumed,
    with twice the room. A TPU has no context of CUDA and no NCCL: programs of XLA stand in for both."""
    quantity = f"{quantity}_of_xla" if "tpu" in tags else quantity
    category: Category = (
        "communication" if quantity.startswith("non_torch") and ({"tp", "pp"} & set(tags)) else "runtime"
    )
    line = measured("vllm", key, quantity, rules.release, tags, category)
    if "other_vendor" not in tags or {"ascend", "tpu"} & set(tags):
        return line
    if facts.select("engines", ("vllm", quantity), tags, rules.release).when & {"amd", "radeon", "xpu"}:
        return line
    return line._replace(low_bytes=0, high_bytes=2 * line.high_bytes, kind="assumed")


def tried_lines(run: ProfileRun) -> list[Line]:
    """Return what the profile run takes, with images too in the first engine."""
    if not run.rules.v0:
        return profile_lines(run)
    from .v0_batch import v0_lines  # the first engine

    return v0_lines(run, budget_bytes(run.asked, run.hardware))
