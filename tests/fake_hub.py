"""A Hugging Face hub on loopback for tests: the endpoints that oomless asks, with faults on request. Stdlib
alone.

python tests/fake_hub.py            serve deepseek-ai/DeepSeek-V3 in 161 files, print the endpoint python
tests/fake_hub.py --measure  CPU seconds of a client process against such a hub, by totals and by headers
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

COMMIT = "e815299b0bcbac849fa540c768ef21845365c9eb"
BITS = {"BF16": 16, "F16": 16, "F32": 32, "F8_E4M3": 8, "U8": 8, "I64": 64}


class File(NamedTuple):
    """What a file begins with, and how many zeros follow: a shard is its header and data that exists
    nowhere."""

    content: bytes
    num_zeros: int = 0

    @property
    def size(self) -> int:
        return len(self.content) + self.num_zeros

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        if start < len(self.content):
            yield self.content[start : min(stop, len(self.content))]
        for at in range(max(start, len(self.content)), stop, 1 << 16):
            yield bytes(min(1 << 16, stop - at))


def shard(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> File:
    """A safetensors file of these (dtype, shape), as the safetensors package writes it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return File(len(text).to_bytes(8, "little") + text, offset)


def checkpoint(shards: dict[str, dict[str, tuple[str, tuple[int, ...]]]]) -> dict[str, File]:
    """The shards with their index."""
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    files = {file: shard(tensors) for file, tensors in shards.items()}
    size = sum(file.num_zeros for file in files.values())
    index = json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=2)
    return {"model.safetensors.index.json": File(index.encode()), **files}


