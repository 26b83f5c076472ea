"""What llama.cpp's converter calls the tensors of ours."""

from ..errors import UnsupportedError
from .model import Tensor

ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
ENDS |= {
    "model.embed_tokens_per_layer": "per_layer_token_embd",
    "model.per_layer_model_projection": "per_layer_model_proj",
}
ENDS |= {"model.per_layer_projection_norm": "per_layer_proj_norm", "model.embed_positions": "position_embd"}
BLOCK = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate": "ffn_gate_inp"}
BLOCK |= {
    f"self_attn.{part}_proj": f"attn_{part}" for part in ("q", "k", "v", "q_a", "q_b", "kv_b", "k_b", "v_b")
}
BLOCK |= {f"self_attn.{part}_norm": f"attn_{part}_norm" for part in ("q", "k")} | {
    "self_attn.o_proj": "attn_output"
}
BLOCK |= {
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
}
BLOCK |= {"altup.correction_coefs": "altup_correct_coef", "altup.prediction_coefs": "altup_predict_coef"}
BLOCK |= {"altup.modality_router": "altup_router", "altup.router_norm": "altup_router_norm"}
BLOCK |= {"laurel.linear_left": "laurel_l", "laurel.linear_right": "laurel_r"}
BLOCK |= {"laurel.post_laurel_norm": "laurel_post_norm"}
BLOCK |= {"self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.kv_a_layernorm": "attn_kv_a_norm"}
BLOCK |= {"self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "mlp.shared_expert_gate": "ffn_gate_inp_shexp"}
for _part in ("gate", "up", "down"):
    BLOCK |= {f"mlp.{_part}_proj": f"ffn_{_part}", f"mlp.experts.{_part}_proj": f"ffn_{_part}_exps"}
    BLOCK[f"mlp.shared_experts.{_part}_proj"] = f"ffn_{_part}_shexp"
BLOCK |= {
    f"self_attn.indexer.{ours}": f"indexer.{theirs}"
    for ours, theirs in (("wq_b", "attn_q_b"), ("wk", "attn_k"))
}
BLOCK |= {"self_attn.indexer.k_norm": "indexer.k_norm", "self_attn.indexer.weights_proj": "indexer.proj"}
BLOCK |= {f"{part}": f"nextn.{part}" for part in ("eh_proj", "enorm", "hnorm", "embed_tokens")}
BLOCK |= {"self_attn.qkv_proj": "attn_qkv", "fc": "nextn.eh_proj"}
BLOCK |= {
    "mamba.in_proj": "ssm_in",
    "mamba.out_proj": "ssm_out",
    "mamba.conv1d": "ssm_conv1d",
    "mamba.norm": "ssm_norm",
}
BLOCK |= {"mamba.x_proj": "ssm_x", "mamba.dt_proj": "ssm_dt", "self_attn.g_proj": "attn_gate"}
BLOCK |= {"self_attn.conv1d": "ssm_conv1d", "self_attn.b_proj": "ssm_beta"}
BLOCK |= {f"self_attn.{part}_proj": f"ssm_{part}" for part in ("f_a", "f_b", "g_a", "g_b")}
BLOCK |= {"mlp.fc1_latent_proj": "ffn_latent_down", "mlp.fc2_latent_proj": "ffn_latent_up"}
BLOCK |= {f"self_attn.index_{part}_proj": f"indexer.{part}_proj" for part in ("q", "k")}
BLOCK |= {f"conv.{part}": f"shortconv.{part}" for part in ("in_proj", "out_proj", "conv")}
BLOCK |= {f"mlp.beside.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}
BLOCK |= {"shared_head.head": "nextn.shared_head_head", "shared_head.norm": "nextn.shared_head_norm"}
BLOCK |= {
    f"linear_attn.in_proj_{ours}": theirs
    for ours, theirs in (("qkv", "attn_qkv"), ("z", "attn_gate"), ("b", "ssm_beta"))
}
BLOCK |= {
    "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.out_proj": "ssm_out",
}
BLOCK |= {
    f"attn.{ours}": theirs
    for ours, theirs in (("wq_a", "attn_q_a"), ("wq_b", "attn_q_b"), ("wkv", "attn_kv"))
}
BLOCK |= {
    "attn.wo_a": "attn_output_a",
    "attn.wo_b": "attn_output_b",
    "attn.q_norm": "attn_q_a_norm",
    "attn.kv_norm": "attn_kv_a_norm",
}
BLOCK |= {"attn.indexer.wq_b": "indexer.attn_q_b", "attn.indexer.weights_proj": "indexer.proj"}
WHOLE_NAMES = {"self_attn.sinks": "attn_sinks.weight", "mlp.gate.e_score_correction_bias": "exp_probs_b.bias"}
WHOLE_NAMES |= {"mamba.A_log": "ssm_a", "altup.correct_output_scale": "altup_correct_scale.weight"}
WHOLE_NAMES |= {"attn.attn_sink": "attn_sinks.weight", "mlp.gate.tid2eid": "ffn_gate_tid2eid.weight"}
for _ours, _theirs in (
    ("attn.compressor", "attn_compressor"),
    ("attn.indexer.compressor", "indexer_compressor"),
):
    BLOCK |= {
        f"{_ours}.wkv": f"{_theirs}_kv",
        f"{_ours}.wgate": f"{_theirs}_gate",
        f"{_ours}.norm": f"{_theirs}_norm",
    }
    WHOLE_NAMES[f"{_ours}.ape"] = f"{_theirs}_ape.weight"
WHOLE_NAMES |= {
    f"hc_{at}_{part}": f"hc_{at}_{part}.weight" for at in ("attn", "ffn") for part in ("fn", "base", "scale")
}


def gguf_name(group: Tensor, layer: int) -> str:
    """llama.cpp's name for one of our tensors. A vector's name decides nothing; a matrix that is not known is
    refused."""
    short = group.name.removeprefix("model.layers.{}.").removeprefix("mtp.layers.{}.")
    stem, _, suffix = short.rpartition(".")
    if layer < 0:
        return (
            f"{ENDS.get(stem, stem)}.{suffix}"
            if not suffix.startswith("hc_head")
            else f"output_{suffix}.weight"
        )
    if short in WHOLE_NAMES:
        return f"blk.{layer}.{WHOLE_NAMES[short]}"
    if stem not in BLOCK and len(group.shape) > 1:
        raise UnsupportedError(
            f"{group.name} has no known place in a GGUF file", "this family is not written as GGUF here yet"
        )
    return f"blk.{layer}.{BLOCK.get(stem, stem)}.{suffix}"
