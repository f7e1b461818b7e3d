"""The order in which alerts are due, the scanners they came from, and what was decided of late, from an index."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_alerts_state_by_due", "alerts", ["state", "due_at", "id"])
    op.create_index("ix_alerts_by_due", "alerts", ["due_at", "id"])
    op.create_index("ix_alerts_scanner", "alerts", ["calling_ae_title"])
    op.create_index("ix_alerts_state_decided", "alerts", ["state", "decided_at"])
