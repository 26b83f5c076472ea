"""Hubs that take their time: every exchange ends, whatever part of it is slow, and what the hub says of
itself is not believed."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from budget import MAX_CHECKPOINT_CPU_S, budget
from fake_hub import COMMIT, FakeHub, File, checkpoint
from oomless import facts
from oomless.errors import OomlessError
from oomless.model.hub import read_repository
from oomless.model.hub_exchange import within
from oomless.model.load import load

TIMEOUT_S = 1.0
Drip = Callable[[socket.socket], None]


def drip(text: bytes, pause_s: float = 0.2) -> Drip:
    """Send a text for ever, a piece at a time."""

    def send(client: socket.socket) -> None:
        while True:
            client.sendall(text)
            time.sleep(pause_s)

    return send


def after(begin: bytes, then: Drip) -> Drip:
    def send(client: socket.socket) -> None:
        client.sendall(begin)
        then(client)

    return send


def by_the_byte(client: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + b"X-A: b\r\n" * 99:
        client.sendall(bytes([byte]))
        time.sleep(0.2)


def redirects(client: socket.socket) -> None:
    time.sleep(0.4)
    host = "{}:{}".format(*client.getsockname())
    client.sendall(
        f"HTTP/1.1 302 Found\r\nLocation: http://{host}/again/{time.time()}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )


SLOW: dict[str, Drip] = {
    "a header at a time": after(b"HTTP/1.1 200 OK\r\n", drip(b"X-A: b\r\n")),
    "a byte of the headers at a time": by_the_byte,
    "interim answers": drip(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "a flood of interim answers": drip(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, 0.0),
    "redirects": redirects,
    "a body by the byte": after(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", drip(b" ")),
    "a chunk at a time": after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", drip(b"1\r\n \r\n")),
    "nothing": lambda _: time.sleep(9),
}


@contextmanager
def listening(answer: Drip) -> Iterator[str]:
    """The endpoint of a server that answers every connection so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        def one(client: socket.socket) -> None:
            with client, suppress(OSError):
                client.recv(65536)
                answer(client)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OOMLESS_CACHE", str(tmp_path / "oomless"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


@pytest.mark.parametrize("how", SLOW)
def test_every_exchange_ends_within_its_limit(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(SLOW[how]) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        begin = time.monotonic()
        with pytest.raises(OomlessError, match=r"did not (finish its )?answer within 1 s"):
            read_repository("org/model")
        assert time.monotonic() - begin < 2 * TIMEOUT_S + 1  # of a machine that is busy


def test_work_that_is_given_up_ends() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        within(0.1, work)
    assert ended.wait(5)


def test_what_work_raises_is_raised() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5, lambda: dict[str, int]()["a"])


LLAMA = facts.model_config("deepseek-coder-1.3b")


def test_a_login_in_the_address_is_sent_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://user:SECRET@127.0.0.1:9")
    with pytest.raises(OomlessError) as caught:
        read_repository("org/model")
    assert "SECRET" not in str(caught.value)
    with FakeHub({"org/model": {"config.json": File(json.dumps(LLAMA).encode())}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint.replace("//", "//user:SECRET@"))
        read_repository("org/model")
    assert {headers["authorization"] for _, _, headers in hub.requests} == {"Basic dXNlcjpTRUNSRVQ="}
    assert not [path for path in tmp_path.rglob("*") if "SECRET" in str(path)]


@pytest.mark.parametrize("count", [0, 1, (1 << 63) - 1])
def test_totals_that_cannot_be_are_no_verdict(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": File(json.dumps(LLAMA).encode())}
    with FakeHub({"org/model": files}, {"org/model": {"BF16": count}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with pytest.raises(OomlessError, match="the hub says that its files hold"):
            load("org/model")


def test_many_shards_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-six headers of 10,000 tensors each: little one by one, 260,000 tensors together."""
    shards: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
        f"model-{file:05}-of-00026.safetensors": {f"a{file}.{n}": ("U8", (1,)) for n in range(10_000)}
        for file in range(1, 27)
    }
    few = {file: dict(list(tensors.items())[:1]) for file, tensors in shards.items()}
    files = {"config.json": File(json.dumps(LLAMA).encode()), **checkpoint(shards)}
    files["model.safetensors.index.json"] = checkpoint(few)["model.safetensors.index.json"]
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "20")
    with FakeHub({"org/model": files}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with (
            budget(MAX_CHECKPOINT_CPU_S, 600 << 20),
            pytest.raises(OomlessError, match="list more than 250,000 tensors"),
        ):
            read_repository("org/model")


ENTRY = {
    "repo_id": "org/model",
    "revision": COMMIT,
    "config": LLAMA,
    "elements_by_dtype": None,
    "checkpoint_bytes": None,
    "num_tensors": None,
    "stored": None,
    "source": "hub API",
}


@pytest.mark.parametrize("bad", ["pipe", "device", "folder", -(10**12), 10**400, 1 << 64])
def test_a_cache_that_somebody_wrote_into_is_read_anew(
    bad: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"config.json": File(json.dumps(LLAMA).encode())}
    with FakeHub({"org/model": files}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        read_repository("org/model")
        (entry,) = (tmp_path / "oomless").rglob(f"{COMMIT}.json")
        entry.unlink()
        if bad == "pipe":
            os.mkfifo(entry)
        elif bad == "device":
            entry.symlink_to("/dev/zero")
        elif bad == "folder":
            entry.mkdir()
        else:
            repository = ENTRY | {"checkpoint_bytes": bad}
            entry.write_text(
                json.dumps({"schema": "oomless/hub-cache/1", "date": "", "repository": repository}),
                encoding="utf-8",
            )
        with budget():
            assert read_repository("org/model").checkpoint_bytes is None
