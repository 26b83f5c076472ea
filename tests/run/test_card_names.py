"""Names of cards as shops, drivers and people write them."""

import pytest

from oomless.errors import UsageError
from oomless.run.card_names import aliases, card_named
from oomless.run.hardware import parse_gpu
from oomless.units import GIB

WRITTEN = {
    "RTX 4090 24GB": "1 x RTX 4090",
    "rtx3060 12gb": "1 x RTX 3060 12GB",
    "2x RTX 3090": "2 x RTX 3090",
    "2x7900 XTX": "2 x RX 7900 XTX",
    "7900xtx:2": "2 x RX 7900 XTX",
    "Radeon RX 7900 XTX": "1 x RX 7900 XTX",
    "9070 XT": "1 x RX 9070 XT",
    "AMD Instinct MI300X": "1 x Instinct MI300X",
    "NVIDIA A100-SXM4-80GB": "1 x A100 80GB SXM4",
    "NVIDIA RTX 6000 Ada Generation": "1 x RTX 6000 Ada",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "1 x RTX PRO 6000 Blackwell",
    "NVIDIA GH200 480GB": "1 x GH200 96GB",
    "2080 Ti 22GB": "1 x RTX 2080 Ti 22GB",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "1 x RTX 4090 Laptop",
    "GeForce GTX 1080 Ti": "1 x GTX 1080 Ti",
    "NVIDIA GeForce RTX 4060 Laptop GPU": "1 x RTX 4060 Laptop",
    "Intel(R) Arc(TM) Pro B60 Graphics": "1 x Arc Pro B60",
    "Ascend910B3": "1 x Ascend 910B",
    "Ascend910_9391": "1 x Ascend 910C",
    "MetaX C550:8": "8 x C550",
    "3090": "1 x RTX 3090",
    "4090:2": "2 x RTX 4090",
    "1080ti": "1 x GTX 1080 Ti",
    "MacBook Pro M3 Max 64GB": "1 x M3 Max (40-core GPU) with 64 GB",
    "Mac Studio M3 Ultra 512GB": "1 x M3 Ultra with 512 GB",
    "Ryzen AI Max+ 395": "1 x Ryzen AI Max+ 395 (Strix Halo)",
    "2x8xH100 80GB": "16 x H100 80GB SXM5",
    "RTX 4090+RTX 3090:2": "1 x RTX 4090 + 2 x RTX 3090",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_written_name_is_read(text: str) -> None:
    assert parse_gpu(text).what == WRITTEN[text]


@pytest.mark.parametrize("text", ["rtx-4090-32gb", "RTX 2050 Laptop", "Arc A310", "h99", "radeon", "", "4x"])
def test_another_size_or_build_is_another_card(text: str) -> None:
    assert card_named(text) is None
    with pytest.raises(UsageError, match=r"unknown card|no number|write"):
        parse_gpu(text)


def test_an_unknown_card_may_be_asked_by_its_size() -> None:
    with pytest.raises(UsageError) as found:
        parse_gpu("Arc A310")
    assert "--gpu 24GiB" in found.value.hint


def test_every_alias_says_something_that_the_name_does_not() -> None:
    assert all(card_named(name) is not None for name in aliases())


def test_what_is_set_apart_for_a_gpu_is_its_own() -> None:
    card = parse_gpu("Strix Halo 96GB").card
    assert (card.memory_bytes, card.shared_bytes) == (96 * GIB, 0)
    assert parse_gpu("strix-halo").card.memory_bytes == 62 * GIB
