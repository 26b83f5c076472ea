"""What vLLM sets aside before the cache: the peak of its profile run, non-torch memory, CUDA graphs; and the budget itself.

The profile run executes max_num_batched_tokens tokens and then samples max_num_seqs rows; the peak is the larger phase.
"""

from math import ceil, prod

from ... import facts
from ...ledger import Category, Kind, Line, exact
from ...model.attention import DSA, MLA, V4, V41, Attention
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.hardware import Hardware
from ...run.serving import Layout, Serving
from ...units import GIB, gib
from .. import Budget, Stage
from ..shards import measured
from .release import LATEST, Release, release
from .weights import placed_weights, runtime_format, shard, stage_layers

FITTED_GRAPHS = 102
"""Graphs in each of the runs that engines.csv's graphs_* were fitted on."""
MEGA_MOE = "deep_gemm_mega_moe"
LARGEST_GRAPH = 512
"""Tokens of the largest captured step (max_cudagraph_capture_size)."""
WHAT_LOGITS = "sampler over the profile batch"
WHAT_ACTIVATIONS = "activations of the profile run"
WHAT_NON_TORCH = "non-torch: NCCL, kernels, handles"
WHAT_GRAPHS = "CUDA graphs"
WHAT_CONTEXT = "CUDA context"
WHAT_LOADED = "loaded beside the weights"
"""On ROCm vLLM takes for weights what the card has less of after loading (platforms/rocm.py, get_current_memory_usage)."""


def budget_bytes(asked: Serving, hardware: Hardware) -> int:
    """What vLLM allows itself: utilisation of the card's total.

    >>> from ...run.hardware import parse_gpu
    >>> budget_bytes(Serving(gpu_memory_utilization=0.9), parse_gpu("80GiB"))
    77309411328
    """
    return ceil(hardware.card.memory_bytes * (asked.gpu_memory_utilization or 0))


def pool_bytes(asked: Serving, allowed: int, charged: int) -> int:
    """The cache gets what is left of the budget."""
    return allowed - charged


def host_bytes(model: Model, asked: Serving, hardware: Hardware) -> int:
    """Engram tables and weights that live on the host, and what is set aside there for cache: V0's swap space, a tier of blocks."""
    tables = sum(t.num_bytes for t in model.tensors if t.part == "engram") if asked.engram == "host" else 0
    ranks = (asked.layout or Layout()).num_ranks
    if asked.cpu_offload_gb:
        from .offload import most_on_host

        tables += most_on_host(asked, ranks, sum(t.num_bytes for t in model.tensors if t.part == "main" and t.layers))
    swap = SWAP_GIB if release(asked.engine_version or LATEST).v0 and asked.swap_space is None else asked.swap_space or 0
    return tables + int((swap * ranks + asked.kv_offloading_size) * GIB)


SWAP_GIB = 4
"""V0's --swap-space, a rank."""


def budget_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
    """Everything but weights and cache. CUDA graphs are charged from 0.21 on, the context never is."""
    now = release(asked.engine_version or LATEST)
    tags = conditions(model, asked, hardware, stage, now)
    fused: list[Line] = []
    if asked.moe_backend == MEGA_MOE:
        from .mega_moe import mega_moe_lines  # one backend's buffer

        fused = mega_moe_lines(model, asked, hardware, now)
    charged = [
        *beside_weights(model, asked, stage, now, tags),
        *with_unknown_images(profile_lines(model, asked, hardware, stage, now, tags), model, asked, hardware, now),
        _measured("non_torch", WHAT_NON_TORCH, now, tags),
        *fused,
    ]
    beside = [_measured("context", WHAT_CONTEXT, now, tags)]
    (charged if now.since(0, 21) else beside).extend(graph_lines(model, asked, stage, now, tags))
    if isinstance(model.layers[-1].attention, MLA) and now.since(0, 11) and not now.v0:
        size = context_chunk(asked) * model.layers[-1].attention.latent_dim * DTYPES[asked.dtype].bits // 8
        formula = f"latents of {context_chunk(asked):,} tokens, made after the cache is cut"
        beside.append(exact("runtime", "workspace of cached context", size, formula, "vllm mla/common.py, mla_attention.py"))
    if now.since(0, 25) and not now.v0 and stage.last:
        # the second model runner keeps counts and masks of tokens; only 0.33 sees them in its budget
        rows, vocab = asked.max_num_seqs or 0, model.vocab_size
        line = exact(
            "runtime",
            "sampler state",
            rows * vocab * 33 // 8,
            f"{rows} sequences x {vocab} x (4 B of counts + 1 bit of mask)",
            "vllm/v1/worker/gpu/sample/penalties.py",
        )
        (charged if now.since(0, 33) else beside).append(line)
    return Budget(tuple(charged), tuple(beside))


