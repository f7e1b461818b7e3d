"""The tables. Rows never leave ``db``; ``db.values`` holds what does."""

from db.rows.analysed import ArtefactRow, JobRow, ModelAssignmentRow, ResultRow, ShadowResultRow
from db.rows.base import Row, UtcDateTime, clean
from db.rows.node import (
    AuditForwardRow,
    EventRow,
    FailingUnitRow,
    HeartbeatRow,
    PeerRow,
    RefusalRow,
    SchemaFloorRow,
    StateCountRow,
)
from db.rows.outbound import AlertRow, CommitmentRow, DeliveryRow, PausedDestinationRow, RefusedClassRow
from db.rows.received import (
    AssociationRow,
    AssociationSeriesRow,
    InstanceRow,
    PerformedSeriesRow,
    PerformedStepRow,
    ResentVersionRow,
    SeriesRow,
    StudyRow,
)

__all__ = [
    "AlertRow",
    "ArtefactRow",
    "AssociationRow",
    "AssociationSeriesRow",
    "AuditForwardRow",
    "CommitmentRow",
    "DeliveryRow",
    "EventRow",
    "FailingUnitRow",
    "HeartbeatRow",
    "InstanceRow",
    "JobRow",
    "ModelAssignmentRow",
    "PausedDestinationRow",
    "PeerRow",
    "PerformedSeriesRow",
    "PerformedStepRow",
    "RefusalRow",
    "RefusedClassRow",
    "ResentVersionRow",
    "ResultRow",
    "Row",
    "SchemaFloorRow",
    "SeriesRow",
    "ShadowResultRow",
    "StateCountRow",
    "StudyRow",
    "UtcDateTime",
    "clean",
]
