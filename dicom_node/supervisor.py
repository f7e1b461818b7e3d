"""Processes that are kept running: started again after a death or a silence, with a back-off; ended with their parent.

A child of `Supervisor` is ``python -P -m dicom_node.node ROLE``. Its standard input carries the settings (one JSON
line, so that no secret stands on a command line) and then stays open: its end tells the child that the parent is gone.
Its standard output carries a line every few seconds, and one once the child is ready; its logs go to standard error,
like the parent's. The receiver keeps its own processes by `keep` as well; they talk over a socket.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from dicom_node.settings import Settings

__all__ = ["BEAT_S", "SILENT_S", "START_S", "BackOff", "Role", "Supervisor", "keep", "python"]

_LOG = structlog.stdlib.get_logger()

STOP_GRACE_S = 20.0
"""Time a child has to end after SIGTERM before it is killed."""
BEAT_S = 5.0
"""Between two signs of life."""
SILENT_S = 30.0
"""A child that gives no sign for so long hangs, and is replaced."""
START_S = 180.0
"""Time until the first sign: a cold disk has torch to read."""
_CHUNK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Waits between two starts: doubled with each death, and forgotten after a life of ``steady_s``."""

    first_s: float = 0.5
    longest_s: float = 30.0
    steady_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A process to keep: its name, the module that runs it and its arguments."""

    name: str
    arguments: tuple[str, ...]
    module: str = "dicom_node.node"


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules; the working folder is no place to take code from."""
    return [sys.executable, "-P", "-m", module, *arguments]


def keep(
    name: str,
    run: Callable[[], int],
    stop: threading.Event,
    *,
    back_off: BackOff,
    ended: Callable[[], object] = lambda: None,
) -> None:
    """Start a process by ``run``, which returns its status, again and again until ``stop`` is set.

    Where there is no memory, process or descriptor left to start it with, it is tried again after the same back-off.
    ``ended`` is called after a death.
    """
    wait_s = back_off.first_s
    while not stop.is_set():
        started = time.monotonic()
        try:
            status = run()
        except (OSError, MemoryError, RuntimeError) as error:  # the last: no thread can be started
            cause = getattr(error, "strerror", None) or type(error).__name__
            _LOG.error("process.not_started", process=name, cause=cause, again_in_s=wait_s)
        else:
            if stop.is_set():
                _LOG.info("process.ended", process=name, status=status)
                return
            ended()
            if time.monotonic() - started > back_off.steady_s:
                wait_s = back_off.first_s
            _LOG.error("process.died", process=name, status=status, restart_in_s=wait_s)
        stop.wait(wait_s)
        wait_s = min(2 * wait_s, back_off.longest_s)


@dataclass(slots=True, kw_only=True)
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None


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
        back_off: BackOff | None = None,
        stop_grace_s: float = STOP_GRACE_S,
        silent_s: float = SILENT_S,
        start_s: float = START_S,
    ) -> None:
        self._settings = settings
        self._children = [_Child(role=role) for role in roles]
        self._on_ready = on_ready
        self._refine = refine
        self._back_off = back_off or BackOff()
        self._stop_grace_s = stop_grace_s
        self._silent_s = silent_s
        self._start_s = start_s

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
        keep(child.role.name, lambda: self._run_once(child, stop), stop, back_off=self._back_off)

    def _run_once(self, child: _Child, stop: threading.Event) -> int:
        settings = self._refine(child.role.name, self._settings) if self._refine else self._settings
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            python(child.role.module, *child.role.arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        child.process = process
        assert process.stdin is not None  # noqa: S101 - both are pipes, as asked above
        assert process.stdout is not None  # noqa: S101
        try:
            if stop.is_set():  # told to stop between the check and the start
                _signal(process, signal.SIGTERM)
            _LOG.info("process.started", process=child.role.name, pid=process.pid)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(settings.model_dump_json().encode() + b"\n")
                process.stdin.flush()
            for line in self._lines(child.role.name, process):
                self._report(child.role.name, line)
            return process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            child.process = None
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):  # a child that died at once has read nothing
                process.stdin.close()

    def _lines(self, name: str, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """What the process writes, until its end; one that is silent for too long is killed."""
        assert process.stdout is not None  # noqa: S101 - a pipe
        pending, patience_s = b"", self._start_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(patience_s):
                    _LOG.error("process.silent", process=name, pid=process.pid, for_s=patience_s)
                    process.kill()
                    return
                chunk = os.read(process.stdout.fileno(), _CHUNK)
                if not chunk:
                    return
                patience_s = self._silent_s
                *lines, pending = (pending + chunk).split(b"\n")
                yield from lines

    def _report(self, name: str, line: bytes) -> None:
        try:
            details = json.loads(line)
        except ValueError:
            return  # a sign of life, or something a library printed; only one JSON object is awaited
        if isinstance(details, dict) and self._on_ready:
            try:
                self._on_ready(name, details)
            except OSError:  # the listener's terminal or pipe is gone; the process is kept all the same
                _LOG.warning("process.unannounced", process=name)


def _signal(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(number)
