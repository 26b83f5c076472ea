"""LongCat-Flash: two blocks of latent attention and dense feed-forward a layer, and experts beside the first,
some of which do nothing."""

from collections.abc import Iterator

from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, MoE
from ..layer_weights import block_tensors
from ..model import EMBEDDING, Layer, Model, Tensor
from ..scope import Scope, Storage
from ..storage import F32
from .decoder import decoder
from .latent_attention import read_mla
from .rope_and_storage import read_rope, read_storage
from .sparse_experts import first_of


def read(config: Config, name: str) -> Model:
    """Each layer is two here: the first with experts beside its dense block. Zero experts cost rows of the
    router alone."""
    num_layers = config.size(first_of(config, ("num_layers", "num_hidden_layers")), most=MAX_LAYERS // 2)
    for key in (
        "attention_method",
        "head_dim",
        "mla_scale_kv_lora",
        "mla_scale_q_lora",
        "zero_expert_type",
    ):
        config.has(key)
    mla = read_mla(config)
    if config.flag("router_bias", False):
        config.fault("router_bias is on, which no published config has")
    dense = Dense(config.size(first_of(config, ("ffn_hidden_size", "intermediate_size"))))
    experts = config.size(first_of(config, ("n_routed_experts", "num_experts")), most=MAX_EXPERTS)
    active = config.size(first_of(config, ("moe_topk", "num_experts_per_tok")), most=MAX_EXPERTS)
    width = config.size(first_of(config, ("expert_ffn_hidden_size", "moe_intermediate_size")))
    zero = config.size("zero_expert_num", 0, least=0, most=MAX_EXPERTS)
    moe = MoE(experts, active, width, router_biases=1, dense_width=dense.intermediate_size)
    layers = (Layer(mla, moe), Layer(mla, dense)) * num_layers
    rope = read_rope(config, mla.qk_rope_head_dim, config.size("max_position_embeddings"))
    model = decoder(config, name, layers, ropes=(rope,))
    if zero:
        mixed = tuple(range(0, 2 * num_layers, 2))
        rows = Tensor(
            "model.layers.{}.mlp.gate.zero_experts.weight",
            (zero, model.hidden_size),
            model.dtype,
            layers=mixed,
        )
        bias = Tensor(
            "model.layers.{}.mlp.gate.zero_experts.e_score_correction_bias", (zero,), F32, layers=mixed
        )
        model = model._replace(tensors=(*model.tensors, rows, bias))
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    if not num_mtp:
        return model
    stored, _ = read_storage(config)
    draft = (Layer(mla, dense),) * num_mtp
    return model._replace(draft=draft, tensors=(*model.tensors, *mtp_tensors(draft, model, stored)))


def mtp_tensors(draft: tuple[Layer, ...], model: Model, stored: Storage) -> Iterator[Tensor]:
    """One block, eh_proj (2h x h), three norms, and the embedding again (LongCat-Flash-Chat: to the hub's
    count)."""
    first, hidden = len(model.layers), model.hidden_size
    scope = Scope(tuple(range(first, first + len(draft))), stored, "model.mtp.layers.{}.", "mtp")
    yield from block_tensors(draft[0], hidden, model.vocab_size, scope)
    yield scope.tensor("eh_proj.weight", (hidden, 2 * hidden), "plain")
    for norm in ("enorm", "hnorm", "norm"):
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")
    yield Tensor(
        "model.mtp.embed_tokens.weight",
        (model.vocab_size, hidden),
        stored.plain,
        part="mtp",
        copy_of=EMBEDDING,
    )
