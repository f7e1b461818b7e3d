"""What destinations refused, and as what an object was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused_classes",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sop_class_uid", name=op.f("pk_refused_classes")),
    )
    op.add_column("deliveries", sa.Column("sent_as", sa.JSON(), nullable=True))
