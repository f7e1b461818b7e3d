"""Processes that are kept running: one a role, started again after a death, ended with their parent.

A child is ``python -m dicom_node.node ROLE``. Its standard input carries the settings (one JSON line, so that no
secret stands on a command line) and then stays open: its end tells the child that the parent is gone. Its
standard output carries one line once the child is ready; its logs go to standard error, like the parent's.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from dicom_node.settings import Settings

__all__ = ["Role", "Supervisor"]

_LOG = structlog.stdlib.get_logger()

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
STEADY_S = 60.0
"""A child that lived this long is forgiven: its next death starts the back-off anew."""
STOP_GRACE_S = 20.0
"""Time a child has to end after SIGTERM before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A process to keep: its name, the module that runs it and its arguments."""

    name: str
    arguments: tuple[str, ...]
    module: str = "dicom_node.node"


@dataclass(slots=True, kw_only=True)
class _Child:
    role: Role
    process: subprocess.Popen[str] | None = None


class Supervisor:
    """Keeps the processes of the given roles until told to stop.

    ``on_ready`` gets a role's name and what the role reported, every time that a process of it becomes ready.
    ``refine`` may change the settings of a process that is started again (a port that was chosen stays).
    """

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[Role],
        *,
        on_ready: Callable[[str, Mapping[str, object]], None] | None = None,
        refine: Callable[[str, Settings], Settings] | None = None,
        first_back_off_s: float = FIRST_BACK_OFF_S,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._settings = settings
        self._children = [_Child(role=role) for role in roles]
        self._on_ready = on_ready
        self._refine = refine
        self._first_back_off_s = first_back_off_s
        self._stop_grace_s = stop_grace_s

    def run(self, stop: threading.Event) -> None:
        """Start every role, keep it running until ``stop`` is set, then end all of them and wait."""
        keepers = [
            threading.Thread(target=self._keep, args=(child, stop), name=f"keep-{child.role.name}", daemon=True)
            for child in self._children
        ]
        for keeper in keepers:
            keeper.start()
        stop.wait()
        for child in self._children:
            _signal(child.process, signal.SIGTERM)
        deadline = time.monotonic() + self._stop_grace_s
        for keeper, child in zip(keepers, self._children, strict=True):
            keeper.join(max(0.0, deadline - time.monotonic()))
            if keeper.is_alive():
                _LOG.warning("process.killed", process=child.role.name, after_s=self._stop_grace_s)
                _signal(child.process, signal.SIGKILL)
                keeper.join()

    def process_ids(self) -> dict[str, int]:
        """The process id of every role that runs at this moment."""
        return {child.role.name: child.process.pid for child in self._children if child.process is not None}

    def _keep(self, child: _Child, stop: threading.Event) -> None:
        back_off_s = self._first_back_off_s
        while not stop.is_set():
            started = time.monotonic()
            status = self._run_once(child, stop)
            if stop.is_set():
                _LOG.info("process.ended", process=child.role.name, status=status)
                return
            if time.monotonic() - started > STEADY_S:
                back_off_s = self._first_back_off_s
            _LOG.error("process.died", process=child.role.name, status=status, restart_in_s=back_off_s)
            stop.wait(back_off_s)
            back_off_s = min(2 * back_off_s, LONGEST_BACK_OFF_S)

    def _run_once(self, child: _Child, stop: threading.Event) -> int:
        settings = self._refine(child.role.name, self._settings) if self._refine else self._settings
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", child.role.module, *child.role.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        child.process = process
        if stop.is_set():  # told to stop between the check and the start
            _signal(process, signal.SIGTERM)
        _LOG.info("process.started", process=child.role.name, pid=process.pid)
        assert process.stdin is not None  # noqa: S101 - both are pipes, as asked above
        assert process.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(settings.model_dump_json() + "\n")
            process.stdin.flush()
        for line in process.stdout:
            self._report(child.role.name, line)
        status = process.wait()
        child.process = None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # a child that died at once has read nothing
            process.stdin.close()
        return status

    def _report(self, name: str, line: str) -> None:
        try:
            details = json.loads(line)
        except ValueError:
            return  # something a library printed; only one JSON object is awaited
        if isinstance(details, dict) and self._on_ready:
            try:
                self._on_ready(name, details)
            except OSError:  # the listener's terminal or pipe is gone; the process is kept all the same
                _LOG.warning("process.unannounced", process=name)


def _signal(process: subprocess.Popen[str] | None, number: signal.Signals) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(number)
