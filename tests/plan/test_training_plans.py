"""Plans for training: every row re-estimates as it was planned, its files parse and say the same question to
the framework's reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import call
from oomless.estimate.training.whole_step import estimate_step
from oomless.frameworks import OF_PAIRS
from oomless.frameworks.training_file import read_training_file
from oomless.plan.candidates import NO_LAUNCH, PlannedRow
from oomless.plan.duration import duration
from oomless.plan.goals import PlanLimits, PlannedTask, Wanted, WantedTraining
from oomless.plan.training_answer import TrainingPlan, plan_training
from oomless.plan.training_search import TrainingRow
from oomless.run.hardware import parse_gpu
from oomless.run.training import Method
from plan.test_plans import check_files

MODELS = (
    "deepseek-v2-lite",
    "deepseek-r1-distill-qwen-7b",
    "deepseek-r1-distill-llama-70b",
    "llama-3.1-8b",
    "deepseek-v3",
    "qwen3-30b-a3b",
)
READ_BACK = {"job.toml": "torchtitan", "axolotl.yaml": "axolotl", "llama_factory.yaml": "llama-factory"}

Built = TypeVar("Built")


def built(kind: Callable[..., Built], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Built]:
    """Records whose other fields keep their defaults."""
    return st.fixed_dictionaries(dict(fields)).map(lambda values: kind(**values))


questions = st.tuples(
    st.sampled_from(MODELS),
    built(
        Wanted,
        gpus=st.lists(
            st.sampled_from(("h100", "a100-80gb:8", "rtx-4090", "b200", "l40s:4", "mi300x:8x2")),
            min_size=1,
            max_size=2,
        ).map(tuple),
        goal=st.sampled_from(("cheapest", "fastest", "fewest")),
        limits=st.sampled_from((PlanLimits(max_gpus=8), PlanLimits(max_gpus=64))),
        host_memory=st.sampled_from((None, "1TiB")),
        rows=st.just(3),
    ),
    built(
        WantedTraining,
        seq_len=st.sampled_from((512, 4096)),
        global_batch=st.sampled_from((None, 64, 96)),
        method=st.sampled_from(("full", "lora", "qlora")),
        frameworks=st.sampled_from(
            ((), (), ("torchtitan",), ("llama-factory", "axolotl"), ("transformers",))
        ),
        lora_rank=st.sampled_from((8, 64)),
        task=st.sampled_from(("pretrain", "sft", "dpo")),
        micro_batch=st.sampled_from((None, None, 1, 2)),
        loss=st.sampled_from((None, None, "plain", "fused", "compiled", "chunked", "vocab-parallel-fused")),
    ),
)


def check_row(plan: TrainingPlan, planned: PlannedRow[TrainingRow], folder: Path) -> None:
    row = planned.row
    answer = call(*planned.arguments, "--json")
    assert answer.code == 0, answer.err
    again = json.loads(answer.out)
    assert again["verdict"] == row.estimate.verdict
    assert [rank["lines"] for rank in again["ranks"]] == [
        [line._asdict() for line in ledger.lines] for ledger in row.estimate.ledgers
    ]
    check_files(planned.launch.files)
    for name, content in planned.launch.files.items():
        folder.joinpath(name).write_text(content, encoding="utf-8")
    for name, framework in READ_BACK.items():
        if name in planned.launch.files:
            found = read_training_file(folder / name)
            assert found.framework == framework
            assert not found.warnings
            back = estimate_step(plan.model, found.training, row.hardware)
            assert [ledger.total_bytes for ledger in back.ledgers] == [
                ledger.total_bytes for ledger in row.estimate.ledgers
            ], content
    if "megatron.args" in planned.launch.files:
        words = (
            "train",
            "--megatron-args",
            str(folder / "megatron.args"),
            "--world-size",
            str(row.hardware.num_gpus),
            "--gpu",
            row.gpu,
        )
        own = call(*words, "--json")
        assert own.code == 0, own.err
        read = json.loads(own.out)
        assert read["verdict"] == "fits" or not row.fits
        assert not [warning for warning in read["warnings"] if "was not read" in warning]


def check_plan(folder: Path, model: str, wanted: Wanted, training: WantedTraining) -> None:
    plan = plan_training(model, wanted, training)
    fits = [planned.row.fits for planned in plan.rows]
    assert fits == sorted(fits, reverse=True)
    for planned in plan.rows:
        assert planned.row.estimate.verdict in ("fits", "tight")
        check_row(plan, planned, folder)


@given(questions)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_row_is_what_it_says(tmp_path: Path, question: tuple[str, Wanted, WantedTraining]) -> None:
    check_plan(tmp_path, *question)


@pytest.mark.slow
@given(questions)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_row_of_100_plans(tmp_path: Path, question: tuple[str, Wanted, WantedTraining]) -> None:
    check_plan(tmp_path, *question)


def test_the_batch_is_what_was_asked() -> None:
    plan = plan_training(
        "deepseek-r1-distill-llama-70b", Wanted(gpus=("h100:64",)), WantedTraining(global_batch=128)
    )

    assert {planned.row.runner for planned in plan.rows} == {"megatron-lm", "deepspeed", "fsdp"}
    for planned in plan.rows:
        mesh, asked = planned.row.estimate.mesh, planned.row.asked
        assert mesh.dp * asked.micro_batch * asked.grad_accum == 128


def test_a_bound_is_below_the_estimate() -> None:
    from oomless.model.load import load
    from oomless.plan.training_search import TrainingSearch

    wanted = Wanted(gpus=("h100:64",))
    search = TrainingSearch(load("deepseek-r1-distill-llama-70b"), wanted, WantedTraining())
    for framework in ("fsdp", "deepspeed", "megatron-lm"):
        for base in search.ways(framework, parse_gpu("h100:64")):
            asked = search.training.asked(base._replace(recompute="full"))
            estimate = estimate_step(search.model, asked, parse_gpu("h100:64"))
            assert search.states.of(asked, 64) <= max(ledger.low_bytes for ledger in estimate.ledgers)


WRONG = (
    (("--context", "4096"), "belongs to --for infer"),
    (("--framework", "megatron"), "--framework is 'megatron'"),
    (("--seq-len", "0"), "--seq-len"),
    (("--precision", "bf15"), "--precision is 'bf15'"),
    (("--loss", "contrastive"), "--loss 'contrastive' is not one of"),
    (("--global-batch", "-1"), "--global-batch"),
)


@pytest.mark.parametrize(
    ("words", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_questions_say_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    answer = call("plan", "deepseek-v2-lite", "--for", "train", "--gpu", "a100-80gb", *words)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_what_belongs_to_training_is_refused_for_serving() -> None:
    answer = call("plan", "deepseek-v2-lite", "--method", "lora")

    assert answer.code == 2
    assert "belongs to --for train" in answer.err


def test_a_plan_without_rows_says_why() -> None:
    answer = call("plan", "deepseek-v3", "--for", "train", "--gpu", "rtx-4090:8")

    assert answer.code == 3
    assert "does not fit" in answer.out


def test_adapters_of_all_frameworks_are_the_same() -> None:
    """Rows of peft had adapters on two matrices of a layer beside rows with all seven."""
    for said, meant in ((), ("all-linear",)), (("q_proj", "v_proj"), ("q_proj", "v_proj")):
        found = plan_training(
            "llama-3.1-8b",
            Wanted(gpus=("h100:1",)),
            WantedTraining(method="lora", frameworks=("peft", "axolotl", "llama-factory"), lora_targets=said),
        )
        assert {each.row.runner for each in found.rows} == {"peft", "axolotl", "llama-factory"}
        assert {each.row.estimate.request.lora_targets for each in found.rows} == {meant}


def test_a_micro_batch_and_a_task_are_kept() -> None:
    wanted = WantedTraining(micro_batch=2, task="sft", frameworks=("fsdp",))
    (planned,) = plan_training("llama-3.1-8b", Wanted(gpus=("h100:8",)), wanted).rows
    request = planned.row.estimate.request
    assert (request.micro_batch, request.task) == (2, "sft")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_pairs_are_planned_with_their_reference(method: Method) -> None:
    """`--task dpo` was refused: rows hold the frozen reference, and count pairs as they were asked."""
    wanted = WantedTraining(micro_batch=2, method=method, task="dpo", seq_len=1024)
    found = plan_training("llama-3.1-8b", Wanted(gpus=("h200:8",)), wanted)
    assert {each.row.runner for each in found.rows} == {*OF_PAIRS}
    for each in found.rows:
        assert each.row.asked.micro_batch == 2
        assert each.row.estimate.after is not None
        held = {line.owner for line in each.row.estimate.ledger.lines}
        assert ("reference" in held) == (method == "full")


def test_frameworks_without_pairs_have_no_row_of_them() -> None:
    wanted = WantedTraining(task="dpo", frameworks=("fsdp", "torchtitan"))
    found = plan_training("llama-3.1-8b", Wanted(gpus=("h200:8",)), wanted)
    assert not found.rows
    assert {*found.excluded} == {NO_LAUNCH}


def test_llama_factory_is_told_all_matrices_by_its_own_word() -> None:
    """It hands `all-linear` to PEFT as a module's name, which no model has (model/adapter.py)."""
    wanted = WantedTraining(method="lora", frameworks=("llama-factory",))
    (planned,) = plan_training("llama-3.1-8b", Wanted(gpus=("h100:1",)), wanted).rows
    assert "lora_target: all\n" in planned.launch.files["llama_factory.yaml"]