def beside_weights(model: Model, asked: Serving, stage: Stage, now: Release, tags: tuple[str, ...]) -> list[Line]:
    """What counts as weights and is no tensor that is known: remains of loading on ROCm, and what another's checkpoint may keep."""
    found = [measured("vllm", "fragmentation", "load_extra", WHAT_LOADED, now.numbers, tags)] if "amd" in tags else []
    if asked.quantization in (None, model.quantization):
        return found
    from ..requantised import kept_line  # few models are asked for in a format of others

    parts = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, now)
        if layers:
            shape, repeat = shard(tensor, asked, now, tensor.part == "main")
            parts.append((tensor, shape, repeat * len(layers)))
    return found + kept_line(model, asked.quantization, parts)


def is_sparse(model: Model) -> bool:
    return isinstance(model.layers[-1].attention, DSA | V4 | V41)


def conditions(model: Model, asked: Serving, hardware: Hardware, stage: Stage, now: Release) -> tuple[str, ...]:
    """The conditions of engines.csv that hold here."""
    layout = asked.layout or Layout()
    attention = model.layers[-1].attention
    experts = any(isinstance(layer.ffn, MoE) for layer in model.layers)
    together = layout.tp * (layout.dp if experts else 1)  # experts are divided over data-parallel ranks too, so those communicate
    found = {
        "tp": together > 1,
        "tp4": together >= 4,
        "tp8": together >= 8,
        "pp": layout.pp > 1 and together == 1,
        "multi_node": layout.num_ranks > hardware.per_node,
        "remote": layout.num_ranks > hardware.per_node and not stage.first,
        "v0": now.v0,
        "v1": not now.v0,
        "mla": isinstance(attention, MLA | DSA),
        "v4": isinstance(attention, V4 | V41),
        "float32": asked.dtype == "float32",
        "granite": model.family.startswith("granite") and together == 1 and layout.pp == 1,
        "before_hopper": 0 < hardware.card.capability < 9,
        "no_link": hardware.card.vendor == "NVIDIA" and not hardware.card.link,
        "other_vendor": hardware.card.vendor not in ("NVIDIA", ""),
        "amd": hardware.card.vendor == "AMD",
    }
    return tuple(name for name, holds in found.items() if holds)


HOPPER_SMS = 132
"""Multiprocessors of a card whose table row has none: the largest that the constants were measured on."""


