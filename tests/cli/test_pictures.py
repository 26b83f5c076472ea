"""Every picture that a command writes: round numbers, titles, nothing cut off, no words on words, the page's
colours."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from written_runs import sample, start, step, write

from command import call
from oomless.report.chart.axes import text_width
from oomless.report.chart.picture import COLOURS
from oomless.web.page import asset

ROOT = Path(__file__).parents[2]
LOG, TRACE = (
    ROOT / "tests" / "tables" / "logs" / "vllm-ready.log",
    ROOT / "docs" / "traces" / "coder-1.3b.trace",
)
COMMANDS = {
    "infer": "infer deepseek-r1 --gpu h200:8 --tp 8",
    "infer, does not fit": "infer deepseek-v3 --gpu h100:16 --concurrency 64 --context 32768",
    "train": "train qwen3-8b --gpu h100:8 --pp 2 --method lora --framework trl",
    "plan": "plan qwen3-8b --gpu h100 --gpu a100-80gb --gpu l40s --engine vllm",
    "plan a training": "plan qwen3-8b --for train --gpu h100 --gpu a100-80gb --max-gpus 2",
    "cost": "cost --gpu h100:8",
    "cost, never": "cost --gpu h100:8 --utilization 0.1",
    "reconcile": f"reconcile {LOG} --gpu h100",
    "monitor": "monitor show RUN",
    "trace": f"trace --from {TRACE} --gpu rtx-4090",
}
SVG = "{http://www.w3.org/2000/svg}"


class Words(NamedTuple):
    """A text of a picture and its box: left, top, right, bottom."""

    text: str
    box: tuple[float, float, float, float]


def words_of(element: ElementTree.Element, x: float = 0.0, y: float = 0.0) -> Iterator[Words]:
    """Yield the texts, with the places that the groups around them move them to."""
    moved = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)(?: rotate\((-90)\))?", element.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag == f"{SVG}text":
        text = element.text or ""
        is_bold = element.get("class") in ("axis", "heading", "title")
        width, height = text_width(text, 12 * (1.1 if is_bold else 1.0)), 10.0
        before = {"middle": 0.5, "end": 1.0}.get(element.get("text-anchor", ""), 0.0) * width
        left, base = x + float(element.get("x", 0)) - before, y + float(element.get("y", 0))
        box = (left, base - height, left + width, base)
        if moved and moved[3]:
            box = (x - height, y - width / 2, x, y + width / 2)
        yield Words(text, box)
    for child in element:
        yield from words_of(child, x, y)


@pytest.fixture(scope="module", params=[(name, each) for name in COMMANDS for each in ("en", "zh")], ids=str)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    name, language = request.param
    folder = tmp_path_factory.mktemp("picture")
    file = folder / "picture.svg"
    write(folder / "run", start(), *map(step, range(1, 9)), sample(2), sample(6))
    words = COMMANDS[name].replace("RUN", str(folder / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OOMLESS_LANG", language)
        answer = call(*words.split(), "--plot", str(file))
    assert not answer.err or answer.code in (0, 3), answer.err
    return ElementTree.parse(file).getroot()


def test_nothing_is_cut_off_and_no_words_lie_on_words(drawn: ElementTree.Element) -> None:
    width, height = float(drawn.get("width", 0)), float(drawn.get("height", 0))
    found = [*words_of(drawn)]
    assert len(found) > 8
    for each in found:
        left, top, right, bottom = each.box
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, each  # noqa: PT018
    for one, other in combinations(found, 2):
        a, b = one.box, other.box
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one, other)


def test_axes_have_round_numbers_and_titles(drawn: ElementTree.Element) -> None:
    texts = [each.text or "" for each in drawn.iter(f"{SVG}text")]
    axes = [each for each in drawn.iter(f"{SVG}text") if each.get("class") == "axis"]
    assert axes
    centred = [
        each.text or ""
        for each in drawn.iter(f"{SVG}text")
        if each.get("text-anchor") == "middle" and each.get("class") is None
    ]
    assert len(centred) >= 3, texts
    for text in centred:
        value = float(text.replace(",", "").replace("−", "-"))
        digits = f"{abs(value):.6e}".split("e")[0].rstrip("0").replace(".", "")
        assert len(digits) <= 2 or value % 5 == 0, text


def test_no_bar_or_curve_leaves_the_picture(drawn: ElementTree.Element) -> None:
    width = float(drawn.get("width", 0))
    for each in drawn.iter(f"{SVG}rect"):
        if each.get("x"):
            assert float(each.get("x", 0)) >= 0
            assert float(each.get("x", 0)) + float(each.get("width", 0)) <= width
    for each in drawn.iter(f"{SVG}polygon"):
        places = [float(pair.split(",")[0]) for pair in each.get("points", "").split()]
        assert min(places) >= 0
        assert max(places) <= width


def test_colours_are_those_of_the_page_where_it_is_light() -> None:
    light = asset("style.css")[0].decode().split("}", 1)[0]
    page = dict(re.findall(r"--([a-z_]+): (#[0-9a-f]{6})", light))
    assert {name: page[name] for name in COLOURS} == COLOURS


def test_every_class_of_a_picture_has_a_look(drawn: ElementTree.Element) -> None:
    style = drawn.findtext(f"{SVG}style") or ""
    for each in drawn.iter():
        if each.tag in (f"{SVG}path", f"{SVG}rect", f"{SVG}polygon", f"{SVG}circle"):
            names = (each.get("class") or "").split()
            assert each.get("fill") or any(f".{name}" in style for name in names), each.attrib
