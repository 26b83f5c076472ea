"""Law: one training run has one answer, however it is asked: by flags, by the answer that was saved, and by
the file that is written to start it, for every framework whose files are read.

Megatron's arguments say kernels and buffers that a model's name leaves open: their bytes are the same, and
their interval lies inside the one of the flags.

Questions are drawn by a seed among those that a plan may write files for.
"""

import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from oomless.api.training import train
from oomless.api.training_answer import TrainingAnswer
from oomless.errors import OomlessError, UnsupportedError, UsageError
from oomless.frameworks import framework
from oomless.frameworks.plan_space import PlannedCards
from oomless.model.load import load
from oomless.plan.launch.training import launches, training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, Method, TrainingAsked

MODELS = (
    "deepseek-r1-distill-qwen-7b deepseek-r1-distill-llama-8b llama-3.1-8b llama-3.1-70b qwen3-30b-a3b "
    "deepseek-v2-lite qwen2.5-1.5b"
).split()
CARDS = "h100:1 h100:8 a100-80gb:4 rtx-4090:1 rtx-4090:4 h200:8 h100:8x2 l40s:8 b200:8".split()
FILES = {
    "torchtitan": "job.toml",
    "deepspeed": "ds.json",
    "axolotl": "axolotl.yaml",
    "llama-factory": "llama_factory.yaml",
    "megatron-lm": "megatron.args",
}
"""The written file that says the run, or as much of it as the framework has in a file."""
LEFT_TO_THE_SCRIPT = ("method", "seq_len", "recompute", "lora_rank", "lora_targets", "task", "packed")
"""What a DeepSpeed file does not say: model and data are its script's."""


class Run(NamedTuple):
    """One run: a model on cards, and the question."""

    model: str
    gpu: str
    asked: TrainingAsked


def drawn(seed: int, name: str) -> Run | None:
    """Return a run that a plan may write files for; None where the framework has none on these cards."""
    one = Random(f"{seed} {name}")
    model, gpu = one.choice(MODELS), one.choice(CARDS)
    if not launches(name, load(model)):
        return None
    hardware, of = parse_gpu(gpu), framework(name)
    within = min(hardware.num_gpus, hardware.per_node)
    cards = PlannedCards(hardware.num_gpus, within, one.random() < 0.5)
    base = TrainingAsked(framework=name, sharding=one.choice(of.plan.shardings))
    ways = list(of.plan.ways(base, load(model), cards))
    if not ways:
        return None
    methods: tuple[Method, ...] = ("full", "lora", "qlora")
    method = one.choice([each for each in methods if each in of.methods])
    asked = one.choice(ways)._replace(
        method=method,
        micro_batch=one.choice((1, 2, 4)),
        grad_accum=one.choice((1, 2, 8)),
        seq_len=one.choice((512, 2048, 4096)),
        recompute=one.choice(of.plan.recompute),
    )
    if method != "full":
        targets = one.choice(((), ("all-linear",), ("q_proj", "v_proj")))
        asked = asked._replace(lora_rank=one.choice((8, 16, 64)), lora_targets=targets)
    return Run(model, gpu, asked)


def flags_of(asked: TrainingAsked) -> dict[str, Any]:
    """Return the question as keywords of `train`."""
    usual = TrainingAsked()._asdict()
    values = {
        name: value for name, value in asked._asdict().items() if name != "mesh" and value != usual[name]
    }
    return values | {
        name: value for name, value in asked.mesh._asdict().items() if value != Mesh()._asdict()[name]
    }


def written(run: Run, folder: Path) -> TrainingAnswer:
    """Return the answer to the file that starts the run, with what only its script says beside it."""
    launch = training_launch(load(run.model), run.model, run.asked, parse_gpu(run.gpu))
    for name, content in launch.files.items():
        (folder / name).write_text(content, encoding="utf-8")
    path = str(folder / FILES[run.asked.framework])
    if path.endswith(".args"):
        return train(megatron_args=path, gpu=run.gpu, world_size=parse_gpu(run.gpu).num_gpus)
    beside: dict[str, Any] = {}
    if path.endswith("ds.json"):
        beside = {name: value for name, value in flags_of(run.asked).items() if name in LEFT_TO_THE_SCRIPT}
    return train(run.model, run.gpu, from_file=path, **beside)


def ledgers(answer: TrainingAnswer) -> list[tuple[int, int, int]]:
    """Return the bytes of each rank, with their lowest and highest."""
    found = [each.ledger for each in answer.estimate.groups]
    return [(each.low_bytes, each.total_bytes, each.high_bytes) for each in found]


def tensors(answer: TrainingAnswer) -> list[int]:
    """Return the bytes of each rank but for what the allocator holds beyond them: that is bounded by what the
    upper ends of all else leave of the card, and a file says more than flags do."""
    return [
        sum(line.bytes for line in each.ledger.lines if line.key != "fragmentation.reserved")
        for each in answer.estimate.groups
    ]


def one_answer(seed: int, name: str, folder: Path) -> bool:
    """Hold the spellings of one run to each other; whether there was a run."""
    run = drawn(seed, name)
    if run is None:
        return False
    try:
        asked = train(run.model, run.gpu, **flags_of(run.asked))
    except (UnsupportedError, UsageError):
        return False
    saved = folder / "answer.json"
    saved.write_text(json.dumps(asked.to_json()), encoding="utf-8")
    back = train(from_file=str(saved))
    assert (back.verdict, ledgers(back)) == (asked.verdict, ledgers(asked)), run
    try:
        again = written(run, folder)
    except UnsupportedError:
        return False
    assert not [note for note in again.warnings if "not understood" in note or "was not read" in note], run
    if name == "megatron-lm":
        assert tensors(again) == pytest.approx(tensors(asked), rel=0.001), run
        for (low, _, high), (least, _, most) in zip(ledgers(again), ledgers(asked), strict=True):
            assert least <= low <= high <= most, run
        return True
    assert (again.verdict, ledgers(again)) == (asked.verdict, ledgers(asked)), run
    return True


@pytest.mark.parametrize("name", FILES)
def test_flags_saved_answer_and_file_give_one_answer(name: str, tmp_path: Path) -> None:
    assert sum(one_answer(seed, name, tmp_path) for seed in range(8)) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_flags_saved_answer_and_file_give_one_answer_to_40_runs(name: str, tmp_path: Path) -> None:
    found, seed = 0, 100
    while found < 40:
        found += one_answer(seed, name, tmp_path)
        seed += 1
        assert seed < 1000, f"{found} runs of {name}"


def test_every_framework_whose_files_are_read_and_written_is_held() -> None:
    from oomless.frameworks import CONFIGURED

    assert set(FILES) == {*CONFIGURED, "megatron-lm"}
    with pytest.raises(OomlessError):
        train(from_file="no.yaml", gpu="h100")
