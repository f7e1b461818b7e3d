"""The supervisor keeps its processes: starts them, restarts the dead, ends them all, and they end with it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from dicom_node.settings import Settings
from dicom_node.supervisor import Role, Supervisor

CHILD = """
import json, os, signal, sys, threading
settings = json.loads(sys.stdin.readline())
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("a library's noise")
print(json.dumps({"pid": os.getpid(), "port": settings["receiver"]["port"]}), flush=True)
if "deaf" in sys.argv:
    threading.Event().wait()
sys.stdin.read()
"""
PARENT = """
import threading
from dicom_node.settings import Settings
from dicom_node.supervisor import Role, Supervisor
role = Role(name="child", arguments=(), module="supervised_child")
tell = lambda name, details: print("child", details["pid"], flush=True)
Supervisor(Settings(), [role], on_ready=tell).run(threading.Event())
"""


class _Reports:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.seen: list[Mapping[str, object]] = []

    def __call__(self, _name: str, details: Mapping[str, object]) -> None:
        with self._changed:
            self.seen.append(details)
            self._changed.notify_all()

    def wait_for(self, count: int) -> Mapping[str, object]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout=30)
            return self.seen[count - 1]


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "supervised_child.py").write_text(CHILD)
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), root]))
    return "supervised_child"


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        threading.Event().wait(0.02)
    return False


def test_dead_process_is_started_again_with_refined_settings(child_module: str) -> None:
    """SIGKILL of a child brings a new one, which gets the settings as they are refined by then."""
    reports, stop = _Reports(), threading.Event()

    def refine(_name: str, settings: Settings) -> Settings:
        port = 4242 if reports.seen else settings.receiver.port
        return settings.model_copy(update={"receiver": settings.receiver.model_copy(update={"port": port})})

    supervisor = Supervisor(
        Settings(),
        [Role(name="child", arguments=(), module=child_module)],
        on_ready=reports,
        refine=refine,
        first_back_off_s=0.01,
    )
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    first = reports.wait_for(1)
    os.kill(int(str(first["pid"])), signal.SIGKILL)
    second = reports.wait_for(2)
    stop.set()
    running.join(30)
    assert not running.is_alive()
    assert first["pid"] != second["pid"]
    assert (first["port"], second["port"]) == (11112, 4242)
    assert _ends(int(str(second["pid"])))


def test_process_that_does_not_heed_is_killed(child_module: str) -> None:
    """A child deaf to SIGTERM cannot hold up the end of the node."""
    reports, stop = _Reports(), threading.Event()
    role = Role(name="child", arguments=("deaf",), module=child_module)
    supervisor = Supervisor(Settings(), [role], on_ready=reports, stop_grace_s=0.2)
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    pid = int(str(reports.wait_for(1)["pid"]))
    stop.set()
    running.join(30)
    assert not running.is_alive()
    assert _ends(pid)


def test_children_end_when_the_parent_is_killed(child_module: str) -> None:
    """SIGKILL of the supervisor leaves no child behind: the end of its standard input ends it."""
    assert child_module
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = next(int(line.split()[1]) for line in parent.stdout if line.startswith("child "))
        parent.kill()
        parent.wait()
    assert _ends(pid)
