"""Who may send: peers by calling and called AE title and address range, and a bounded record of who was refused."""

import ipaddress
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import structlog

from db import IMPORTED, Peer, StoreError

__all__ = ["BY_TLS", "Refusal", "RefusalBook", "judge", "plain_address"]

_log = structlog.get_logger(__name__)

BY_TLS = "TLS: "
"""How the reason of a refusal begins that came before there was an AE title."""


class Refusal(Enum):
    """Why an association is rejected: the words an administrator reads, and the A-ASSOCIATE-RJ (PS3.8 table 9-21).

    A value is (words, result, source, diagnostic).
    """

    CALLING_AE_TITLE = ("the calling AE title is not known", 1, 1, 3)
    CALLED_AE_TITLE = ("the called AE title is not this node's", 1, 1, 7)
    ADDRESS = ("the peer is known, but not at this address", 1, 1, 3)
    UNAVAILABLE = ("the list of peers could not be read", 2, 3, 1)
    STOPPING = ("the receiver is stopping", 2, 3, 1)

    @property
    def words(self) -> str:
        """What the administrator reads."""
        return self.value[0]

    @property
    def rejection(self) -> tuple[int, int, int]:
        """Result, source and diagnostic of the A-ASSOCIATE-RJ."""
        return self.value[1:]


def judge(
    peers: Iterable[Peer], *, calling: str, called: str, address: str, node_ae_title: str, accept_unknown: bool
) -> Refusal | None:
    """None if one peer allows the association, else the refusal that comes nearest to being allowed.

    A peer without a called AE title calls the node's own; one without a range may call from anywhere. Nobody calls
    with the title that imported series have: what he sent would be flagged in silence.
    """
    if calling == IMPORTED:
        return Refusal.CALLING_AE_TITLE
    if accept_unknown:
        return None
    known = [peer for peer in peers if peer.ae_title == calling]
    if not known:
        return Refusal.CALLING_AE_TITLE
    titled = [peer for peer in known if (peer.called_ae_title or node_ae_title) == called]
    if not titled:
        return Refusal.CALLED_AE_TITLE
    if not any(peer.cidr is None or _is_within(address, peer.cidr) for peer in titled):
        return Refusal.ADDRESS
    return None


def plain_address(address: str) -> str:
    """The address without its zone; an IPv4 address that came over IPv6 is told, and counts, as IPv4."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped:
        host = host.ipv4_mapped
    return str(host)


def _is_within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(plain_address(address)) in ipaddress.ip_network(cidr, strict=False)


@dataclass(slots=True)
class _Allowance:
    """Tokens of a bucket that fills with time."""

    tokens: float
    at: float


class RefusalBook:
    """Writes refusals down at a bounded rate: ``burst`` at once, then ``per_second``; the others only reach the log.

    The store counts one row for each (calling, called, address).
    """

    def __init__(
        self,
        record: Callable[[str, str, str, str], object],
        *,
        burst: int = 20,
        per_second: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._allowance = _Allowance(float(burst), clock())
        self._mutex = threading.Lock()

    def note(self, words: str, *, address: str, calling: str = "", called: str = "") -> None:
        """Log the refusal, and record it if the rate allows; who did not get so far as to say its title has none."""
        allowed = self._take()
        _log.warning(
            "association.refused",
            calling_ae_title=calling,
            called_ae_title=called,
            address=address,
            reason=words,
            listed=allowed,
        )
        if not allowed:
            return
        try:
            self._record(calling, called, plain_address(address), words)
        except StoreError as error:
            _log.warning("refusal.unlisted", error=type(error).__name__)

    def _take(self) -> bool:
        with self._mutex:
            now = self._clock()
            refill = (now - self._allowance.at) * self._per_second
            self._allowance = _Allowance(min(self._burst, self._allowance.tokens + refill), now)
            if self._allowance.tokens < 1:
                return False
            self._allowance.tokens -= 1
            return True
