"""Where a peer listens that is known by its AE title alone, and whether it is called by TLS."""

from collections.abc import Callable, Iterable

from db import Peer, Store
from dicom_node.network.tls import TlsError, certificate_folder
from dicom_node.peers.errors import UnknownAddress, UnusableTls
from dicom_node.peers.remote import TIMEOUT_S, Remote
from dicom_node.settings import Destination, DicomDestination, Node, Receiver, Settings, Tls

__all__ = ["AddressBook", "address_book"]

_LOOPBACK = "127.0.0.1"
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not listened on


class AddressBook:
    """Finds this node itself, a destination of the settings, else a peer that is allowed with its address."""

    def __init__(
        self,
        *,
        node: Node,
        receiver: Receiver,
        destinations: Iterable[Destination],
        tls: Tls,
        peers: Callable[[], Iterable[Peer]],
    ) -> None:
        self._node = node
        self._receiver = receiver
        self._destinations = tuple(one for one in destinations if isinstance(one, DicomDestination))
        self._tls = tls
        self._certificates = certificate_folder(tls)
        self._peers = peers

    def remote(
        self,
        ae_title: str,
        *,
        host: str | None = None,
        port: int | None = None,
        calling_ae_title: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Remote:
        """How to call this AE title; ``host`` and ``port`` stand above what is known.

        Raises:
            UnknownAddress: host or port is not known.
            UnusableTls: it is called by TLS, and the certificates cannot be used.
        """
        if host is None or port is None:
            known_host, known_port = self._known(ae_title)
            host, port = host or known_host, port or known_port
        if not host or not port:
            raise UnknownAddress(f"Where is {ae_title}? `lungsentry peers allow` it with --host and --port.")
        tls = None
        if self._certificates is not None and ae_title in self._tls.outgoing:
            try:
                tls = self._certificates.client_context()
            except TlsError as error:
                raise UnusableTls(str(error)) from error
        return Remote(
            ae_title=ae_title,
            host=host,
            port=port,
            calling_ae_title=calling_ae_title or self._node.ae_title,
            tls=tls,
            timeout_s=timeout_s,
        )

    def _known(self, ae_title: str) -> tuple[str | None, int | None]:
        if ae_title == self._node.ae_title:
            own = self._receiver.host
            return _LOOPBACK if own in _WILDCARDS else own, self._receiver.port
        for destination in self._destinations:
            if destination.ae_title == ae_title:
                return destination.host, destination.port
        for peer in self._peers():
            if peer.ae_title == ae_title and peer.host and peer.port:
                return peer.host, peer.port
        return None, None


def address_book(settings: Settings, store: Store) -> AddressBook:
    """The addresses that these settings and this list of peers know."""
    return AddressBook(
        node=settings.node,
        receiver=settings.receiver,
        destinations=settings.destinations,
        tls=settings.tls,
        peers=store.peers.list,
    )
