"""What a series lacks, which reconstruction was chosen in its place; what an association brought, and how it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("series", sa.Column("lacking", sa.Text(), nullable=True))
    op.add_column("series", sa.Column("rejected_for", sa.Text(), nullable=True))
    op.add_column("series", sa.Column("rejection", sa.JSON(), nullable=True))
    op.add_column("series", sa.Column("screenings", sa.Integer(), server_default="0", nullable=False))
    op.create_index(op.f("ix_series_rejected_for"), "series", ["rejected_for"], unique=False)
    op.add_column("associations", sa.Column("released", sa.Boolean(), nullable=True))
    op.create_table(
        "association_series",
        sa.Column("association_id", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("association_id", "series_instance_uid", name=op.f("pk_association_series")),
    )
    op.create_index(
        op.f("ix_association_series_series_instance_uid"), "association_series", ["series_instance_uid"], unique=False
    )
    op.create_index("ix_series_waiting", "series", ["state", "last_received_at"], unique=False)
