"""Who may send, and who was refused."""

import ipaddress
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from db.actor import Actor
from db.peer import Peer, RefusedAssociation
from db.rows import PeerRow, RefusalRow
from db.store.conversion import peer_of
from db.store.room import Room, inserting
from db.store.transitions import Note, record_event

__all__ = ["Peers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers(Room):
    """The list of peers, and the refusals that an administrator looks through."""

    def list(self) -> tuple[Peer, ...]:
        """Everyone who may send."""
        with self.database.read() as session:
            return tuple(
                peer_of(row) for row in session.scalars(select(PeerRow).order_by(PeerRow.ae_title, PeerRow.id))
            )

    def allow(self, peer: Peer, who: str = "") -> None:
        """Let a peer send; what was said before for the same titles and range is replaced."""
        called, cidr = peer.called_ae_title or "", peer.cidr or ""
        with self.database.write() as session:
            session.execute(
                delete(PeerRow).where(
                    PeerRow.ae_title == peer.ae_title, PeerRow.called_ae_title == called, PeerRow.cidr == cidr
                )
            )
            session.execute(
                insert(PeerRow).values(
                    ae_title=peer.ae_title,
                    called_ae_title=called,
                    cidr=cidr,
                    host=peer.host,
                    port=peer.port,
                    role=peer.role,
                )
            )
            note = Note(at=self.clock(), actor=_actor(who), detail=f"from {cidr or 'any address'}")
            record_event(session, "peer", peer.ae_title, "allow", note)

    def remove(self, ae_title: str, who: str = "") -> int:
        """Refuse the AE title from now on; how many entries that were."""
        with self.database.write() as session:
            removed = session.scalars(delete(PeerRow).where(PeerRow.ae_title == ae_title).returning(PeerRow.id)).all()
            if removed:
                record_event(session, "peer", ae_title, "remove", Note(at=self.clock(), actor=_actor(who)))
            return len(removed)

    def match(self, calling: str, called: str, address: str) -> Peer | None:
        """The first peer that fits; one without a called AE title fits any. The address is an IP address."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        for peer in self.list():
            titles = peer.ae_title == calling and peer.called_ae_title in (None, called)
            if titles and (peer.cidr is None or ip in ipaddress.ip_network(peer.cidr, strict=False)):
                return peer
        return None

    def record_refusal(self, calling: str, called: str, address: str, reason: str) -> None:
        """Count a refusal: one entry for each calling and called AE title and address."""
        now = self.clock()
        with self.database.write() as session:
            statement = inserting(session, RefusalRow).values(
                calling_ae_title=calling,
                called_ae_title=called,
                address=address,
                reason=reason,
                count=1,
                first_at=now,
                last_at=now,
            )
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["calling_ae_title", "called_ae_title", "address"],
                    set_={"count": RefusalRow.count + 1, "reason": reason, "last_at": now},
                )
            )

    def refusals(self, limit: int = 200) -> tuple[RefusedAssociation, ...]:
        """Who was refused, the last first."""
        with self.database.read() as session:
            rows = session.scalars(select(RefusalRow).order_by(RefusalRow.last_at.desc()).limit(limit))
            return tuple(
                RefusedAssociation(
                    calling_ae_title=row.calling_ae_title,
                    called_ae_title=row.called_ae_title,
                    address=row.address,
                    reason=row.reason,
                    count=row.count,
                    first_at=row.first_at,
                    last_at=row.last_at,
                )
                for row in rows
            )


def _actor(who: str) -> Actor:
    return Actor.user(who) if who else Actor.process("node")
