"""Who may send, and who was refused."""

from datetime import UTC, datetime

from sqlalchemy import delete, select

from db.engine import Database
from db.rows import PeerRow, RefusalRow
from db.store.records import all_of, peer_of, refusal_of
from db.store.transitions import Note, record_event
from db.values import Peer, RefusedAssociation

_ADMINISTRATOR = "administrator"
_MAX_REFUSALS = 1000
"""Rows kept: whoever knocks under ever new names cannot fill the disk."""


class Peers:
    """Peers that are allowed, and refusals to look at."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> tuple[Peer, ...]:
        """All peers, by AE title."""
        with self._database.read() as session:
            rows = session.scalars(select(PeerRow).order_by(PeerRow.ae_title, PeerRow.called_ae_title, PeerRow.cidr))
            return all_of(rows, peer_of)

    def allow(self, peer: Peer) -> None:
        """Let a peer in; one of the same titles and range is replaced. What was refused of it is forgotten."""
        note = Note(at=datetime.now(UTC), actor=_ADMINISTRATOR)
        called, cidr = peer.called_ae_title or "", peer.cidr or ""
        with self._database.write() as session:
            row = session.scalar(
                select(PeerRow).where(
                    PeerRow.ae_title == peer.ae_title, PeerRow.called_ae_title == called, PeerRow.cidr == cidr
                )
            )
            if row is None:
                row = PeerRow(ae_title=peer.ae_title, called_ae_title=called, cidr=cidr, role=peer.role)
                session.add(row)
            row.host, row.port, row.role = peer.host, peer.port, peer.role
            session.execute(delete(RefusalRow).where(RefusalRow.calling_ae_title == peer.ae_title))
            record_event(session, "peer", peer.ae_title, "allow", note)

    def remove(self, ae_title: str) -> int:
        """Let a peer in no more; returns how many entries it had."""
        note = Note(at=datetime.now(UTC), actor=_ADMINISTRATOR)
        with self._database.write() as session:
            rows = session.scalars(select(PeerRow).where(PeerRow.ae_title == ae_title)).all()
            for row in rows:
                session.delete(row)
            if rows:
                record_event(session, "peer", ae_title, "remove", note)
            return len(rows)

    def record_refusal(self, calling_ae_title: str, called_ae_title: str, address: str, reason: str) -> None:
        """Count a refusal; one row for each pair of titles and address, the oldest forgotten past a bound."""
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = session.scalar(
                select(RefusalRow).where(
                    RefusalRow.calling_ae_title == calling_ae_title,
                    RefusalRow.called_ae_title == called_ae_title,
                    RefusalRow.address == address,
                )
            )
            if row is None:
                session.add(
                    RefusalRow(
                        calling_ae_title=calling_ae_title,
                        called_ae_title=called_ae_title,
                        address=address,
                        reason=reason,
                        count=1,
                        first_at=now,
                        last_at=now,
                    )
                )
                session.flush()
                kept = select(RefusalRow.id).order_by(RefusalRow.last_at.desc()).limit(_MAX_REFUSALS)
                session.execute(delete(RefusalRow).where(RefusalRow.id.not_in(kept)))
            else:
                row.count, row.last_at, row.reason = row.count + 1, now, reason

    def refusals(self) -> tuple[RefusedAssociation, ...]:
        """Who was refused, the latest first."""
        with self._database.read() as session:
            return all_of(session.scalars(select(RefusalRow).order_by(RefusalRow.last_at.desc())), refusal_of)
