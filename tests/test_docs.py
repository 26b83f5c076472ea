"""The documentation: options are described in both languages, examples are what the commands print, links
lead somewhere.

A block that follows `<!-- command: ... -->` shows the command behind a `$` and then what it prints, stderr
included. With OOMLESS_UPDATE_DOCS=1 the blocks are rewritten. A command may end in `| head -N`, `| tail -N`
or `| jq .path`. Blocks behind `<!-- measured: make bench -->` are timings and are left alone; text between
`<!-- cited -->` and `<!-- /cited -->` quotes others.
"""

import doctest
import json
import os
import re
import shlex
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest

from bench import accuracy
from command import environment, run
from oomless import facts
from oomless.cli.app import COMMANDS, app
from oomless.ledger import CATEGORIES, KEYS, Owner

ROOT = Path(__file__).resolve().parent.parent
EN, ZH = ROOT / "docs" / "en", ROOT / "docs" / "zh"
PAGES = (
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(EN.glob("*.md")),
    *sorted(ZH.glob("*.md")),
)
TWINS = (
    (ROOT / "README.md", ROOT / "README.zh.md"),
    *((page, ZH / page.name) for page in sorted(EN.glob("*.md")) if page.name != "glossary.md"),
)
"""Pages that say the same in both languages; a glossary explains the words of its own."""
PAGE_OF = {
    "infer": "infer.md",
    "train": "train.md",
    "accuracy": "accuracy.md",
    "validate": "accuracy.md",
    "cost": "cost.md",
    "plan": "plan.md",
    "speed": "speed.md",
    "tune": "tune.md",
    "guide": "guide.md",
    "trace": "trace.md",
    "compress": "compress.md",
    "compare-models": "compress.md",
    "reconcile": "reconcile.md",
    "run": "reconcile.md",
    "monitor": "monitor.md",
    "top": "monitor.md",
    "web": "web.md",
    "mcp": "web.md",
}
"""The page that describes a command's options; index.md has the others."""
TAKEN_OVER = {"speed": "infer", "tune": "infer"}
"""Commands that take the options of another one, which its page describes."""

