"""Buy or rent: the guide's own case, and laws that any such sum keeps."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import call
from oomless.errors import UsageError
from oomless.plan.buy_or_rent import Own, OwnOrRent, Rent, break_even_month, own_usd, rent_usd, saving
from oomless.plan.cost import CostFlags, cost

GUIDE = OwnOrRent(
    Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06), Rent(25)
)


def test_the_guides_case_from_the_command_line() -> None:
    answer = json.loads(
        call("cost", "--gpu", "a100-80gb:8", "--buy-usd", "80000", "--rent-usd-per-hour", "25", "--json").out
    )

    assert {scope: round(month, 1) for scope, month in answer["break_even_month"].items()} == {
        "hardware": 4.4,
        "power": 4.5,
        "colocation": 4.9,
    }
    sixth = {scope: f"{shares[5]:.1%}" for scope, shares in answer["savings"].items()}
    assert sixth == {"hardware": "26.7%", "power": "23.1%", "colocation": "16.5%"}
    assert answer["months"][6]["rent_usd"] == 109_200


questions = st.builds(
    OwnOrRent,
    st.builds(
        Own,
        st.floats(1_000, 1e6),
        st.floats(0, 1e5),
        st.floats(0, 1e5),
        st.floats(0, 50),
        st.floats(1, 2),
        st.floats(0, 0.5),
        st.floats(0, 500),
        st.floats(0, 1e4),
        st.floats(0, 1),
    ),
    st.builds(Rent, st.floats(0.1, 300), st.booleans()),
    st.floats(0.05, 1),
    st.floats(0, 0.3),
)


@given(questions)
def test_the_lines_cross_at_the_break_even_month(question: OwnOrRent) -> None:
    question.check()
    month = break_even_month(question)
    if month is None:
        assert all(saving(question, each + 0.5) < 1e-3 for each in range(120))
    elif month > 0:
        at = month + 1e-7
        assert own_usd(question, at) == pytest.approx(rent_usd(question, at), rel=1e-3, abs=1.0)


@given(questions, st.sampled_from(["usd_per_hour", "cards_usd", "power_kw"]))
def test_dearer_inputs_move_the_month_the_right_way(question: OwnOrRent, what: str) -> None:
    before = saving(question, 12)
    if what == "usd_per_hour":
        dearer = question._replace(rent=question.rent._replace(usd_per_hour=question.rent.usd_per_hour * 1.5))
        assert saving(dearer, 12) >= before - 1e-9
    else:
        more = question.own._replace(**{what: getattr(question.own, what) * 1.5})
        assert saving(question._replace(own=more), 12) <= before + 1e-9


def test_a_reserved_machine_is_paid_when_idle() -> None:
    idle = GUIDE._replace(utilization=0.5)

    assert rent_usd(idle._replace(rent=Rent(25, always=True)), 6) == 2 * rent_usd(idle, 6)


def test_every_input_names_its_source() -> None:
    answer = cost(CostFlags("h100:8"))

    assert all(source.source for source in answer.inputs)
    assert answer.rent_price is not None
    assert answer.rent_price.label.split()[0] in "verda hyperstack digitalocean novita jarvis-labs"
    assert {swing.what for swing in answer.swings} >= {"cards_usd", "usd_per_hour", "power_kw", "utilization"}


def test_tokens_cost_the_same_sum_as_the_machine() -> None:
    answer = cost(CostFlags("a100-80gb:8", buy_usd=80_000, rent_usd_per_hour=25, tokens_per_s=1000))

    assert answer.rent_usd_per_million_tokens == pytest.approx(25 / 3.6)


WRONG = (
    (("--gpu", "h100:8", "--provider", "awx"), "unknown provider"),
    (("--gpu", "l4:8"), "no purchase price"),
    (("--gpu", "dgx-spark", "--buy-usd", "4000"), "nobody known rents"),
    (("--gpu", "h100:8", "--utilization", "1.5"), "--utilization"),
    (("--gpu", "h100:8", "--pue", "0.9"), "--pue"),
    (("--gpu", "h100:8", "--buy-usd", "1", "--buy-usd-per-gpu", "1"), "contradict"),
    (("--gpu", "h100:8", "--rent-usd-per-hour", "9", "--provider", "AWS"), "contradict"),
    (("--gpu", "h100:8", "--months", "0"), "--months"),
    (("--gpu", "h100:8", "--power-kw", "nan"), "--power-kw"),
    ((), "--gpu is missing"),
)


@pytest.mark.parametrize(
    ("words", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_questions_say_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    answer = call("cost", *words)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_no_hardware_costs_nothing() -> None:
    with pytest.raises(UsageError, match="costs nothing"):
        OwnOrRent(Own(0), Rent(1)).check()


def test_a_card_with_one_quote_says_so() -> None:
    found = cost(CostFlags("rtx-4090:1"))
    bought = next(each for each in found.inputs if each.what == "cards_usd")
    assert (bought.value, bought.date) == (1599, "2022-10-12")
    assert bought.source.startswith("one quote; ")