LOSSES = (
    ("fsdp", "full", "fused", None),
    ("transformers", "full", "fused", ("train.py", "LIGER = True")),
    ("peft", "qlora", "fused", ("train.py", "LIGER = True")),
    ("deepspeed", "full", "fused", ("train.py", "LIGER = True")),
    ("deepspeed", "full", "plain", ("train.py", "LIGER = False")),
    ("llama-factory", "lora", "fused", ("llama_factory.yaml", "enable_liger_kernel: true")),
    ("axolotl", "lora", "fused", ("axolotl.yaml", "liger_fused_linear_cross_entropy: true")),
    ("axolotl", "lora", "cut", ("axolotl.yaml", "CutCrossEntropyPlugin")),
    ("axolotl", "lora", "chunked", ("axolotl.yaml", "chunked_cross_entropy: true")),
    ("torchtitan", "full", "compiled", ("job.toml", 'components = ["loss"]')),
    ("torchtitan", "full", "fused", None),
    ("megatron-lm", "full", "vocab-parallel", ("megatron.args", "")),
    ("megatron-lm", "full", "fused", ("megatron.args", "--cross-entropy-fusion-impl native")),
    ("megatron-lm", "full", "vocab-parallel-te", None),
)


@pytest.mark.parametrize(("framework", "method", "loss", "says"), LOSSES)
def test_files_say_the_loss_that_was_asked(
    tmp_path: Path, framework: str, method: Method, loss: str, says: tuple[str, str] | None
) -> None:
    """Where no file of a framework can say it, no row of it claims to hold the step."""
    wanted = WantedTraining(method=method, frameworks=(framework,), loss=loss)
    plan = plan_training("llama-3.1-8b", Wanted(gpus=("h100:8",)), wanted)
    if says is None:
        assert not plan.rows
        assert plan.excluded == {NO_LAUNCH: 1}
        return
    (planned,) = plan.rows
    assert planned.row.estimate.request.loss == loss
    assert says[1] in planned.launch.files[says[0]]
    check_row(plan, planned, tmp_path)