def profile_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage, now: Release, tags: tuple[str, ...]) -> list[Line]:
    """The activation peak: shared workspace + the larger of sampling and forward pass, hidden states in both.

    From 0.16 on experts and sparse attention share one workspace, which stays; before, the experts' lived while they ran.

    sampler = S*V*B + T*h*b + 2*S*h*b + multiprocessors*V*4 + cuBLAS;  forward = T*b*(3*ff + c*h) + cuBLAS + flush buffer.
    S sequences, T tokens, V vocabulary, b bytes of the dtype; B, c by version (engines.csv). Residuals: 2.4 % on 26 logs.
    """
    layout, width = asked.layout or Layout(), DTYPES[asked.dtype].bits // 8
    tokens, hidden, vocab = asked.max_num_batched_tokens or 0, model.hidden_size, model.vocab_size
    rows = min(asked.max_num_seqs or 0, tokens)

    def of(quantity: str, *more: str) -> facts.Constant:
        return facts.constant("vllm", quantity, now.numbers, *tags, *more)

    cublas = int(of("cublas_workspace").value)
    experts = _expert_workspace(model, layout, now, tokens, width) if asked.moe_backend != MEGA_MOE else 0
    persistent = experts if now.since(0, 16) else 0
    scratch, attention = 0, model.layers[-1].attention
    if is_sparse(model):
        from . import sparse  # most models have none

        persistent = max(persistent, sparse.shared_bytes(model, asked, hardware, now)) - sparse.loaded_bytes(model, asked, now)
        scratch = sparse.scratch_bytes(asked, now)
    seen = vision_bytes(model, asked, stage, now, width)
    copies = of("forward_hidden_copies", *([] if stage.last or now.v0 else ["passes_on"])).value
    inner, gates = _widest_inner(model, layout)
    row_bytes = width * (gates * inner + copies * hidden * model.streams)
    if quantises_inputs(model, asked):
        row_bytes += inner  # the input of the last projection in 8 bits, beside itself and what it was made of
    forward = int(tokens * row_bytes) + cublas + int(of("forward_extra").value)
    if now.v0:  # nothing is compiled and nothing outlives its layer, so a dense layer and the experts take turns
        shared = any(isinstance(layer.ffn, MoE) and layer.ffn.shared_width for layer in model.layers)
        beside = int(tokens * width * (copies + int(shared)) * hidden) + cublas + int(of("forward_extra").value)
        forward = max(forward, beside + experts if experts else 0)
        forward += _largest_layer(model, asked, hardware, stage) if asked.cpu_offload_gb else 0
    elif not now.since(0, 16):
        forward += experts
    if now.v0 and isinstance(attention, MLA) and now.since(0, 8):
        forward = max(forward, v0_attention_bytes(attention, hidden, asked, stage, width) + cublas)
    scratch = max(scratch, expanded_context_bytes(attention, asked, now, width))
    if scratch:  # attention runs before the feed-forward, beside the hidden states alone
        forward = max(forward, int(tokens * width * copies * hidden * model.streams) + scratch + cublas)
    persistent += seen
    encoder = encoder_bytes(model, asked, seen, width)
    hidden_states = tokens * hidden * width + 2 * rows * hidden * width
    per_logit = of("sampler_bytes_per_logit")
    logits = int(rows * vocab * per_logit.value) if stage.last else 0
    if stage.last and now.since(0, 17) and not now.since(0, 21):
        logits += int(min(hardware.card.num_sms or HOPPER_SMS, rows) * vocab * of("topp_buffer").value)
    spread = of("activation_spread")
    source = f"engines/vllm/budget.py profile_lines; {per_logit.source}"
    if stage.last and logits + hidden_states + cublas >= forward:
        rest = hidden_states + cublas + persistent
        what = "hidden states, cuBLAS workspace" + (", workspace of experts or sparse attention" if persistent > seen else "")
        what += f", {seen:,} B of images and their tokens" if seen else ""
        sampler = _fitted("logits", WHAT_LOGITS, logits, spread, f"{rows} rows x {vocab} x {per_logit.value:g} B", source)
        beside = (REJECTION_BYTES if asked.speculative and not now.v0 else 0) + (LORA_LOGITS_BYTES if asked.enable_lora else 0)
        sampler = up_to(sampler, sampler.high_bytes + rows * vocab * beside)
        return [
            sampler,
            up_to(
                _fitted("activations", WHAT_ACTIVATIONS, rest, spread, f"{what}: {tokens} tokens x {hidden}", source),
                encoder - logits,
            ),
        ]
    formula = f"{tokens} tokens x {width} B x ({gates} x {inner} + {copies:g} x {hidden * model.streams}), workspaces"
    return [up_to(_fitted("activations", WHAT_ACTIVATIONS, forward + persistent, spread, formula, source), encoder)]


REJECTION_BYTES = 8
"""A logit that the rejection sampler is tried on beside the sampler's own: 2 B and an F32 copy, its probabilities (gpu_model_runner.py,

_dummy_sampler_run). An upper end: Qwen3.5-9B with MTP on 0.20 leaves 0.4 GiB less than its draft explains.
"""
LORA_LOGITS_BYTES = 8
"""A logit of a head with an adapter: a slice without the adapters' own words, and copies of it (1.16 for 0.96 GiB, phi-4 on 0.8). An upper end."""


def up_to(line: Line, least: int) -> Line:
    """The line with an upper end of at least so much."""
    return line._replace(high_bytes=max(line.high_bytes, least))


