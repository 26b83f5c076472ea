"""DeepSeek-V3 as in its paper: outputs that are recomputed, activations in FP8, moments in bfloat16,
micro-batches from both ends."""

from itertools import accumulate
from typing import Any

import pytest

from frameworks.megatron.training_of_v3 import PAPER
from oomless.api.training import train
from oomless.errors import UnsupportedError
from oomless.frameworks.defaults import resolved
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.megatron.activations import layer_walk, moments, passes, piece
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.ends import head_graph
from oomless.frameworks.megatron.environment import Device
from oomless.frameworks.megatron.models import described, run_of_model
from oomless.frameworks.megatron.placement import chunks
from oomless.frameworks.megatron.run import Megatron
from oomless.frameworks.megatron.states import states, step_copies
from oomless.model.load import load
from oomless.run.training import Mesh, TrainingAsked, TrainingResolved
from oomless.units import GIB

FLAT, H100 = Mesh(dp=8, ep=8), Device(9)


def run_of(model: str, modules: tuple[str, ...] = (), mesh: Mesh = FLAT, **more: Any) -> Megatron:
    asked = TrainingAsked(
        framework="megatron-lm",
        mesh=mesh,
        sharding="distopt",
        recompute="selective" if modules else "none",
        recompute_modules=modules,
        grad_accum=4,
        **more,
    )
    found = described(load(model), resolved(asked), mesh)
    assert found is not None
    return found


def saved(run: Megatron) -> dict[str, int]:
    """Return what one layer with experts keeps."""
    return dict(layer_walk(run, "e", Device(9)).saved)


@pytest.mark.parametrize("modules", [0, 1])
def test_deepseek_v3_runs_on_the_cards_of_its_paper(modules: int) -> None:
    """2,048 H800 of 80 GB, 16 stages, 64 expert ranks (arXiv 2412.19437, 3.2 and 3.3), with its module of
    multi-token prediction and without."""
    found = train("deepseek-v3", "h800:8x256", mtp_layers=modules, **PAPER)
    assert found.verdict == "fits"
    assert found.peaks.allocated_bytes < (62 + 7 * modules) * GIB


def test_dualpipe_keeps_attention_s_output_in_e5m6() -> None:
    """16,384 values a token of 12 bits, and a scale for 128 (3.3.3)."""
    run = run_of("deepseek-v3", activation_bits=8, precision="fp8-bf16-moments")
    wide, narrow = saved(run), saved(run._replace(dualpipe=True))
    assert wide["context"] == run.seq_len * 16384 * 2
    assert "context" not in narrow
    assert narrow["context.e5m6"] == run.seq_len * 16384 * (1.5 + 1 / 32)


@pytest.mark.parametrize("modules", ["norm", "mla_up_proj", "moe_act"])
def test_each_recomputed_module_saves_memory_of_v3(modules: str) -> None:
    flags = {**PAPER, "recompute_modules": modules}
    less = train("deepseek-v3", "h800:8x256", **flags).peaks.allocated_bytes
    plain = {**PAPER, "recompute": "none", "recompute_modules": None}
    assert less < train("deepseek-v3", "h800:8x256", **plain).peaks.allocated_bytes - GIB


GIVEN_UP = {
    "norm": {"ln1", "ln2"},
    "moe_act": {"expert.act"},
    "mla_up_proj": {"q.lown", "kv.part", "kv.lown", "query", "key", "value"},
}


@pytest.mark.parametrize("module", sorted(GIVEN_UP))
def test_a_module_gives_up_what_it_makes_and_nothing_else(module: str) -> None:
    """Exact by name: what is kept without it, less what it makes."""
    all_kept, less = saved(run_of("deepseek-v3")), saved(run_of("deepseek-v3", (module,)))
    assert set(all_kept) - set(less) >= GIVEN_UP[module]
    stats = {name for name in all_kept if name.endswith(".stats")}
    assert set(all_kept) - set(less) <= GIVEN_UP[module] | stats
    assert all(less[name] == all_kept[name] for name in set(less) & set(all_kept))


