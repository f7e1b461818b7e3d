"""Models in use, and what models in shadow found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "model_assignments",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("assigned_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_assignments")),
        sa.UniqueConstraint("profile", "role", name=op.f("uq_model_assignments_profile_role")),
    )
    op.create_table(
        "shadow_results",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("result_id", _BIG, nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.Column("would_alert", sa.Boolean(), nullable=True),
        sa.Column("lesion_dice", sa.Float(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_shadow_results_result_id_results")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_results")),
    )
    op.create_index(op.f("ix_shadow_results_result_id"), "shadow_results", ["result_id"], unique=False)
    op.create_index(
        op.f("ix_shadow_results_series_instance_uid"), "shadow_results", ["series_instance_uid"], unique=False
    )
    op.create_index("ix_shadow_results_model", "shadow_results", ["model_name", "model_version"], unique=False)
