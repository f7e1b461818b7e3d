"""Messages go to a syslog server (RFC 5424) over TLS (RFC 5425), one line each.

Syslog confirms nothing. What stands for it is the close of the TLS connection: the server has read to its end.
"""

import socket
import ssl
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from alerts.alert import Category
from alerts.delivery import Occasion
from alerts.message import Message
from alerts.wording import RESEARCH_USE
from dicom_node.delivery.channel import Receipt
from dicom_node.delivery.connection import connected
from dicom_node.settings import SyslogDestination

__all__ = ["SyslogChannel", "line_of", "send_lines"]

_LOCAL0 = 16
_SEVERITIES = {Category.CATEGORY_1: 3, Category.CATEGORY_2: 4, Category.CATEGORY_3: 5}  # error, warning, notice
_NAMES = {
    Occasion.FLAGGED: "FLAGGED",
    Occasion.TAKEN_UP: "TAKENUP",
    Occasion.ESCALATED: "ESCALATED",
    Occasion.WITHDRAWN: "WITHDRAWN",
}
_MOST_BYTES = 8192  # RFC 5425 section 4.3.1: what a receiver should be able to take


class SyslogChannel:
    """A syslog server."""

    most_together = 1

    def __init__(self, settings: SyslogDestination, *, host_name: str, timeout_s: float) -> None:
        self._settings = settings
        self._host_name = host_name
        self._timeout_s = timeout_s

    def tell(self, key: str, messages: Sequence[Message]) -> Receipt:
        """Send the line, and wait until the server has closed what we closed.

        Raises:
            Unreachable, NotAdmitted: worth another attempt.
        """
        (message,) = messages
        line = line_of(key, message, host_name=self._host_name)
        with self._connected() as connection:
            send_lines(connection, [line])
        return Receipt(answer="closed")

    def check(self) -> str:
        """Shake hands, and say nothing.

        Raises:
            DeliveryError: no TLS comes about.
        """
        with self._connected():
            return f"{self._settings.host}:{self._settings.port} speaks TLS"

    def _connected(self) -> AbstractContextManager[socket.socket]:
        settings = self._settings
        return connected(
            settings.host, settings.port, tls=True, certificates=settings.certificates, timeout_s=self._timeout_s
        )


def line_of(key: str, message: Message, *, host_name: str) -> bytes:
    """The message as RFC 5424 has it, cut where no receiver would have to take it."""
    alert = message.alert
    priority = _LOCAL0 * 8 + _SEVERITIES[alert.category]
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = [
        f"{alert.headline}. {RESEARCH_USE} ACR category {alert.category.value}.",
        f"message={key} study={alert.study_instance_uid}",
        *(f"{name}={value}" for name, value in _identity(message) if value),
        *([f"case={message.link}"] if message.link else []),
        *(["The PACS has not confirmed the report yet."] if message.confirmed is False else []),
        *alert.reasons,
    ]
    text = " ".join(" ".join(told).split())
    head = f"<{priority}>1 {moment} {host_name} lungsentry - {_NAMES[message.occasion]} - \ufeff"
    return (head + text).encode()[:_MOST_BYTES].decode("utf-8", "ignore").encode()


def _identity(message: Message) -> tuple[tuple[str, str], ...]:
    identity = message.identity
    return (
        ("accession", identity.accession_number),
        ("patient", identity.patient_id),
        ("name", identity.patient_name),
        ("born", identity.birth_date),
    )


def send_lines(connection: socket.socket, lines: Sequence[bytes]) -> None:
    """Send them, each with its length before it, and wait until the server has closed what we closed."""
    for line in lines:
        connection.sendall(f"{len(line)} ".encode() + line)
    if isinstance(connection, ssl.SSLSocket):
        _close(connection)


def _close(connection: ssl.SSLSocket) -> None:
    """Say that this is the end, and wait for the server to say so too, or to be gone."""
    try:
        connection.unwrap().close()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
        """It closed without saying so: it had read to our end."""
