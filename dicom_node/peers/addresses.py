"""Where a peer listens that is known by its AE title alone."""

from dataclasses import dataclass

from db import Store
from dicom_node.settings import Settings

__all__ = ["Address", "locate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port."""

    host: str
    port: int


def locate(settings: Settings, store: Store, ae_title: str) -> Address | None:
    """As the list of peers says (`peers allow --host --port`), else as a destination of the settings says."""
    for peer in store.peers.list():
        if peer.ae_title == ae_title and peer.host and peer.port:
            return Address(host=peer.host, port=peer.port)
    for destination in settings.destinations:
        if destination.ae_title == ae_title:
            return Address(host=destination.host, port=destination.port)
    return None
