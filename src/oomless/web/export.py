"""The page as a static site: any server of files will do. Python runs in the browser, from files of the
site's own folder; nothing is asked of anybody else."""

import gzip
import marshal
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ..errors import OomlessError
from ..files import json_text, need_new_folder, read_whole, write_folder
from ..report.language import LANGUAGES, words_of
from ..report.page.html import el, join
from .bytecode import Files, by_node
from .page import ASSETS, asset, shell

LOADER = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)
"""The files of npm's package `pyodide` that a browser loads."""
OFFLINE = "offline.js"
PACKAGE = "oomless.bin"
"""Our files by their names, as `marshal` writes them: unpacking a tar takes Python half a second there."""
PLACE = "pyodide/"
STDLIB = f"{PLACE}python_stdlib.zip"
RELEASE = "314"
"""The release of Pyodide that the page was tried with."""
MAX_LOADER_BYTES = 64 << 20
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
NEVER = ("__pycache__", "assets")
ROOMS_LEFT_OUT = ("cli", "docs", "monitor", "trace")
SITE, LIB = "site/", "lib/"
"""Before the names of our files and of the standard library's, where both are compiled."""
UNREAD = tuple(
    "_pyio _pyrepl bdb cProfile cmd compileall configparser curses dbm doctest fileinput ftplib "
    "graphlib http/server idlelib imaplib lib2to3 logging/config logging/handlers mailbox modulefinder "
    "multiprocessing optparse pdb pickletools poplib profile pstats pty pyclbr pydoc pydoc_data smtplib "
    "socketserver sqlite3 symtable tabnanny this timeit tkinter trace turtle turtledemo unittest venv wave "
    "wsgiref xml xmlrpc zipapp".split()
)
"""Modules of the standard library that no answer reads: tools of developers, mail, XML, other processes."""
CODECS = tuple(
    "__init__ aliases ascii cp437 cp1252 idna latin_1 punycode raw_unicode_escape undefined unicode_escape "
    "utf_16 utf_16_be utf_16_le utf_32 utf_8 utf_8_sig".split()
)
"""What of `encodings` a file that is read here may be in."""
NO_NODE = (
    "node is not there, or too old, so that the browser itself compiles every source: the first answer takes "
    "longer; install node and export again"
)


def export(folder: str, pyodide: str | None) -> str:
    """Write the site into a new folder; return what is left to do, if anything."""
    need_new_folder(folder, f"--export {folder}")
    ours, left = {**dict(sources()), **dict(yaml_sources())}, ""
    engine = {} if pyodide is None else loader(Path(pyodide))
    if pyodide is None:
        where = f"put {', '.join(LOADER)} of npm's pyodide@{RELEASE} into {folder}/pyodide"
        left = f"the loader is missing: {where}"
    elif (made := compiled_site(Path(pyodide), ours, engine[STDLIB])) is None:
        left = NO_NODE
    else:
        ours, engine[STDLIB] = made
    write_folder(folder, with_offline({**pages(archive(ours)), **engine}), f"--export {folder}")
    return left


def compiled_site(folder: Path, ours: Files, stdlib: bytes) -> tuple[Files, bytes] | None:
    """Return our files and the archive of the standard library as byte code; None where node cannot
    make it."""
    with ZipFile(BytesIO(stdlib)) as given:
        names = [name for name in given.namelist() if name.endswith(".py") and is_read(name)]
        lib = {f"{LIB}{name}": given.read(name) for name in names}
    made = by_node(folder, {**lib, **{f"{SITE}{name}": content for name, content in ours.items()}})
    if made is None:
        return None
    site = {name.removeprefix(SITE): each for name, each in made.items() if name.startswith(SITE)}
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, content in made.items():
            if name.startswith(LIB):
                archive.writestr(ZipInfo(name.removeprefix(LIB)), content, ZIP_DEFLATED, 9)
    return site, buffer.getvalue()


def is_read(name: str) -> bool:
    """Return whether an answer may read a file of the standard library.

    >>> is_read("json/decoder.py"), is_read("xml/sax/handler.py"), is_read("encodings/cp1250.py")
    (True, False, False)
    """
    module = name.removesuffix(".py")
    if module.startswith("encodings/"):
        return module.removeprefix("encodings/") in CODECS
    return not any(module == unread or module.startswith(f"{unread}/") for unread in UNREAD)


def pages(package: bytes) -> Files:
    """Return the files of the site but the loader; `package` is what Python runs.

    >>> sorted(pages(b""))[0], OFFLINE in pages(b"")
    ('app.js', False)
    """
    head = el("meta", http_equiv="Content-Security-Policy", content=POLICY)
    found = {f"{language}/index.html": shell(language, "pyodide", head).encode() for language in LANGUAGES}
    found |= {name: asset(name)[0] for name in ASSETS if name not in ("server.js", OFFLINE)}
    return {**found, "index.html": first(), PACKAGE: package}


def with_offline(site: Files) -> Files:
    """Return the files of a site with the script that keeps them all, under a name that changes with them."""
    mark = sha256(b"".join(content for _, content in sorted(site.items()))).hexdigest()[:16]
    addresses = [name.removesuffix("index.html") or "./" for name in sorted(site)]
    script = asset(OFFLINE)[0].replace(b"RELEASE", mark.encode())
    return {**site, OFFLINE: script.replace(b'["FILE"]', json_text(addresses).encode())}


def first() -> bytes:
    """Return the page that leads to a language: by the browser's wish, or by a click where scripts do not
    run."""
    links = [el("a", words_of(each)("title"), href=f"{each}/", lang=each) for each in LANGUAGES]
    page = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=POLICY),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", "oomless"),
            el("link", rel="stylesheet", href="style.css"),
            el("script", type="module", src="first.js"),
        ),
        el("body", el("main", join(el("p", link) for link in links))),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n".encode()


def archive(ours: Files) -> bytes:
    """Return our files as one that Python reads at once: the same bytes for the same files."""
    return gzip.compress(marshal.dumps(ours, 2), 9, mtime=0)


def sources() -> Iterator[tuple[str, bytes]]:
    """Give the files of this package by name, without those that no answer of the page reads."""
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if (
            path.is_file()
            and not {*parts} & {*NEVER}
            and parts[0] not in ROOMS_LEFT_OUT
            and path.suffix != ".pyi"
        ):
            yield f"oomless/{'/'.join(parts)}", path.read_bytes()


def yaml_sources() -> Iterator[tuple[str, bytes]]:
    """Give PyYAML's files in Python, with its licence: launch files and files of runs are written in YAML."""
    from importlib.metadata import files

    for entry in sorted(files("pyyaml") or (), key=str):
        name = entry.as_posix()
        if (name.startswith("yaml/") and name.endswith(".py")) or "license" in name.lower():
            yield name, entry.read_binary()


def loader(folder: Path) -> Files:
    """Return the loader's files, which lie in a folder as npm unpacks them."""
    missing = [name for name in LOADER if not (folder / name).is_file()]
    if missing:
        raise OomlessError(
            f"--pyodide {folder}: {', '.join(missing)} not there",
            f"npm install pyodide@{RELEASE}, then --pyodide node_modules/pyodide",
        )
    hint = "give the folder of npm's package pyodide"
    return {f"{PLACE}{name}": read_whole(folder / name, MAX_LOADER_BYTES, hint) for name in LOADER}
