"""What was read from a hub, kept on disk: one JSON file a revision, written whole or not at all. A cache is
no authority: what is damaged or doubtful in it counts as absent, and a disk that cannot be written is no
error.

Offline, the Hugging Face cache beside it answers too; it is only read.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import HubSilent, OomlessError, UsageError
from ..files import read_whole, write_whole
from ..limits import CACHE_ENTRY, parse_json
from .checkpoint import read_checkpoint
from .config import read_config
from .safetensors import Stored, totals

SCHEMA = "oomless/hub-cache/1"


class Repository(NamedTuple):
    """A model repository: its config, and what its safetensors files hold as far as that is known."""

    repo_id: str
    revision: str
    """The commit if the hub told it, else the revision that was asked for."""
    config: dict[str, Any]
    elements_by_dtype: dict[str, int] | None
    checkpoint_bytes: int | None
    num_tensors: int | None
    stored: tuple[Stored, ...] | None
    """Every tensor, if headers were read; () if there is no safetensors file."""
    source: str


def with_totals(
    repo_id: str, revision: str, config: dict[str, Any], stored: tuple[Stored, ...] | None, source: str
) -> Repository:
    """A repository with the totals of `stored`, if it has tensors."""
    if not stored:
        return Repository(repo_id, revision, config, None, None, None, stored, source)
    num_bytes = sum(tensor.num_bytes for tensor in stored)
    return Repository(repo_id, revision, config, totals(stored), num_bytes, len(stored), stored, source)


def read_offline(endpoint: str, repo_id: str, revision: str, need_headers: bool) -> Repository:
    """From our cache, else from the Hugging Face cache; headers if one of them has them. OomlessError: in
    neither."""
    cached = load(endpoint, repo_id, revision, need_headers=False)
    if cached and (cached.stored is not None or not need_headers):
        return cached
    local = _read_hf_cache(repo_id, revision)
    if cached and not (local and local.stored):
        return cached
    if local:
        return local
    hint = "ask once without --offline (and HF_HUB_OFFLINE), or give a folder or a config.json"
    raise HubSilent(
        f"{repo_id} at {revision} is in no cache of this machine, and offline nothing is fetched", hint
    )


def load(endpoint: str, repo_id: str, revision: str, need_headers: bool) -> Repository | None:
    """A cached repository if it is whole and has what is needed; anything doubtful counts as absent."""
    path = _path(endpoint, repo_id, revision)
    try:
        entry = _entry(path)
        if isinstance(entry, dict) and as_commit(entry.get("same_as")):
            entry = _entry(path.with_name(f"{entry['same_as']}.json"))
        if entry["schema"] != SCHEMA:
            return None
        known = Repository(**entry["repository"])
        stored = known.stored
        if stored is not None:
            stored = tuple(Stored(name, dtype, tuple(shape), *sizes) for name, dtype, shape, *sizes in stored)
        elements = known.elements_by_dtype
        sane = isinstance(known.config, dict) and (elements is None or are_counts(elements))
        numbers = known.checkpoint_bytes, known.num_tensors
        if not sane or any(number is not None and not is_count(number) for number in numbers):
            return None
        if need_headers and stored is None:
            return None
        return known._replace(stored=stored, source=f"{known.source}, cache of {entry['date']}")
    except (OomlessError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _entry(path: Path) -> Any:
    """What an entry says: a regular file within its bounds, or an OomlessError."""
    return parse_json(read_whole(path, CACHE_ENTRY.num_bytes, ""), str(path), CACHE_ENTRY, infinite=True)


def save(endpoint: str, repository: Repository) -> None:
    """Keep it under its own revision."""
    entry = {"schema": SCHEMA, "date": time.strftime("%Y-%m-%d"), "repository": repository._asdict()}
    _write(_path(endpoint, repository.repo_id, repository.revision), entry)


def save_alias(endpoint: str, repo_id: str, revision: str, commit: str) -> None:
    """Keep that a branch or tag was this commit, so that offline its name is enough."""
    _write(_path(endpoint, repo_id, revision), {"schema": SCHEMA, "same_as": commit})


def check_names(repo_id: str, revision: str) -> None:
    """A UsageError for an id or revision that no hub can have; what passes is safe as part of an address or a
    path.

    The hub's own rules (huggingface_hub.utils.validate_repo_id), checked without importing it.
    """
    name = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
    if not re.fullmatch(f"{name}/{name}", repo_id) or re.search(r"--|\.\.|\.git$", repo_id):
        hint = "a hub id is organisation/name, such as deepseek-ai/DeepSeek-V3"
        raise UsageError(f"{repo_id[:120]!r} is not the id of a hub repository", hint)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}", revision) or ".." in revision:
        raise UsageError(f"{revision[:120]!r} is not a revision", "give a branch, a tag or a commit")


def are_counts(elements: dict[Any, Any]) -> bool:
    """Whether this maps dtypes to numbers of elements."""
    return all(is_count(count) and type(dtype) is str for dtype, count in elements.items())


def is_count(number: object) -> bool:
    """Whether this is a number of bytes or elements."""
    return type(number) is int and 0 <= number < 1 << 63


def as_commit(text: object) -> str | None:
    """The text if it is the whole id of a commit."""
    return text if isinstance(text, str) and re.fullmatch(r"[0-9a-f]{40}", text) else None


@contextmanager
def importing_client() -> Iterator[None]:
    """Around imports of huggingface_hub, which are late: they take ten times the start-up of Python. It fails
    as an OomlessError."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about variables that do not concern us
            yield
    except (ImportError, ValueError) as error:  # ValueError: a HF_ variable that is no number
        hint = "check the variables that begin with HF_, or install it anew"
        raise OomlessError(f"huggingface_hub cannot be used ({str(error)[:160]})", hint) from None


def _read_hf_cache(repo_id: str, revision: str) -> Repository | None:
    """The snapshot that huggingface_hub has; its safetensors count if all of them are there."""
    with importing_client():
        from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    try:
        stored = read_checkpoint(folder) or None
    except OomlessError:  # an index without its files is the usual state of a partial download
        stored = None
    return with_totals(repo_id, folder.name, read_config(Path(found)), stored, "Hugging Face cache")


def _path(endpoint: str, repo_id: str, revision: str) -> Path:
    """Where the entry of one revision lies, under OOMLESS_CACHE or the user's cache folder; every part is one
    plain name."""
    home = os.environ.get("OOMLESS_CACHE")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "oomless")
    name = repo_id.replace("/", "--")
    return Path(home, "hub", quote(endpoint, safe="")[:200], name, quote(revision, safe="") + ".json")


def _write(path: Path, entry: dict[str, Any]) -> None:
    """All of the entry or nothing: nobody ever sees half of it, and a disk that cannot be written is no
    error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(
            path, json.dumps(entry, separators=(",", ":")), str(path)
        )  # json.dump is ten times slower
    except (OSError, OomlessError):
        pass