def test_a_copy_in_fp8_of_what_is_given_up_goes_with_it() -> None:
    kept = saved(run_of("deepseek-v3", ("norm",), precision="fp8"))
    assert not any(name.startswith(("ln1", "ln2")) for name in kept)
    assert "permuted.fp8" in kept


def test_products_keep_no_fp8_copy_of_what_another_keeps() -> None:
    """From Megatron-core 0.14 on linear_proj and the shared experts' first product keep their input as it
    came, since attention and the router keep it too; under delayed scaling they do not."""
    run = run_of("deepseek-v3", precision="fp8")
    kept = saved(run)
    assert "context" in kept
    assert "ln2" in kept
    assert not {"context.fp8", "ln2.fp8"} & set(kept)
    assert {"context.fp8", "ln2.fp8"} <= set(saved(run._replace(fp8_recipe="delayed")))
    again = run._replace(recompute="selective", recompute_modules=("shared_experts",))
    assert "context.fp8" not in saved(again)


def test_what_activations_read_is_kept_in_fp8() -> None:
    wide = saved(run_of("deepseek-v3", ("moe_act",), precision="fp8"))
    narrow = saved(run_of("deepseek-v3", ("moe_act",), precision="fp8", activation_bits=8))
    assert 2 * narrow["expert.up.stored"] == wide["expert.up"]
    assert "expert.up" not in narrow


@pytest.mark.parametrize("rank", range(8))
def test_both_ends_leave_one_micro_batch_more_than_stages_in_flight(rank: int) -> None:
    run = run_of("deepseek-v3", mesh=Mesh(dp=8, pp=8, ep=8))._replace(dualpipe=True, global_batch=8 * 64)
    order = list(passes(run, rank, 2))
    alive = list(accumulate(1 if step.forward else -1 for step in order))
    assert max(alive) == 8 + 1
    assert alive[-1] == 0
    assert min(alive) >= 0


@pytest.mark.parametrize("rank", [0, 7])
def test_a_loss_has_no_forward_beside_it_that_has_begun(rank: int) -> None:
    """The backward begins with it, when the forward that runs beside has no layer yet: p + 1 chunks have no
    logits beside them, and logits have p."""
    run = run_of("deepseek-v3", mesh=Mesh(dp=8, pp=8, ep=8))._replace(dualpipe=True, global_batch=8 * 64)
    near, far = sorted(chunks(run)[rank], key=lambda chunk: chunk.loss)
    first, last = piece(run, near, H100), piece(run, far, H100)
    layers = piece(run, far._replace(loss=False), H100)
    most = max(each.total for each in moments(run, chunks(run)[rank], rank, H100))
    by_layers = 8 * first.kept + layers.kept
    by_loss = 7 * first.kept + last.kept + last.forward
    assert max(by_layers, by_loss) <= most < 8 * first.kept + last.kept


def test_layers_on_two_ranks_share_their_optimizer_among_twice_as_many() -> None:
    run = run_of("deepseek-v3", mesh=Mesh(dp=8, pp=8, ep=8))

    def held(asked: Megatron) -> int:
        return sum(
            size
            for mine in chunks(asked)
            for kept in states(asked, mine)
            if kept.key == "optimizer.moments"
            for size in kept.sizes
        )

    assert held(run._replace(dualpipe=True)) == pytest.approx(held(run), rel=0.01)


TINY: dict[str, Any] = {
    "num-layers": 2,
    "hidden-size": 64,
    "num-attention-heads": 4,
    "vocab-size": 128,
    "seq-length": 16,
    "micro-batch-size": 1,
    "global-batch-size": 1,
    "max-position-embeddings": 16,
    "bf16": True,
}


