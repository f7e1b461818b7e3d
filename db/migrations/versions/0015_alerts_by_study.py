"""One alert a study: those of its series become one, with their verdicts and events; when each is due."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ALLOWED = {"1": timedelta(minutes=60), "2": timedelta(hours=4), "3": timedelta(hours=72)}
_RANKS = {"open": 0, "acknowledged": 1, "dismissed": 2, "superseded": 3}
"""What is not decided yet stands for the study."""
_LONG_AGO = "2000-01-01 00:00:00"


def upgrade() -> None:
    op.add_column("results", sa.Column("alert", sa.JSON(), nullable=True))
    op.add_column("alerts", sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=_LONG_AGO))
    op.add_column("alerts", sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alerts", sa.Column("passed_to", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("reason", sa.Text(), nullable=True))
    _tell_results()
    _merge()
    _set_due()
    op.drop_index("ix_alerts_study_instance_uid", table_name="alerts")
    op.create_index("uq_alerts_study_instance_uid", "alerts", ["study_instance_uid"], unique=True)
    waits = sa.text("state IN ('open', 'notified') AND opened_at IS NULL")
    where: dict[str, Any] = {"sqlite_where": waits, "postgresql_where": waits}
    op.create_index("ix_alerts_due", "alerts", ["due_at"], **where)


def _alerts() -> Any:
    texts = ("study_instance_uid", "state", "category", "series_instance_uid")
    times = ("created_at", "due_at", "opened_at")
    return sa.table(
        "alerts",
        sa.column("id", sa.BigInteger()),
        sa.column("result_id", sa.BigInteger()),
        sa.column("alert", sa.JSON()),
        sa.column("burden_percent", sa.Float()),
        *(sa.column(name, sa.Text()) for name in texts),
        *(sa.column(name, sa.DateTime(timezone=True)) for name in times),
    )


def _tell_results() -> None:
    """The result that an alert is of is flagged."""
    alerts = _alerts()
    results = sa.table("results", sa.column("id", sa.BigInteger()), sa.column("alert", sa.JSON()))
    flagged = sa.select(alerts.c.alert).where(alerts.c.result_id == results.c.id).scalar_subquery()
    op.execute(results.update().where(results.c.id.in_(sa.select(alerts.c.result_id))).values(alert=flagged))


def _merge() -> None:
    """Of several alerts of a study the one that waits, else the most pressing, takes over what the others had."""
    connection, alerts = op.get_bind(), _alerts()
    several = sa.select(alerts.c.study_instance_uid).group_by(alerts.c.study_instance_uid).having(sa.func.count() > 1)
    columns = (alerts.c.study_instance_uid, alerts.c.id, alerts.c.state, alerts.c.category, alerts.c.burden_percent)
    by_study: dict[str, list[Any]] = {}
    for row in connection.execute(sa.select(*columns).where(alerts.c.study_instance_uid.in_(several))):
        by_study.setdefault(row.study_instance_uid, []).append(row)
    verdicts = sa.table("verdicts", sa.column("alert_id", sa.BigInteger()))
    events = sa.table("events", sa.column("subject_kind", sa.Text()), sa.column("subject_id", sa.Text()))
    counts = sa.table("state_counts", *(sa.column(name) for name in ("kind", "state", "count")))
    for rows in by_study.values():
        kept, *others = sorted(rows, key=lambda row: (_RANKS[row.state], row.category, -row.burden_percent, row.id))
        for other in others:
            op.execute(verdicts.update().where(verdicts.c.alert_id == other.id).values(alert_id=kept.id))
            of_other = (events.c.subject_kind == "alert") & (events.c.subject_id == str(other.id))
            op.execute(events.update().where(of_other).values(subject_id=str(kept.id)))
            op.execute(alerts.delete().where(alerts.c.id == other.id))
            op.execute(counts.insert().values(kind="alert", state=other.state, count=-1))


def _set_due() -> None:
    """From when it was raised on; who has opened it is in the events."""
    connection, alerts = op.get_bind(), _alerts()
    events = sa.table(
        "events",
        sa.column("at", sa.DateTime(timezone=True)),
        *(sa.column(name, sa.Text()) for name in ("subject_kind", "subject_id", "event")),
    )
    for row in connection.execute(sa.select(alerts.c.id, alerts.c.category, alerts.c.created_at)).all():
        looked = sa.select(sa.func.min(events.c.at)).where(
            events.c.subject_kind == "alert", events.c.subject_id == str(row.id), events.c.event == "open"
        )
        values = {"due_at": row.created_at + _ALLOWED[row.category], "opened_at": looked.scalar_subquery()}
        connection.execute(alerts.update().where(alerts.c.id == row.id).values(**values))
