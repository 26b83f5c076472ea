"""The peak of vLLM's profile run: max_num_batched_tokens tokens through the model, then max_num_seqs rows
through the sampler; the larger

of the two phases counts.
"""

from math import prod

from ... import facts
from ...ledger import Line
from ...model.attention import DSA, MLA, V4, V41, Attention, Linear
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Layout, Serving
from ..rank import Stage
from ..shards import fitted_line, up_to
from .release import VllmRules
from .weights import placed_weights, runtime_format

MEGA_MOE = "deep_gemm_mega_moe"


def is_sparse(model: Model) -> bool:
    """Whether layers attend to chosen tokens alone."""
    return model.kinds.has(DSA, V4, V41)


HOPPER_SMS = 132
"""Multiprocessors of a card whose table row has none: the largest that the constants were measured on."""


def profile_lines(
    model: Model, asked: Serving, hardware: Hardware, stage: Stage, rules: VllmRules, tags: tuple[str, ...]
) -> list[Line]:
    """The activation peak: shared workspace + the larger of sampling and forward pass, hidden states in both.

    From 0.16 on experts and sparse attention share one workspace, which stays; before, the experts' lived
    while they ran.

    sampler = S*V*B + T*h*b + 2*S*h*b + multiprocessors*V*4 + cuBLAS;  forward = T*b*(3*ff + c*h) + cuBLAS +
    flush buffer. S sequences, T tokens, V vocabulary, b bytes of the dtype; B, c by version (engines.csv).
    Residuals: 2.4 % on 26 logs.
    """
    layout, width = asked.layout or Layout(), DTYPES[asked.dtype].bits // 8
    tokens, hidden, vocab = asked.max_num_batched_tokens or 0, model.hidden_size, model.vocab_size
    rows = min(asked.max_num_seqs or 0, tokens)

    def of(quantity: str, *more: str) -> facts.Constant:
        return facts.constant("vllm", quantity, rules.release, *tags, *more)

    cublas = int(of("cublas_workspace").value)
    experts = _expert_workspace(model, layout, rules, tokens, width) if asked.moe_backend != MEGA_MOE else 0
    persistent = experts if rules.shares_expert_workspace else 0
    scratch, kinds = 0, stage.kinds(model)
    if is_sparse(model):
        from . import sparse  # most models have none

        persistent = max(
            persistent, sparse.shared_bytes(model, asked, hardware, rules)
        ) - sparse.loaded_bytes(model, asked, rules)
        scratch = sparse.scratch_bytes(asked, rules)
    seen = vision_bytes(model, asked, stage, rules, width)
    copies = of("forward_hidden_copies", *([] if stage.last or rules.v0 else ["passes_on"])).value
    inner, gates = _widest_inner(model, layout)
    row_bytes = width * (gates * inner + copies * hidden * model.streams)
    if quantises_inputs(model, asked):
        row_bytes += (
            inner  # the input of the last projection in 8 bits, beside itself and what it was made of
        )
    forward = int(tokens * row_bytes) + cublas + int(of("forward_extra").value)
    if (
        rules.v0
    ):  # nothing is compiled and nothing outlives its layer, so a dense layer and the experts take turns
        shared = any(isinstance(ffn, MoE) and ffn.shared_width for ffn in model.kinds.ffns)
        beside = (
            int(tokens * width * (copies + int(shared)) * hidden) + cublas + int(of("forward_extra").value)
        )
        forward = max(forward, beside + experts if experts else 0)
        forward += _largest_layer(model, asked, hardware, stage) if asked.cpu_offload_gb else 0
    elif not rules.shares_expert_workspace:
        forward += experts
    for mla in kinds.latents:
        if rules.v0 and rules.profiles_mla_projection:
            forward = max(forward, v0_attention_bytes(mla, hidden, asked, stage, width) + cublas)
        scratch = max(scratch, expanded_context_bytes(mla, asked, rules, width))
    if scratch:  # attention runs before the feed-forward, beside the hidden states alone
        forward = max(forward, int(tokens * width * copies * hidden * model.streams) + scratch + cublas)
    linear = max(
        (linear_bytes(each, asked, hidden, width) for each in model.kinds.attentions),
        default=0,
    )
    linear += 0 if rules.shares_expert_workspace else experts
    persistent += seen
    encoder = max(
        encoder_bytes(model, asked, seen, width), linear + persistent if linear and not rules.v0 else 0
    )
    drafted = DRAFT_COPIES * tokens * hidden * width if asked.speculative and not rules.v0 else 0
    hidden_states = tokens * hidden * width + 2 * rows * hidden * width
    per_logit = of("sampler_bytes_per_logit")
    logits = int(rows * vocab * per_logit.value) if stage.last else 0
    if stage.last and rules.keeps_topp_rows:
        logits += int(min(hardware.card.num_sms or HOPPER_SMS, rows) * vocab * of("topp_buffer").value)
    spread = of("activation_spread")
    source = f"engines/vllm/profile.py profile_lines; {per_logit.source}"
    if stage.last and logits + hidden_states + cublas >= forward:
        rest = hidden_states + cublas + persistent
        what = "hidden states, cuBLAS workspace" + (
            ", workspace of experts or sparse attention" if persistent > seen else ""
        )
        what += f", {seen:,} B of images and their tokens" if seen else ""
        least = max(int(rows * vocab * per_logit.low), int((forward - hidden_states - cublas) * spread.low))
        sampler = fitted_line(
            "logits.sampler", logits, spread, f"{rows} rows x {vocab} x {per_logit.value:g} B", source
        )
        beside = (REJECTION_BYTES if asked.speculative and not rules.v0 else 0) + (
            0 if not asked.enable_lora else LORA_LOGITS_BYTES if rules.v0 else V1_LORA_LOGITS_BYTES
        )
        sampler = up_to(sampler, sampler.high_bytes + rows * vocab * beside)
        sampler = sampler._replace(low_bytes=min(sampler.low_bytes, least))
        return [
            sampler,
            up_to(
                fitted_line(
                    "activations.profile_run", rest, spread, f"{what}: {tokens} tokens x {hidden}", source
                ),
                encoder - logits,
            ),
        ]
    formula = (
        f"{tokens} tokens x {width} B x ({gates} x {inner} + {copies:g} x "
        f"{hidden * model.streams}), workspaces"
    )
    line = fitted_line("activations.profile_run", forward + persistent, spread, formula, source)
    return [up_to(line, max(encoder, line.high_bytes + drafted))]


