"""The table of readers' verdicts."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.rows import Row

_BIG = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is a row id on SQLite


class VerdictRow(Row):
    """What a reader said about a result."""

    __tablename__ = "verdicts"
    __table_args__ = (UniqueConstraint("result_id", "who"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    alert_id: Mapped[int] = mapped_column(_BIG, ForeignKey("alerts.id"), index=True)
    result_id: Mapped[int] = mapped_column(_BIG, ForeignKey("results.id"))
    who: Mapped[str]
    at: Mapped[datetime]
    verdict: Mapped[str]
    looks_like: Mapped[str | None]
    extent: Mapped[str | None]
