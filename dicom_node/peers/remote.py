"""Another application entity, and how it is called."""

import ssl
from dataclasses import dataclass

__all__ = ["MAX_PDU_BYTES", "PDU_TIMEOUT_S", "TIMEOUT_S", "Remote"]

TIMEOUT_S = 60.0
"""A PACS may have to load a study from tape before it answers."""
PDU_TIMEOUT_S = 30.0
"""From a PDU's first byte to its last, as the receiver's default."""
MAX_PDU_BYTES = 131_072
"""Longest PDU that is taken, and what is announced: as the receiver's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An application entity at an address, the AE title it is called with, and with a context TLS.

    ``timeout_s`` is for the connection, the association, each reply, and each PDU that it has to take.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    tls: ssl.SSLContext | None = None
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"

    @property
    def pdu_timeout_s(self) -> float:
        """Time from a PDU's first byte to its last."""
        return min(self.timeout_s, PDU_TIMEOUT_S)
