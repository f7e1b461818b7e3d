"""The running node: one process a role, none of which shares an interpreter with another.

``python -m dicom_node.node ROLE`` is the child that the supervisor starts; see :mod:`dicom_node.supervisor` for
what passes between the two.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import structlog

from dicom_node.composition import build_worker, delivery_channels, node_sweeps, receiver_services
from dicom_node.heartbeat import beating
from dicom_node.logs import cause_of, configure, log_uncaught
from dicom_node.metrics import count_events
from dicom_node.settings import Settings
from dicom_node.signals import stop_on
from dicom_node.supervisor import BEAT_S, STOP_GRACE_S, Role, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "prepare",
    "report_ready",
    "run_child",
    "run_node",
    "run_receiver",
    "run_scheduler",
    "run_web",
    "run_worker",
]

_LOG = structlog.stdlib.get_logger()

EXIT_OVERDUE = 70
"""Exit status of a process that did not end in time after it was told to (EX_SOFTWARE of sysexits.h)."""

RECEIVER, WORKER, SCHEDULER, WEB = (
    Role(name=name, arguments=(name,)) for name in ("receiver", "worker", "scheduler", "web")
)


def run_node(
    settings: Settings,
    stop: threading.Event,
    on_ready: Callable[[int], None],
    *,
    on_worklist: Callable[[int], None] | None = None,
    roles: Sequence[Role] | None = None,
) -> None:
    """Run all roles on this machine until ``stop`` is set; the worklist where the settings give it a port.

    ``on_ready`` gets the receiver's port once every role is ready to work, ``on_worklist`` then that of the worklist.
    A receiver or a worklist that is started again keeps the port that was chosen for the first.
    """
    prepare(settings)
    if roles is None:
        roles = (RECEIVER, WORKER, SCHEDULER) if settings.web.port is None else (RECEIVER, WORKER, SCHEDULER, WEB)
    readiness = _Readiness(frozenset(role.name for role in roles), on_ready, on_worklist)
    with beating(settings.database_url, "node"):
        Supervisor(settings, roles, on_ready=readiness.report, refine=readiness.keep_port).run(stop)


def run_worker(settings: Settings, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Run one worker under supervision: past a job's time limit its process ends, and a new one takes its place.

    ``ready`` is called when a process has loaded its models.
    """
    Supervisor(settings, (WORKER,), on_ready=lambda _role, _details: ready()).run(stop)


def prepare(settings: Settings) -> None:
    """Make the folders, and bring the database's schema to this version."""
    from db import upgrade

    for folder in (settings.node.data_dir, settings.archive_dir, settings.results_dir):
        folder.mkdir(parents=True, exist_ok=True)
    upgrade(settings.database_url)


