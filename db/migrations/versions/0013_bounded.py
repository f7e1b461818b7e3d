"""Every look by an index: counts of states, the line of jobs, models of results; and what lets old rows go."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COUNTED = (
    ("series", "series"),
    ("job", "jobs"),
    ("alert", "alerts"),
    ("delivery", "deliveries"),
    ("commitment", "commitments"),
)


def upgrade() -> None:
    op.create_table(
        "state_counts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state_counts")),
    )
    for kind, table in _COUNTED:
        op.execute(
            f"INSERT INTO state_counts (kind, state, count) SELECT '{kind}', state, COUNT(*) FROM {table} "  # noqa: S608
            "GROUP BY state"
        )
    op.drop_column("instances", "header")
    _order_jobs()
    _name_models()
    for name in ("ix_series_state", "ix_series_last_received_at", "ix_series_waiting"):
        op.drop_index(name, table_name="series")
    op.create_index("ix_series_newest", "series", ["last_received_at", "series_instance_uid"])
    op.create_index("ix_series_state_newest", "series", ["state", "last_received_at", "series_instance_uid"])
    _index_where(
        "instances_removed_at IS NULL OR instances_removed_at < last_received_at",
        "ix_series_with_instances",
        "series",
        "state",
        "ended_at",
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state", "id"])
    op.create_index("ix_commitments_state", "commitments", ["state", "id"])
    op.create_index("ix_commitments_requested_at", "commitments", ["requested_at"])
    op.create_index("ix_performed_steps_begun_at", "performed_steps", ["begun_at"])
    op.create_index("ix_refusals_last_at", "refusals", ["last_at"])
    op.add_column("events", sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.false()))
    _index_where("NOT kept", "ix_events_passing", "events", "at")


def _order_jobs() -> None:
    """Those that wait keep their order; what was asked for again comes after what is fresh."""
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("site", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE jobs SET priority = 1, requested_by = substr(requested_by, 9) WHERE requested_by LIKE 'requeue:%'"
    )
    op.execute(
        "UPDATE jobs SET site = (SELECT calling_ae_title FROM series WHERE "
        "series.series_instance_uid = jobs.series_instance_uid)"
    )
    jobs = sa.table("jobs", sa.column("id"), sa.column("kept", sa.Boolean()))
    results = sa.table("results", sa.column("job_id"))
    op.execute(jobs.update().where(jobs.c.id.in_(sa.select(results.c.job_id))).values(kept=True))
    op.drop_index("ix_jobs_due", table_name="jobs")
    op.create_index("ix_jobs_state", "jobs", ["state", "id"])
    queued = "state = 'queued'"
    _index_where(queued, "ix_jobs_due", "jobs", "priority", "turn", "id", "not_before")
    _index_where(queued, "ix_jobs_site", "jobs", "priority", "site", "turn")
    _index_where(queued, "ix_jobs_not_before", "jobs", "not_before")
    _index_where(queued, "ix_jobs_oldest", "jobs", "created_at")
    _index_where("NOT kept", "ix_jobs_finished", "jobs", "finished_at")


def _name_models() -> None:
    op.add_column("results", sa.Column("model_name", sa.Text(), nullable=False, server_default=""))
    results = sa.table("results", sa.column("model_name", sa.Text()), sa.column("findings", sa.JSON()))
    op.execute(results.update().values(model_name=results.c.findings[("provenance", "model_name")].as_string()))
    op.drop_index("ix_results_model_version", table_name="results")
    op.create_index("ix_results_study_instance_uid", "results", ["study_instance_uid"])
    _index_where(
        "superseded_at IS NULL", "ix_results_model", "results", "model_version", "model_name", "series_instance_uid"
    )


def _index_where(condition: str, name: str, table: str, *columns: str) -> None:
    in_sqlite = "kept = 0" if condition == "NOT kept" else condition
    where: dict[str, Any] = {"sqlite_where": sa.text(in_sqlite), "postgresql_where": sa.text(condition)}
    op.create_index(name, table, list(columns), **where)