DRAFT_COPIES = 3
"""Hidden states of a batch that a draft adds while it is profiled: the model's own, its input's embedding,
and what it makes of both.

An upper end: Qwen3.6-27B with MTP and batches of 65,536 tokens leaves 3.5 GiB less than without it (0.23.1).
"""


REJECTION_BYTES = 8
"""A logit that the rejection sampler is tried on beside the sampler's own: 2 B and an F32 copy, its
probabilities (gpu_model_runner.py,

_dummy_sampler_run). An upper end: Qwen3.5-9B with MTP on 0.20 leaves 0.4 GiB less than its draft explains.
"""
LORA_LOGITS_BYTES, V1_LORA_LOGITS_BYTES = 8, 26
"""A logit of a head with an adapter: a slice without the adapters' own words, and copies of it (1.16 for 0.96
GiB, phi-4 on 0.8). An upper end.

The second engine leaves 0.8 GiB less for Llama-3.1-8B with two slots (0.8.2), of which the copies explain a
third."""


def linear_bytes(attention: Attention, asked: Serving, hidden: int, width: int) -> int:
    """What may live at once in a layer of linear attention: an upper end, as the feed-forward is wider in
    most models.

    T x (b x (3 h + 2 x projected + convolved + output of the core, its gate and its norm) + F32 x (decay of
    KDA, norm)).

    >>> from ...model.load import load
    >>> asked = Serving(max_num_batched_tokens=64000, layout=Layout(tp=2))
    >>> round(linear_bytes(load("kimi-linear-48b-a3b").kinds.attentions[0], asked, 2304, 2) / 2**30, 2)
    5.22
    """
    if not isinstance(attention, Linear):
        return 0
    ranks = (asked.layout or Layout()).tp
    conv, value = attention.conv_width // ranks, attention.value_width // ranks
    decay = 2 * attention.key_width // ranks if attention.variant == "kda" else 0
    row = width * (3 * hidden + 2 * conv + 4 * value) + 4 * (decay + 2 * value)
    return (asked.max_num_batched_tokens or 0) * row


