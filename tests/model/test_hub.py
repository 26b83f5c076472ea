"""The hub as oomless asks it, on loopback: exact totals with few requests, clear errors, and never a weight
file."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_hub import COMMIT, V3, V3_ELEMENTS, FakeHub, File, checkpoint, hub_process, run_client, shard
from oomless.errors import OomlessError, UsageError
from oomless.model.hub import read_repository
from oomless.model.hub_cache import Repository
from oomless.model.load import load
from oomless.model.safetensors import Stored

REPO = "org/model"
CONFIG: dict[str, Any] = {"model_type": "llama", "hidden_size": 8}
BIG = ("BF16", (1 << 16, 1 << 12))
"""512 MiB: whoever fetches the data of a shard is found out."""
SHARDS = {
    "model-00001-of-00002.safetensors": {"a": BIG, "b": ("BF16", (3,))},
    "model-00002-of-00002.safetensors": {"c": BIG, "d": ("F32", (5,))},
}
ELEMENTS = {"BF16": (1 << 29) + 3, "F32": 5}
NUM_BYTES = (1 << 30) + 6 + 20


def files(config: object = CONFIG) -> dict[str, File]:
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    return {"config.json": File(text), "README.md": File(b"x"), **checkpoint(SHARDS)}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, token or setting of the user is seen, and nothing but loopback is asked."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OOMLESS_CACHE", str(tmp_path / "oomless"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeHub]]:
    started: list[FakeHub] = []

    def start(repositories: dict[str, dict[str, File]] | None = None, **options: Any) -> FakeHub:
        hub = FakeHub({REPO: files()} if repositories is None else repositories, **options).__enter__()
        started.append(hub)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        return hub

    yield start
    for hub in started:
        hub.__exit__()


Serve = Callable[..., FakeHub]


def paths(hub: FakeHub) -> list[str]:
    return [path.split("?")[0] for _, path, _ in hub.requests]


def fault_of(repo_id: str = REPO, **options: Any) -> str:
    start = time.monotonic()
    with pytest.raises(OomlessError) as caught:
        read_repository(repo_id, **options)
    assert time.monotonic() - start < 4
    assert caught.value.hint
    assert len(caught.value.message) < 500
    return str(caught.value)


def test_totals_of_the_hub_take_two_requests(serve: Serve) -> None:
    hub = serve(elements={REPO: ELEMENTS})
    expected = Repository(REPO, COMMIT, CONFIG, ELEMENTS, NUM_BYTES, None, None, "hub API")
    assert read_repository(REPO) == expected
    assert paths(hub) == [f"/api/models/{REPO}", f"/{REPO}/resolve/{COMMIT}/config.json"]
    assert hub.shard_bytes_sent() == 0


@pytest.mark.parametrize("has_api", [True, False])
def test_headers_where_the_hub_gives_no_totals(serve: Serve, has_api: bool) -> None:
    hub = serve(has_api=has_api)
    repository = read_repository(REPO)
    assert repository.revision == COMMIT
    assert (repository.elements_by_dtype, repository.checkpoint_bytes) == (ELEMENTS, NUM_BYTES)
    assert (repository.num_tensors, repository.source) == (4, "headers of 2 files")
    assert repository.stored
    assert repository.stored[1]._replace(start=0) == Stored("b", "BF16", (3,), 6)
    assert hub.shard_bytes_sent() < 20_000
    assert all("range" in headers for _, path, headers in hub.requests if path.endswith(".safetensors"))


def test_headers_on_request(serve: Serve) -> None:
    serve(elements={REPO: ELEMENTS})
    assert read_repository(REPO, need_headers=True).num_tensors == 4
    assert read_repository(REPO).num_tensors == 4  # what is known is not forgotten


@pytest.mark.parametrize(
    ("config", "elements", "exact"),
    [
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
            {"F8_E4M3": 5},
            True,
        ),
        ({"quantization_config": {"quant_method": "mxfp4"}}, {"BF16": 5}, False),
        ({"quantization_config": {"quant_method": "awq"}}, {"F16": 5, "I32": 8}, False),
        ({}, {"U8": 5}, False),
        ({}, {"F99": 5}, False),
        ({}, {"BF16": -5}, False),
        ({}, {}, False),
    ],
)
def test_totals_of_the_hub_count_only_where_they_are_exact(
    serve: Serve, config: dict[str, Any], elements: dict[str, int], exact: bool
) -> None:
    serve({REPO: files(CONFIG | config)}, elements={REPO: elements})
    assert read_repository(REPO).elements_by_dtype == (elements if exact else ELEMENTS)


def test_one_file_without_index(serve: Serve) -> None:
    serve({REPO: {"config.json": File(json.dumps(CONFIG).encode()), "model.safetensors": shard({"a": BIG})}})
    assert read_repository(REPO).source == "headers of 1 file"


def test_a_header_longer_than_the_first_request(serve: Serve) -> None:
    many = {f"model.layers.{i}.weight": ("U8", (1,)) for i in range(8000)}
    hub = serve({REPO: {"config.json": File(b"{}"), "model.safetensors": shard(many | {"big": BIG})}})
    assert read_repository(REPO).num_tensors == 8001
    assert paths(hub)[2:] == [f"/{REPO}/resolve/{COMMIT}/model.safetensors"] * 2
    assert hub.shard_bytes_sent() == len(shard(many | {"big": BIG}).content)


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(serve: Serve) -> None:
    hub = serve(faults={"shards": "no-range"})
    assert read_repository(REPO).checkpoint_bytes == NUM_BYTES
    assert hub.shard_bytes_sent() < 100e6  # socket buffers hold a few MB of the 1 GiB


@pytest.mark.parametrize("has_api", [True, False])
def test_a_repository_without_safetensors(serve: Serve, has_api: bool) -> None:
    serve({REPO: {"config.json": File(b'{"model_type": "llama"}')}}, has_api=has_api)
    repository = read_repository(REPO)
    assert (repository.stored, repository.elements_by_dtype, repository.source) == ((), None, "config.json")


def test_a_repository_of_gguf_files(serve: Serve) -> None:
    serve({REPO: {"model-Q4_K_M.gguf": File(b"GGUF")}})
    assert "has no config.json, only GGUF files such as model-Q4_K_M.gguf" in fault_of()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"api": "404"}, "was not found (404)"),
        (
            {"api": "401"},
            "does not exist, or is private or gated (401)\n  check the spelling; if it is gated, accept",
        ),
        ({"api": "403"}, "is gated or private (403)\n  accept its licence on that page; set HF_TOKEN"),
        ({"api": "429"}, "too many requests (429)\n  try again in 7 s"),
        ({"api": "500"}, "failed with 500"),
        ({"api": "slow"}, "did not answer within 0.5 s"),
        ({"api": "trickle"}, "did not finish its answer within 0.5 s"),
        ({"api": "short"}, "broke off its answer"),
        ({"config.json": "401"}, "(401)"),
        ({"config.json": "403"}, "is gated or private (403)"),
        ({"config.json": "500"}, "failed with 500, asked for config.json"),
        ({"config.json": "slow"}, "did not answer within 0.5 s"),
        ({"config.json": "trickle"}, "did not finish its answer within 0.5 s"),
        ({"config.json": "short"}, "broke off its answer"),
        ({"model.safetensors.index.json": "500"}, "failed with 500"),
        ({"model.safetensors.index.json": "short"}, "broke off its answer"),
        ({"model-00002-of-00002.safetensors": "404"}, "has no model-00002-of-00002.safetensors (404)"),
        ({"shards": "403"}, "is gated or private (403)"),
        ({"shards": "500"}, "failed with 500"),
        ({"shards": "short"}, "broke off its answer"),
        ({"shards": "slow"}, "did not answer within 0.5 s"),
        ({"shards": "trickle"}, "did not finish its answer within 1.5 s"),
        ({"shards": "wrong-range"}, "sent another part than was asked for"),
    ],
)
def test_what_a_hub_can_do_wrong(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, faults: dict[str, str], words: str
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")
    repositories = {} if faults == {"api": "404"} else {REPO: files()}
    hub = serve(repositories, faults=faults if repositories else {})
    assert words in fault_of()
    assert hub.shard_bytes_sent() < 20_000
    assert not list(Path(os.environ["OOMLESS_CACHE"]).rglob("*.*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config.json": File(b"{")}, "not valid JSON"),
        ({"config.json": File(b"[1]")}, "this is a list"),
        ({"config.json": File(b'{"a": NaN}')}, "not valid JSON"),
        ({"config.json": File(b"[" * 10_000)}, "nested too deeply"),
        ({"config.json": File(b" ", 50 << 20)}, "over 4,194,304 bytes"),
        (
            {"model.safetensors.index.json": File(b'{"weight_map": {"a": "../../x.safetensors"}}')},
            "no plain name",
        ),
        ({"model-00001-of-00002.safetensors": File(b"\xff" * 8, 99)}, "the header claims"),
        ({"model-00001-of-00002.safetensors": File(b"")}, "failed with 416"),
        (
            {"model-00001-of-00002.safetensors": shard({"b": ("BF16", (3,))})},
            "1 tensors of the index are not in",
        ),
        (
            {
                "model-00001-of-00002.safetensors": shard(
                    SHARDS["model-00001-of-00002.safetensors"]
                )._replace(num_zeros=9)
            },
            "truncated",
        ),
    ],
)
def test_what_a_repository_can_hold_wrong(serve: Serve, change: dict[str, File], words: str) -> None:
    hub = serve({REPO: files() | change})
    assert words in fault_of()
    assert hub.shard_bytes_sent() < 20_000


def test_a_revision(serve: Serve) -> None:
    hub = serve()
    assert read_repository(REPO, revision=COMMIT).revision == COMMIT
    num_requests = len(hub.requests)
    assert read_repository(REPO, revision=COMMIT).source.startswith("headers of 2 files, cache of 2")
    assert len(hub.requests) == num_requests  # a commit never changes
    assert "has no revision v9" in fault_of(revision="v9")


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "http://no.such.host.invalid", "mirror", "http://[", "http://a:b"]
)
def test_no_network(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "cannot be reached" in fault_of()


def test_no_network_leaves_what_the_catalogue_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = load("Qwen/Qwen3-32B")
    assert (model.name, "does not answer" in model.warnings[-1]) == ("qwen3-32b", True)
    with pytest.raises(OomlessError, match="cannot be reached"):
        load("Qwen/Qwen3-32B", revision="main")
    with pytest.raises(OomlessError, match="cannot be reached"):
        load("org/no-such-shape")


@pytest.mark.parametrize("token", ["hf_right", "hf_名"])
def test_the_token_is_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    hub = serve()
    monkeypatch.setenv("HF_TOKEN", token)
    if not token.isascii():
        assert "cannot be reached" in fault_of()
        return
    read_repository(REPO)
    assert all(headers["authorization"] == "Bearer hf_right" for _, _, headers in hub.requests)


def test_a_mirror_with_a_trailing_slash(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serve()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    assert read_repository(REPO).revision == COMMIT


@pytest.mark.parametrize(
    "name", ["model", "a/b/c", "a/b--c", "a/..", "a/b.git", "-a/b", "a/b\n", "a/" + "b" * 97, "a/b?c", ""]
)
def test_an_id_that_no_repository_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="organisation/name"):
        read_repository(name)


@pytest.mark.parametrize("revision", ["../x", "a b", "-x", "x" * 300])
def test_a_revision_that_cannot_be(revision: str) -> None:
    with pytest.raises(UsageError, match="not a revision"):
        read_repository(REPO, revision=revision)


def test_what_was_read_is_asked_for_once(serve: Serve) -> None:
    hub = serve()
    first = read_repository(REPO)
    num_requests = len(hub.requests)
    again = read_repository(REPO)
    assert paths(hub)[num_requests:] == [f"/api/models/{REPO}"]
    assert again == first._replace(stored=None, source=again.source)
    assert again.source.startswith("headers of 2 files, cache of 20")


def test_offline(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serve()
    assert "in no cache" in fault_of(offline=True)
    read_repository(REPO, need_headers=True)
    num_requests = len(hub.requests)
    assert read_repository(REPO, offline=True).elements_by_dtype == ELEMENTS
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert read_repository(REPO, need_headers=True).num_tensors == 4
    assert len(hub.requests) == num_requests


def test_a_mirror_without_api_is_remembered(serve: Serve) -> None:
    hub = serve(has_api=False)  # only the files' own answers tell the commit
    read_repository(REPO)
    num_requests = len(hub.requests)
    for revision in ("main", COMMIT):
        assert read_repository(REPO, revision=revision, offline=True).elements_by_dtype == ELEMENTS
    assert len(hub.requests) == num_requests


def test_offline_from_the_hugging_face_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "hf" / "models--org--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "hf/models--org--model/refs").mkdir()
    (tmp_path / "hf/models--org--model/refs/main").write_text(COMMIT)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    repository = read_repository(REPO, offline=True)
    assert (repository.revision, repository.config, repository.stored) == (COMMIT, CONFIG, None)
    small = shard({"a": ("BF16", (3,))})
    (snapshot / "model.safetensors").write_bytes(small.content + bytes(6))
    assert read_repository(REPO, offline=True).elements_by_dtype == {"BF16": 3}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"schema": "oomless/hub-cache/1"}', b"[" * 10_000, b"\xff"]
)
def test_a_damaged_cache_is_read_anew(serve: Serve, tmp_path: Path, damage: bytes) -> None:
    serve()
    expected = read_repository(REPO)
    for path in (tmp_path / "oomless").rglob("*.json"):
        path.write_bytes(damage)
    assert read_repository(REPO) == expected


@pytest.mark.parametrize("key", ["config", "elements_by_dtype", "checkpoint_bytes", "stored", "num_tensors"])
def test_a_cache_with_a_wrong_type_is_read_anew(serve: Serve, tmp_path: Path, key: str) -> None:
    serve()
    expected = read_repository(REPO, need_headers=True)
    for path in (tmp_path / "oomless").rglob(f"{COMMIT}.json"):
        entry = json.loads(path.read_text())
        entry["repository"][key] = [3]
        path.write_text(json.dumps(entry))
    assert read_repository(REPO, need_headers=True) == expected


def test_a_crash_leaves_no_half_entry(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            read_repository(REPO)
    assert not [path for path in (tmp_path / "oomless").rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_no_error(serve: Serve, tmp_path: Path) -> None:
    serve()
    (tmp_path / "oomless").write_text("a file where the folder should be")
    assert read_repository(REPO).checkpoint_bytes == NUM_BYTES


@pytest.mark.parametrize("options", [(), ("--no-totals",)])
def test_deepseek_v3_in_161_files(options: tuple[str, ...], tmp_path: Path) -> None:
    with hub_process(*options) as endpoint:
        done = run_client(endpoint, tmp_path)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["elements"] == V3_ELEMENTS
    assert answer["bytes"] == 688_574_839_360
    assert answer["num_tensors"] == (91_991 if options else None)


def test_settings_of_the_environment_in_a_fresh_process(serve: Serve, tmp_path: Path) -> None:
    hub = serve()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_from_file\n")
    done = run_client(hub.endpoint, tmp_path, REPO, HF_HUB_ENABLE_HF_TRANSFER="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert {headers["authorization"] for _, _, headers in hub.requests} == {"Bearer hf_from_file"}
    bad = run_client(hub.endpoint, tmp_path, "org/other", HF_HUB_DOWNLOAD_TIMEOUT="soon")
    assert "OomlessError: huggingface_hub cannot be used" in bad.stderr
    assert V3 not in str(paths(hub))


def test_modelopt_file_beside_a_config_is_read(serve: Callable[..., FakeHub]) -> None:
    beside = File(
        json.dumps({"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}).encode()
    )
    serve({REPO: {**files(), "hf_quant_config.json": beside}})
    config = read_repository(REPO).config
    assert config["quantization_config"] == {
        "quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
        "quant_method": "modelopt",
    }
