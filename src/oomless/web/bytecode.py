"""Byte code for the Python of the page: a browser that compiles every source itself takes long to its first
answer. Only the page's own Python, another release than this one, can make it, and node runs that."""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

Files = dict[str, bytes]
SECONDS = 300
HERE = Path(__file__).parent if "__file__" in globals() else Path()


def by_node(folder: Path, sources: Files) -> Files | None:
    """Return the files with each source as byte code of the loader that lies in a folder; None where node is
    not there, or cannot run it."""
    script = HERE / "assets" / "bytecode.mjs"
    command = ["node", str(script), str(folder.resolve()), __file__]
    try:
        done = subprocess.run(command, input=packed(sources.items()), capture_output=True, timeout=SECONDS)
    except OSError:
        return None
    return None if done.returncode else unpacked(done.stdout)


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return files as a tar: the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def unpacked(content: bytes) -> Files:
    """Return the files of a tar.

    >>> unpacked(packed([("a/b.txt", b"c")]))
    {'a/b.txt': b'c'}
    """
    found = Files()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            found[entry.name] = file.read() if file else b""
    return found


def compiled(sources: bytes) -> bytes:
    """Return a tar of sources as one of byte code, without docstrings; other files stay as they are. Called
    in the page's own Python.

    >>> sorted(unpacked(compiled(packed([("a.py", b"b = 1"), ("c.csv", b"d")]))))
    ['a.pyc', 'c.csv']
    """
    import marshal
    from importlib.util import MAGIC_NUMBER

    head = MAGIC_NUMBER + bytes(12)  # PEP 552: a file that no source is compared with
    made = []
    for name, content in unpacked(bytes(sources.to_py() if hasattr(sources, "to_py") else sources)).items():
        if name.endswith(".py"):
            code = compile(content, name, "exec", dont_inherit=True, optimize=2)
            made.append((f"{name}c", head + marshal.dumps(without_lines(code))))
        else:
            made.append((name, content))
    return packed(made)


def without_lines(code: CodeType) -> CodeType:
    """Return code that does not know its lines, which are a third of it: a defect is said there without its
    trace.

    >>> list(without_lines(compile("a = 1", "a.py", "exec")).co_lines())
    []
    """
    inner = (without_lines(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=tuple(inner), co_linetable=b"")
