"""Where a peer is found: as the command line says, else as the node knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.cli.failures import UsageError

if TYPE_CHECKING:
    from dicom_node.cli.invocation import Invocation

_LOOPBACK = "127.0.0.1"
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not listened on


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An application entity and where it listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


def find_address(invocation: Invocation, ae_title: str | None, host: str | None, port: int | None) -> Address:
    """The peer of this AE title: with host and port as given, else a destination, an allowed peer, or this node itself.

    Raises:
        UsageError: host or port is not known.
    """
    settings = invocation.settings()
    title = ae_title or settings.node.ae_title
    if host is not None and port is not None:
        return Address(ae_title=title, host=host, port=port)
    known_host, known_port = host, port
    if title == settings.node.ae_title:
        own = settings.receiver.host
        known_host, known_port = _LOOPBACK if own in _WILDCARDS else own, settings.receiver.port
    elif (destination := next((one for one in settings.destinations if one.ae_title == title), None)) is not None:
        known_host, known_port = destination.host, destination.port
    else:
        with invocation.store() as store:
            for peer in store.peers.list():
                if peer.ae_title == title and peer.host and peer.port:
                    known_host, known_port = peer.host, peer.port
    found_host, found_port = host or known_host, port or known_port
    if not found_host or not found_port:
        raise UsageError(f"where {title} listens is not known: give --host and --port, or allow it with both")
    return Address(ae_title=title, host=found_host, port=found_port)
