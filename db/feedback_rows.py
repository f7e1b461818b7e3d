"""The table of readers' verdicts."""

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.rows import Row
from db.rows.base import BIG


class VerdictCountRow(Row):
    """How many results of a model on a profile of a scanner have this as their last verdict; kept as they are given."""

    __tablename__ = "verdict_counts"

    profile: Mapped[str] = mapped_column(primary_key=True)
    model_name: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(primary_key=True)
    verdict: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class VerdictRow(Row):
    """What a reader said about a result."""

    __tablename__ = "verdicts"
    __table_args__ = (UniqueConstraint("result_id", "who"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    alert_id: Mapped[int] = mapped_column(BIG, ForeignKey("alerts.id"), index=True)
    result_id: Mapped[int] = mapped_column(BIG, ForeignKey("results.id"))
    who: Mapped[str]
    at: Mapped[datetime]
    verdict: Mapped[str]
    looks_like: Mapped[str | None]
    extent: Mapped[str | None]
