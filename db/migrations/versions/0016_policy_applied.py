"""What the policy saw in each result; verdicts counted as they are given; results by time; deliveries by when sent."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KEY = ("profile", "model_name", "model_version", "calling_ae_title", "verdict")


def upgrade() -> None:
    op.add_column("results", sa.Column("clauses", sa.JSON(), nullable=True))
    op.add_column("results", sa.Column("request", sa.JSON(), nullable=True))
    _index_where("superseded_at IS NULL", "ix_results_made", "results", "created_at", "id")
    _index_where("state = 'sent'", "ix_deliveries_sent", "deliveries", "sent_at")
    op.create_table(
        "verdict_counts",
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_verdict_counts")),
    )
    _count_verdicts()


def _count_verdicts() -> None:
    """Of each result the last verdict counts."""
    connection = op.get_bind()
    verdicts = sa.table("verdicts", *(sa.column(name) for name in ("id", "result_id", "at", "verdict")))
    results = sa.table(
        "results",
        *(sa.column(name) for name in ("id", "series_instance_uid", "model_name", "model_version")),
        sa.column("findings", sa.JSON()),
    )
    series = sa.table("series", *(sa.column(name) for name in ("series_instance_uid", "calling_ae_title")))
    given = (
        sa.select(
            verdicts.c.result_id,
            results.c.findings["profile"].as_string(),
            results.c.model_name,
            results.c.model_version,
            series.c.calling_ae_title,
            verdicts.c.verdict,
        )
        .join_from(verdicts, results, results.c.id == verdicts.c.result_id)
        .join(series, series.c.series_instance_uid == results.c.series_instance_uid)
        .order_by(verdicts.c.at, verdicts.c.id)
    )
    last = {row[0]: tuple(row[1:]) for row in connection.execute(given)}
    counts: dict[tuple[Any, ...], int] = {}
    for key in last.values():
        counts[key] = counts.get(key, 0) + 1
    table = sa.table("verdict_counts", *(sa.column(name) for name in (*_KEY, "count")))
    for key, count in counts.items():
        op.execute(table.insert().values(**dict(zip(_KEY, key, strict=True)), count=count))


def _index_where(condition: str, name: str, table: str, *columns: str) -> None:
    where: dict[str, Any] = {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
    op.create_index(name, table, list(columns), **where)
