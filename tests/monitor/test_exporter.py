"""What Prometheus gets: the numbers of the journals, few labels, in both formats, whatever scrapers do."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("prometheus_client")

from written_runs import MIB, end, leak, sample, start, step, two_ranks, write

from oomless.errors import OomlessError, UsageError
from oomless.monitor import exporter as exporters
from oomless.monitor.exporter import Server, address_of, exporter, metrics_text
from oomless.monitor.live_runs import LiveRuns

MOST_LABELS = 8
GRAFANA = files("oomless.monitor").joinpath("grafana")
SAMPLE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.M)


@contextmanager
def serving(*folders: Path) -> Iterator[str]:
    server = exporter("127.0.0.1:0", list(folders))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def page(address: str, accept: str = "") -> tuple[str, str]:
    request = Request(f"http://{address}/metrics", headers={"Accept": accept} if accept else {})
    with urlopen(request, timeout=5) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def test_two_ranks_are_told_with_their_numbers(tmp_path: Path) -> None:
    two_ranks(tmp_path / "my run")
    with serving(tmp_path) as address:
        text, kind = page(address)
    found = {(name, labels): float(value) for name, labels, value in SAMPLE.findall(text)}
    one = 'job_name="my_run",rank="1"'
    assert found["oomless_peak_bytes", one] == 601 * MIB
    assert found["oomless_predicted_bytes", one] == 550 * MIB
    assert found["oomless_headroom_bytes", one] == 500 * MIB
    assert found["oomless_growth_bytes_per_step", one] == 2 * MIB
    assert found["oomless_steps_to_oom", one] == 250
    assert found["oomless_seconds_to_oom", one] == 125
    assert found["oomless_memory_bytes", f'category="weights",{one}'] == 100 * MIB
    assert kind.startswith("text/plain")
    assert not [labels for _, labels, _ in SAMPLE.findall(text) if str(tmp_path) in labels or "/" in labels]
    assert max(labels.count("=") for _, labels, _ in SAMPLE.findall(text)) <= MOST_LABELS


def test_open_metrics_is_given_where_it_is_asked_for(tmp_path: Path) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    two_ranks(tmp_path)
    with serving(tmp_path) as address:
        text, kind = page(address, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert "oomless_step" in {family.name for family in families}


def test_a_run_is_read_on_and_a_new_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oomless.monitor.live_runs.LOOKS_EVERY_S", 0.0)
    write(tmp_path / "a", start(), step(1))
    runs = LiveRuns([tmp_path])
    assert [(each.job, each.step.step if each.step else 0) for each in runs.now()] == [("a", 1)]
    write(tmp_path / "a", step(2), sample(2), leak(2), end(2))
    write(tmp_path / "b", start())
    (tmp_path / "b" / "rank0.jsonl").open("ab").write(b'{"kind":"step","step"')
    found = {each.job: each for each in runs.now()}
    assert (found["a"].step.step if found["a"].step else 0, found["a"].ended, found["a"].growth) == (
        2,
        True,
        2 * MIB,
    )
    assert found["b"].step is None


def test_other_pages_are_not_there(tmp_path: Path) -> None:
    with serving(tmp_path) as address, pytest.raises(HTTPError, match="404"):
        urlopen(f"http://{address}/etc/passwd", timeout=5)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OomlessError, match="cannot serve"):
            exporter(f"127.0.0.1:{taken.getsockname()[1]}", [])


@pytest.mark.parametrize("text", ["9400", "localhost", ":x", "a:99999", "a:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        address_of(text)


def test_slow_scrapers_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing take places, and not all: the next one is answered."""
    two_ranks(tmp_path)
    with serving(tmp_path) as address:
        host, port = address.split(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(exporters.MOST_CONNECTIONS // 2)]
        assert "oomless_step" in page(address)[0]
        for each in idle:
            each.close()


def test_a_thousand_scrapes_read_the_journals_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_ranks(tmp_path)
    reads = 0
    original = LiveRuns.now

    def counted(self: LiveRuns) -> Any:
        nonlocal reads
        reads += 1
        return original(self)

    monkeypatch.setattr(LiveRuns, "now", counted)
    began = time.monotonic()
    with serving(tmp_path) as address:
        for _ in range(1_000):
            page(address)
    assert reads <= time.monotonic() - began + 2


def test_a_journal_that_is_no_more_does_not_end_the_page(tmp_path: Path) -> None:
    two_ranks(tmp_path)
    runs = LiveRuns([tmp_path])
    assert len(runs.now()) == 2
    (tmp_path / "rank0.jsonl").unlink()
    assert [each.start.rank for each in runs.now()] == [1]
    assert b"oomless_step" in metrics_text(runs.now(), "")[0]


def expressions() -> list[str]:
    """Every query of the dashboard, with its variables as Grafana fills them in."""
    dashboard = json.loads(GRAFANA.joinpath("oomless-dashboard.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [each.replace("$job", ".*").replace("$rank", ".*") for each in found]


def test_the_dashboard_asks_for_metrics_that_there_are(tmp_path: Path) -> None:
    two_ranks(tmp_path)
    text = metrics_text(LiveRuns([tmp_path]).now(), "")[0].decode()
    rules = GRAFANA.joinpath("oomless-alerts.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\boomless_\w+", " ".join(expressions()) + rules))
    assert asked <= {name for name, _, _ in SAMPLE.findall(text)}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(GRAFANA.joinpath("oomless-dashboard.json").read_text(encoding="utf-8"))
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert [each["refId"] for each in panel["targets"]] == list("ABC")[: len(panel["targets"])]


CONFIG = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files:
  - {rules}
scrape_configs:
  - job_name: oomless
    static_configs:
      - targets: ["{target}"]
"""


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus is not installed")
def test_a_real_prometheus_scrapes_two_ranks_and_answers_the_dashboard(tmp_path: Path) -> None:
    two_ranks(tmp_path / "runs" / "a")
    rules = tmp_path / "rules.yml"
    rules.write_text(
        re.sub(r"for: \w+", "for: 0s", GRAFANA.joinpath("oomless-alerts.yml").read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mine = f"127.0.0.1:{free.getsockname()[1]}"
    with serving(tmp_path / "runs") as target:
        config = tmp_path / "prometheus.yml"
        config.write_text(CONFIG.format(rules=rules, target=target), encoding="utf-8")
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={mine}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 60
            while len(asked(mine, "oomless_step")) < 2 and time.monotonic() < until:
                time.sleep(0.5)
            assert {each["metric"]["rank"] for each in asked(mine, "oomless_step")} == {"0", "1"}
            assert not [each for each in expressions() if not asked(mine, each)]
            while len(asked(mine, 'ALERTS{alertname="MemoryLeak"}')) < 2 and time.monotonic() < until:
                time.sleep(0.5)
            alerts = {each["metric"]["alertname"] for each in asked(mine, "ALERTS")}
            assert {"MemoryLeak", "WillNotFitInAnHour"} <= alerts
        finally:
            server.terminate()
            server.wait(20)


def asked(address: str, query: str) -> list[Any]:
    try:
        with urlopen(f"http://{address}/api/v1/query?{urlencode({'query': query})}", timeout=5) as answer:
            found: list[Any] = json.loads(answer.read())["data"]["result"]
            return found
    except OSError:
        return []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(GRAFANA.joinpath("oomless-alerts.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_says_where_it_is(tmp_path: Path) -> None:
    server = exporter("127.0.0.1:0", [tmp_path])
    assert isinstance(server, Server)
    server.server_close()
