"""The installed command runs the node: it says where it listens, answers, and stops cleanly when told to."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("lungsentry")
READY_S = 120
STOP_S = 60


def _environment(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGSENTRY_")}
    return {
        **clean,
        "LUNGSENTRY_NODE__DATA_DIR": str(folder / "data"),
        "LUNGSENTRY_RECEIVER__HOST": "127.0.0.1",
        "LUNGSENTRY_RECEIVER__PORT": "0",
        "LUNGSENTRY_RECEIVER__DISK_WATERMARK_BYTES": "0",
        "OMP_NUM_THREADS": "1",
    }


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=READY_S,
    )


@contextmanager
def _serving(folder: Path) -> Iterator[dict[str, Any]]:
    log = (folder / "node.log").open("w")
    with (
        log,
        subprocess.Popen(
            [COMMAND, "serve", "--json"],
            cwd=folder,
            env=_environment(folder),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), (folder / "node.log").read_text()
            line = process.stdout.readline()
            assert line, (folder / "node.log").read_text()
            yield json.loads(line)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0, (folder / "node.log").read_text()
        finally:
            if process.poll() is None:
                process.kill()


def test_serve_answers_refuses_and_stops(tmp_path: Path) -> None:
    """A fresh node makes its database, refuses a stranger and lists it, lets it in once allowed, and ends with 0."""
    with _serving(tmp_path) as where:
        assert where["ae_title"] == "LUNGSENTRY"
        assert Path(where["data_dir"]) == tmp_path / "data"
        to_node = ["LUNGSENTRY", "--host", "127.0.0.1", "--port", str(where["port"]), "--calling", "CT1"]
        stranger = _run(tmp_path, "echo", *to_node)
        assert stranger.returncode == 1, stranger.stderr
        refused = json.loads(_run(tmp_path, "peers", "refused", "--json").stdout)["refused"]
        assert [(one["calling_ae_title"], one["address"]) for one in refused] == [("CT1", "127.0.0.1")]
        words = refused[0]["allow"].split()
        assert words[0] == "lungsentry"
        assert _run(tmp_path, *words[1:]).returncode == 0
        known = _run(tmp_path, "echo", *to_node)
        assert known.returncode == 0, known.stderr
        status = _run(tmp_path, "status")
        assert status.returncode == 0
    assert "Traceback" not in (tmp_path / "node.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_demo_flags_what_it_should(tmp_path: Path) -> None:
    """The demo ends with 0, shows each case beside its truth, and leaves reports and pictures, also of the worklist."""
    done = subprocess.run(
        [COMMAND, "demo", "--out", "shown"],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for case in ("normal", "opacities-earlier", "opacities", "ctac-opacities"):
        assert (tmp_path / "shown" / f"{case}-report.dcm").is_file()
    assert list((tmp_path / "shown").glob("opacities-slice-*.png"))
    if shutil.which("chromium"):
        for picture in ("worklist.png", "case.png"):
            assert (tmp_path / "shown" / picture).read_bytes().startswith(b"\x89PNG")
    assert done.stdout.count("truth") == 4
    assert "Research use only. Not a medical device." in done.stdout
