"""The what-if of compute in memory: weights leave, everything else stays, and nothing is counted twice."""

import json

import pytest

from command import call
from oomless.errors import UsageError
from oomless.estimate.serving.estimate import estimate_serving
from oomless.model.load import load
from oomless.plan.crossbar import is_analog, weights_in_memory
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout


@pytest.mark.parametrize(
    ("name", "gpu", "tp"), [("profile-deepseek-pro-13b", "h100", 1), ("deepseek-v3", "h200:8", 8)]
)
def test_what_leaves_and_what_stays(name: str, gpu: str, tp: int) -> None:
    model = load(name)
    answer = estimate_serving(model, Asked(layout=Layout(tp=tp), max_model_len=4096), parse_gpu(gpu))
    found = weights_in_memory(answer)

    assert 0 < found.freed_bytes < found.weight_bytes
    assert found.headroom_bytes == answer.headroom_bytes + found.freed_bytes
    matrices = [tensor for tensor in model.tensors if is_analog(tensor)]
    assert sum(tensor.num_parameters for tensor in matrices) < model.num_parameters
    assert found.num_cells >= 2 * sum(
        tensor.num_parameters for tensor in matrices
    )  # 8 bits and more in cells of 4
    assert found.num_tiles * 256 * 256 >= found.num_cells
    assert found.converted_bytes < found.read_now_bytes


def test_more_bits_a_cell_need_fewer_cells() -> None:
    answer = estimate_serving(
        load("deepseek-llm-7b"), Asked(layout=Layout(), max_model_len=4096), parse_gpu("h100")
    )

    assert weights_in_memory(answer, cell_bits=8).num_cells < weights_in_memory(answer, cell_bits=1).num_cells
    with pytest.raises(UsageError):
        weights_in_memory(answer, cell_bits=0)


def test_the_option() -> None:
    found = json.loads(
        call("plan", "deepseek-llm-7b", "--gpu", "h100:1", "--weights-in-memory", "--json").out
    )

    assert found["weights_in_memory"]["freed_bytes"] > 0
    assert "crossbars" in call("plan", "deepseek-llm-7b", "--gpu", "h100:1", "--weights-in-memory").out
    wrong = call("plan", "deepseek-llm-7b", "--for", "train", "--gpu", "h100:8", "--weights-in-memory")
    assert wrong.code == 2
