"""The sweep that tells the audit trail to an audit record repository: syslog over TLS (DICOM PS3.15 section A.6)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import structlog

from db import AuditItem, Store, Stream
from dicom_node.delivery.audit_message import Source, message_of
from dicom_node.delivery.connection import connected
from dicom_node.delivery.syslog import send_lines
from dicom_node.settings import Audit
from dicom_node.sweep import Unit

__all__ = ["AuditTrail"]

_LOG = structlog.stdlib.get_logger()

_PRIORITY = 10 * 8 + 5
"""Facility authpriv, severity notice."""


class AuditTrail:
    """Tells what was not told yet, in its order; how far it came is written down once the server has read it."""

    def __init__(self, *, settings: Audit, store: Store, source: Source, timeout_s: float) -> None:
        self._settings = settings
        self._store = store
        self._source = source
        self._timeout_s = timeout_s

    def units(self) -> Iterator[Unit]:
        """One unit for each stream, where there is a repository."""
        if self._settings.host is not None:
            for stream in Stream:
                yield Unit(identity=stream.value, run=partial(self._tell, stream))

    def _tell(self, stream: Stream) -> bool:
        """Whether there may be more.

        Raises:
            DeliveryError: the repository cannot be reached; the same is told at the next look.
        """
        feed, host = self._store.audit_feed, self._settings.host
        items, last_id = feed.next(stream)
        if items and host is not None:
            lines = [self._line(item) for item in items]
            certificates, port = self._settings.certificates, self._settings.port
            with connected(host, port, tls=True, certificates=certificates, timeout_s=self._timeout_s) as connection:
                send_lines(connection, lines)
            _LOG.info("audit.told", stream=stream.value, messages=len(items))
        return feed.told(stream, last_id)

    def _line(self, item: AuditItem) -> bytes:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = f"<{_PRIORITY}>1 {moment} {self._source.host_name} lungsentry - DICOM+RFC3881 - \ufeff"
        return head.encode() + message_of(item, self._source)
