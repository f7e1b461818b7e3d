"""What readers say about flagged examinations."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("alert_id", _BIG, nullable=False),
        sa.Column("result_id", _BIG, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("looks_like", sa.Text(), nullable=True),
        sa.Column("extent", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_verdicts_alert_id")),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_verdicts_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("result_id", "who", name=op.f("uq_verdicts_result_id_who")),
    )
    op.create_index(op.f("ix_verdicts_alert_id"), "verdicts", ["alert_id"], unique=False)