def test_precision_aware_optimizer_is_read() -> None:
    given: dict[str, Any] = {
        **TINY,
        "exp-avg-dtype": "bf16",
        "exp-avg-sq-dtype": "fp8",
        "main-params-dtype": "fp16",
    }
    plain = read_arguments(given, 1)
    aware = read_arguments({**given, "use-precision-aware-optimizer": True}, 1)
    assert (plain.master_bytes, plain.moment_bytes) == (4, (4, 4))
    assert (aware.master_bytes, aware.moment_bytes, aware.copied_bytes) == (2, (2, 1), 12)
    assert not any("dtype" in warning for warning in aware.warnings)


def test_narrow_moments_were_copied_in_the_step_of_earlier_releases() -> None:
    """Transformer Engine, optimizers/fused_adam.py: to 2.12 F32 copies of both moments, of one group of
    parameters; from 2.13 on (pull request 2632) the kernel reads BF16 moments as they are."""

    def in_step(model: str, release: str) -> int:
        mesh = Mesh(dp=8, ep=8 if "deepseek" in model else 1)
        more: dict[str, Any] = {
            "precision": "bf16-moments",
            "framework_version": f"transformer-engine {release}",
        }
        run = run_of(model, mesh=mesh, **more)
        return step_copies(run, chunks(run)[0])

    assert in_step("llama-3-8b", "2.13") == 0
    assert in_step("llama-3-8b", "2.12") == pytest.approx(8.03e9, rel=0.001)
    experts = 58 * 32 * 3 * 7168 * 2048
    assert in_step("deepseek-v3", "2.12") == pytest.approx(8 * experts, rel=0.001)


@pytest.mark.parametrize(
    ("more", "master"),
    [
        ({}, 2),
        ({"main-params-dtype": "fp16"}, 2),
        ({"fp8-format": "hybrid"}, 2),
        ({"fp8-format": "hybrid", "fp8-recipe": "tensorwise"}, 4),
        ({"fp8-format": "hybrid", "fp8-param-gather": True}, 4),
    ],
)
def test_a_precision_aware_optimizer_keeps_remainders(more: dict[str, Any], master: int) -> None:
    """core/optimizer/optimizer_config.py, store_param_remainders and
    use_precision_aware_optimizer_no_fp8_or_ds_fp8: of F32 copies of BF16 weights the lower half, unless FP8
    is scaled by other recipes than the delayed one."""
    run = read_arguments({**TINY, **more, "use-precision-aware-optimizer": True}, 1)
    assert run.master_bytes == master


@pytest.mark.parametrize(
    ("loss", "num_bytes"),
    [("vocab-parallel", 6), ("vocab-parallel-fused", 10), ("vocab-parallel-te", 2)],
)
def test_bytes_of_a_logit_by_loss(loss: str, num_bytes: int) -> None:
    """Megatron's loss, its fused one, and Transformer Engine's, which writes the gradient over the logits."""
    asked = TrainingResolved(micro_batch=1, seq_len=4096, grad_accum=1, loss=loss)
    run = run_of_model(load("llama-3-8b"), asked, Mesh(dp=1))
    walked = walk(head_graph(run))
    logits = 4096 * run.padded_vocab
    assert num_bytes * logits <= max(walked.forward_peak, walked.backward_peak) < (num_bytes + 0.5) * logits


def test_offloaded_layers_keep_nothing_on_the_card() -> None:
    """--cpu-offloading-num-layers: each of the first layers takes its activations to the host, to the byte;
    a pipeline, other layers than Megatron's and none at all are refused."""
    asked: dict[str, Any] = {"framework": "megatron-bridge", "sharding": "distopt", "seq_len": 4096}
    cards = "gb200:8"
    whole = train("llama-3-8b", cards, **asked)
    found = train("llama-3-8b", cards, offload="activations", offload_layers=8, **asked)
    saved = whole.peaks.allocated_bytes - found.peaks.allocated_bytes
    assert found.ram_bytes == pytest.approx(8 * saved, rel=0.02)
    for more in ({"pp": 2}, {"framework": "fsdp", "sharding": "fsdp2"}):
        with pytest.raises(UnsupportedError, match="--offload-layers 8"):
            train("llama-3-8b", cards, offload="activations", offload_layers=8, **asked | more)
