"""What a terminal of any width shows, and what closed streams mean."""

import os
import pty
import subprocess
import sys

import pytest

from command import environment

WORDS = ("infer", "deepseek-v2-lite", "--gpu", "h200", "--max-model-len", "4096")


def on_a_terminal(*words: str, columns: int = 80, **env: str) -> str:
    """What a terminal of so many columns gets to see."""
    ours, theirs = pty.openpty()
    given = {
        name: value
        for name, value in environment(COLUMNS=str(columns), TERM="xterm-256color", **env).items()
        if value
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "oomless", *words], stdout=theirs, stderr=theirs, env=given
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    process.wait(timeout=20)
    os.close(ours)
    return seen.decode()


@pytest.mark.parametrize("columns", [1, 40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [WORDS, ("train", "deepseek-v2-lite", "--gpu", "h200:8"), (*WORDS[:2], "--compare", "gpu=h100,h200")],
)
def test_no_name_and_no_number_is_cut(words: tuple[str, ...], columns: int) -> None:
    """At 40 columns the table had its bars and neither a category nor a number."""
    seen = on_a_terminal(*words, columns=columns)
    assert "\N{HORIZONTAL ELLIPSIS}" not in seen
    for word in ("weights", "activations", "runtime", "total"):
        assert word in seen
    if columns >= 80 and "--compare" not in words:
        assert "#." in seen


NARROW: dict[str, tuple[str, ...]] = {
    "infer": ("infer", "deepseek-v3", "--gpu", "h100:8x2", "--engine", "sglang"),
    "train": ("train", "deepseek-v2-lite", "--gpu", "h200:8"),
    "speed": ("speed", "deepseek-v2-lite", "--gpu", "rtx-4090:2"),
    "claims": ("claims",),
    "an error": ("infer", "deepseek-v33", "--gpu", "h200"),
}


@pytest.mark.parametrize("name", NARROW)
def test_sentences_are_folded_at_words_and_tables_stay_whole(name: str) -> None:
    """Notes of up to 603 characters were left to the terminal, which breaks words."""
    seen = {each: on_a_terminal(*NARROW[name], columns=each).splitlines() for each in (20, 60, 2000)}
    sentences = {each: [line for line in seen[each] if "  " not in line.strip()] for each in seen}
    words = {each: " ".join(sentences[each]).split() for each in sentences}
    assert words[20] == words[60] == words[2000], "not a word is lost, added or broken"
    for each in (20, 60):
        assert not [line for line in sentences[each] if len(line) > each and line.strip().count(" ") > 1]


def test_commands_and_json_are_never_folded() -> None:
    for words in (("plan", "deepseek-v2-lite", "--gpu", "h200:1", "--rows", "1"), (*WORDS, "--json")):
        narrow, wide = (on_a_terminal(*words, columns=each) for each in (30, 2000))
        kept = [line for line in wide.splitlines() if line.lstrip().startswith(("$ ", "{", '"'))]
        assert kept
        assert set(kept) <= {*narrow.splitlines()}


def test_without_colour_there_is_no_escape_at_all() -> None:
    assert "\x1b[" in on_a_terminal(*WORDS, NO_COLOR="")
    assert "\x1b" not in on_a_terminal(*WORDS, NO_COLOR="1")


def test_what_a_user_calls_a_file_is_text() -> None:
    """Square brackets were taken for markup and vanished."""
    from oomless.report.estimate_text import open_console

    console = open_console(False, 100)
    with console.capture() as seen:
        console.print("note: ./my[bold]model[/bold]:smile: [red]")
    assert seen.get() == "note: ./my[bold]model[/bold]:smile: [red]\n"


@pytest.mark.parametrize("words", [WORDS, (*WORDS, "--json"), ("gpus",), ("claims",)])
def test_a_closed_stdout_is_said_and_a_closed_stderr_is_borne(words: tuple[str, ...]) -> None:
    command = " ".join([sys.executable, "-m", "oomless", *words])
    without = subprocess.run(
        f"{command} >&-",
        shell=True,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert without.returncode == 1
    assert "stdout is closed" in without.stderr
    assert "Traceback" not in without.stderr
    deaf = subprocess.run(
        f"{command} 2>&-",
        shell=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert deaf.returncode == 0
    assert deaf.stdout
