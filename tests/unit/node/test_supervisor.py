"""The supervisor keeps its processes: starts them, restarts the dead, ends them all, and they end with it."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.settings import Settings
from dicom_node.supervisor import BackOff, Role, Supervisor, python

CHILD = """
import json, os, signal, sys, threading
settings = json.loads(sys.stdin.readline())
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("a library's noise")
print(json.dumps({"pid": os.getpid(), "port": settings["receiver"]["port"]}), flush=True)
if "deaf" in sys.argv:
    threading.Event().wait()
while "lively" in sys.argv:
    print(flush=True)
    threading.Event().wait(0.2)
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
        back_off=BackOff(first_s=0.01),
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


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Nothing can be opened in this block, so that no process can be started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_cannot_be_started_is_tried_again(
    child_module: str,
) -> None:
    """While the machine has nothing to start it with the supervisor says so and goes on; then the process runs."""
    reports, stop = _Reports(), threading.Event()
    role = Role(name="child", arguments=(), module=child_module)
    supervisor = Supervisor(Settings(), [role], on_ready=reports, back_off=BackOff(first_s=0.01, longest_s=0.05))
    running = threading.Thread(target=supervisor.run, args=(stop,))
    with capture_logs() as logs, no_descriptor_left():
        running.start()
        deadline = time.monotonic() + 30
        while len(logs) < 2 and time.monotonic() < deadline:
            stop.wait(0.01)
    assert {entry["event"] for entry in logs} == {"process.not_started"}
    assert reports.wait_for(1)["pid"]
    stop.set()
    running.join(30)
    assert not running.is_alive()


def test_a_process_that_hangs_is_replaced(child_module: str) -> None:
    """One that is stopped gives no sign of life: it is killed, and another takes its place."""
    reports, stop = _Reports(), threading.Event()
    role = Role(name="child", arguments=("lively",), module=child_module)
    supervisor = Supervisor(Settings(), [role], on_ready=reports, back_off=BackOff(first_s=0.01), silent_s=1)
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    first = int(str(reports.wait_for(1)["pid"]))
    os.kill(first, signal.SIGSTOP)
    second = int(str(reports.wait_for(2)["pid"]))
    assert _ends(first)
    stop.set()
    running.join(30)
    assert first != second
    assert _ends(second)


def test_the_working_folder_is_no_place_for_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that lie where the node is started are not run by its processes, whatever their names."""
    for name in ("structlog.py", "db.py", "pynetdicom.py"):
        (tmp_path / name).write_text("open('pwned', 'a').close()\nraise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    settings = Settings().model_dump_json()
    for arguments in (("scheduler",), ("receiver-child", "0")):
        child = subprocess.run(
            python("dicom_node.node", *arguments), input=settings + "\n", capture_output=True, text=True, check=False
        )
        assert child.returncode != 0  # there is no database, no socket
    assert not (tmp_path / "pwned").exists()


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
