"""What the Hugging Face hub (or a mirror) says about a repository. Weight data is never fetched, at most its
headers.

Requests go through huggingface_hub's own session, so that HF_TOKEN, HF_HOME and proxies work as everywhere.
They are plain GETs, because its download functions retry for half a minute, ask twice for each file and write
progress.
"""

import gc
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Event, Lock
from typing import Any
from urllib.parse import quote, unquote

from ..errors import HubSilent, OomlessError
from ..limits import CONFIG, HUB_ANSWER, need_tensors, parse_json
from . import hub_cache
from .checkpoint import INDEX_NAME, MAX_INDEX_BYTES, WHOLE_NAME, merge, parse_index
from .config import MODELOPT_FILE, with_modelopt
from .hub_cache import Repository, are_counts, as_commit, importing_client, with_totals
from .hub_exchange import Found, Read, network_errors, take_header, within
from .safetensors import BITS, LENGTH_BYTES, Stored, header_length, parse_header

FIRST_RANGE_BYTES = 1 << 18
"""Asked for when nothing says how long a header is; a dense model's fits."""
NUM_THREADS = 8
DEFAULT_TIMEOUT_S = 10.0
HEADERS_TIMEOUT_S = 60.0
"""For all headers of a repository together."""
EXACT_IN_API = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Types whose elements the hub counts as they are stored. Of packed integers it counts the values packed in
them: huggingface.co/openai/gpt-oss-20b lists 19.7e9 of U8 in 9.9e9 bytes."""


def read_repository(
    repo_id: str, *, revision: str | None = None, offline: bool = False, need_headers: bool = False
) -> Repository:
    """Config and checkpoint totals of `repo_id`, from the cache if its commit is known there, else from the
    hub.

    The hub's own totals are one request; headers (one request a file, or two) are read where it gives none,
    where it counts otherwise than the files do, or if `need_headers`. Offline nothing is asked: the answer is
    what was read before, or what lies in the Hugging Face cache. A bad id is a UsageError; whatever hub or
    network do wrong is an OomlessError, within HF_HUB_DOWNLOAD_TIMEOUT (10 s) an answer.
    """
    revision = revision or "main"
    hub_cache.check_names(repo_id, revision)
    endpoint, login = without_login(os.environ.get("HF_ENDPOINT", "").strip().rstrip("/"))
    if offline or _is_true("HF_HUB_OFFLINE") or _is_true("TRANSFORMERS_OFFLINE"):
        return hub_cache.read_offline(endpoint, repo_id, revision, need_headers)
    commit = as_commit(revision)  # of a commit the hub need not be asked again: it never changes
    if commit and (cached := hub_cache.load(endpoint, repo_id, revision, need_headers)):
        return cached
    hub = _Hub(endpoint, repo_id, revision, login)
    hub.read_info()
    hub.commit = hub.commit or commit
    repository = hub_cache.load(endpoint, repo_id, hub.commit, need_headers) if hub.commit else None
    if repository is None:
        repository = _read_online(hub, need_headers)
        # Tensors by the ten thousand are kept only for those who ask for them: writing them costs more than
        # the rest.
        hub_cache.save(
            endpoint, repository if need_headers else repository._replace(stored=repository.stored and None)
        )
    if hub.commit and hub.commit != revision:
        hub_cache.save_alias(endpoint, repo_id, revision, hub.commit)
    return repository


def is_silent(repo_id: str, offline: bool, revision: str | None) -> bool:
    """Return whether neither a hub nor a cache answers for a repository; what a hub says against it is an
    answer."""
    try:
        read_repository(repo_id, revision=revision, offline=offline)
    except HubSilent:
        return True
    except OomlessError:
        pass
    return False


def without_login(endpoint: str) -> tuple[str, str]:
    """Return an endpoint as messages and the cache may name it, and what its user and password are as a
    header.

    >>> without_login("https://user:pw@mirror.example"), without_login("")
    (('https://mirror.example', 'Basic dXNlcjpwdw=='), ('https://huggingface.co', ''))
    """
    found = re.fullmatch(r"(\w+://)([^/@]+)@(.*)", endpoint)
    if not found:
        return endpoint or "https://huggingface.co", ""
    from base64 import b64encode

    return found[1] + found[3], f"Basic {b64encode(unquote(found[2]).encode()).decode()}"


def _read_online(hub: "_Hub", need_headers: bool) -> Repository:
    config = hub.read_config()
    elements = hub.elements_by_dtype
    if elements and not need_headers and _is_exact(elements, config):
        num_bytes = sum(count * BITS[dtype] for dtype, count in elements.items()) // 8
        return Repository(
            hub.repo_id, hub.commit or hub.revision, config, elements, num_bytes, None, None, "hub API"
        )
    stored, num_files = hub.read_headers()
    source = f"headers of {num_files} file{'s'[: num_files != 1]}" if stored else "config.json"
    return with_totals(hub.repo_id, hub.commit or hub.revision, config, stored, source)


def _is_exact(elements: dict[str, int], config: dict[str, Any]) -> bool:
    """Whether the hub's totals are what the files hold: plain types, unquantised or with block scales.

    Of other quantisations it multiplies packed values and leaves out scalar scales.
    """
    quantization = config.get("quantization_config")
    if quantization and not (isinstance(quantization, dict) and quantization.get("weight_block_size")):
        return False
    return elements.keys() <= EXACT_IN_API


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}


class _Hub:
    """Requests about one revision of one repository, and what the hub has told of it so far; () and None:
    nothing."""

    def __init__(self, endpoint: str, repo_id: str, revision: str, login: str = "") -> None:
        self.endpoint, self.repo_id, self.revision = endpoint, repo_id, revision
        self.commit: str | None = None
        self.files: tuple[str, ...] = ()
        self.elements_by_dtype: dict[str, int] | None = None
        with importing_client():
            from huggingface_hub import get_session, get_token
        self.parsing = Lock()
        """Headers come side by side and become objects one after another: of a bomb, one at a time."""
        self.get_session: Callable[[], Any] = get_session  # of requests or httpx, see `open`
        token = None if _is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") else get_token()
        self.headers = {"user-agent": "oomless"} | ({"authorization": f"Bearer {token}"} if token else {})
        if login:
            self.headers["authorization"] = login
        try:
            self.timeout_s = min(max(float(os.environ["HF_HUB_DOWNLOAD_TIMEOUT"]), 0.1), HEADERS_TIMEOUT_S)
        except (KeyError, ValueError):
            self.timeout_s = DEFAULT_TIMEOUT_S

    def url(self, file: str) -> str:
        revision = quote(self.commit or self.revision, safe="")
        return f"{self.endpoint}/{self.repo_id}/resolve/{revision}/{quote(file)}"

    def read_info(self) -> None:
        """Commit, files and totals in one request; nothing from a mirror that serves files but no API, or
        bends the answer."""
        where = f"/revision/{quote(self.revision, safe='')}" if self.revision != "main" else ""
        url = (
            f"{self.endpoint}/api/models/{self.repo_id}{where}?expand=sha&expand=siblings&expand=safetensors"
        )
        status, headers, body = self.get(url, HUB_ANSWER.num_bytes)
        if status == 404 and "x-error-code" not in headers:
            return
        if status != 200:
            raise self.refused(status, headers, "it")
        value = parse_json(body, f"{self.endpoint}: answer about {self.repo_id}", HUB_ANSWER)
        if not isinstance(value, dict):
            return
        self.commit = as_commit(value.get("sha"))
        siblings, tensors = value.get("siblings"), value.get("safetensors")
        names = (
            [file.get("rfilename") for file in siblings if isinstance(file, dict)]
            if isinstance(siblings, list)
            else []
        )
        self.files = tuple(name for name in names if isinstance(name, str))
        elements = tensors.get("parameters") if isinstance(tensors, dict) else None
        self.elements_by_dtype = elements if isinstance(elements, dict) and are_counts(elements) else None

    def read_config(self) -> dict[str, Any]:
        """The object of config.json."""
        status, headers, body = self.get(self.url("config.json"), CONFIG.num_bytes)
        if status == 404 and (self.files or headers.get("x-error-code") == "EntryNotFound"):
            gguf = next((file for file in self.files if file.endswith(".gguf")), None)
            what = (
                f"only GGUF files such as {gguf[:80]}"
                if gguf
                else "so it is no model that transformers can load"
            )
            hint = (
                "download one and give its path"
                if gguf
                else "give the repository that its card names as base"
            )
            raise OomlessError(f"{self.endpoint}/{self.repo_id} has no config.json, {what}", hint)
        if status != 200:
            raise self.refused(status, headers, "config.json")
        config: Any = parse_json(body, self.url("config.json"), CONFIG, infinite=True)
        if not isinstance(config, dict):
            what = f"a config is a JSON object, this is a {type(config).__name__}"
            raise OomlessError(f"{self.url('config.json')}: {what}", "check the repository")
        self.commit = self.commit or as_commit(headers.get("x-repo-commit"))
        if not config.get("quantization_config") and MODELOPT_FILE in self.files:
            status, headers, body = self.get(self.url(MODELOPT_FILE), CONFIG.num_bytes)
            if status != 200:
                raise self.refused(status, headers, MODELOPT_FILE)
            return with_modelopt(config, parse_json(body, self.url(MODELOPT_FILE), CONFIG))
        return dict(config)

    def read_headers(self) -> tuple[tuple[Stored, ...], int]:
        """(tensors, number of files) of the whole checkpoint; ((), 0) if it has no safetensors file."""
        if not self.files or INDEX_NAME in self.files:
            status, headers, body = self.get(self.url(INDEX_NAME), MAX_INDEX_BYTES, 3 * self.timeout_s)
            if status == 200:
                return self.read_shards(parse_index(body, self.url(INDEX_NAME)))
            if status != 404 or self.files:
                raise self.refused(status, headers, INDEX_NAME)
        if self.files and WHOLE_NAME not in self.files:
            return (), 0
        stored = self.read_header(WHOLE_NAME, FIRST_RANGE_BYTES, self.timeout_s, optional=not self.files)
        return stored or (), int(stored is not None)

    def read_shards(self, weight_map: dict[str, str]) -> tuple[tuple[Stored, ...], int]:
        from concurrent.futures import ThreadPoolExecutor

        # An entry takes its name and up to 130 bytes of types and numbers: mostly one request gets the whole
        # header.
        sizes: dict[str, int] = {}
        for name, file in weight_map.items():
            sizes[file] = sizes.get(file, 4096) + len(name) + 130
        deadline = time.monotonic() + HEADERS_TIMEOUT_S
        counted: list[int] = []

        def read(file: str) -> tuple[Stored, ...]:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise OomlessError(
                    f"{self.endpoint}: headers took over {HEADERS_TIMEOUT_S:.0f} s", "try again later"
                )
            stored = self.read_header(file, sizes[file], min(remaining_s, 3 * self.timeout_s)) or ()
            counted.append(len(stored))
            need_tensors(sum(counted), f"{self.endpoint}/{self.repo_id}")
            return stored

        pool = ThreadPoolExecutor(min(NUM_THREADS, len(sizes)))
        collects = gc.isenabled()
        # tuples by the ten thousand are made and none is dropped: walking them takes a tenth of the time
        gc.disable()
        try:
            shards = dict(zip(sizes, pool.map(read, sizes), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure nothing more is asked
            if collects:
                gc.enable()
        merged = merge(weight_map, shards, f"{self.endpoint}/{self.repo_id}")
        return tuple(tensor for stored in merged.values() for tensor in stored), len(sizes)

    def read_header(
        self, file: str, first_bytes: int, timeout_s: float, optional: bool = False
    ) -> tuple[Stored, ...] | None:
        """The tensors of one file, None if it is `optional` and not there. At most the header is read."""
        url, size, content, end = self.url(file), None, b"", first_bytes
        while len(content) < end:
            span = {"range": f"bytes={len(content)}-{end - 1}", "accept-encoding": "identity"}
            take = partial(take_header, url=url, before=content, end=end)
            status, headers, found = self.exchange(url, timeout_s, take, span)
            if status == 404 and optional:
                return None
            if found is None:
                raise self.refused(status, headers, file)
            before, (content, size) = content, found
            end = LENGTH_BYTES + header_length(content, size, url)
            if len(content) == len(before) or status == 200:
                break  # what is missing will not come: parse_header says so
        with self.parsing:
            return parse_header(content, size, url)

    def get(
        self, url: str, most: int, timeout_s: float | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of one request; the body of at most `most` bytes."""

        def whole(status: int, _: Mapping[str, str], chunks: Iterator[bytes]) -> bytes:
            body = bytearray()
            for chunk in chunks if status == 200 else ():
                body += chunk
                if len(body) > most:
                    raise OomlessError(f"{url}: the answer is over {most:,} bytes", "check HF_ENDPOINT")
            return bytes(body)

        return self.exchange(url, timeout_s or self.timeout_s, whole)

    def exchange(
        self, url: str, timeout_s: float, read: Read[Found], extra: dict[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Found]:
        """(status, headers, what `read` makes of an answer), within `timeout_s` or an OomlessError.

        The limit is for all of it: names, headers, interim answers, redirects, body. A client's own limits
        are for one read, so the exchange runs in a thread and this one looks at the clock.
        """
        session, limit_s = self.get_session(), min(timeout_s, self.timeout_s)
        headers, began = self.headers | (extra or {}), Event()

        def ask() -> tuple[int, Mapping[str, str], Found]:
            if callable(getattr(session, "stream", None)):  # httpx, since huggingface_hub 1.0
                with session.stream(
                    "GET", url, headers=headers, timeout=limit_s, follow_redirects=True
                ) as answer:
                    began.set()
                    return (
                        answer.status_code,
                        answer.headers,
                        read(answer.status_code, answer.headers, answer.iter_bytes()),
                    )
            with session.get(url, headers=headers, timeout=limit_s, stream=True) as answer:  # requests
                began.set()
                # Not iter_content: it waits until a chunk is full.
                parts = iter(lambda: answer.raw.read1(1 << 16, decode_content=True), b"")
                return answer.status_code, answer.headers, read(answer.status_code, answer.headers, parts)

        try:
            return within(timeout_s, ask)
        except network_errors() as error:
            raise self.unreachable(error, began.is_set(), timeout_s if began.is_set() else limit_s) from None

    def unreachable(self, error: Exception, began: bool, timeout_s: float) -> OomlessError:
        """No answer, or not all of it."""
        reason = str(error).split("\n")[0][:160] or type(error).__name__
        hint = "check the network, proxies and HF_ENDPOINT; --offline answers from what was read before"
        if slow := "timeout" in type(error).__name__.lower() or "timed out" in reason:
            hint = f"HF_HUB_DOWNLOAD_TIMEOUT sets another limit; {hint}"
        hub, asked = self.endpoint, self.repo_id
        match slow, began:
            case True, True:
                what = f"{hub} did not finish its answer within {timeout_s:g} s, asked about {asked}"
            case True, False:
                what = f"{hub} did not answer within {timeout_s:g} s, asked about {asked}"
            case False, True:
                what = f"{hub} broke off its answer, asked about {asked} ({reason})"
            case _:
                what = f"{hub} cannot be reached, asked about {asked} ({reason})"
        return HubSilent(what, hint)

    def refused(self, status: int, headers: Mapping[str, str], what: str) -> OomlessError:
        """The error of an answer that is not 200."""
        page, code = f"{self.endpoint}/{self.repo_id}", headers.get("x-error-code", "")
        token = (
            "the token that you use is not admitted" if "authorization" in self.headers else "set HF_TOKEN"
        )
        if code == "RevisionNotFound":
            return OomlessError(f"{page} has no revision {self.revision}", "give a branch, a tag or a commit")
        if status == 403 or code == "GatedRepo":
            return OomlessError(
                f"{page} is gated or private ({status})", f"accept its licence on that page; {token}"
            )
        if status == 401:
            hint = f"check the spelling; if it is gated, accept its licence on that page; {token}"
            return OomlessError(f"{page} does not exist, or is private or gated (401)", hint)
        if status == 404:
            missing = f"has no {what}" if what not in ("it", "config.json") else "was not found"
            hint = f"check the spelling; private and gated repositories look like this too: {token}"
            return OomlessError(f"{page} {missing} (404)", hint)
        if status == 429:
            wait = headers.get("retry-after", "")
            when = f"in {wait} s" if wait.isdecimal() and len(wait) <= 5 else "later"
            return OomlessError(
                f"{self.endpoint} answers too many requests (429)", f"try again {when}; {token}"
            )
        hint = "try again later, or another HF_ENDPOINT; --offline answers from what was read before"
        return OomlessError(f"{self.endpoint} failed with {status}, asked for {what} of {self.repo_id}", hint)
