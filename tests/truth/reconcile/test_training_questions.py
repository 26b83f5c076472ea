"""What logs of trainers say of their run becomes a question, and its prediction stands beside their peaks."""

import io

import pytest
import training_logs

from oomless.api.reconcile import beside_prediction
from oomless.frameworks.defaults import resolved
from oomless.truth.reconcile.read_log import read_stream
from oomless.truth.reconcile.reconciled import ReconciledRun
from oomless.truth.reconcile.training_question import LoggedTrainingQuestion


def beside(text: str, gpu: str = "", model: str = "") -> ReconciledRun:
    return beside_prediction(read_stream(io.BytesIO(text.encode()), "train.log"), gpu, model).runs[-1]


def question(found: ReconciledRun) -> LoggedTrainingQuestion:
    assert found.asked.training is not None
    assert found.asked.training.question is not None, found.asked.training
    return found.asked.training.question


def test_the_arguments_of_megatron_are_its_run() -> None:
    found = beside(training_logs.megatron(), "h100")
    run = question(found).megatron
    assert run is not None
    assert (run.hidden, run.heads, run.query_groups, len(run.kinds)) == (2048, 16, 16, 24)
    assert (run.world_size, run.tp, run.micro_batch, run.global_batch) == (8, 2, 2, 32)
    assert (run.padded_vocab, run.dtype, run.bias, run.tied) == (50432, "bf16", False, False)
    assert found.asked.missing == ()
    rows = {row.key: row for row in found.rows}
    assert rows["peak_allocated"].measured == round(13100.25 * 2**20)
    assert rows["peak_allocated"].predicted is not None
    assert rows["peak_allocated"].predicted > 2**30


def test_megatron_without_its_arguments_asks_nothing() -> None:
    text = "\n".join(line for line in training_logs.megatron().splitlines() if "....." not in line)
    assert beside(text, "h100").asked.missing == ("model",)  # the cards were given


@pytest.mark.parametrize(
    ("text", "sizes", "recompute"),
    [
        (training_logs.TITAN, (8, 1, 1, 8192), "selective"),
        (training_logs.OLD_TITAN, (4, 2, 2, 4096), "full"),
    ],
)
def test_lines_of_torchtitan_are_its_job(text: str, sizes: tuple[int, ...], recompute: str) -> None:
    found = beside(text)
    asked = question(found).asked
    assert (asked.mesh.dp, asked.mesh.tp, asked.micro_batch, asked.seq_len) == sizes
    assert asked.recompute == recompute
    assert asked.sharding == "fsdp2"
    model = question(found).model
    assert model is not None
    assert model.name == "llama-3.1-8b"
    assert found.asked.missing == (() if "capacity" in text else ("gpu",))
    (row,) = found.rows
    assert row.predicted is not None
    assert row.inside or row.measured == round(34.6 * 2**30)


def test_a_death_under_llama_factory_is_explained() -> None:
    found = beside(training_logs.FACTORY, "12GiB")
    asked = question(found).asked
    assert found.facts["engine"] == "llama-factory"
    assert found.facts["model"] == "Qwen/Qwen2.5-7B"
    assert (asked.framework, asked.method, asked.micro_batch, asked.grad_accum) == (
        "llama-factory",
        "qlora",
        2,
        4,
    )
    assert asked.lora_targets == ("q_proj", "v_proj")
    assert resolved(asked, family="qwen2").recompute == "full"
    assert question(found).hardware.num_gpus == 2
    assert found.asked.assumed == ("seq_len", "optimizer", "lora_rank")
    assert found.state == "oom"
    assert found.explanation is not None
    assert dict(found.explanation.expected)["weights"] > 2**30
    assert found.explanation.advice
    assert all((each.headroom_bytes or 0) >= 0 for each in found.explanation.advice)
    assert found.command[:4] == ["train", "qwen2.5-7b", "--gpu", "12GiB"]


def test_a_trainer_under_zero_is_divided() -> None:
    asked = question(beside(training_logs.TRAINER, "h100")).asked
    assert (asked.framework, asked.method, asked.sharding) == ("transformers", "full", "zero3")
    assert question(beside(training_logs.TRAINER, "h100")).hardware.num_gpus == 8


def test_the_configuration_of_axolotl_is_read_whole() -> None:
    found = beside(training_logs.AXOLOTL, "a100-80gb")
    asked = question(found).asked
    assert (asked.framework, asked.method, asked.lora_rank, asked.seq_len) == ("axolotl", "lora", 16, 4096)
    assert (asked.micro_batch, asked.grad_accum, asked.packed) == (2, 2, True)
    assert question(found).hardware.num_gpus == 4
    assert found.asked.assumed == ()


def test_deepspeed_says_all_but_the_model() -> None:
    found = beside(training_logs.DEEPSPEED, "a100-80gb")
    assert found.asked.missing == ("model",)
    asked = question(beside(training_logs.DEEPSPEED, "a100-80gb", "qwen2.5-7b")).asked
    assert (asked.sharding, asked.offload, asked.micro_batch) == ("zero2", ("optimizer",), 2)
    assert {row.key for row in found.rows} == {"peak_allocated", "peak_reserved"}


def test_unsloth_says_its_batch() -> None:
    found = beside(training_logs.UNSLOTH, "", "qwen2.5-7b")
    asked = question(found).asked
    assert (asked.framework, asked.micro_batch, asked.grad_accum, asked.method) == ("unsloth", 2, 4, "lora")
    assert found.asked.missing == ()


@pytest.mark.parametrize(
    "text",
    [
        training_logs.megatron(),
        training_logs.TITAN,
        training_logs.FACTORY,
        training_logs.AXOLOTL,
        training_logs.DEEPSPEED,
    ],
)
def test_a_log_of_training_that_is_cut_raises_nothing(text: str) -> None:
    for place in range(1, len(text), max(1, len(text) // 60)):
        runs = read_stream(io.BytesIO(text[:place].encode()), "train.log")
        beside_prediction(runs, "h100", "")


def test_a_path_of_the_hub_is_no_line_of_an_engine() -> None:
    """It was taken for TensorRT-LLM's."""
    text = "loading configuration file preprocessor.json from cache at /h/models--a--b/snapshots/c/p.json\n"
    assert read_stream(io.BytesIO(text.encode()), "train.log") == ()
