"""What a process sees of a card is what its driver lists, less what the driver keeps."""

import pytest

from oomless.run.card_names import card_named
from oomless.units import GIB


@pytest.mark.parametrize(
    ("written", "gib"),
    [
        ("h800", 79.10),  # 79.19 in a log; 81,559 MiB by the driver, as H100
        ("A800-SXM4-80GB", 79.15),  # 81,051 MiB; 79.33 in hahnyuan/PB-LLM#3 and MoonshotAI/Kimi-VL#51
    ],
)
def test_a_card_has_what_its_logs_say(written: str, gib: float) -> None:
    card = card_named(written)
    assert card is not None
    assert card.memory_bytes / GIB == pytest.approx(gib, abs=0.005)
