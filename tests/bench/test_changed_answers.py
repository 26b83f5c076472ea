"""The page of changed answers counts what each commit changed, and no more."""

import subprocess
from pathlib import Path

import pytest
from bench.frozen_answers import ANSWERS, main


def test_a_commit_is_shown_with_what_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run((*git, "init", "-q"), check=True)
    file = tmp_path / ANSWERS
    file.parent.mkdir(parents=True)
    states = (
        ("first", "infer a -> 1\ninfer b --engine sglang -> 1\n"),
        ("a defect", "infer a -> 1\ninfer b --engine sglang -> 2\nplan c -> 1\n"),
        ("structure", "infer a -> 1\ninfer b --engine sglang -> 2\nplan c -> 1\n"),
    )
    for subject, text in states:
        file.write_text(text, encoding="utf-8")
        subprocess.run((*git, "add", "-A"), check=True)
        words = (*git, "commit", "-q", "--allow-empty", "-m", subject, "-m", "The reason.")
        subprocess.run(words, check=True)
    main()
    shown = capsys.readouterr().out
    assert shown.count("## ") == 1
    assert "## a defect" in shown
    assert ": 1 changed (infer sglang 1), 1 new." in shown
    assert shown.rstrip().endswith("The reason.")
