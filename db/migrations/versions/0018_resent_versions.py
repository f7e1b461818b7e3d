"""Versions of instances that are to be compared with the one before them; dates of studies in one form."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "resent_versions",
        sa.Column(
            "instance_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("begun", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_resent_versions_instance_id_instances")
        ),
        sa.ForeignKeyConstraint(
            ["series_instance_uid"],
            ["series.series_instance_uid"],
            name=op.f("fk_resent_versions_series_instance_uid_series"),
        ),
        sa.PrimaryKeyConstraint("instance_id", name=op.f("pk_resent_versions")),
    )
    op.create_index(op.f("ix_resent_versions_series_instance_uid"), "resent_versions", ["series_instance_uid"])
    op.execute("UPDATE studies SET study_date = replace(study_date, '.', '') WHERE study_date LIKE '____.__.__'")
