"""One question in five ways - command line, address, Python, a tool of an agent, the Python of the page - has
one JSON, to the byte."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from web_questions import drawn, pairs_of

import oomless
from command import Answer, call
from oomless.files import json_text
from oomless.web.export import ROOMS_LEFT_OUT
from oomless.web.page import python
from oomless.web.question import fields_of, reply

PYODIDE = Path(__file__).parents[2] / ".pyodide" / "node_modules" / "pyodide"
"""Where `npm install --prefix .pyodide pyodide@314` puts it."""
ASK, IMPORT = (Path(__file__).with_name(f"{name}_pyodide.mjs") for name in ("ask", "import"))
QUICK, ALL = 30, 300
NO_ANSWER = "--list-prices"
"""It prints a table of prices: Python has it as rows, not as an answer."""

Questions = list[list[str]]
Said = list[str]
counts = pytest.mark.parametrize("count", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)])


@cache
def printed(count: int) -> tuple[Questions, list[Answer]]:
    """Return questions and what the command line says to them."""
    questions = drawn(count, "five ways")
    return questions, [call(*words, "--json") for words in questions]


def same(found: Said, count: int, skipped: Callable[[list[str]], bool] = lambda words: False) -> None:
    """What was said to each question is the JSON, or the error, of the command line."""
    questions, answers = printed(count)
    wrong = [
        words
        for words, answer, text in zip(questions, answers, found, strict=True)
        if not skipped(words) and text != (answer.out or answer.err)
    ]
    assert not wrong, wrong
    assert sum(map(skipped, questions)) <= count // 100


@counts
def test_an_address(count: int) -> None:
    found = [reply(words[0], pairs_of(words)) for words in printed(count)[0]]
    same([each.content.decode() for each in found], count)


@counts
def test_python(count: int) -> None:
    """The line that the page offers as "copy as Python" is what is asked."""
    same([said_by_python(words) for words in printed(count)[0]], count, lambda words: NO_ANSWER in words)


def said_by_python(words: list[str]) -> str:
    try:
        line = python(words[0], *fields_of(words[0], pairs_of(words)))
        answer = eval(line, {"oomless": oomless}) if line else {}
    except oomless.OomlessError as error:
        return json_text(error.to_json()) + "\n"
    return json_text(answer if isinstance(answer, dict) else answer.to_json()) + "\n"


@counts
def test_a_tool_of_an_agent(count: int) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    from mcp import Client

    from oomless.web.agents import agent_server

    async def asked() -> Said:
        async with Client(agent_server()) as client:
            found = []
            for words in printed(count)[0]:
                answer: Any = await client.call_tool(words[0], arguments_of(words))
                found.append(str(answer.content[0].text))
            return found

    same(asyncio.run(asked()), count)


def arguments_of(words: list[str]) -> dict[str, Any]:
    """Return the words of a command line as the typed arguments of a tool."""
    from oomless.web.agents import input_schema

    known, found = input_schema(words[0])["properties"], dict[str, Any]()
    for name, text in pairs_of(words):
        match known.get(name, {}).get("type"):
            case "integer" | "number":
                found[name] = json.loads(text)
            case "boolean":
                found[name] = True
            case "array":
                found.setdefault(name, []).append(text)
            case _:
                found[name] = text
    return found


needs_pyodide = [
    pytest.mark.skipif(not PYODIDE.is_dir(), reason="npm install --prefix .pyodide pyodide@314"),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]


class TestThePythonOfThePage:
    """As an exported site has it: byte code, and of the standard library what answers read."""

    pytestmark = needs_pyodide

    def said(self, script: Path, site: Path, asked: str) -> list[Any]:
        """Return the lines that a script of node prints."""
        done = subprocess.run(
            ["node", str(script), str(site)],
            input=asked,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    @counts
    def test_the_same_answers(self, count: int, exported: Path) -> None:
        asked = [json.dumps([words[0], urlencode(pairs_of(words))]) for words in printed(count)[0]]
        same([text for _, text in self.said(ASK, exported, "\n".join(asked))], count)

    def test_every_module_finds_what_it_imports(self, exported: Path) -> None:
        (found,) = self.said(IMPORT, exported, "")
        assert found["num_modules"] > 300
        assert {name: why for name, why in found["missing"].items() if why not in NOT_THERE} == {}


LEFT_OUT = ("click", "yaml._yaml", *(f"oomless.{room}" for room in ROOMS_LEFT_OUT))
NOT_THERE = {f"No module named {name!r}" for name in LEFT_OUT}
"""What the command line and a live process need, and no question of the page."""
