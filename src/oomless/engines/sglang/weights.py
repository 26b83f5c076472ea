"""The tensors that a rank of SGLang holds after loading. Its layers derive from vLLM's; what divides them
does not.

models/deepseek_v2.py, deepseek_nextn.py, deepseek_v4.py and layers/vocab_parallel_embedding.py of 0.4.4 to
0.5.23.
"""

from ...model.attention import MLA, V4, V41
from ...model.model import EMBEDDING, Model, Tensor
from ...model.storage import BF16, DTYPES, F32, Format
from ...run.cards import Hardware
from ...run.serving import Layout, Serving
from ..rank import Placed, Stage
from ..shards import VOCABULARY_PAD, divide, experts_per_rank
from ..vllm.weights import FUSED, check_quantization, key_of, rope_positions, rope_tables, runtime_format
from .release import RELEASES, SglangRules, attention_ranks, expert_ranks, shared_clones

NO_TABLES = ("gemma3", "gemma3_text")
"""Families that turn their heads as transformers does: without a table to 0.5.3, and later with plain ones
that no scaling lengthens."""
Members = list[tuple[tuple[int, ...], Format, int]]


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Every tensor that one rank of a stage holds after loading. A draft counts from 0.5.4 on: before, it is
    loaded after the pool."""
    rules = RELEASES.at(asked.engine_version)
    check_quantization(model, asked, hardware)
    placed = [
        group
        for part in (
            ("main", "engram", "vision", "mtp") if rules.loads_draft_before_pool else ("main", "vision")
        )
        for group in placed_part(model, asked, hardware, stage, part)
    ]
    return placed + extra_tensors(model, asked, hardware, stage, rules)


def placed_part(model: Model, asked: Serving, hardware: Hardware, stage: Stage, part: str) -> list[Placed]:
    """The tensors of one part of a model (main, mtp, engram, vision)."""
    rules = RELEASES.at(asked.engine_version)
    clones = shared_clones(model, asked, hardware, rules)
    groups: dict[tuple[str, tuple[int, ...]], Members] = {}
    alone: list[tuple[str, tuple[int, ...], Members]] = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage) if tensor.part == part else None
        if layers is None or (clones and "shared_experts." in tensor.name):
            continue
        shape, repeat = shard(tensor, model, asked, clones)
        name = fused_name(tensor, model, rules)
        member = (shape, runtime_format(tensor, model, asked), repeat)
        if (
            name == tensor.name and (name, layers) in groups
        ):  # layers of a tower that the model's list calls alike
            alone.append((name, layers, [member]))
        else:
            groups.setdefault((name, layers), []).append(member)
    found = [*((*key, members) for key, members in groups.items()), *alone]
    return [placed for name, layers, members in found for placed in _allocations(name, layers, members)]


def fused_name(tensor: Tensor, model: Model, rules: SglangRules) -> str:
    """The parameter that a checkpoint's tensor becomes part of. q_a and kv_a are one from 0.4.6 on; MLA's
    q_proj stands alone."""
    name = tensor.name
    if rules.fuses_qkv_a:
        for part in ("q_a_proj.", "kv_a_proj_with_mqa."):
            if part in name:
                return name.replace(part, "fused_qkv_a_proj_with_mqa.")
    core = model.layer_at(tensor.layers[0]).attention.core if tensor.layers else None
    if "self_attn.q_proj" in name and isinstance(core, MLA):
        return name
    for part, whole in FUSED:
        if part in name:
            return name.replace(part, whole)
    return name


def stage_layers(tensor: Tensor, model: Model, asked: Serving, stage: Stage) -> tuple[int, ...] | None:
    """The layers of a stage that have this tensor; () if it is outside of the layers and belongs here; None
    if not here."""
    if tensor.copy_of or (tensor.part == "mtp" and not (asked.speculative and stage.last)):
        return None  # a draft shares embedding and head with its target
    if tensor.part == "engram" and asked.engram == "host" and tensor.name.endswith("embedding.weight"):
        return None
    if tensor.part == "mtp":
        return tensor.layers
    if tensor.part == "vision":
        return tensor.layers if stage.first else None
    if tensor.layers:
        return tuple(layer for layer in tensor.layers if stage.start <= layer < stage.stop) or None
    if tensor.name == EMBEDDING:
        return () if stage.first or (model.tied and stage.last) else None
    return () if stage.last else None


def shard(tensor: Tensor, model: Model, asked: Serving, clones: int = 0) -> tuple[tuple[int, ...], int]:
    """(shape on one rank, tensors a layer) of a weight.

    Attention over the attention ranks, experts over the expert ranks and each of them over the rest, dense
    layers and head over all ranks; the embedding is whole under data-parallel attention, shared experts under
    DeepEP.

    >>> from ...model.load import load
    >>> asked = Serving(layout=Layout(tp=8, dp=8, enable_dp_attention=True))
    >>> r1 = load("deepseek-r1")
    >>> {
    ...     t.name.split(".")[-2]: shard(t, r1, asked)[0]
    ...     for t in r1.tensors
    ...     if t.name.endswith(("o_proj.weight", "lm_head.weight"))
    ... }
    {'lm_head': (16160, 7168), 'o_proj': (7168, 16384)}
    """
    layout = asked.layout or Layout()
    shape, repeat, ranks = tensor.shape, tensor.repeat, layout.tp
    if tensor.role == "expert":
        divided = expert_ranks(asked)
        redundant = asked.num_redundant_experts if tensor.part == "main" else 0
        repeat, ranks = experts_per_rank(repeat + clones, divided, redundant), layout.tp // divided
    elif "shared_expert" in tensor.name and asked.moe_a2a_backend == "deepep":
        ranks = 1
    elif "attn." in tensor.name and tensor.part != "vision":
        ranks = attention_ranks(layout)
    elif tensor.name == EMBEDDING and layout.enable_dp_attention:
        ranks = 1
    if tensor.part == "engram" and tensor.name.endswith("embedding.weight"):
        return (-(-shape[0] // layout.tp), *shape[1:]), repeat  # rows over all ranks (layers/engram.py)
    return cut(tensor, ranks), repeat


def cut(tensor: Tensor, ranks: int) -> tuple[int, ...]:
    """A shape divided over ranks as its tensor may be; sinks stay whole."""
    return (
        tensor.shape
        if "attn_sink" in tensor.name
        else divide(tensor, ranks, f"a division over {ranks} ranks", VOCABULARY_PAD)
    )


def _allocations(name: str, layers: tuple[int, ...], members: Members) -> list[Placed]:
    """The allocations of one parameter: its parts stacked by rows, its scales beside it, all experts of a
    layer in one."""
    shape, form, repeat = members[0]
    if len(members) > 1:
        if any(member[1] != form for member in members):
            form = BF16
        shape = (sum(member[0][0] for member in members), *shape[1:])
    stacked = repeat if "experts." in name and repeat > 1 else 1
    placed = [Placed(key_of(name), name, form.data_bytes(shape) * stacked, repeat // stacked, layers)]
    if form.block:
        placed.append(
            Placed(
                key_of(name), f"{name} scales", form.scale_bytes(shape) * stacked, repeat // stacked, layers
            )
        )
    return placed


def extra_tensors(
    model: Model, asked: Serving, hardware: Hardware, stage: Stage, rules: SglangRules
) -> list[Placed]:
    """What loading leaves that no checkpoint stores: rotary tables (F32 on NVIDIA cards) and the absorbed MLA
    matrices."""
    extra: list[Placed] = []
    nvidia = hardware.card.vendor in ("NVIDIA", "")
    kinds = stage.kinds(model)
    for rope in rope_tables(model) if rules.keeps_tables_of_gemma3 or model.family not in NO_TABLES else ():
        rows = rope.max_positions if model.family in NO_TABLES else rope_positions(rope)
        size = rows * rope.dim * (F32 if nvidia else DTYPES[asked.dtype]).bits // 8
        extra.append(Placed("weights.rotary_tables", f"cos and sin, {rope.scaling}", size, 1, ()))
        if kinds.has(V4, V41):
            extra.append(
                Placed(
                    "weights.rotary_tables",
                    "complex table of V4's kernels",
                    rope.max_positions * rope.dim // 2 * 8,
                    1,
                    (),
                )
            )
    for mla in kinds.latents:
        elements = mla.num_heads // attention_ranks(asked.layout or Layout()) * mla.kv_lora_rank
        width = 2 if not model.quantization or (nvidia and rules.absorbs_in_16_bit) else 1
        note = f"kv_b_proj again in {width} B for the absorbed products (post_load_weights)"
        sizes = (("w_kc", mla.qk_nope_head_dim), ("w_vc", mla.v_head_dim))
        extra += [
            Placed("weights.attention", name, elements * dim * width, 1, kinds.latent_layers, note)
            for name, dim in sizes
        ]
    if model.stored_bytes and model.stored_bytes > model.explained_bytes:
        note = "assumed whole on every rank: in the checkpoint, not explained by its config"
        extra.append(
            Placed(
                "weights.unexplained",
                "headers less config",
                model.stored_bytes - model.explained_bytes,
                1,
                (),
                note,
            )
        )
    return extra
