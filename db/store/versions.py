"""Instances that came again with other bytes, until it is known whether they show something else."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, select, update

from db.rows import InstanceRow, ResentVersionRow
from db.store.jobs import COMPLETION
from db.store.recording import begin_revision
from db.store.room import Room, locked_series
from db.store.transitions import Note, record_event

__all__ = ["ResentVersion", "Versions"]

MOST_BEGUN = 3
"""A comparison that was begun so often and never ended takes its process with it; it is not begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResentVersion:
    """A version that came with other bytes: its file, and that of the version before it, where they can be compared."""

    instance_id: int
    path: str
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions(Room):
    """Whether other bytes are another image is found out past the receiver, which decodes nothing.

    Only what shows something else begins a revision. What cannot be compared counts as something else: that costs a
    second analysis, and never a result that is not of the newest version.
    """

    def resent_series(self) -> tuple[str, ...]:
        """The series that versions came of which are to be compared."""
        with self.database.read() as session:
            found = session.scalars(select(ResentVersionRow.series_instance_uid).distinct())
            return tuple(sorted(found))

    def begin(self, series_instance_uid: str, most: int) -> tuple[ResentVersion, ...]:
        """The next versions to be compared, oldest first, each with the one before it; that it is begun is counted."""
        with self.database.write() as session:
            due = session.scalars(
                select(ResentVersionRow)
                .where(ResentVersionRow.series_instance_uid == series_instance_uid)
                .order_by(ResentVersionRow.instance_id)
                .limit(most)
            ).all()
            rows = {
                row.id: row
                for row in session.scalars(
                    select(InstanceRow).where(InstanceRow.id.in_([one.instance_id for one in due]))
                )
            }
            begun: list[ResentVersion] = []
            for one in due:
                row = rows[one.instance_id]
                before = session.scalar(
                    select(InstanceRow.path)
                    .where(
                        InstanceRow.series_instance_uid == series_instance_uid,
                        InstanceRow.sop_instance_uid == row.sop_instance_uid,
                        InstanceRow.removed_at.is_(None),
                        InstanceRow.id < row.id,
                    )
                    .order_by(InstanceRow.id.desc())
                    .limit(1)
                )
                hopeless = one.begun >= MOST_BEGUN or row.removed_at is not None
                begun.append(ResentVersion(instance_id=row.id, path=row.path, before=None if hopeless else before))
            session.execute(
                update(ResentVersionRow)
                .where(ResentVersionRow.instance_id.in_(rows))
                .values(begun=ResentVersionRow.begun + 1)
            )
            return tuple(begun)

    def show_the_same(self, series_instance_uid: str, instance_ids: Collection[int]) -> None:
        """These versions show what those before them show: the series is as it was."""
        note = Note(
            at=self.clock(),
            actor=COMPLETION,
            detail=f"{len(instance_ids)} instances came again in other bytes and show the same; no revision begins",
        )
        with self.database.write() as session:
            gone = session.scalars(
                delete(ResentVersionRow)
                .where(ResentVersionRow.instance_id.in_(instance_ids))
                .returning(ResentVersionRow.instance_id)
            ).all()
            if gone:
                record_event(session, "series", series_instance_uid, "resent", note, series=series_instance_uid)

    def show_another(self, series_instance_uid: str) -> int | None:
        """One of them shows something else, or nobody can tell: the revision that begins; None where one began."""
        with self.database.write() as session:
            series = locked_series(session, series_instance_uid)
            due = select(ResentVersionRow.instance_id).where(
                ResentVersionRow.series_instance_uid == series_instance_uid
            )
            if session.scalar(due.limit(1)) is None:
                return None
            revision = series.revision + 1
            note = Note(at=self.clock(), actor=COMPLETION, detail=f"revision {revision} begins")
            begin_revision(session, series_instance_uid, note, revision=revision)
            return revision
