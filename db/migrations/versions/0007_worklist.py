"""Typed actors; what the worklist is filtered and sorted by; UIDs that are found from either end."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PEER = sa.text("subject_kind IN ('performed_step', 'commitment') AND actor <> 'commitment'")
_USER = sa.text(
    "subject_kind IN ('peer', 'model') OR actor LIKE 'requeue:%' OR (subject_kind = 'alert' AND event IN "
    "('acknowledge', 'dismiss')) OR (subject_kind IN ('job', 'series') AND detail = 'cancelled by ' || actor)"
)
"""Who the actors of old rows were, from what they did: the column held a name only."""


def upgrade() -> None:
    _type_actors()
    _reverse_uids()
    op.add_column("series", sa.Column("calling_ae_title", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE series SET calling_ae_title = COALESCE((SELECT calling_ae_title FROM instances WHERE "
        "instances.series_instance_uid = series.series_instance_uid ORDER BY instances.id LIMIT 1), '')"
    )
    _file_alerts()


def _type_actors() -> None:
    op.add_column("events", sa.Column("actor_kind", sa.Text(), nullable=False, server_default="process"))
    op.add_column("events", sa.Column("actor_name", sa.Text(), nullable=False, server_default="node"))
    events = sa.table("events", *(sa.column(name, sa.Text()) for name in ("actor", "actor_kind", "actor_name")))
    for kind, which in (("process", sa.true()), ("peer", _PEER), ("user", _USER)):
        op.execute(events.update().where(events.c.actor.is_not(None), which).values(actor_kind=kind))
    op.execute(events.update().where(events.c.actor.is_not(None)).values(actor_name=events.c.actor))
    requeued = events.c.actor.like("requeue:%")
    op.execute(events.update().where(requeued).values(actor_name=sa.func.substr(events.c.actor, len("requeue:") + 1)))
    op.drop_column("events", "actor")


def _reverse_uids() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.create_function("reverse", 1, lambda uid: uid[::-1])
    for table, uid in (("studies", "study_instance_uid"), ("series", "series_instance_uid")):
        op.add_column(table, sa.Column("reversed_uid", sa.Text(), nullable=False, server_default=""))
        op.execute(f"UPDATE {table} SET reversed_uid = reverse({uid})")  # noqa: S608 - names of ours
        for column in (uid, "reversed_uid"):
            _find_by_beginning(table, column)
    op.drop_index("ix_studies_patient_id", table_name="studies")
    _find_by_beginning("studies", "patient_id")
    _find_by_beginning("studies", "accession_number")


def _find_by_beginning(table: str, column: str) -> None:
    op.create_index(f"ix_{table}_{column}", table, [column], postgresql_ops={column: "text_pattern_ops"})


def _file_alerts() -> None:
    texts = ("study_instance_uid", "category", "profile", "quality", "calling_ae_title")
    for name in texts:
        op.add_column("alerts", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("alerts", sa.Column("incidental", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("alerts", sa.Column("burden_percent", sa.Float(), nullable=False, server_default="0"))
    op.add_column(
        "alerts",
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default="2000-01-01 00:00:00"),
    )
    alerts = sa.table(
        "alerts",
        *(sa.column(name) for name in (*texts, "series_instance_uid", "result_id", "received_at")),
        sa.column("alert", sa.JSON()),
        sa.column("incidental", sa.Boolean()),
        sa.column("burden_percent", sa.Float()),
    )
    series = sa.table("series", *map(sa.column, ("series_instance_uid", "calling_ae_title", "last_received_at")))
    results = sa.table("results", sa.column("id"), sa.column("findings", sa.JSON()))

    def of_series(column: str) -> sa.ScalarSelect[object]:
        return (
            sa.select(series.c[column])
            .where(series.c.series_instance_uid == alerts.c.series_instance_uid)
            .scalar_subquery()
        )

    def of_result(value: sa.ColumnElement[str]) -> sa.ScalarSelect[str]:
        return sa.select(value).where(results.c.id == alerts.c.result_id).scalar_subquery()

    op.execute(
        alerts.update().values(
            study_instance_uid=alerts.c.alert["study_instance_uid"].as_string(),
            category=alerts.c.alert["category"].as_string(),
            incidental=alerts.c.alert["incidental"].as_boolean(),
            burden_percent=alerts.c.alert["burden_percent"].as_float(),
            profile=of_result(results.c.findings["profile"].as_string()),
            quality=of_result(results.c.findings[("quality", "level")].as_string()),
            calling_ae_title=of_series("calling_ae_title"),
            received_at=of_series("last_received_at"),
        )
    )
    op.drop_index("ix_alerts_state", table_name="alerts")
    op.create_index("ix_alerts_study_instance_uid", "alerts", ["study_instance_uid"])
    for name, *columns in (
        ("ix_alerts_state_pressing", "state", "category", "received_at", "id"),
        ("ix_alerts_state_received", "state", "received_at", "id"),
        ("ix_alerts_state_burden", "state", "burden_percent", "id"),
        ("ix_alerts_state_raised", "state", "id"),
        ("ix_alerts_pressing", "category", "received_at", "id"),
        ("ix_alerts_received", "received_at", "id"),
        ("ix_alerts_burden", "burden_percent", "id"),
    ):
        op.create_index(name, "alerts", columns)
