"""The page as a static site: any server of files will do. Python runs in the browser, from files of the
site's own folder; nothing is asked of anybody else."""

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from ..errors import OomlessError
from ..files import need_new_folder, read_whole, write_folder
from ..report.language import LANGUAGES, words_of
from ..report.page.html import el, join
from .page import ASSETS, asset, shell

LOADER = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)
"""The files of npm's package `pyodide` that a browser loads."""
RELEASE = "314"
"""The release of Pyodide that the page was tried with."""
MAX_LOADER_BYTES = 64 << 20
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
NEVER = ("__pycache__", "assets")
ROOMS_LEFT_OUT = ("cli", "docs", "monitor", "trace")


def export(folder: str, pyodide: str | None) -> str:
    """Write the site into a new folder; return what is left to do, if anything."""
    need_new_folder(folder, f"--export {folder}")
    content = {**pages(), **({} if pyodide is None else loader(Path(pyodide)))}
    write_folder(folder, content, f"--export {folder}")
    if pyodide is not None:
        return ""
    return f"the loader is missing: put {', '.join(LOADER)} of npm's pyodide@{RELEASE} into {folder}/pyodide"


def pages() -> dict[str, bytes]:
    """Return the files of the site but the loader.

    >>> sorted(pages())[0], "oomless.tar.gz" in pages()
    ('app.js', True)
    """
    package = archive()
    head = el("meta", http_equiv="Content-Security-Policy", content=POLICY)
    found = {f"{language}/index.html": shell(language, "pyodide", head).encode() for language in LANGUAGES}
    found |= {name: asset(name)[0] for name in ASSETS if name != "server.js"}
    mark = sha256(b"".join(content for _, content in sorted(found.items())) + package).hexdigest()[:16]
    offline = asset("offline.js")[0].replace(b"RELEASE", mark.encode())
    return {**found, "index.html": first(), "oomless.tar.gz": package, "offline.js": offline}


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


def archive() -> bytes:
    """Return this package and the reader of YAML that it needs as one archive: the same bytes for the same
    files."""
    import gzip
    import tarfile

    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        for name, content in (*sources(), *yaml_sources()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, BytesIO(content))
    return gzip.compress(buffer.getvalue(), 9, mtime=0)


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


def loader(folder: Path) -> dict[str, bytes]:
    """Return the loader's files, which lie in a folder as npm unpacks them."""
    missing = [name for name in LOADER if not (folder / name).is_file()]
    if missing:
        raise OomlessError(
            f"--pyodide {folder}: {', '.join(missing)} not there",
            f"npm install pyodide@{RELEASE}, then --pyodide node_modules/pyodide",
        )
    hint = "give the folder of npm's package pyodide"
    return {f"pyodide/{name}": read_whole(folder / name, MAX_LOADER_BYTES, hint) for name in LOADER}
