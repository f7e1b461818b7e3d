"""The worklist's process: a server on its socket until it is told to stop, its open streams ended first."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import structlog
import uvicorn

from db import Store
from dicom_node.delivery.channel import Channel
from dicom_node.settings import Settings
from dicom_node.web.app import build_app
from dicom_node.web.services import Services

__all__ = ["run_web"]

_LOG = structlog.stdlib.get_logger()

BACKLOG = 128
END_WITHIN_S = 4
"""Time that answers under way have once the process is told to stop; then their connections are cut."""


def run_web(
    settings: Settings,
    channels_of: Callable[[Settings, Store], Mapping[str, Channel]],
    ready: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Serve the worklist until ``stop`` is set; ``ready`` gets the port.

    ``channels_of`` gives the channels of the destinations, by their names.
    """
    with Store.open(settings.database_url) as store:
        services = Services.of(settings, store, channels_of(settings, store), stop)
        listening = listen(settings.web.host, settings.web.port or 0)
        port = int(listening.getsockname()[1])
        config = uvicorn.Config(
            build_app(services),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=settings.web.behind_proxy,
            forwarded_allow_ips=list(settings.web.proxies) if settings.web.behind_proxy else "",
            timeout_graceful_shutdown=END_WITHIN_S,
            backlog=BACKLOG,
            ws="none",
            lifespan="off",
        )
        if settings.web.certificates is not None:
            folder = settings.web.certificates
            config.ssl_certfile, config.ssl_keyfile = folder / "certificate.pem", folder / "key.pem"
            config.ssl_version = ssl.PROTOCOL_TLS_SERVER
        _LOG.info("worklist.started", host=settings.web.host, port=port)
        with listening:
            asyncio.run(_Server(config, stop, lambda: ready(port)).serve(sockets=[listening]))
        _LOG.info("worklist.stopped")


class _Server(uvicorn.Server):
    """Uvicorn without its own signals: the process hears them, and says so by its stop event."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing is captured."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        return await super().on_tick(counter) or self._stop.is_set()


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections at this address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening
