"""The server: who is let in, what bounds a request, and that its bytes are those of the command line."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("httpx", reason="the tests' client is not installed")


from starlette.testclient import TestClient
from web_questions import drawn, pairs_of

from command import call
from file_readers import gguf_seeds
from oomless.web import server
from oomless.web.gate import HEADERS
from oomless.web.lanes import Workers
from oomless.web.openapi import openapi
from oomless.web.serving import bound
from small_configs import BASE

LOG = b"""INFO 06-01 10:00:00 [core.py:58] Initializing a V1 LLM engine (v0.9.0) with config: model='x'
INFO Model loading took 14.2487 GiB and 3.1 seconds
INFO Available KV cache memory: 50.10 GiB
INFO GPU KV cache size: 437,760 tokens
INFO Maximum concurrency for 32,768 tokens per request: 13.36x
"""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(server.application(), base_url="http://127.0.0.1:8765") as found:
        yield found


def test_the_same_bytes_over_http(client: TestClient) -> None:
    for words in drawn(12, "http"):
        printed = call(*words, "--json")
        found = client.get(f"/api/{words[0]}", params=urlencode(pairs_of(words)))
        assert found.text == (printed.out or printed.err), words
        assert found.status_code == 200 if printed.out else 400 <= found.status_code < 500


def test_a_posted_config_is_a_model(client: TestClient) -> None:
    from oomless.facts import model_config

    content = json.dumps(model_config("deepseek-v3")).encode()
    asked = {"file": "config.json", "model": "config.json", "gpu": "h200:8"}
    answer = client.post("/api/infer", params=asked, content=content)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["num_parameters"] == 671026419200


def test_a_posted_log_is_reconciled(client: TestClient) -> None:
    answer = client.post("/api/reconcile", params={"file": "server.log", "gpu": "h100"}, content=LOG)
    assert answer.status_code == 200, answer.text
    run = answer.json()["runs"][0]
    assert run["facts"]["kv_tokens"] == 437760
    assert run["observed"][0]["source"].startswith("server.log:")


@pytest.mark.parametrize("name", ["../x.log", ".hidden", "a/b.log", "x y.log", "a\x00b"])
def test_a_posted_name_leaves_its_folder_never(client: TestClient, name: str) -> None:
    assert client.post("/api/reconcile", params={"file": name}, content=LOG).status_code == 400


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "127.0.0.1:80:80", "0.0.0.0"],
)
def test_other_names_of_this_machine_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/engines", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["hint"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "[::1]:8765", "LOCALHOST"])
def test_loopback_has_three_names(client: TestClient, host: str) -> None:
    assert client.get("/api/engines", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:9999"},
    ],
)
def test_other_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/engines", headers=headers).status_code == 403


def test_the_page_itself_is_answered(client: TestClient) -> None:
    own = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/engines", headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/api/engines", "/api/nothing", "/openapi.json", "/../../etc/passwd"])
def test_every_answer_has_the_headers_and_no_cookie(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "set-cookie" not in answer.headers
    assert "Traceback" not in answer.text


def test_a_repeated_question_is_304(client: TestClient) -> None:
    first = client.get("/api/engines")
    again = client.get("/api/engines", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/api/gpus?pattern=h20", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_bounds_of_a_request(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 1000)
    assert client.post("/api/reconcile?file=a.log", content=b"x" * 1001).status_code == 413
    assert client.get("/api/models?pattern=" + "x" * 40_000).status_code == 414
    assert client.post("/api/engines").status_code == 405
    wrong = client.get("/api/reconcile")
    assert (wrong.status_code, wrong.json()["error"]["hint"]) == (405, "send POST")
    assert client.get("/api/nothing").json()["error"]["code"] == 2


def test_openapi_is_served(client: TestClient) -> None:
    assert client.get("/openapi.json").json() == openapi()


TEXTS = [
    "",
    "0",
    "-1",
    "8",
    "1e9",
    "nan",
    "h200:8",
    "deepseek-r1",
    "../x",
    "\x00",
    "𝕏" * 50,
    "{",
    "auto",
    "on",
    "%",
]


def test_random_questions_never_break_the_server(client: TestClient) -> None:
    """Every parameter of the OpenAPI text with texts that fit and do not: 200 or 4xx, one JSON object."""
    draw = Random(18)
    for path, methods in openapi()["paths"].items():
        if "get" not in methods or path in ("/api/claims", "/api/models", "/api/plan"):
            continue
        names = [each["name"] for each in methods["get"]["parameters"]]
        for _ in range(40):
            chosen = draw.sample(names, min(len(names), draw.randint(0, 4)))
            pairs = [(name, draw.choice(TEXTS)) for name in chosen]
            if "model" in names and draw.random() < 0.7:
                pairs = [
                    ("model", "qwen3-8b"),
                    ("gpu", "h200"),
                    *(p for p in pairs if p[0] not in ("model", "gpu")),
                ]
            answer = client.get(path, params=urlencode(pairs))
            assert answer.status_code in (200, 400, 422, 424), (path, pairs, answer.text[:300])
            assert isinstance(answer.json(), dict)


def test_what_takes_too_long_is_ended_and_the_next_is_answered() -> None:
    async def asked() -> tuple[int, int]:
        workers = Workers(1, 4, 0.02)
        slow = await workers.ask("plan", [("model", "deepseek-r1")])
        workers.seconds = 60
        fine = await workers.ask("engines", [])
        await workers.close()
        return slow.status, fine.status

    assert asyncio.run(asked()) == (422, 200)


def test_more_questions_than_wait_are_refused_at_once() -> None:
    async def asked() -> list[int]:
        workers = Workers(1, 2, 60)
        found = await asyncio.gather(*(workers.ask("engines", []) for _ in range(5)))
        await workers.close()
        return sorted(each.status for each in found)

    assert asyncio.run(asked()) == [200, 200, 503, 503, 503]


def test_accepted_connections_send_at_once() -> None:
    """Or each answer waits 40 ms for the acknowledgement of its own head."""

    async def connected() -> int:
        held: asyncio.Queue[int] = asyncio.Queue()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken = writer.get_extra_info("socket")
            held.put_nowait(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bound("127.0.0.1", 0)
        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found = await held.get()
            writer.close()
            return found

    assert asyncio.run(connected())


def small_checkpoint() -> tuple[bytes, bytes]:
    """A config.json and a model.safetensors of two tensors."""
    numpy = pytest.importorskip("numpy", reason="the extra `compress` is not installed")
    from safetensors.numpy import save

    zeros = {"model.embed_tokens.weight": (1000, 64), "lm_head.weight": (1000, 64)}
    config = {**BASE, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    stored = save({name: numpy.zeros(shape, numpy.float16) for name, shape in zeros.items()})
    return json.dumps(config).encode(), stored


def test_the_head_of_a_gguf_file_is_a_model(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent is its first part; the answer is that of the whole file on the command line."""
    pytest.importorskip("gguf", reason="the extra `compress` is not installed")
    (content,) = gguf_seeds()
    (tmp_path / "tiny.gguf").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    head = content[: len(content) - 4096]
    asked = {"file": "tiny.gguf", "whole": str(len(content)), "model": "tiny.gguf", "gpu": "rtx-4090"}
    answer = client.post("/api/infer", params=asked, content=head)
    assert answer.status_code == 200, answer.text
    assert answer.text == call("infer", "tiny.gguf", "--gpu", "rtx-4090", "--json").out
    short = client.post("/api/infer", params={**asked, "whole": str(len(head))}, content=head)
    assert short.status_code == 422
    assert "its tensors end" in short.json()["error"]["message"]