def encoder_bytes(model: Model, asked: Serving, seen: int, width: int) -> int:
    """What a vision tower may take while it runs alone, before the language model: an upper end, as no log
    shows the two apart.

    N patches x b x (6 x h + 2 x max(3 x h, inner)) + images and their tokens: hidden states with norm,
    positions, rotated queries and keys; merged projections and their parts, or the feed-forward and its
    activation. Of one rank: the tower is not cut in less than that.

    Qwen3.5-9B, one image of 65,536 patches; pools of 0.20 on one and on two RTX 5090 leave 2.2 GiB:

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> model = load("qwen3.5-9b")
    >>> round(encoder_bytes(model, Serving(), 335544320, 2) / GIB, 2)
    2.21
    """
    if not seen or model.vision is None:
        return 0
    shapes = {tensor.name: tensor.shape for tensor in model.tensors if tensor.part == "vision"}
    patch = next(
        (
            shape
            for name, shape in shapes.items()
            if name.startswith("vision.patch_embed") and name.endswith("weight")
        ),
        None,
    )
    inner = max(
        (shape[0] for name, shape in shapes.items() if ".fc1.weight" in name and "merger" not in name),
        default=0,
    )
    if patch is None or not inner:
        return 0
    items = max(seen // width // (model.vision.item_tokens * model.hidden_size + model.vision.item_values), 1)
    patches, hidden = items * model.vision.item_values // prod(patch[1:]), patch[0]
    return patches * width * (6 * hidden + 2 * max(3 * hidden, inner)) + seen


CONTEXT_CHUNK = 65536
"""Tokens of cached context that MLA expands at a time, at most."""


def context_chunk(asked: Serving) -> int:
    """Tokens whose latents are expanded at a time: 8 of the longest requests, or 4 blocks of each
    (mla/common.py, mla_attention.py)."""
    blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
    return max(min(max(8 * (asked.max_model_len or 0), 4 * blocks), CONTEXT_CHUNK), blocks)


def v0_attention_bytes(mla: MLA, hidden: int, asked: Serving, stage: Stage, width: int) -> int:
    """What lives while the output projection of MLA runs in V0, which compiles nothing
    (attention/backends/mla/common.py of 0.8).

    Hidden states and residual, queries and latents, keys and values of the batch with values padded to keys,
    the projection, its all-reduced copy and what both are written to; with prefix caching a chunk of cached
    latents and what they expand to.

    DeepSeek-V2.5 at TP8 with 8,192 tokens and prefix caching; a log of 0.8.3 says 1.27 GiB (of it 0.01 are
    cuBLAS's):

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> asked = Serving(
    ...     max_num_batched_tokens=8192, max_num_seqs=256, max_model_len=8192, layout=Layout(tp=8, pp=2)
    ... )
    >>> asked = asked._replace(enable_prefix_caching=True)
    >>> attention = load("deepseek-v2.5").kinds.latents[0]
    >>> round(v0_attention_bytes(attention, 5120, asked, Stage(0, 2, 0, 30), 2) / GIB, 2)
    1.27
    """
    heads = max(mla.num_heads // (asked.layout or Layout()).tp, 1)
    query, expanded = mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.qk_nope_head_dim + mla.v_head_dim
    per_head = 3 * query + expanded + mla.v_head_dim
    row = (
        (5 if stage.first else 6) * hidden
        + 2 * mla.q_lora_rank
        + mla.latent_dim
        + 2 * mla.kv_lora_rank
        + heads * per_head
    )
    total = (asked.max_num_batched_tokens or 0) * row
    if asked.enable_prefix_caching:
        blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
        chunk = min(max(8 * (asked.max_model_len or 0), 4 * blocks), 2 * CONTEXT_CHUNK)
        total += chunk * (heads * expanded + mla.latent_dim)
    return total * width


def expanded_context_bytes(mla: MLA, asked: Serving, rules: VllmRules, width: int) -> int:
    """Keys and values of a chunk of cached context, which the profile run of MLA stands in for (read in 0.11
    to 0.33).

    DeepSeek-V3 with all 128 heads on each rank, as under data parallelism: 65,536 x 128 x 256 x 2 B = 4 GiB.

    >>> from ...units import GIB
    >>> from .release import RELEASES
    >>> from ...model.load import load
    >>> asked = Serving(max_model_len=163840, max_num_seqs=256, layout=Layout(dp=8))
    >>> expanded_context_bytes(
    ...     load("deepseek-v3").kinds.latents[0], asked, RELEASES.at("0.19.0"), 2
    ... ) == 4 * GIB
    True
    """
    if not rules.expands_context_when_profiled:
        return 0
    heads = max(mla.num_heads // (asked.layout or Layout()).tp, 1)
    return context_chunk(asked) * heads * (mla.qk_nope_head_dim + mla.v_head_dim) * width


def vision_bytes(model: Model, asked: Serving, stage: Stage, rules: VllmRules, width: int) -> int:
    """Images of the profile run and the tokens made of them, which stay while the language model runs: as
    many as a batch holds.

    v1/core/encoder_cache_manager.py and gpu_model_runner.py profile_run of 0.8.5 to 0.25; 0.33 lets the
    pixels go.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> vision_bytes(
    ...     load("gemma-3-12b"),
    ...     Serving(max_num_batched_tokens=8192),
    ...     Stage(0, 1, 0, 48),
    ...     RELEASES.at("0.19.0"),
    ...     2,
    ... )
    217055232
    """
    vision = model.vision
    if vision is None or rules.v0 or not stage.first:
        return 0
    limit = asked.images_per_prompt
    if limit == 0:
        return 0
    of_prompt = max(
        min(
            MANY_IMAGES if limit is None else limit,
            (asked.max_model_len or vision.item_tokens) // vision.item_tokens,
        ),
        1,
    )
    of_batch = (asked.max_num_batched_tokens or 0) // vision.item_tokens
    items = max(min(of_batch, (asked.max_num_seqs or of_batch) * of_prompt), 1)
    values = 0 if rules.drops_pixels else vision.item_values
    return items * (vision.item_tokens * model.hidden_size + values) * width


MANY_IMAGES = 999
"""V1's --limit-mm-per-prompt where it is not given."""


def _expert_workspace(model: Model, layout: Layout, rules: VllmRules, tokens: int, width: int) -> int:
    """Two buffers of the fused experts: T*k*max(2*ff, h) and T*k*max(ff, h) elements; before 0.16 the second
    is T*k*ff.

    0.7 had three, T*k*2*ff, T*k*ff and T*k*h (fused_moe.py). Before 0.16 a call takes at most 32,768 tokens
    at a time.
    """
    largest = 0
    tokens = min(tokens, rules.experts_per_call or tokens)
    for ffn in model.kinds.ffns:
        if isinstance(ffn, MoE):
            inner = ffn.expert_width // (1 if layout.enable_expert_parallel else layout.tp * layout.dp)
            rows = tokens * ffn.num_active_experts
            first = max(inner, model.hidden_size) if rules.reuses_expert_inputs else inner
            second = (
                max(2 * inner, model.hidden_size)
                if rules.merges_expert_outputs
                else 2 * inner + model.hidden_size
            )
            largest = max(largest, width * rows * (first + second))
    return largest


def _largest_layer(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> int:
    """Bytes of the largest layer of a rank: V0 copies a layer that lies on the host to the card to run it."""
    placed = placed_weights(model, asked._replace(cpu_offload_gb=0.0), hardware, stage)
    sizes = [
        sum(each.num_bytes * each.per_layer for each in placed if layer in each.layers)
        for layer in range(stage.start, stage.stop)
    ]
    return max(sizes, default=0)


def _widest_inner(model: Model, layout: Layout) -> tuple[int, int]:
    """Width of the widest dense or shared feed-forward on a rank, and how many of that width live at once: 3
    with a gate, else 2."""
    widths = [(0, 3)]
    for ffn in model.kinds.ffns:
        inner = ffn.intermediate_size if isinstance(ffn, Dense) else max(ffn.shared_width, ffn.dense_width)
        widths.append((inner // layout.tp, 3 if ffn.gated else 2))
    return max(widths)


def quantises_inputs(model: Model, asked: Serving) -> bool:
    """Whether matrices are multiplied with 8-bit inputs, which are made by the way."""
    return any(
        tensor.role == "linear" and runtime_format(tensor, model, asked).bits == 8 for tensor in model.tensors
    )
