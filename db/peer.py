"""Who may send, and who was refused."""

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Peer", "RefusedAssociation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who may send: by calling AE title, the AE title it calls (None: the node's own) and its range (None: any)."""

    ae_title: str
    called_ae_title: str | None
    cidr: str | None
    host: str | None
    port: int | None
    role: str = "scanner"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedAssociation:
    """Who was refused, how often, and why the last time."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
