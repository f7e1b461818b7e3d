"""A delivery is an artefact for a destination, or a message to it about an alert."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.alter_column("artefact_id", existing_type=_BIG, nullable=True)
        deliveries.add_column(sa.Column("alert_id", _BIG, nullable=True))
        deliveries.add_column(sa.Column("occasion", sa.Text(), nullable=True))
        deliveries.create_foreign_key(op.f("fk_deliveries_alert_id"), "alerts", ["alert_id"], ["id"])
        deliveries.create_check_constraint(
            op.f("ck_deliveries_artefact_or_alert"), "(artefact_id IS NULL) = (alert_id IS NOT NULL)"
        )
    op.create_index(op.f("ix_deliveries_alert_id"), "deliveries", ["alert_id"], unique=False)
    op.create_index(
        "ix_deliveries_told",
        "deliveries",
        ["destination", "sent_at"],
        unique=False,
        sqlite_where=sa.text("alert_id IS NOT NULL"),
        postgresql_where=sa.text("alert_id IS NOT NULL"),
    )
