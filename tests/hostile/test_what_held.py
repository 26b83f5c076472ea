"""What held when it was tried must go on holding: many processes on one cache, death at any moment, nobody
who listens, no home, tokens that redirects ask for, many calls and threads."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import oomless
from command import environment
from fake_hub import COMMIT, FakeHub, File
from oomless import facts
from oomless.errors import OomlessError
from oomless.model.hub import read_repository

CODER = facts.model_config("deepseek-coder-1.3b")
FILES = {"org/model": {"config.json": File(json.dumps(CODER).encode())}}
INFER = ("infer", "org/model", "--gpu", "h200", "--json")


def begun(endpoint: str, cache: Path) -> "subprocess.Popen[str]":
    """A process that asks a hub with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "oomless", *INFER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(HF_ENDPOINT=endpoint, OOMLESS_CACHE=str(cache), HF_HOME=str(cache / "hf")),
    )


@pytest.mark.slow
def test_a_hundred_processes_on_one_cache(tmp_path: Path) -> None:
    with FakeHub(FILES) as hub:
        answers = set()
        for _ in range(10):
            together = [begun(hub.endpoint, tmp_path) for _ in range(10)]
            for each in together:
                answers.add((each.communicate(timeout=120)[0], each.returncode))
    assert len(answers) == 1
    assert next(iter(answers))[1] == 0
    assert not [path for path in tmp_path.rglob("*.part*")]


@pytest.mark.slow
def test_death_at_any_moment_leaves_no_half_entry(tmp_path: Path) -> None:
    chance = random.Random(60)
    with FakeHub(FILES) as hub:
        for number in range(60):
            process = begun(hub.endpoint, tmp_path / str(number % 4))
            time.sleep(chance.random() * 0.6)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        for path in tmp_path.rglob(f"{COMMIT}.json"):
            assert json.loads(path.read_text(encoding="utf-8"))["schema"] == "oomless/hub-cache/1"
        last = begun(hub.endpoint, tmp_path / "0")
        last.communicate(timeout=60)
        assert last.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize(
    "words", [("gpus",), ("infer", "deepseek-v2-lite", "--gpu", "h200"), ("models", "--json")]
)
def test_a_full_stdout_is_said_once(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "oomless", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("the answer could not be written") == 1
    assert "Traceback" not in done.stderr


def test_neither_home_nor_environment_nor_folder_is_needed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    source = str(Path(oomless.__file__).parents[1])
    question = ["infer", "deepseek-v2-lite", "--gpu", "h200", "--json"]
    body = f"import os, sys; os.rmdir({str(gone)!r}); sys.path.insert(0, {source!r})\n"
    body += f"from oomless.cli import main; main({question})"
    command = [sys.executable, "-c", body]
    done = subprocess.run(command, cwd=gone, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "fits"


@contextmanager
def redirecting(target: str, seen: list[bytes]) -> Iterator[str]:
    """The endpoint of a server that sends everybody elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        seen.append(client.recv(65536))
                        client.sendall(
                            f"HTTP/1.1 302 Found\r\nLocation: {target}/x\r\nContent-Length: 0\r\n"
                            "Connection: close\r\n\r\n".encode()
                        )

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("login", ["", "user:hf_SECRET@"])
def test_a_redirect_elsewhere_gets_no_token(
    login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOMLESS_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    if not login:
        monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    first: list[bytes] = []
    second: list[bytes] = []
    with redirecting("http://127.0.0.1:9", second) as other, redirecting(other, first) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint.replace("//", f"//{login}"))
        with pytest.raises(OomlessError) as caught:
            read_repository("org/model")
    assert first
    assert second
    assert b"uthorization: B" in first[0]
    assert not [request for request in second if b"SECRET" in request or b"uthorization" in request]
    assert "SECRET" not in str(caught.value)


def test_threads_answer_alike() -> None:
    models = ("deepseek-v2-lite", "deepseek-r1", "gpt-oss-20b", "qwen3-8b")

    def ask(number: int) -> str:
        return json.dumps(oomless.infer(models[number % 4], "h200:8", context=4096).to_json())

    expected = [ask(number) for number in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, range(96)))
    finally:
        sys.setswitchinterval(before)
    assert found == [expected[number % 4] for number in range(96)]


@pytest.mark.slow
def test_a_hundred_thousand_calls_keep_nothing() -> None:
    for _ in range(1_000):
        oomless.infer("deepseek-v2-lite", "h200")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100_000):
        oomless.infer("deepseek-v2-lite", "h200")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
