"""Measured runs beside an answer: the nearest first, none that has nothing to do with it, nothing of them in
the answer."""

import json

from command import call
from oomless.api.nearest_runs import FARTHEST, WEIGHTS, asked_of, differences, measured_runs, nearest_runs
from oomless.api.serving import infer
from oomless.api.training import train


def test_a_run_of_the_same_setting_is_the_nearest() -> None:
    found = nearest_runs(infer("codellama-7b", "h100", tp=1, engine_version="0.19.0", max_model_len=8192))
    assert found[0].differs == ()
    assert found[0].run.model == "codellama-7b"
    assert {figure.quantity for figure in found[0].run.figures} >= {"weights_per_gpu", "kv_tokens"}


def test_what_differs_is_said_and_the_nearer_comes_first() -> None:
    answer = infer("deepseek-r1", "h20:8")
    found = nearest_runs(answer)
    assert found
    far = [sum(WEIGHTS[word] for word in differences(each.run, asked_of(answer))) for each in found]
    assert far == sorted(far)
    assert max(far) <= FARTHEST
    assert all("card" in each.differs for each in found if each.run.card != answer.hardware.card.name)


def test_nothing_is_near_a_card_and_model_that_nobody_measured() -> None:
    assert nearest_runs(infer("deepseek-v3", "gaudi3:8")) == ()


def test_no_answer_holds_a_measured_run() -> None:
    answer = infer("codellama-7b", "h100")
    sources = {run.source for run in measured_runs()}
    text = json.dumps(answer.to_json())
    assert not [source for source in sources if len(source) > 12 and source in text]


def test_every_run_has_figures_and_a_source() -> None:
    for run in measured_runs():
        assert run.source
        assert run.model
        assert all(figure.low <= figure.predicted <= figure.high for figure in run.figures), run


def test_a_step_of_the_same_training_is_the_nearest() -> None:
    """Steps of frameworks are beside runs of engines, and neither is near the other's questions."""
    answer = train("llama-2-7b", "rtx-3090:2", framework="fsdp-qlora", method="qlora", seq_len=512)
    found = nearest_runs(answer)
    assert found[0].run.model == "llama-2-7b"
    assert "training" not in found[0].differs
    assert all(each.run.engine not in ("vllm", "sglang", "llamacpp") for each in found)


def test_evidence_is_shown_where_it_is_asked_for() -> None:
    asked = ("train", "llama-2-7b", "--gpu", "rtx-3090:2", "--framework", "fsdp-qlora", "--method", "qlora")
    assert "evidence" not in json.loads(call(*asked, "--json").out)
    found = json.loads(call(*asked, "--evidence", "--json").out)["evidence"]
    assert found[0]["figures"][0]["measured"] > 0
    text = call(*asked, "--evidence").out
    assert "measured runs nearest to it" in text
    assert found[0]["source"] in text
    served = call("infer", "codellama-7b", "--gpu", "h100", "--evidence").out
    assert "differs in" in served or "the same setting" in served