COMMAND_BLOCK = re.compile(
    r"(<!-- command: (?P<command>[^\n]+?) -->\n```(?P<kind>\w+)\n)(?P<body>.*?)(```\n)", re.S
)
FENCED = re.compile(r"^```.*?^```$", re.S | re.M)
CITED = re.compile(r"<!-- cited -->.*?<!-- /cited -->", re.S)
FIGURE = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)\s?(?:(?:GiB|MiB|KiB|B|ms)(?![A-Za-z0-9_/])|%)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
UPDATE = bool(os.environ.get("OOMLESS_UPDATE_DOCS"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=name_of)
twins = pytest.mark.parametrize(("english", "chinese"), TWINS, ids=lambda page: name_of(page))


@cache
def printed(command: str) -> str:
    """`$ command`, what it prints to a pipe, and its exit code if that is not 0."""
    asked, _, after = command.partition(" | ")
    words = shlex.split(asked)
    assert words[0] == "oomless", f"{command}: only oomless is run"
    answer = run(
        *words[1:], cwd=ROOT, env=environment(COLUMNS="100", HF_HOME="nowhere", OOMLESS_CACHE="nowhere")
    )
    text = filtered(answer.out + answer.err, after)
    code = f"exit code {answer.code}\n" if answer.code and not after else ""
    return f"$ {command}\n" + "".join(line.rstrip() + "\n" for line in text.splitlines()) + code


def filtered(text: str, after: str) -> str:
    """What `head -N`, `tail -N` or `jq .path` would leave of a text."""
    if not after:
        return text
    tool, argument = after.split()
    if tool in ("head", "tail"):
        lines, num = text.splitlines(keepends=True), -int(argument)
        return "".join(lines[:num] if tool == "head" else lines[-num:])
    assert tool == "jq"
    value = json.loads(text)
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", argument):
        value = value[key] if key else value[int(index)]
    return json.dumps(value, indent=2, ensure_ascii=False)


def prose(page: Path) -> str:
    """A page without its fenced blocks, and without what it quotes from others."""
    return CITED.sub("", FENCED.sub("", page.read_text(encoding="utf-8")))


@pytest.mark.slow  # tests/truth predicts the same rows, and accuracy.md prints what comes of them
def test_the_facts_of_accuracy_are_what_is_predicted_now() -> None:
    """What `oomless accuracy` and the page say comes from these tables: `make accuracy` writes them."""
    stale = []
    for name, text in accuracy.tables().items():
        path = accuracy.FACTS / f"{name}.csv"
        if UPDATE:
            path.write_text(text, encoding="utf-8")
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    assert not stale, f"{', '.join(stale)}: not what is predicted now: make accuracy renews them"


@pytest.mark.parametrize(("page", "heading"), [("en", "Known misses"), ("zh", "已知偏差")])
def test_known_misses_are_those_of_the_facts(page: str, heading: str) -> None:
    text = (ROOT / "docs" / page / "accuracy.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    glue = "" if page == "zh" else " "
    items = [
        glue.join(item.split("\n  ")).strip() for item in section.strip().removeprefix("- ").split("\n- ")
    ]
    stop = "。** " if page == "zh" else ".** "
    rows = facts.table("known_misses")
    wanted = [f"**{row[f'title_{page}']}{stop}{row[f'text_{page}']}" for row in rows]
    assert [
        item.replace("。**", "。** ").replace("**  ", "** ") if page == "zh" else item for item in items
    ] == wanted


@pytest.mark.parametrize(
    "together", [*TWINS, (ROOT / "CONTRIBUTING.md",)], ids=lambda together: name_of(together[0])
)
def test_blocks_are_what_the_commands_print(together: tuple[Path, ...]) -> None:
    """Twins show the same commands, so each is run once for both."""
    for page in together:
        text = page.read_text(encoding="utf-8")
        renewed = COMMAND_BLOCK.sub(lambda block: block[1] + printed(block["command"]) + block[5], text)
        if UPDATE and renewed != text:
            page.write_text(renewed, encoding="utf-8")
        assert text == renewed or UPDATE, (
            f"{name_of(page)} shows what is no longer printed: OOMLESS_UPDATE_DOCS=1 renews it"
        )
        named = re.findall(r"^<!-- command:", text, re.M)
        assert len(named) == len(COMMAND_BLOCK.findall(text)), "a command without a block behind it"


@pages
def test_python_blocks_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    source = "\n".join(re.findall(r"^```pycon\n(.*?)^```$", text, re.S | re.M))
    runner.run(parser.get_doctest(source, {}, name_of(page), str(page), 0))
    assert runner.summarize(verbose=False).failed == 0


@pages
def test_figures_are_printed_on_their_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = "".join(FENCED.findall(text)).replace(",", "")
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    missing = [each[0] for each in FIGURE.finditer(text) if not has_number(shown, each[1].replace(",", ""))]
    assert not missing, f"{name_of(page)}: no block on the page prints {', '.join(missing)}"


def has_number(text: str, number: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}(?!\.?\d)", text) is not None


def options() -> list[tuple[str, str]]:
    """(command, spelling) of every option of every command."""
    context = click.Context(app)
    found = [
        ("oomless", name) for option in app.params if isinstance(option, click.Option) for name in option.opts
    ]
    for command in COMMANDS:
        built = app.get_command(context, command)
        assert built is not None
        found += [
            (command, name)
            for option in built.params
            if isinstance(option, click.Option)
            for name in option.opts
        ]
    return found


@pytest.mark.parametrize("folder", [EN, ZH], ids=name_of)
def test_every_option_is_described(folder: Path) -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in folder.glob("*.md")}
    missing = []
    for command, spelling in options():
        page = PAGE_OF.get(command, "index.md")
        described = texts[page] + (texts[PAGE_OF[TAKEN_OVER[command]]] if command in TAKEN_OVER else "")
        if not re.search(rf"`[^`\n]*(?<![\w-]){re.escape(spelling)}(?![\w-])", described):
            missing.append(f"{command} {spelling} in {page}")
    assert not missing, f"not described in {name_of(folder)}: {'; '.join(missing)}"
    index = texts["index.md"]
    assert all(f"`{command}" in index or f"`oomless {command}" in index for command in COMMANDS)


def test_both_languages_have_the_same_pages() -> None:
    assert {page.name for page in EN.glob("*.md")} == {page.name for page in ZH.glob("*.md")}


@twins
def test_twins_are_built_alike(english: Path, chinese: Path) -> None:
    """The same headings by level, the same blocks, the same number of table rows: a translation leaves
    nothing out."""
    for pattern in (r"^#+(?= )", r"^```\w*$", r"^<!-- .*? -->$"):
        shapes = [re.findall(pattern, page.read_text(encoding="utf-8"), re.M) for page in (english, chinese)]
        assert shapes[0] == shapes[1], f"{name_of(english)} and {name_of(chinese)} differ in {pattern}"
    rows = [len(re.findall(r"^\|", prose(page), re.M)) for page in (english, chinese)]
    assert rows[0] == rows[1], (
        f"tables of {name_of(english)} and {name_of(chinese)} have {rows[0]} and {rows[1]} rows"
    )


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target} does not exist"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", FENCED.sub("", file.read_text(encoding="utf-8")), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{name_of(page)}: {target}: no such heading"


@pages
def test_nothing_of_a_machine_is_named(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(?:work|home|root|tmp|Users)\b|\bTODO\b|\bFIXME\b|\bTBD\b", text)


@pages
def test_sizes_say_their_unit(page: Path) -> None:
    """GiB and GB are different sizes, and `G` is neither. Commands and code may spell sizes as users do."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    assert not re.findall(r"\b\d+(?:\.\d+)? ?[GMK]i?\b(?!B)", text)
    assert "VRAM" not in re.sub(r"hf-vram-calc", "", text)


def test_paths_that_the_pages_name_exist() -> None:
    """Code that a page points at, such as `engines/vllm/cache.py`, is where the page says."""
    gone = []
    for page in PAGES:
        for path in re.findall(
            r"`((?:src/oomless/|tests/|bench/)?[\w/]+/[\w.]+\.(?:py|csv|md))`",
            page.read_text(encoding="utf-8"),
        ):
            if (
                not any((base / path).exists() for base in (ROOT, ROOT / "src" / "oomless"))
                and "NAME" not in path
            ):
                gone.append(f"{name_of(page)}: {path}")
    assert not gone


@pytest.mark.parametrize("folder", [EN, ZH], ids=["en", "zh"])
def test_every_key_and_owner_of_a_line_is_described(folder: Path) -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \|", (folder / "json.md").read_text(encoding="utf-8"), re.M)
    assert [row for row in rows if row.partition(".")[0] in CATEGORIES and "." in row] == list(KEYS)
    assert {*get_args(Owner)} <= {*rows}
