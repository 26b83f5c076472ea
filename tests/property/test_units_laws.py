"""Laws of units and of the allocator: nothing is lost on the way to text and back, and rounding is
bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.errors import UsageError
from oomless.estimate.allocator import place
from oomless.run.cards import Hardware
from oomless.run.hardware import parse_gpu
from oomless.units import GIB, MIB, format_bytes, format_exact, parse_bytes

amounts = st.one_of(
    st.integers(0, 2**62),
    st.builds(lambda number, shift: number << shift, st.integers(0, 2000), st.integers(0, 50)),
)


@given(amounts)
def test_an_exact_size_comes_back(num_bytes: int) -> None:
    assert parse_bytes(format_exact(num_bytes)) == num_bytes


@given(st.integers(0, 2**32), st.sampled_from(["GiB", "gib", " GIB", "GB", "MiB", "kb", "B"]))
def test_spelling_and_blanks_do_not_matter(number: int, unit: str) -> None:
    assert parse_bytes(f" {number}{unit} ") == parse_bytes(f"{number}{unit.strip().upper()}")


@given(st.one_of(st.integers().map(str), st.floats().map(str)))
def test_a_bare_number_is_refused_with_both_readings(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_bytes(text)
    assert refused.value.hint


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9.eE+-]{0,6} ?[kKMGTbBi]{0,4}", fullmatch=True)))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    try:
        size = parse_bytes(text)
    except UsageError:
        return
    assert type(size) is int
    assert 0 <= size < 2**63


@given(
    st.one_of(
        st.text(max_size=12), st.from_regex(r"(h200|80GiB|rtx-4090|1|)(:[0-9x-]{0,9})?", fullmatch=True)
    )
)
def test_any_text_is_hardware_or_a_usage_error(text: str) -> None:
    try:
        found = parse_gpu(text)
    except UsageError:
        return
    assert isinstance(found, Hardware)
    assert found.num_gpus >= 1
    assert 1 <= found.per_node <= found.num_gpus
    assert found.num_nodes * found.per_node >= found.num_gpus


@given(st.integers(-(2**62), 2**62))
def test_a_size_for_people_always_has_a_binary_unit(num_bytes: int) -> None:
    number, unit = format_bytes(num_bytes).split(" ")
    assert unit in ("B", "KiB", "MiB", "GiB")
    scale = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": GIB}[unit]
    assert abs(float(number.replace(",", "")) * scale - num_bytes) <= 0.00501 * scale + abs(num_bytes) * 1e-12


tensors = st.lists(
    st.one_of(st.integers(1, 1 << 12), st.integers(1, 3 << 20), st.integers(1, 300 << 20)), max_size=40
)


def rounded(size: int) -> int:
    return -(-size // 512) * 512


def allocated_bytes(sizes: list[int]) -> int:
    """What torch shows after these tensors were made and none was freed."""
    return place([(sizes, 1)]).allocated_bytes


@given(tensors)
def test_what_the_allocator_adds_is_bounded(sizes: list[int]) -> None:
    least = sum(rounded(size) for size in sizes)
    large = sum(1 for size in sizes if rounded(size) > MIB)
    assert least <= allocated_bytes(sizes) <= least + large * MIB


@given(tensors, st.integers(1, 300 << 20))
def test_one_more_tensor_takes_at_least_its_size(sizes: list[int], more: int) -> None:
    assert allocated_bytes([*sizes, more]) >= allocated_bytes(sizes) + rounded(more)


@given(st.integers(1, 300 << 20), st.integers(0, 40))
def test_equal_tensors_can_be_told_in_any_way(size: int, count: int) -> None:
    assert allocated_bytes([size] * count) == allocated_bytes([rounded(size)] * count)


layer_sizes = st.lists(st.one_of(st.integers(1 << 20, 3 << 20), st.integers(1 << 20, 45 << 20)), max_size=8)


@given(st.lists(st.tuples(layer_sizes, st.integers(0, 30)), max_size=4))
def test_layers_that_repeat_are_served_as_if_each_were_told(runs: list[tuple[list[int], int]]) -> None:
    assert place(runs) == place([([size for sizes, times in runs for size in sizes * times], 1)])


@given(st.lists(st.integers(1, 1 << 20), max_size=40))
def test_small_tensors_are_exact_in_any_order(sizes: list[int]) -> None:
    assert allocated_bytes(sizes) == allocated_bytes(sorted(sizes)) == sum(rounded(size) for size in sizes)


def test_nothing_takes_nothing() -> None:
    assert allocated_bytes([]) == 0