def encoder_bytes(model: Model, asked: Serving, seen: int, width: int) -> int:
    """What a vision tower may take while it runs alone, before the language model: an upper end, as no log shows the two apart.

    N patches x b x (6 x h + 2 x max(3 x h, inner)) + images and their tokens: hidden states with norm, positions, rotated queries and
    keys; merged projections and their parts, or the feed-forward and its activation. Of one rank: the tower is not cut in less than that.

    Qwen3.5-9B, one image of 65,536 patches; pools of 0.20 on one and on two RTX 5090 leave 2.2 GiB:

    >>> from ...model.load import load
    >>> model = load("qwen3.5-9b")
    >>> round(encoder_bytes(model, Serving(), 335544320, 2) / GIB, 2)
    2.21
    """
    if not seen or model.vision is None:
        return 0
    shapes = {tensor.name: tensor.shape for tensor in model.tensors if tensor.part == "vision"}
    patch = next((shape for name, shape in shapes.items() if name.startswith("vision.patch_embed") and name.endswith("weight")), None)
    inner = max((shape[0] for name, shape in shapes.items() if ".fc1.weight" in name and "merger" not in name), default=0)
    if patch is None or not inner:
        return 0
    items = max(seen // width // (model.vision.item_tokens * model.hidden_size + model.vision.item_values), 1)
    patches, hidden = items * model.vision.item_values // prod(patch[1:]), patch[0]
    return patches * width * (6 * hidden + 2 * max(3 * hidden, inner)) + seen


CONTEXT_CHUNK = 65536
"""Tokens of cached context that MLA expands at a time, at most."""


def context_chunk(asked: Serving) -> int:
    """Tokens whose latents are expanded at a time: 8 of the longest requests, or 4 blocks of each (mla/common.py, mla_attention.py)."""
    blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
    return max(min(max(8 * (asked.max_model_len or 0), 4 * blocks), CONTEXT_CHUNK), blocks)


def v0_attention_bytes(mla: MLA, hidden: int, asked: Serving, stage: Stage, width: int) -> int:
    """What lives while the output projection of MLA runs in V0, which compiles nothing (attention/backends/mla/common.py of 0.8).

    Hidden states and residual, queries and latents, keys and values of the batch with values padded to keys, the projection, its
    all-reduced copy and what both are written to; with prefix caching a chunk of cached latents and what they expand to.

    DeepSeek-V2.5 at TP8 with 8,192 tokens and prefix caching; a log of 0.8.3 says 1.27 GiB (of it 0.01 are cuBLAS's):

    >>> from ...model.load import load
    >>> asked = Serving(max_num_batched_tokens=8192, max_num_seqs=256, max_model_len=8192, layout=Layout(tp=8, pp=2))
    >>> asked = asked._replace(enable_prefix_caching=True)
    >>> attention = load("deepseek-v2.5").layers[0].attention
    >>> round(v0_attention_bytes(attention, 5120, asked, Stage(0, 2, 0, 30), 2) / GIB, 2)
    1.27
    """
    heads = max(mla.num_heads // (asked.layout or Layout()).tp, 1)
    query, expanded = mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.qk_nope_head_dim + mla.v_head_dim
    per_head = 3 * query + expanded + mla.v_head_dim
    row = (5 if stage.first else 6) * hidden + 2 * mla.q_lora_rank + mla.latent_dim + 2 * mla.kv_lora_rank + heads * per_head
    total = (asked.max_num_batched_tokens or 0) * row
    if asked.enable_prefix_caching:
        blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
        chunk = min(max(8 * (asked.max_model_len or 0), 4 * blocks), 2 * CONTEXT_CHUNK)
        total += chunk * (heads * expanded + mla.latent_dim)
    return total * width


def expanded_context_bytes(attention: Attention, asked: Serving, now: Release, width: int) -> int:
    """Keys and values of a chunk of cached context, which the profile run of MLA stands in for (read in 0.11 to 0.33).

    DeepSeek-V3 with all 128 heads on each rank, as under data parallelism: 65,536 x 128 x 256 x 2 B = 4 GiB.

    >>> from ...model.load import load
    >>> asked = Serving(max_model_len=163840, max_num_seqs=256, layout=Layout(dp=8))
    >>> expanded_context_bytes(load("deepseek-v3").layers[0].attention, asked, release("0.19.0"), 2) == 4 * GIB
    True
    """
    mla = attention.mla if isinstance(attention, DSA) else attention
    if not isinstance(mla, MLA) or not now.since(0, 11) or now.v0:
        return 0
    heads = max(mla.num_heads // (asked.layout or Layout()).tp, 1)
    return context_chunk(asked) * heads * (mla.qk_nope_head_dim + mla.v_head_dim) * width


def with_unknown_images(lines: list[Line], model: Model, asked: Serving, hardware: Hardware, now: Release) -> list[Line]:
    """V0 profiled an image for each sequence, by rules that are not known here: its peak may be anything up to the budget.

    Measured: 36.6 GiB for Llama-3.2-11B-Vision with 128 sequences on 0.6.6, 4.1 for Qwen2.5-VL-3B on 0.7.
    """
    if not now.v0 or not any(tensor.part == "vision" for tensor in model.tensors):
        return lines
    *others, last = lines
    formula = f"{last.formula}; images of the profile run of V0 are not counted"
    high = max(budget_bytes(asked, hardware) - sum(line.high_bytes for line in others), last.high_bytes)
    return [*others, last._replace(kind="assumed", high_bytes=high, formula=formula)]


def vision_bytes(model: Model, asked: Serving, stage: Stage, now: Release, width: int) -> int:
    """Images of the profile run and the tokens made of them, which stay while the language model runs: as many as a batch holds.

    v1/core/encoder_cache_manager.py and gpu_model_runner.py profile_run of 0.8.5 to 0.25; 0.33 lets the pixels go.

    >>> from ...model.load import load
    >>> vision_bytes(load("gemma-3-12b"), Serving(max_num_batched_tokens=8192), Stage(0, 1, 0, 48), release("0.19.0"), 2)
    217055232
    """
    vision = model.vision
    if vision is None or now.v0 or not stage.first:
        return 0
    limit = asked.images_per_prompt
    if limit == 0:
        return 0
    of_prompt = max(
        min(MANY_IMAGES if limit is None else limit, (asked.max_model_len or vision.item_tokens) // vision.item_tokens), 1
    )
    of_batch = (asked.max_num_batched_tokens or 0) // vision.item_tokens
    items = max(min(of_batch, (asked.max_num_seqs or of_batch) * of_prompt), 1)
    values = 0 if now.since(0, 33) else vision.item_values
    return items * (vision.item_tokens * model.hidden_size + values) * width


MANY_IMAGES = 999
"""V1's --limit-mm-per-prompt where it is not given."""


def _expert_workspace(model: Model, layout: Layout, now: Release, tokens: int, width: int) -> int:
    """Two buffers of the fused experts: T*k*max(2*ff, h) and T*k*max(ff, h) elements; before 0.16 the second is T*k*ff.

    0.7 had three, T*k*2*ff, T*k*ff and T*k*h (fused_moe.py). Before 0.16 a call takes at most 32,768 tokens at a time.
    """
    largest = 0
    if not now.since(0, 16):
        tokens = min(tokens, EXPERTS_CHUNK)
    for ffn in {layer.ffn for layer in model.layers}:
        if isinstance(ffn, MoE):
            inner = ffn.expert_width // (1 if layout.enable_expert_parallel else layout.tp * layout.dp)
            rows = tokens * ffn.num_active_experts
            first = max(inner, model.hidden_size) if now.since(0, 16) else inner
            second = max(2 * inner, model.hidden_size) if now.since(0, 8) else 2 * inner + model.hidden_size
            largest = max(largest, width * rows * (first + second))
    return largest


EXPERTS_CHUNK = 32768
"""VLLM_FUSED_MOE_CHUNK_SIZE."""


def _largest_layer(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> int:
    """Bytes of the largest layer of a rank: V0 copies a layer that lies on the host to the card to run it."""
    placed = placed_weights(model, asked._replace(cpu_offload_gb=0.0), hardware, stage)
    sizes = [
        sum(each.num_bytes * each.per_layer for each in placed if layer in each.layers) for layer in range(stage.start, stage.stop)
    ]
    return max(sizes, default=0)


def _widest_inner(model: Model, layout: Layout) -> tuple[int, int]:
    """Width of the widest dense or shared feed-forward on a rank, and how many of that width live at once: 3 with a gate, else 2."""
    widths = [(0, 3)]
    for ffn in {layer.ffn for layer in model.layers}:
        inner = ffn.intermediate_size if isinstance(ffn, Dense) else max(ffn.shared_width, ffn.dense_width)
        widths.append((inner // layout.tp, 3 if ffn.gated else 2))
    return max(widths)


def quantises_inputs(model: Model, asked: Serving) -> bool:
    """Whether matrices are multiplied with 8-bit inputs, which are made by the way."""
    return any(tensor.role == "linear" and runtime_format(tensor, model, asked).bits == 8 for tensor in model.tensors)


def graph_sizes(asked: Serving, now: Release) -> int:
    """How many graphs are captured: sizes 1, 2, 4, then every 8 to 256, every 16 to 512 (before 0.16: every 8).

    Piecewise graphs cover all of them, full graphs those up to max_num_seqs.

    >>> graph_sizes(Serving(max_num_seqs=1024, max_num_batched_tokens=8192), release("0.19.0"))
    102
    """
    largest = min(2 * (asked.max_num_seqs or 256), LARGEST_GRAPH, asked.max_num_batched_tokens or 512)
    if now.v0:
        largest = min(asked.max_num_seqs or 256, 256)
    step = 16 if now.since(0, 16) else 8
    return _num_sizes(largest, step) + _num_sizes(min(largest, asked.max_num_seqs or 256), step)


def _num_sizes(largest: int, step: int) -> int:
    """How many of 1, 2, 4, every 8 up to 256 and every `step` up to 512 are at most `largest`.

    >>> _num_sizes(512, 16), _num_sizes(256, 8), _num_sizes(3, 8)
    (51, 35, 2)
    """
    return sum(size <= largest for size in (1, 2, 4)) + min(largest, 256) // 8 + max(min(largest, 512) - 256, 0) // step


def graph_lines(model: Model, asked: Serving, stage: Stage, now: Release, tags: tuple[str, ...]) -> list[Line]:
    """Memory of captured graphs: a fit over runs with 2 x 51 graphs, scaled by their number; the fewer, the less it says."""
    if asked.enforce_eager:
        return []

    def of(quantity: str) -> float:
        return facts.constant("vllm", quantity, now.numbers, *tags).value

    num_layers = stage.stop - stage.start
    if now.v0:
        estimate = of("graphs_v0_per_hidden") * model.hidden_size
    else:
        estimate = of("graphs_base") + of("graphs_per_layer") * num_layers
        estimate += of("graphs_moe") if any(isinstance(layer.ffn, MoE) for layer in model.layers) else 0
        estimate += of("graphs_mla") if {"mla", "v4"} & set(tags) else 0
        estimate += of("graphs_tp") if "tp" in tags else 0
        estimate *= graph_sizes(asked, now) / FITTED_GRAPHS
    spread = facts.constant("vllm", "graphs_spread", now.numbers, *tags)
    estimate, spread = estimate * spread.value, spread._replace(low=spread.low / spread.value, high=spread.high / spread.value)
    if asked.enable_lora and now.since(*TWICE_WITH_LORA_SINCE):
        estimate *= 2
        spread = spread._replace(low=spread.low / 2, num_runs=0)
    formula = (
        f"{num_layers} layers, {graph_sizes(asked, now)} graphs{', each with and without adapters' if asked.enable_lora else ''}"
    )
    scores = 0
    if is_sparse(model):
        from .sparse import captured_bytes

        scores = captured_bytes(model, asked, min(asked.max_num_seqs or 256, LARGEST_GRAPH))
    formula += f", {scores:,} B of the indexer's scores" if scores else ""
    line = _fitted("runtime", WHAT_GRAPHS, max(int(estimate * GIB), 0) + scores, spread, formula, spread.source)
    if now.v0:
        return [line]
    few = max(1 - graph_sizes(asked, now) / FITTED_GRAPHS, 0)
    first = int(facts.constant("vllm", "graphs_first", now.numbers).high * GIB)
    return [up_to(line._replace(low_bytes=int(line.low_bytes * (1 - MOST_FEWER * few))), first)]


MOST_FEWER = 0.8
"""How much lower the least may be where hardly any graph is captured (0.29 of the fit for 18 graphs of Qwen3-0.6B)."""


TWICE_WITH_LORA_SINCE = (0, 12)
"""cudagraph_specialize_lora: each size is captured with and without adapters. Read, not measured."""


def _measured(quantity: str, what: str, now: Release, tags: tuple[str, ...]) -> Line:
    """A line that is a row of engines.csv; on cards of other makers it is only assumed, with twice the room."""
    category: Category = "communication" if quantity == "non_torch" and ({"tp", "pp"} & set(tags)) else "runtime"
    line = measured("vllm", category, quantity, what, now.numbers, tags)
    return line._replace(low_bytes=0, high_bytes=2 * line.high_bytes, kind="assumed") if "other_vendor" in tags else line


def _fitted(category: Category, what: str, value: int, spread: facts.Constant, formula: str, source: str) -> Line:
    kind: Kind = "fitted" if spread.num_runs else "assumed"
    shown = f"{formula} = {gib(value):.3f} GiB, {spread.low:g} to {spread.high:g} of it"
    return Line(category, what, value, int(value * spread.low), int(value * spread.high), kind, shown, source)