def test_a_config_and_the_head_of_its_checkpoint_are_one_model(client: TestClient) -> None:
    config, stored = small_checkpoint()
    head = stored[: 8 + int.from_bytes(stored[:8], "little")]
    asked = [("file", "config.json"), ("file", "model.safetensors"), ("bytes", str(len(config)))]
    asked += [("bytes", str(len(head))), ("whole", str(len(config))), ("whole", str(len(stored)))]
    asked += [("model", "model.safetensors"), ("gpu", "rtx-4090")]
    answer = client.post("/api/infer", params=urlencode(asked), content=config + head)
    assert answer.status_code == 200, answer.text
    length = int.from_bytes(stored[:8], "little")
    assert answer.json()["model"]["checkpoint_bytes"] == len(stored) - 8 - length


@pytest.mark.parametrize(
    "said",
    [
        "file=a.log&file=a.log&bytes=1&bytes=1",
        "file=a.log&file=b.log",
        "file=a.log&bytes=1",
        "file=a.log&bytes=-1",
        "file=a.log&whole=1",
        "file=a.log&whole=9e9",
        "&".join(f"file={number}.log&bytes=0" for number in range(99)),
    ],
)
def test_files_that_do_not_make_up_the_body_are_refused(client: TestClient, said: str) -> None:
    answer = client.post(f"/api/reconcile?{said}", content=LOG)
    assert answer.status_code == 400
    assert answer.json()["error"]["hint"]


def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    for method, path, allowed in (("PUT", "/api/infer", "POST"), ("GET", "/api/reconcile", "POST")):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert allowed in answer.headers["Allow"]
        assert answer.json()["error"]["message"]


def test_a_pasted_command_may_name_what_was_posted_and_nothing_else(
    client: TestClient, tmp_path: Path
) -> None:
    from oomless.facts import model_config

    content = json.dumps(model_config("deepseek-v3")).encode()
    asked = {"file": "config.json", "command": "vllm serve config.json -tp 8", "gpu": "h200:8"}
    assert client.post("/api/infer", params=asked, content=content).status_code == 200
    there = tmp_path / "config.json"
    there.write_bytes(content)
    command = f"vllm serve {there} -tp 8"
    other = client.post("/api/infer", params={**asked, "command": command}, content=content)
    assert other.status_code == 400
    assert "no file of this machine" in other.json()["error"]["message"]
