"""Performed procedure steps of modalities."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "performed_steps",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("calling_ae_title", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_performed_steps")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_performed_steps_sop_instance_uid")),
    )
    op.create_table(
        "performed_series",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("step_id", _BIG, nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["step_id"], ["performed_steps.id"], name=op.f("fk_performed_series_step_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_performed_series")),
        sa.UniqueConstraint(
            "step_id", "series_instance_uid", name=op.f("uq_performed_series_step_id_series_instance_uid")
        ),
    )
    op.create_index(
        op.f("ix_performed_series_series_instance_uid"), "performed_series", ["series_instance_uid"], unique=False
    )
