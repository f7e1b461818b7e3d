"""Who a study's patient is: issuer, birth date and sex beside the ID; an alert as it was when a reader decided."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("issuer_of_patient_id", "patient_birth_date", "patient_sex"):
        op.add_column("studies", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("alerts", sa.Column("judged", sa.JSON(), nullable=True))
