"""The HTTP server beside a command: /metrics, /healthz and /readyz."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.logs import cause_of
from dicom_node.metrics.counters import FOLDER, count_events
from dicom_node.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Readiness", "observed"]

_LOG = structlog.stdlib.get_logger()

CLIENT_TIMEOUT_S = 10.0


class Readiness:
    """Whether the command's roles have begun to work, and whether they could now."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._begun = threading.Event()

    def begin(self) -> None:
        """Every role is ready."""
        self._begun.set()

    def problem(self) -> str | None:
        """Why nothing should be sent here; None where all is well."""
        from db import Store, StoreError

        if not self._begun.is_set():
            return "starting"
        try:
            with Store.open(self._database_url) as store:
                store.heartbeats.list()
        except StoreError as error:
            return cause_of(error)
        return None


@contextmanager
def observed(settings: Settings, role: str) -> Generator[Readiness]:
    """Within this block the command can be asked how it is, where the settings give the metrics a port.

    Raises:
        OSError: the port cannot be had.
    """
    readiness = Readiness(settings.database_url)
    if settings.metrics.port is None:
        yield readiness
        return
    folder = Path(tempfile.mkdtemp(prefix="lungsentry-metrics-"))
    os.environ[FOLDER] = str(folder)  # the processes below inherit it
    try:
        count_events(settings.metrics, role)
        server = _Server(settings, readiness, _registry(settings, role, folder))
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        _LOG.info("metrics.started", host=settings.metrics.host, port=server.server_port)
        try:
            yield readiness
        finally:
            server.shutdown()
            server.server_close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _registry(settings: Settings, role: str, folder: Path) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector

    class Disk(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily]:
            try:
                free = shutil.disk_usage(settings.node.data_dir).free
            except OSError:
                return
            yield GaugeMetricFamily("lungsentry_disk_free_bytes", "Free space in the data folder.", value=free)

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    registry.register(Disk())
    if role in {"node", "scheduler"}:
        from dicom_node.metrics.standing import Standing

        registry.register(Standing(settings.database_url))
    return registry


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, settings: Settings, readiness: Readiness, registry: "CollectorRegistry") -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.metrics.host else socket.AF_INET
        self.readiness = readiness
        self.registry = registry
        super().__init__((settings.metrics.host, settings.metrics.port or 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's signature
        """A client that went away is nobody's concern; the library would print a traceback."""
        _LOG.info("metrics.unanswered")


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT_S
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - the one that made it
    server_version = "Lungsentry"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, b"alive\n")
        elif self.path == "/readyz":
            problem = self.server.readiness.problem()
            status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, f"{problem or 'ready'}\n".encode())
        elif self.path == "/metrics":
            from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

            self._answer(HTTPStatus.OK, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /healthz, /readyz\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's signature
        """A probe every few seconds is no event."""

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