def test_a_model_that_liger_does_not_patch_has_no_row_of_its_loss() -> None:
    """The Trainer trains it with the loss of its own, and no error says so."""
    for model, rows in ("deepseek-v2-lite", 0), ("qwen3-30b-a3b", 1):
        wanted = WantedTraining(method="lora", frameworks=("peft",), loss="fused")
        assert len(plan_training(model, Wanted(gpus=("h200:1",)), wanted).rows) == rows


def test_the_fused_loss_is_tried_where_nothing_fits_without(tmp_path: Path) -> None:
    """Not before, not where another loss is asked, and not for a model whose files cannot say it."""
    wanted = Wanted(gpus=("rtx-4090:1",))
    losses: dict[tuple[int, str | None], set[str | None]] = {}
    for length in 4096, 16384:
        for loss in None, "plain":
            plan = plan_training("llama-3.1-8b", wanted, WantedTraining(length, method="qlora", loss=loss))
            losses[length, loss] = {planned.row.asked.loss for planned in plan.rows}
    assert losses == {(4096, None): {None}, (4096, "plain"): {"plain"}, (16384, None): {"fused"},
                      (16384, "plain"): set()}  # fmt: skip
    plan = plan_training("llama-3.1-8b", wanted, WantedTraining(16384, method="qlora"))
    assert plan.rows[0].row.fits
    assert plan.warnings == ("nothing fits with the frameworks' own losses: all rows are with --loss fused",)
    for planned in plan.rows:
        check_row(plan, planned, tmp_path)


