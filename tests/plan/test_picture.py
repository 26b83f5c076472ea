"""The picture that `plan --plot` writes: the page's own, as a file."""

import re
from pathlib import Path
from xml.dom import minidom

from command import call


def test_a_plan_is_drawn_over_round_numbers(tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    words = ["plan", "qwen3-8b", "--gpu", "h100", "--engine", "vllm", "--max-gpus", "2", "--plot", str(file)]
    assert call(*words).code == 0
    minidom.parse(str(file))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text(encoding="utf-8"))
    numbers = [float(text.replace(",", "")) for text in texts if re.fullmatch(r"[\d,.]+", text)]
    assert len(numbers) >= 6
    assert all(f"{number:.1g}" == f"{number:.2g}" or number % 5 == 0 for number in numbers)
    assert {"USD an hour", "tokens a second", "h100-80gb-sxm5:1"} <= set(texts)