def deepseek_v3() -> dict[str, File]:
    """deepseek-ai/DeepSeek-V3 as the hub has it: 91,991 tensors in 161 files of about equal size."""
    from oomless.facts import model_config
    from oomless.model import families

    config = model_config("deepseek-v3")
    listed: list[tuple[int, str, str, tuple[int, ...]]] = []
    for group in families.build(config, "deepseek-v3", "config.json").tensors:
        for layer in group.layers or (-1,):
            for repeat in range(group.repeat):
                name = group.name.replace("{}", str(layer))
                if group.repeat > 1:
                    name = name.replace(".experts.", f".experts.{repeat}.")
                dtype = {"bfloat16": "BF16", "float32": "F32"}.get(group.format.name, "F8_E4M3")
                listed.append((layer, name, dtype, group.shape))
                if block := group.format.block:
                    scales = tuple(-(-size // part) for size, part in zip(group.shape, block, strict=True))
                    listed.append((layer, f"{name}_scale_inv", "F32", scales))
    listed.sort(key=lambda tensor: tensor[0])
    total = sum(prod(shape) * BITS[dtype] // 8 for _, _, dtype, shape in listed)
    shards: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    done = 0
    for _, name, dtype, shape in listed:
        file = f"model-{done * 161 // total + 1:05}-of-000161.safetensors"
        shards.setdefault(file, {})[name] = dtype, shape
        done += prod(shape) * BITS[dtype] // 8
    return {"config.json": File(json.dumps(config).encode()), **checkpoint(shards)}


class FakeHub:
    """One server. `repositories` maps an id to its files, `elements` to the hub's own totals (absent: it
    gives none).

    `faults` maps "api", a file name or "shards" to one of: a status such as "500"; "slow" (no answer for 30
    s), "trickle" (a byte each 0.1 s), "short" (20 bytes at most of what was promised), "no-range",
    "wrong-range". `sent` counts bytes of bodies and `requests` lists (method, path, headers).
    """

    def __init__(
        self,
        repositories: dict[str, dict[str, File]],
        elements: dict[str, dict[str, int]] | None = None,
        faults: dict[str, str] | None = None,
        has_api: bool = True,
    ) -> None:
        self.repositories, self.elements, self.faults = repositories, elements or {}, faults or {}
        self.has_api = has_api
        self.sent: dict[str, int] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.stopping = False
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeHub":
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self.server.shutdown()
        self.server.server_close()

    def shard_bytes_sent(self) -> int:
        return sum(count for file, count in self.sent.items() if file.endswith(".safetensors"))


class _Handler(BaseHTTPRequestHandler):
    server_hub: FakeHub
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that has read enough closes
            super().handle()

    def finish(self) -> None:
        with suppress(ConnectionError):
            super().finish()

    def answer(self) -> None:
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        hub.requests.append(
            (self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        )
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.answer_api(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.answer_file(found[1], found[2], found[3])
        else:
            self.refuse(404, "")

    def answer_api(self, repo_id: str, revision: str | None) -> None:
        hub = self.server_hub
        if fault := hub.faults.get("api"):
            return self.fail(fault, "api", File(b'{"sha": "' + b"0" * 40 + b'"}'))
        if not hub.has_api:
            return self.refuse(404, "")
        if repo_id not in hub.repositories:
            return self.refuse(404, "RepoNotFound")
        if revision not in (None, "main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        files = [{"rfilename": name} for name in hub.repositories[repo_id]]
        info: dict[str, Any] = {"id": repo_id, "sha": COMMIT, "siblings": files}
        if repo_id in hub.elements:
            elements = hub.elements[repo_id]
            info["safetensors"] = {"parameters": elements, "total": sum(elements.values())}
        self.send("api", File(json.dumps(info).encode()))

    def answer_file(self, repo_id: str, revision: str, name: str) -> None:
        hub = self.server_hub
        files = hub.repositories.get(repo_id)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        fault = hub.faults.get(name) or (hub.faults.get("shards") if name.endswith(".safetensors") else None)
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        if fault and fault not in ("no-range", "wrong-range"):
            return self.fail(fault, name, files[name])
        self.send(name, files[name], fault or "")

    def fail(self, fault: str, name: str, file: File) -> None:
        if fault.isdigit():
            return self.refuse(int(fault), {"401": "RepoNotFound", "403": "GatedRepo"}.get(fault, ""))
        if fault == "slow":
            for _ in range(300):
                if self.server_hub.stopping:
                    break
                time.sleep(0.1)
            self.close_connection = True
            return None
        self.send(name, file, fault)

    def refuse(self, status: int, code: str) -> None:
        body = json.dumps({"error": "no"}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if status == 429:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send(self, name: str, file: File, fault: str = "") -> None:
        hub = self.server_hub
        start, stop = 0, file.size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and fault != "no-range":
            start, stop = int(asked[1]), min(int(asked[2] or file.size) + 1, file.size)
            if start >= file.size:
                return self.refuse(416, "")
            self.send_response(206)
            told = start + 1 if fault == "wrong-range" else start
            self.send_header("Content-Range", f"bytes {told}-{stop - 1}/{file.size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{hash((name, file.size)) & 0xFFFFFFFF:x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "short":
            stop = start + min(20, (stop - start) // 2)
            self.close_connection = True
        for piece in file.pieces(start, stop):
            for part in [piece[i : i + 1] for i in range(len(piece))] if fault == "trickle" else [piece]:
                self.wfile.write(part)
                hub.sent[name] = hub.sent.get(name, 0) + len(part)
                if fault == "trickle":
                    self.wfile.flush()
                    time.sleep(0.1)
                if hub.stopping:
                    return


V3 = "deepseek-ai/DeepSeek-V3"
V3_ELEMENTS = {"BF16": 3_918_786_560, "F8_E4M3": 680_571_043_840, "F32": 41_555_600}
CLIENT = """
import json, resource, sys
from oomless.model.hub import read_repository
repository = read_repository(sys.argv[1])
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"elements": repository.elements_by_dtype, "bytes": repository.checkpoint_bytes,
    "num_tensors": repository.num_tensors, "source": repository.source,
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "peak_kib": usage.ru_maxrss}))
"""


@contextmanager
def hub_process(*arguments: str) -> Iterator[str]:
    """The endpoint of a DeepSeek-V3 hub in a process of its own, so that a client's CPU time is its own."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run_client(
    endpoint: str, cache: Path, repo_id: str = V3, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """read_repository in a fresh process with fresh caches; its answer and cost as JSON on stdout."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache / "hf"), "OOMLESS_CACHE": str(cache / "oomless")}
    command = [sys.executable, "-c", CLIENT, repo_id]
    return subprocess.run(
        command, env=inherited | own | variables, capture_output=True, text=True, timeout=60
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--no-totals", action="store_true", help="give no dtype totals, so that headers must be read"
    )
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if arguments.measure:
        from tempfile import TemporaryDirectory

        for options in ([], ["--no-totals"]):
            with hub_process(*options) as endpoint:
                for _ in range(3):
                    with TemporaryDirectory() as folder:
                        print(run_client(endpoint, Path(folder)).stdout.strip())
        return
    with FakeHub({V3: deepseek_v3()}, {} if arguments.no_totals else {V3: V3_ELEMENTS}) as hub:
        print(hub.endpoint, flush=True)
        sys.stdin.read()  # until the parent goes


if __name__ == "__main__":
    main()