def test_days_and_dollars_are_tokens_over_the_rate() -> None:
    """15.8 days at 84,205 tokens/s for 100 billion tokens; of an hour's rent, as many hours."""
    wanted = WantedTraining(billion_tokens=100)
    (first, *_) = plan_training("llama-3.1-8b", Wanted(gpus=("h100:8",)), wanted).rows
    row, found = first.row, duration(first.row, wanted)
    assert found is not None
    assert found.usd is not None
    assert row.speed is not None
    assert row.usd_per_hour is not None
    assert found.days.value == pytest.approx(100e9 / row.speed.tokens_per_s.value / 86_400)
    assert found.days.low < found.days.value < found.days.high
    assert found.usd.value == pytest.approx(found.days.value * 24 * row.usd_per_hour)
    assert (found.lost, found.checkpoint_every_s) == (0, None)
    more = [duration(row._replace(interruptions_per_day=each), wanted) for each in (1, 4)]
    lengths = [found.days.value, *(each.days.value for each in more if each is not None)]
    assert lengths == sorted(set(lengths))
    assert len(lengths) == 3
    assert duration(row._replace(interruptions_per_day=1000), wanted) is None
    shown = json.loads(call("plan", "llama-3.1-8b", "--for", "train", "--gpu", "h100:8",
                            "--billion-tokens", "100", "--json").out)  # fmt: skip
    assert shown["rows"][0]["days"]["value"] == pytest.approx(found.days.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--interruptions-per-day", "2"), "--interruptions-per-day without --billion-tokens"),
        (("--lora-targets", "q_proj"), "--lora-targets without adapters"),
    ],
)
def test_what_says_nothing_alone_is_refused(flags: tuple[str, ...], says: str) -> None:
    answer = call("plan", "llama-3.1-8b", "--for", "train", "--gpu", "h100:8", *flags)
    assert answer.code == 2
    assert says in answer.err


def test_the_longest_sequences_are_the_last_that_fit() -> None:
    """A step more does not fit; a length beside it is refused."""
    flags = ("plan", "llama-3.1-8b", "--for", "train", "--method", "qlora", "--gpu", "rtx-4090:1",
             "--framework", "peft", "--json")  # fmt: skip
    found = json.loads(call(*flags, "--longest-context").out)
    length = found["request"]["seq_len"]
    assert found["rows"][0]["verdict"] == "fits"
    more = json.loads(call(*flags, "--seq-len", str(length + 1024)).out)
    assert not more["rows"] or more["rows"][0]["verdict"] != "fits"
    both = call(*flags, "--longest-context", "--seq-len", "4096")
    assert both.code == 2
    assert "contradict" in both.err


def test_the_largest_models_that_cards_train_are_those_of_a_plan_each() -> None:
    flags = ("plan", "--for", "train", "--method", "qlora", "--gpu", "rtx-4090:1", "--framework", "peft")
    rows = json.loads(call(*flags, "--largest-model", "--rows", "3", "--json").out)["rows"]
    sizes = [row["num_parameters"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for row in rows:
        one = json.loads(call("plan", row["model"], *flags[1:], "--json").out)["rows"][0]
        assert (one["verdict"], one["headroom_bytes"]) == ("fits", row["headroom_bytes"])


@pytest.mark.parametrize("optimizer", ["paged-adamw-8bit", "adafactor", "adamw-8bit"])
def test_files_say_the_optimizer_that_is_planned(optimizer: str, tmp_path: Path) -> None:
    """They said AdamW whatever was planned: 8 B a trained value in place of 2."""
    wanted = WantedTraining(method="lora", optimizer=optimizer, lora_rank=256)
    found = plan_training("llama-3.1-8b", Wanted(gpus=("h100:1",), rows=3), wanted)
    assert {each.row.runner for each in found.rows} == {"peft", "axolotl", "llama-factory"}
    for planned in found.rows:
        check_row(found, planned, tmp_path)
        word = optimizer.replace("-", "_").replace("adamw_8bit", "adamw_bnb_8bit")
        text = "".join(planned.launch.files.values())
        assert optimizer.replace("-", "_") in text or word in text


def test_an_optimizer_that_no_file_says_gives_no_row() -> None:
    found = plan_training(
        "llama-3.1-8b", Wanted(gpus=("h100:8",)), WantedTraining(optimizer="muon", frameworks=("fsdp",))
    )
    assert not found.rows
    assert any("launch file" in reason for reason in found.excluded)
    flags = ("plan", "llama-3.1-8b", "--for", "train", "--gpu", "h100:8", "--framework", "fsdp")
    assert "nothing that a launch file can say holds the step" in call(*flags, "--optimizer", "muon").out


@pytest.mark.parametrize("task", ["sft", "dpo"])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_files_of_trl_are_read_as_they_were_planned(
    method: Method, task: PlannedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file started TRL, and `--accelerate_config` of its command was not understood."""
    training = WantedTraining(method=method, task=task, frameworks=("trl",))
    planned = plan_training("llama-3.1-8b", Wanted(gpus=("h100:8",)), training).rows[0]
    for name, text in planned.launch.files.items():
        (tmp_path / name).write_text(str(text), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = call("train", "--command", planned.launch.command, "--gpu", "h100:8", "--json")
    answer = json.loads(found.out)
    assert (answer["verdict"] == "fits") == planned.row.fits
    assert answer["headroom_bytes"] == planned.row.headroom_bytes
    assert not any("not understood" in note for note in answer["warnings"])
