"""A connection to a destination that has no library of its own: encrypted where that is set, limited in time."""

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dicom_node.delivery.errors import NotAdmitted, Unreachable
from dicom_node.delivery.time_limit import STEPS, time_limit
from dicom_node.network.tls import TlsError, reason_of, server_trust

__all__ = ["connected"]


@contextmanager
def connected(
    host: str, port: int, *, tls: bool, certificates: Path | None, timeout_s: float
) -> Generator[socket.socket]:
    """The connection, closed at the end.

    Raises:
        Unreachable: nobody answers, or it broke off, also while it was used.
        NotAdmitted: the certificates cannot be used.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            time_limit(lambda: plain, timeout_s * STEPS),
            _encrypted(plain, host, certificates) if tls else nullcontext(plain) as connection,
            time_limit(lambda: connection, timeout_s * STEPS),
        ):
            yield connection
    except TlsError as error:
        raise NotAdmitted(str(error)) from error
    except (ssl.SSLError, OSError) as error:
        raise Unreachable(f"{host}:{port}: {reason_of(error)}.") from error


@contextmanager
def _encrypted(plain: socket.socket, host: str, certificates: Path | None) -> Generator[ssl.SSLSocket]:
    with server_trust(certificates).wrap_socket(plain, server_hostname=host) as wrapped:
        yield wrapped
