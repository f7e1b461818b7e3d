"""Files of results as rows of their own; deliveries refer to them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_RESULTS = sa.table(
    "results",
    sa.column("id"),
    sa.column("picture_paths", sa.JSON()),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
_BATCH = 1000


def upgrade() -> None:
    artefacts = op.create_table(
        "artefacts",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("result_id", _BIG, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_artefacts_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artefacts")),
        sa.UniqueConstraint("result_id", "name", name=op.f("uq_artefacts_result_id_name")),
    )
    op.execute(
        "INSERT INTO artefacts (result_id, kind, name, media_type, sha256, path, sop_class_uid, sop_instance_uid,"
        " created_at) SELECT id, 'sr', 'report.dcm', 'application/dicom', report_sha256, report_path,"
        " report_sop_class_uid, report_sop_instance_uid, created_at FROM results ORDER BY id"
    )
    _take_over_pictures(artefacts)
    op.create_index(op.f("ix_artefacts_path"), "artefacts", ["path"], unique=False)
    op.create_index(op.f("ix_artefacts_sop_instance_uid"), "artefacts", ["sop_instance_uid"], unique=False)
    _refer()
    for column in ("report_path", "report_sop_instance_uid", "report_sop_class_uid", "report_sha256", "picture_paths"):
        op.drop_column("results", column)


def _take_over_pictures(artefacts: sa.Table) -> None:
    connection, last = op.get_bind(), 0
    columns = (_RESULTS.c.id, _RESULTS.c.picture_paths, _RESULTS.c.created_at)
    while True:
        statement = sa.select(*columns).where(_RESULTS.c.id > last).order_by(_RESULTS.c.id).limit(_BATCH)
        rows = connection.execute(statement).all()
        if not rows:
            return
        last = rows[-1][0]
        pictures = [
            {
                "result_id": result_id,
                "kind": "picture",
                "name": path.rpartition("/")[2],
                "media_type": "image/png",
                "path": path,
                "created_at": created_at,
            }
            for result_id, paths, created_at in rows
            for path in paths
        ]
        if pictures:
            connection.execute(artefacts.insert(), pictures)


def _refer() -> None:
    """Every delivery so far is of the report of its result."""
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.add_column(sa.Column("artefact_id", _BIG, nullable=True))
    op.execute(
        "UPDATE deliveries SET artefact_id = (SELECT artefacts.id FROM artefacts"
        " WHERE artefacts.result_id = deliveries.result_id AND artefacts.kind = 'sr')"
    )
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.alter_column("artefact_id", existing_type=_BIG, nullable=False)
        deliveries.create_foreign_key(op.f("fk_deliveries_artefact_id"), "artefacts", ["artefact_id"], ["id"])
        for column in ("kind", "path", "sop_instance_uid", "sop_class_uid"):
            deliveries.drop_column(column)
    op.create_index(op.f("ix_deliveries_artefact_id"), "deliveries", ["artefact_id"], unique=False)
