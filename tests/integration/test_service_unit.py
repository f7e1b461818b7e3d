"""The node under what deploy/lungsentry.service forbids, as far as that can be tried without systemd in charge."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "lungsentry.service"
REFUSED_HARMLESSLY = {"fchown"}
"""SQLite gives the files that it makes as root to their folder's owner; the service is not root."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("strace") is None or shutil.which("systemd-analyze") is None,
        reason="strace and systemd-analyze are not installed",
    ),
]


def _calls(*words: str) -> set[str]:
    """The system calls that these words of SystemCallFilter stand for."""
    found: set[str] = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
        found |= _calls(*(line.strip() for line in listed.stdout.splitlines()[1:] if not line.strip().startswith("#")))
    return found


def _allowed() -> set[str]:
    allowed: set[str] = set()
    for line in UNIT.read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "SystemCallFilter":
            words = value.removeprefix("~").split()
            allowed = allowed - _calls(*words) if value.startswith("~") else allowed | _calls(*words)
    return allowed


def test_the_node_makes_no_call_that_the_unit_forbids(tmp_path: Path) -> None:
    """From its start to its end, without new privileges and without a core, every role keeps to the unit's filter."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGSENTRY_")}
    environment = clean | {"LUNGSENTRY_NODE__DATA_DIR": str(tmp_path / "data"), "LUNGSENTRY_RECEIVER__PORT": "0"}
    command = Path(sys.executable).with_name("lungsentry")
    traced = ["setpriv", "--no-new-privs", "prlimit", "--core=0", "strace", "-f", "-c", "-o", str(tmp_path / "calls")]
    with subprocess.Popen(
        [*traced, str(command), "serve", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as node:
        assert node.stdout is not None
        assert json.loads(node.stdout.readline())["port"]
        (serving,) = psutil.Process(node.pid).children()
        serving.send_signal(signal.SIGTERM)
        assert node.wait(120) == 0
    lines = (tmp_path / "calls").read_text().splitlines()[2:]
    used = {line.split()[-1] for line in lines if line and not line.startswith("-")} - {"total"}
    assert {"openat", "execve", "fsync"} <= used
    assert used - _allowed() <= REFUSED_HARMLESSLY
