"""Laws of Megatron-LM's memory: stages sum to the network, shards to the buffer, more never needs less; and
bytes known from its source."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomless.estimate.training.megatron import estimate_megatron
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.megatron.activations import moments, passes
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.attention import backend
from oomless.frameworks.megatron.buffers import buffers
from oomless.frameworks.megatron.ends import head_graph
from oomless.frameworks.megatron.environment import Device
from oomless.frameworks.megatron.network import network
from oomless.frameworks.megatron.operations import shape
from oomless.frameworks.megatron.placement import chunks
from oomless.frameworks.megatron.run import Megatron
from oomless.frameworks.megatron.states import states
from oomless.frameworks.megatron.weights import rank_weights
from oomless.run.hardware import parse_gpu
from oomless.units import MIB

H100 = Device(9)
SMALL: dict[str, Any] = {
    "num-layers": 8,
    "hidden-size": 512,
    "num-attention-heads": 8,
    "seq-length": 1024,
    "micro-batch-size": 2,
    "padded-vocab-size": 50304,
    "bf16": True,
    "global-batch-size": 64,
}


def run_of(**more: Any) -> Megatron:
    return read_arguments(
        {**SMALL, **{name.replace("_", "-"): value for name, value in more.items()}}, more.pop("world", 8)
    )


def peak(run: Megatron, device: Device = H100) -> int:
    groups = estimate_megatron(run, parse_gpu(f"h100:{run.world_size}"), device).groups
    return max(group.peaks.allocated_bytes for group in groups)


@pytest.mark.parametrize(
    "more",
    [
        {"pipeline_model_parallel_size": 4},
        {"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 2},
        {"pipeline_model_parallel_size": 2, "num_experts": 8, "moe_router_topk": 2},
    ],
)
def test_stages_sum_to_the_network(more: dict[str, Any]) -> None:
    run = run_of(**more, untie_embeddings_and_output_weights=True)
    built = sum(weight.num for stage in chunks(run) for chunk in stage for weight in rank_weights(run, chunk))
    assert built == network(run).num_parameters
    tied = run_of(**more)
    again = sum(
        weight.num for stage in chunks(tied) for chunk in stage for weight in rank_weights(tied, chunk)
    )
    assert again == network(tied).num_parameters + 50304 * 512  # the last stage has a copy of the embedding


def test_the_distributed_optimizer_takes_six_bytes_and_twelve_over_the_ranks() -> None:
    run = run_of(use_distributed_optimizer=True)
    num = network(run).num_parameters
    held = sum(size for kept in states(run, chunks(run)[0]) for size in kept.sizes)
    assert abs(held - num * (6 + 12 / 8)) < 64 * 1024
    plain = run_of()
    assert sum(size for kept in states(plain, chunks(plain)[0]) for size in kept.sizes) == num * 18


def test_a_logit_takes_six_bytes_and_ten_with_the_fused_loss() -> None:
    for more, per_logit in (({}, 6), ({"cross_entropy_loss_fusion": True}, 10)):
        run = run_of(**more)
        at = shape(run, run.seq_len)
        walked = walk(head_graph(run))
        hidden = 2 * at.residual * run.hidden * 2
        assert 0 <= walked.forward_peak - hidden - at.tokens * run.padded_vocab * per_logit < at.tokens * 16


def test_a_layer_keeps_34_bytes_of_each_hidden_value_with_cudnn() -> None:
    run = run_of(num_layers=1)
    one, two = (moments(each, chunks(each)[0], 0, H100)[0].kept for each in (run, run._replace(kinds="tt")))
    at = shape(run, run.seq_len)
    assert 34 <= (two - one) / (at.tokens * run.hidden) < 34.2


def test_workspaces_follow_the_card() -> None:
    run = run_of()
    mine = chunks(run)[0]
    sizes = {buffer.key: buffer.value for buffer in buffers(run, mine, H100)}
    assert sizes["runtime.cublas"] == 64 * MIB
    old = {buffer.key: buffer.value for buffer in buffers(run, mine, Device(8))}
    assert old["runtime.transformer_engine"] == 4 * MIB
    assert old["runtime.cublas"] < 17 * MIB


def test_kernels_follow_card_determinism_and_dropout() -> None:
    run = run_of()
    assert backend(run, Device(8)) == "flash"
    assert backend(run, Device(9, deterministic=True)) == "fused"
    assert backend(run, Device(10, deterministic=True)) == "flash"
    assert backend(run_of(attention_dropout=0.0), Device(10, deterministic=True)) == "fused"
    assert backend(run_of(attention_backend="unfused"), H100) == "unfused"


def test_what_a_schedule_runs_forward_it_runs_backward() -> None:
    for more in (
        {"pipeline_model_parallel_size": 4},
        {"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 2},
    ):
        run = run_of(**more)
        for rank in range(run.pp):
            alive = [0] * run.virtual
            for step in passes(run, rank, run.virtual):
                alive[step.chunk] += 1 if step.forward else -1
                assert min(alive) >= 0
            assert not any(alive)


@settings(max_examples=25, deadline=None)
@given(
    micro=st.integers(1, 4),
    length=st.sampled_from([512, 1024, 2048]),
    layers=st.sampled_from([4, 8]),
    tp=st.sampled_from([1, 2]),
    pp=st.sampled_from([1, 2]),
    experts=st.sampled_from([0, 8]),
)
def test_more_never_needs_less(micro: int, length: int, layers: int, tp: int, pp: int, experts: int) -> None:
    more: dict[str, Any] = {
        "tensor_model_parallel_size": tp,
        "pipeline_model_parallel_size": pp,
        "global_batch_size": 96,
    }
    if experts:
        more |= {"num_experts": experts, "expert_model_parallel_size": 2}
    run = run_of(num_layers=layers, **more)._replace(
        micro_batch=micro, seq_len=length, decoder_seq_len=length
    )
    here = peak(run)
    assert here <= peak(run._replace(micro_batch=micro + 1))
    assert here <= peak(run._replace(seq_len=2 * length, decoder_seq_len=2 * length))
    assert here <= peak(run._replace(kinds=run.kinds + run.kinds[:pp]))
    assert peak(run._replace(recompute="full", recompute_method="uniform")) <= here
    assert peak(run._replace(distributed=True)) <= here + 8 * MIB  # padding and unsplit remainders
