"""Files are written whole or not at all, with the user's permissions; text from outside is shown as text."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.errors import OomlessError, UsageError
from oomless.files import listed, read_whole, read_whole_text, safe_name, shown, write_folder, write_whole


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a", "text", "a")
        write_folder(tmp_path / "w", {"run.sh": "#!/bin/sh\n", "data": "1"}, "w")
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "w", "w/run.sh", "w/data")
    }
    assert modes == {
        "a": 0o666 & ~mask,
        "w": 0o777 & ~mask,
        "w/run.sh": 0o777 & ~mask,
        "w/data": 0o666 & ~mask,
    }


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)  # the longest name: the draft beside it may not be longer
    for content in ("first", b"second"):
        write_whole(target, content, "n")
    assert target.read_bytes() == b"second"
    assert [*tmp_path.iterdir()] == [target]


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a"
    target.write_text("old", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OomlessError, match="--plot a: cannot be written"):
            write_whole(target, "new", "--plot a")
        with pytest.raises(OomlessError, match="No space left"):
            write_folder(tmp_path / "w", {"x": "1"}, "w")
    assert target.read_text(encoding="utf-8") == "old"
    assert [*tmp_path.iterdir()] == [target]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """In a process whose files may have 4 KB: what a full disk does, without one."""
    body = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from oomless.files import write_whole, write_folder\n"
        "from oomless.errors import OomlessError\n"
        "text = 'a' * 9999\n"
        "for write, content in ((write_whole, text), (write_folder, {'x': text})):\n"
        "    try: write('x', content, 'x')\n"
        "    except OomlessError as error: print(error.message)\n"
    )
    source = Path(__file__).parent.parent / "src"
    done = subprocess.run(
        [sys.executable, "-c", body],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("File too large") == 2
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name, why in (("full", "not empty"), ("file", "not empty"), ("link", "is a link")):
        with pytest.raises(UsageError, match=why):
            write_folder(tmp_path / name, {"x": "1"}, f"--write {name}")
    write_folder(tmp_path / "empty", {"x": "1"}, "--write empty")
    assert (tmp_path / "full" / "mine").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "empty" / "x").read_text(encoding="utf-8") == "1"


def test_a_name_that_is_too_long_or_no_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="cannot be written"):
        write_folder(tmp_path / ("n" * 300), {"x": "1"}, "--write n")
    with pytest.raises(OomlessError, match="no UTF-8"):
        write_folder(tmp_path / "w", {"x": "\udcff"}, "--write w")
    assert not [*tmp_path.iterdir()]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OomlessError, match="no regular file"):
            read_whole(path, 10, "hint")
    for path in ("a\0b", "a\ud800b"):
        with pytest.raises(OomlessError):
            read_whole(path, 10, "hint")
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(OomlessError, match="more than 10 bytes"):
        read_whole(tmp_path / "long", 10, "hint")
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbfx")
    assert read_whole_text(tmp_path / "mark", 10, "hint") == "x"


anything = st.recursive(
    st.text() | st.integers(-(10**6000), 10**6000) | st.floats() | st.binary() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(anything)
def test_what_is_shown_is_one_printable_line(value: object) -> None:
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= 80


@given(st.lists(st.text(), max_size=20).map(tuple))
def test_lists_of_names_are_short(names: tuple[str, ...]) -> None:
    assert listed(names).isprintable()
    assert len(listed(names)) < 10 * 82 + 30


@given(st.text(), st.sampled_from(["", "_.", "-"]))
def test_safe_names_are_safe(text: str, more: str) -> None:
    name = safe_name(text, more)
    assert 1 <= len(name) <= 80
    assert name[0] not in "-."
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-" + more)


def test_every_writer_of_whole_files_is_the_one_in_files() -> None:
    """One rule at one place: no other module of ours opens a file for writing, or moves one."""
    writes = re.compile(  # click's formatter of help has a write_text of its own; a buffer is no file
        r"""(?<!super\(\))\.write_text\(|write_bytes\(|os\.replace\("""
        r"""|NamedTemporaryFile|mk[sd]temp|(?<!\(buffer), ?"wb?"\)"""
    )
    source = Path(__file__).parent.parent / "src" / "oomless"
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if writes.search(path.read_text(encoding="utf-8"))
    }
    streamed = "compress/checkpoint/finish.py"  # weights of terabytes, a part after another
    assert found <= {"files.py", "cli/__init__.py", streamed}  # the second opens the null device


def test_every_object_that_is_printed_is_written_by_one_writer() -> None:
    """It alone knows that JSON has no NaN, and that a terminal obeys control characters."""
    source = Path(__file__).parent.parent / "src" / "oomless"
    texts = {path: path.read_text(encoding="utf-8") for path in (source / "cli").rglob("*.py")}
    assert not [
        path.name for path, text in texts.items() if "json.dumps(" in text or "jsonlib.dumps(" in text
    ]
