"""Products as they were measured: more work never takes less time, and no card is beaten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless import facts
from oomless.engines.speed_classes import speed_class
from oomless.estimate.serving.estimate import estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.speed.forward import communication, forward, num_kernels
from oomless.speed.kernel_curves import Curves, curves_of
from oomless.speed.load import Load, Runner, Split
from oomless.speed.machine import machine_of
from oomless.speed.network import Product, network
from oomless.speed.serving import serving_speed
from oomless.speed.steady import hidden


def curves(gpu: str = "h200", engine: str = "vllm") -> Curves:
    found = curves_of(machine_of(parse_gpu(gpu).card), Runner(engine))
    assert found is not None
    return found


def product_s(product: Product, rows: int) -> tuple[float, float, float]:
    """Return (reading, reading and computing, floor) of a product of 16-bit weights on one H200."""
    of_card = curves()
    return of_card.product_s(product, 1, rows, *of_card.curve(of_card.dense, "bf16"), 2.0)


@given(st.integers(1, 20_000), st.integers(256, 20_000), st.integers(256, 20_000))
def test_a_product_takes_at_least_what_the_card_needs(rows: int, outputs: int, inputs: int) -> None:
    machine = machine_of(parse_gpu("h200").card)
    _, seconds, floor = product_s(Product(1, outputs, inputs, False), rows)
    assert seconds + floor >= 2 * rows * outputs * inputs / machine.peak("bf16")
    assert seconds + floor >= 2 * outputs * inputs / machine.bytes_per_s


@pytest.mark.parametrize(("kind", "a_value", "took_s"), [("fp8", 1.0, 0.234e-3), ("fp4", 0.5625, 0.129e-3)])
def test_inputs_are_made_narrow_before_a_product(kind: str, a_value: float, took_s: float) -> None:
    """16,384 x 512 x 8,192 on a B200 under TensorRT-LLM 1.3: products of few outputs were said to take a
    third of their time."""
    of_card = curves("b200", "trtllm")
    curve, rate = of_card.curve(of_card.dense, kind)
    _, seconds, floor = of_card.product_s(Product(1, 512, 8192, False), 1, 16384, curve, rate, a_value)
    assert seconds + floor == pytest.approx(took_s, rel=0.06)


@pytest.mark.parametrize("gpu", ["a100-80gb", "l40s", "rtx-pro-6000"])
def test_libraries_cut_the_inputs_of_narrow_products(gpu: str) -> None:
    """One row of 1,024 x 8,192 in 16 bit leaves most multiprocessors idle unless its inputs are cut: nine of
    ten held-out shapes were up to 40 to 80 % off on these cards."""
    of_card = curves(gpu)
    curve, rate = of_card.curve(of_card.dense, "bf16")
    narrow = Product(1, 1024, 8192, False)
    whole, cut = (
        of_card.product_s(narrow, 1, 1, curve._replace(cut=each), rate, 2.0)[1] for each in ("", curve.cut)
    )
    assert curve.cut == "inputs"
    assert cut < 0.8 * whole
    assert of_card.product_s(narrow, 1, 0, curve, rate, 2.0)[1] > 0  # a head that no row of a step needs


def test_a_measured_product_is_met() -> None:
    """32,768 x 65,536 x 12,288 in 16 bit takes 63.8 ms on an H200 under vLLM 0.24."""
    _, seconds, floor = product_s(Product(1, 65536, 12288, False), 32768)
    assert seconds + floor == pytest.approx(0.0638, rel=0.12)


def test_more_tokens_never_take_less_time() -> None:
    net = network(load("deepseek-r1"))
    took = [curves().of_pass(net, Split(tp=8), Load(tokens, 0)) for tokens in (1, 4, 16, 64, 256, 1024)]
    total = [one.reading_s + one.beyond_s + one.floors_s for one in took]
    assert total == sorted(total)


@pytest.mark.parametrize(("gpu", "engine"), [("rtx-3090", "vllm"), ("h200", "llamacpp")])
def test_what_was_not_measured_has_no_curve(gpu: str, engine: str) -> None:
    assert curves_of(machine_of(parse_gpu(gpu).card), Runner(engine)) is None
    assert curves_of(machine_of(parse_gpu("h200").card), Runner("vllm", frozenset({"eager"}))) is None


def test_a_card_cut_in_matrix_units_is_no_faster_than_the_whole_one() -> None:
    """One request of V3.2 on 8 x H20-3e made 30 tokens a second (vllm#30832)."""
    steps = []
    for gpu in ("h200:8", "h20-3e:8"):
        answer = estimate_serving(load("deepseek-v3.2"), Asked(layout=Layout(tp=8)), parse_gpu(gpu))
        steps.append(serving_speed(answer, input_len=1024, output_len=512, concurrency=1).tpot_s)
    assert steps[0].value < steps[1].value == pytest.approx(1 / 30, rel=0.4)


def test_residuals_of_shapes_that_were_held_out_stay_small() -> None:
    rows = [row for row in facts.table("kernel_curves") if not row["source"].startswith(("taken", "as "))]
    assert len(rows) >= 60
    for product, half, ninth in (("dense", 0.07, 0.25), ("experts", 0.065, 0.205)):
        mine = [row for row in rows if row["product"] == product]
        assert sorted(float(row["median_error"]) for row in mine)[len(mine) // 2] <= half
        assert sorted(float(row["p90_error"]) for row in mine)[len(mine) // 2] <= ninth


def test_nothing_hides_wholly() -> None:
    assert hidden(0.0, 0.0, 2.0) == 0.0
    assert max(3.0, 4.0) <= hidden(3.0, 4.0, 1.5) <= 7.0


def test_sglang_runs_experts_by_the_kernels_that_it_chooses_itself() -> None:
    """MiniMax's experts in FP8 go to Triton on a B200, DeepSeek's to FlashInfer; of one shape and type the
    first take longer at small batches."""
    experts = network(load("deepseek-r1")).experts[0]
    own = curves("b200", "sglang")
    for tokens in (1, 16, 128):
        took = [
            sum(own.experts_s(experts, Split(), tokens, family)[1:])
            for family in ("deepseek_v3", "minimax_m2")
        ]
        assert took[0] < took[1]


def test_older_vllm_has_kernels_of_its_own_on_blackwell() -> None:
    experts = network(load("qwen3-30b-a3b")).experts[0]
    machine = machine_of(parse_gpu("b200").card)
    old = curves_of(machine, Runner("vllm", frozenset({"own_experts"})))
    assert old is not None
    assert old.experts_s(experts, Split(), 16)[1:] != curves("b200").experts_s(experts, Split(), 16)[1:]


def test_vllm_without_triton_kernels_multiplies_mxfp4_by_marlin() -> None:
    """On an H100 under vLLM 0.11.0 experts of gpt-oss 20b take twice the time: 79 and 56 % too many tokens a
    second were said (perf_held_out.csv: f538, f539)."""
    experts = network(load("gpt-oss-20b")).experts[0]
    words = [speed_class("vllm").conditions(release, True) for release in ("0.11.0", "0.12.0")]
    machine = machine_of(parse_gpu("h100").card)
    found = [curves_of(machine, Runner("vllm", each)) for each in words]
    took = [sum(each.experts_s(experts, Split(), 8192, "gpt_oss")[1:]) for each in found if each]
    assert took[0] > 1.4 * took[1]


def test_shared_experts_are_kernels_of_their_own() -> None:
    """Layers with routed experts alone had six kernels too many: Qwen3-235B at batch 1 on eight B200 was 19 %
    too slow, gpt-oss on eight H100 30 % (perf_held_out.csv: f511; perf_fresh.csv: f443 to f466)."""
    routed, beside = network(load("qwen3-235b-a22b")), network(load("glm-4.6"))
    assert dict(routed.kinds).get("shared") is None
    assert dict(beside.kinds)["shared"] == dict(beside.kinds)["moe"]
    more = beside._replace(kinds=tuple(each for each in beside.kinds if each[0] != "shared"))
    assert (
        num_kernels(beside, "vllm", frozenset()) - num_kernels(more, "vllm", frozenset())
        == 6 * dict(beside.kinds)["shared"]
    )


def test_norms_over_all_heads_add_up_over_ranks() -> None:
    net, machine = network(load("minimax-m2.5")), machine_of(parse_gpu("h200").card)
    words, seconds = communication(net, machine, Split(tp=8, expert_ranks=8), "sglang", 1, 1)
    assert "62 of sums of squares" in words
    apart = communication(net._replace(joint_norms=0), machine, Split(tp=8, expert_ranks=8), "sglang", 1, 1)
    assert seconds > apart[1]
    assert network(load("qwen3-235b-a22b")).joint_norms == 0


def test_llamacpp_joins_kernels_from_day_to_day() -> None:
    """A small model on an RTX 5090 of February 2025 was taken for one of December, 40 % too fast; gpt-oss of
    18 October for one of November (perf_round3.csv: p3-167, p3-147)."""
    llama, oss = network(load("llama-3.2-3b")), network(load("gpt-oss-20b"))
    for net, days in (
        (llama, ("2025-02", "2025-10-18", "2025-11-02", "2026-01")),
        (oss, ("2025-08-20", "2025-10-18", "2025-11-02", "2026-01")),
    ):
        words = [speed_class("llamacpp").conditions(day, bool(net.experts)) | {"ada"} for day in days]
        counts = [num_kernels(net, "llamacpp", each) for each in words]
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) == len(counts)
    metal = [frozenset(("fused", "metal")), frozenset(("fused", "split_gate", "metal"))]
    assert num_kernels(llama, "llamacpp", metal[0]) == num_kernels(llama, "llamacpp", metal[1])


def test_experts_rows_of_a_prompt_are_moved_in_full_precision_by_llamacpp() -> None:
    net, card = network(load("gpt-oss-20b")), machine_of(parse_gpu("rtx-3090").card)
    took = [
        next(part.seconds for part in one.parts if part.what == "activations")
        for one in (
            forward(net, card, Split(), Runner(name, frozenset()), Load(prompt_tokens=512, prompt_length=512))
            for name in ("llamacpp", "vllm")
        )
    ]
    assert took[0] > 2 * took[1]


@pytest.mark.parametrize(("engine", "narrowed"), [("trtllm", True), ("sglang", True), ("vllm", False)])
def test_experts_in_mxfp4_meet_narrow_inputs_where_the_engine_makes_them(engine: str, narrowed: bool) -> None:
    """gpt-oss 20b in TensorRT-LLM on a B200 was said to write 29,000 of 53,491 tokens a second
    (perf_round5.csv: p5-027): its products were counted at the rate of 16 bit."""
    experts, of_card = network(load("gpt-oss-20b")).experts[0], curves("b200", engine)
    wide = of_card._replace(
        experts={
            name: {kind: curve for kind, curve in kinds.items() if not kind.endswith("_mxfp8")}
            for name, kinds in of_card.experts.items()
        }
    )
    own, other = (each.experts_s(experts, Split(), 8192)[1] for each in (of_card, wide))
    assert (own < 0.8 * other) if narrowed else own == other
