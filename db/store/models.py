"""Models in use: which one is active or in shadow for a profile, with an event for every change, and shadow results."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from analysis.findings import Findings, Profile
from db.actor import Actor
from db.model_use import ModelAssignment, ModelRole, ShadowResult, StoredShadowResult
from db.rows import EventRow, ModelAssignmentRow, ResultRow, ShadowResultRow
from db.store.conversion import event_of, from_json, to_json
from db.store.room import Room
from db.store.transitions import Note, record_event
from db.values import StoredEvent

__all__ = ["Models"]

_KIND = "model"
_NONE = {ModelRole.ACTIVE: "shipped", ModelRole.SHADOW: None}
"""What stands in a role that nothing was assigned to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models(Room):
    """Who assigned which model to what."""

    def assignments(self) -> tuple[ModelAssignment, ...]:
        """Every assignment; a profile without an active one has the shipped model."""
        with self.database.read() as session:
            rows = session.scalars(
                select(ModelAssignmentRow).order_by(ModelAssignmentRow.profile, ModelAssignmentRow.role)
            )
            return tuple(_assignment_of(row) for row in rows)

    def assigned(self, profile: Profile, role: ModelRole) -> ModelAssignment | None:
        """The assignment of a role."""
        with self.database.read() as session:
            row = _row(session, profile, role)
            return None if row is None else _assignment_of(row)

    def assign(self, profile: Profile, role: ModelRole, *, name: str, version: str, sha256: str, who: str) -> None:
        """Put a model in a role; what stood there is replaced."""
        reference = f"{name}@{version}"
        note = Note(at=self.clock(), actor=Actor.user(who), detail=f"{profile.value}, SHA-256 {sha256}")
        with self.database.write() as session:
            before = _clear(session, profile, role)
            session.add(
                ModelAssignmentRow(
                    profile=profile.value,
                    role=role.value,
                    model_name=name,
                    model_version=version,
                    weights_sha256=sha256,
                    assigned_at=note.at,
                    assigned_by=who,
                )
            )
            session.flush()
            record_event(session, _KIND, reference, f"assign_{role.value}", note, moved=(before, reference))

    def release(self, profile: Profile, role: ModelRole, who: str) -> bool:
        """Take the model out of a role; whether there was one. Active is then the shipped model, in shadow none."""
        note = Note(at=self.clock(), actor=Actor.user(who), detail=profile.value)
        with self.database.write() as session:
            before = _clear(session, profile, role)
            if before == _NONE[role]:
                return False
            record_event(session, _KIND, before, f"release_{role.value}", note, moved=(before, _NONE[role]))
            return True

    def record_installed(self, name: str, version: str, sha256: str, who: str) -> None:
        """Write down who installed a model."""
        note = Note(at=self.clock(), actor=Actor.user(who), detail=f"SHA-256 {sha256}")
        with self.database.write() as session:
            record_event(session, _KIND, f"{name}@{version}", "install", note)

    def events(self, reference: str) -> tuple[StoredEvent, ...]:
        """What was done with a model on this node, in order."""
        with self.database.read() as session:
            rows = session.scalars(
                select(EventRow)
                .where(EventRow.subject_kind == _KIND, EventRow.subject_id == reference)
                .order_by(EventRow.id)
            )
            return tuple(event_of(row) for row in rows)

    def record_shadow(self, result_id: int, shadow: ShadowResult, worker: str) -> None:
        """Keep what a model in shadow made of the series of a result. Nothing else changes."""
        now = self.clock()
        with self.database.write() as session:
            result = session.get_one(ResultRow, result_id)
            session.add(
                ShadowResultRow(
                    result_id=result_id,
                    series_instance_uid=result.series_instance_uid,
                    model_name=shadow.name,
                    model_version=shadow.version,
                    weights_sha256=shadow.sha256,
                    findings=None if shadow.findings is None else to_json(shadow.findings),
                    would_alert=shadow.would_alert,
                    lesion_dice=shadow.lesion_dice,
                    cause=shadow.cause,
                    seconds=shadow.seconds,
                    created_at=now,
                )
            )
            note = Note(at=now, actor=Actor.process(worker), detail=f"{shadow.reference}: {shadow.cause or 'measured'}")
            record_event(session, "result", result_id, "shadow", note, series=result.series_instance_uid)

    def shadows(
        self, *, series_instance_uid: str | None = None, reference: str | None = None
    ) -> tuple[StoredShadowResult, ...]:
        """What models in shadow found: of a series, by a model, or all; the newest first."""
        statement = select(ShadowResultRow).order_by(ShadowResultRow.id.desc())
        if series_instance_uid is not None:
            statement = statement.where(ShadowResultRow.series_instance_uid == series_instance_uid)
        if reference is not None:
            name, _, version = reference.rpartition("@")
            statement = statement.where(ShadowResultRow.model_name == name, ShadowResultRow.model_version == version)
        with self.database.read() as session:
            return tuple(_shadow_of(row) for row in session.scalars(statement))


def _row(session: Session, profile: Profile, role: ModelRole) -> ModelAssignmentRow | None:
    return session.scalar(
        select(ModelAssignmentRow).where(
            ModelAssignmentRow.profile == profile.value, ModelAssignmentRow.role == role.value
        )
    )


def _clear(session: Session, profile: Profile, role: ModelRole) -> str | None:
    """Empty a role; the reference of what stood there."""
    row = _row(session, profile, role)
    if row is None:
        return _NONE[role]
    session.execute(delete(ModelAssignmentRow).where(ModelAssignmentRow.id == row.id))
    return f"{row.model_name}@{row.model_version}"


def _assignment_of(row: ModelAssignmentRow) -> ModelAssignment:
    return ModelAssignment(
        profile=Profile(row.profile),
        role=ModelRole(row.role),
        name=row.model_name,
        version=row.model_version,
        sha256=row.weights_sha256,
        assigned_at=row.assigned_at,
        assigned_by=row.assigned_by,
    )


def _shadow_of(row: ShadowResultRow) -> StoredShadowResult:
    return StoredShadowResult(
        id=row.id,
        result_id=row.result_id,
        series_instance_uid=row.series_instance_uid,
        shadow=ShadowResult(
            name=row.model_name,
            version=row.model_version,
            sha256=row.weights_sha256,
            findings=None if row.findings is None else from_json(Findings, row.findings),
            would_alert=row.would_alert,
            lesion_dice=row.lesion_dice,
            cause=row.cause,
            seconds=row.seconds,
        ),
        created_at=row.created_at,
    )
