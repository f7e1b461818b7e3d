"""What a monitor sees of a running node: counters of every process, the database's figures, health and readiness."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import node_harness as harness
import pytest
from listeners import free_port
from prometheus_client.parser import text_string_to_metric_families

from db import upgrade

COMMAND = Path(sys.executable).with_name("lungsentry")


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _samples(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    _, text = _get(port, "/metrics")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def _running(folder: Path, role: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, and the port of its metrics as its log tells it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGSENTRY_")}
    environment = clean | {
        "LUNGSENTRY_NODE__DATA_DIR": str(folder / "data"),
        "LUNGSENTRY_RECEIVER__HOST": "127.0.0.1",
        "LUNGSENTRY_RECEIVER__PORT": "0",
        "LUNGSENTRY_RECEIVER__PROCESSES": "2",
        "LUNGSENTRY_RECEIVER__DISK_WATERMARK_BYTES": "0",
        "LUNGSENTRY_RECEIVER__ACCEPT_UNKNOWN_PEERS": "true",
        "LUNGSENTRY_COMPLETION__QUIET_S": "0.2",
        "LUNGSENTRY_LOGGING__LEVEL": "ERROR",
        "LUNGSENTRY_METRICS__PORT": "0",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
        **more,
    }
    with subprocess.Popen(
        [COMMAND, role, "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(120)
            yield process, json.loads(process.stdout.readline())["port"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.slow
def test_one_port_tells_of_all_processes(tmp_path: Path) -> None:
    """What two receiving processes took, and what is in the database, is told at one port, without any patient."""
    port = free_port()
    sent = [harness.write_ct(tmp_path / str(number)) for number in range(2)]
    with _running(tmp_path, "serve", LUNGSENTRY_METRICS__PORT=str(port)) as (_, receiving):
        assert _get(port, "/healthz") == (200, "alive\n")
        assert _get(port, "/readyz") == (200, "ready\n")
        for paths in sent:
            assert set(harness.send(paths, receiving)) == {0}

        def completed() -> dict[tuple[str, tuple[str, ...]], float] | None:
            samples = _samples(port)
            return samples if samples.get(("lungsentry_series_total", ("completed",))) == 2 else None

        samples = harness.wait_until(completed, what="completion that is told")
        assert samples["lungsentry_instances_received_total", ()] == 20
        assert samples["lungsentry_associations_total", ("accepted",)] == 2
        assert samples["lungsentry_instances_refused_total", ("0xA700",)] == 0
        assert samples["lungsentry_database_up", ()] == 1
        assert samples["lungsentry_disk_free_bytes", ()] > 0
        assert sum(number for (name, _), number in samples.items() if name == "lungsentry_series") == 2
        assert ("lungsentry_jobs_queued", ("fresh",)) in samples
        text = _get(port, "/metrics")[1]
        assert "TEST" not in text
        assert "Nobody" not in text
    assert not list(tmp_path.glob("lungsentry-metrics-*"))


def test_a_receiver_without_its_database_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Alone it tells nothing of the database but that it cannot be used; a scrape costs it nothing."""
    port, file = free_port(), tmp_path / "data" / "lungsentry.sqlite3"
    (tmp_path / "data").mkdir()
    upgrade(f"sqlite:///{file}")
    with _running(tmp_path, "receiver", LUNGSENTRY_METRICS__PORT=str(port)):
        assert _get(port, "/readyz") == (200, "ready\n")
        file.rename(file.with_suffix(".away"))
        status, why = _get(port, "/readyz")
        assert status == 503
        assert why.strip()
        assert _get(port, "/healthz")[0] == 200
        assert not [name for name, _ in _samples(port) if name in {"lungsentry_database_up", "lungsentry_jobs"}]
        assert _get(port, "/anything")[0] == 404
        file.with_suffix(".away").rename(file)


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    """The command says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [COMMAND, "serve"],
            env=os.environ
            | {
                "LUNGSENTRY_NODE__DATA_DIR": str(tmp_path),
                "LUNGSENTRY_RECEIVER__PORT": "0",
                "LUNGSENTRY_METRICS__PORT": str(port),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert "metrics.port" in done.stderr