def run_child(role: str, run: Callable[[Settings, threading.Event], None]) -> int:
    """Be the process of a role: take the settings from the parent, and run until it says stop, or goes."""
    settings = Settings.model_validate_json(sys.stdin.readline())
    configure(settings.logging, role=role)
    count_events(settings.metrics, role)
    log_uncaught()
    stop = stop_on(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the parent, which then tells us
    threading.Thread(target=_end_with_parent, args=(stop,), name="parent", daemon=True).start()
    threading.Thread(target=_give_signs, name="alive", daemon=True).start()
    threading.Thread(target=_end_in_time, args=(stop,), name="deadline", daemon=True).start()
    with beating(settings.database_url, role):
        run(settings, stop)
    return 0


def report_ready(**details: object) -> None:
    """Tell the parent that this role is ready to work, and what it needs to know of it."""
    _write(json.dumps({"ready": True, **details}))


def _give_signs() -> None:
    """Tell the parent every few seconds that this process lives; an empty line is a sign."""
    while True:
        _write("")
        time.sleep(BEAT_S)


def _write(line: str) -> None:
    """A line to the parent, at once and whole, from whichever thread."""
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; its end is noticed elsewhere
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def run_receiver(settings: Settings, *, ready: Callable[[int], None], stop: threading.Event) -> None:
    """Receive until ``stop`` is set; ``ready`` gets the port. Raises as `receiver.server.run_receiver`."""
    from dicom_node.receiver.server import run_receiver as receive

    receive(settings, receiver_services, ready=ready, stop=stop)


def run_scheduler(settings: Settings, stop: threading.Event, ready: Callable[[], None] | None = None) -> None:
    """Sweep until ``stop`` is set; ``ready`` is called before the first look."""
    from db import Store, StoreError
    from dicom_node.scheduler import run_scheduler as sweep

    with Store.open(settings.database_url) as store:
        told = settings.audit.host is not None
        if told:
            store.audit_feed.begin()
            store.audit.record(who=settings.node.ae_title, action="application started", subject=socket.gethostname())
        sweep(store, node_sweeps(settings, store, delivery_channels(settings, store)), stop, ready)
        if told:
            try:
                store.audit.record(
                    who=settings.node.ae_title, action="application stopped", subject=socket.gethostname()
                )
            except StoreError as error:
                _LOG.warning("audit.unwritten", cause=cause_of(error))


def run_web(settings: Settings, *, ready: Callable[[int], None], stop: threading.Event) -> None:
    """Serve the worklist until ``stop`` is set; ``ready`` gets the port."""
    from dicom_node.web import run_web as serve

    serve(settings, delivery_channels, ready, stop)


def _receiver(settings: Settings, stop: threading.Event) -> None:
    run_receiver(settings, ready=lambda port: report_ready(port=port), stop=stop)


def _worker(settings: Settings, stop: threading.Event) -> None:
    worker = build_worker(settings)
    gc.collect()
    gc.freeze()  # models and libraries stay as long as the process: collections look through what jobs make alone
    report_ready()
    worker.run(stop)


def _scheduler(settings: Settings, stop: threading.Event) -> None:
    run_scheduler(settings, stop, ready=report_ready)


def _web(settings: Settings, stop: threading.Event) -> None:
    run_web(settings, ready=lambda port: report_ready(port=port), stop=stop)


_RUN: Mapping[str, Callable[[Settings, threading.Event], None]] = {
    "receiver": _receiver,
    "worker": _worker,
    "scheduler": _scheduler,
    "web": _web,
}


def _end_with_parent(stop: threading.Event) -> None:
    while sys.stdin.read(1):
        pass
    stop.set()


def _end_in_time(stop: threading.Event) -> None:
    stop.wait()
    threading.Event().wait(STOP_GRACE_S)
    _LOG.error("process.overdue", after_s=STOP_GRACE_S)
    os._exit(EXIT_OVERDUE)


class _Readiness:
    """Waits for every role, then tells the receiver's port and the worklist's, once."""

    def __init__(
        self, roles: frozenset[str], on_ready: Callable[[int], None], on_worklist: Callable[[int], None] | None
    ) -> None:
        self._lock = threading.Lock()
        self._awaited = set(roles)
        self._on_ready = on_ready
        self._on_worklist = on_worklist
        self._ports: dict[str, int] = {}
        self._told = False

    def report(self, role: str, details: Mapping[str, object]) -> None:
        with self._lock:
            port = details.get("port")
            if isinstance(port, int):
                self._ports[role] = port
            self._awaited.discard(role)
            if self._awaited or self._told or RECEIVER.name not in self._ports:
                return
            self._told = True
        self._on_ready(self._ports[RECEIVER.name])
        if self._on_worklist is not None and WEB.name in self._ports:
            self._on_worklist(self._ports[WEB.name])

    def keep_port(self, role: str, settings: Settings) -> Settings:
        """The settings with the port that the first process of the role took, for one that replaces it."""
        port = self._ports.get(role)
        if port is None:
            return settings
        section = settings.receiver if role == RECEIVER.name else settings.web
        name = "receiver" if role == RECEIVER.name else "web"
        return settings.model_copy(update={name: section.model_copy(update={"port": port})})


def _main(role: str, *arguments: str) -> int:
    from dicom_node.receiver.children import CHILD

    if role == CHILD:
        from dicom_node.receiver.child import run_child as run_receiver_child

        return run_receiver_child(int(arguments[0]), receiver_services)
    return run_child(role, _RUN[role])


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
