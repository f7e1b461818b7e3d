"""Servers of a test, plain or by TLS, whose every connection a function answers."""

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def server_context(folder: Path) -> ssl.SSLContext:
    """That of a server with the certificate of the folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def free_port() -> int:
    """A port that nobody listens on, for who must be told a number; no system gives it to who asks for any port."""
    for port in random.sample(range(15_000, 32_000), 100):  # the range of the others begins at 32768
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


@contextmanager
def listening(
    answer: Callable[[socket.socket], None], *, certificates: Path | None = None, port: int = 0
) -> Iterator[int]:
    """The port on which ``answer`` gets one connection after another; with certificates it is encrypted."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), connection:  # a client that shakes no hands, or goes
                        if certificates is None:
                            answer(connection)
                            continue
                        with server_context(certificates).wrap_socket(connection, server_side=True) as wrapped:
                            answer(wrapped)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
