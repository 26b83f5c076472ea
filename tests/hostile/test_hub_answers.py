"""A hundred and more hostile answers of a hub, at its API, in place of a config, an index or a shard: each
ends in an answer or a short error, in little time and memory, and leaves nothing outside of the cache."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hub_answers import EVERYWHERE, FIELDS, Answer

from budget import budget
from command import call
from fake_hub import COMMIT, checkpoint
from oomless import facts

CONFIG = facts.model_config("deepseek-coder-1.3b")
FILES = checkpoint({"model-00001-of-00001.safetensors": {"a": ("BF16", (4, 4))}})
INDEX, SHARD = FILES
RIGHT = {
    "api": json.dumps(
        {
            "id": "org/model",
            "sha": COMMIT,
            "siblings": [{"rfilename": name} for name in ("config.json", *FILES)],
        }
    ).encode(),
    "config.json": json.dumps(CONFIG).encode(),
    INDEX: FILES[INDEX].content,
    SHARD: FILES[SHARD].content + bytes(FILES[SHARD].num_zeros),
}
TIMEOUT_S = 1
CASES = [("api", name, answer) for name, answer in {**EVERYWHERE, **FIELDS}.items()]
CASES += [("config.json", name, answer) for name, answer in EVERYWHERE.items()]
SPARE = [name for name in EVERYWHERE if name.startswith(("length", "chunks", "encoding"))]
CASES += [(place, name, EVERYWHERE[name]) for place in (INDEX, SHARD) for name in SPARE]


@contextmanager
def hub(place: str, wrong: bytes) -> Iterator[str]:
    """A hub that answers as it should but in one place."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        def one(client: socket.socket) -> None:
            with client, suppress(OSError):
                client.settimeout(3 * TIMEOUT_S)
                asked = client.recv(65536).split(b" ")[1].decode()
                name = next((name for name in RIGHT if asked.endswith(f"/{name}")), "api")
                body = RIGHT[name]
                right = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
                right += f"X-Repo-Commit: {COMMIT}\r\n\r\n"
                client.sendall(wrong if name == place else right.encode() + body)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", str(TIMEOUT_S))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


def fault_of(place: str, answer: Answer, folder: Path) -> str:
    """What is wrong with how one hostile answer ended; "" if nothing is."""
    wrong, before = answer(RIGHT[place]), time.monotonic()
    with hub(place, wrong) as endpoint, pytest.MonkeyPatch.context() as patch, budget():
        patch.setenv("HF_ENDPOINT", endpoint)
        patch.setenv("OOMLESS_CACHE", str(folder / "cache"))
        found = call("infer", "org/model", "--gpu", "h200", "--json")
    seconds = time.monotonic() - before
    if found.code not in (0, 1) or "internal error" in found.err or len(found.err) > 5_000:
        return f"code {found.code}: {found.err[:300]}"
    if {"\x1b", "\x07"} & {*found.out, *found.err}:
        return "control characters"
    if seconds > 2 * 3 * TIMEOUT_S + 1:  # of an index or header; of a machine that is busy
        return f"{seconds:.1f} s"
    return ", ".join(str(path) for path in folder.iterdir() if path.name != "cache")


def test_there_are_as_many_as_the_review_tried() -> None:
    assert len(CASES) >= 143


@pytest.mark.parametrize("kind", sorted({name.partition(":")[0] for _, name, _ in CASES}))
def test_every_hostile_answer_ends(kind: str, tmp_path: Path) -> None:
    faults = []
    for number, (place, name, answer) in enumerate(CASES):
        if name.partition(":")[0] == kind:
            folder = tmp_path / str(number)
            folder.mkdir()
            if fault := fault_of(place, answer, folder):
                faults.append(f"{place}, {name}: {fault}")
    assert faults == []
