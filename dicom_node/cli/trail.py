"""What a command writes in the audit trail: who typed it, what it did, and to what. No patient stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from dicom_node.cli.options import this_user

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from db import Store

__all__ = ["record", "recorded"]


class _Entry(TypedDict):
    who: str
    action: str
    subject: str
    detail: str


def record(store: Store, action: str, subject: str = "", detail: str = "", *, who: str | None = None) -> None:
    """Write down what who typed the command does; ``who`` is the one that it was typed for, where one was named."""
    store.audit.record(**_entry(action, subject, detail, who))


def recorded(
    store: Store, action: str, subject: str = "", detail: str = "", *, who: str | None = None
) -> AbstractContextManager[None]:
    """Write it down once it is done inside, or that it was refused."""
    return store.audit.recorded(**_entry(action, subject, detail, who))


def _entry(action: str, subject: str, detail: str, who: str | None) -> _Entry:
    typed_by = this_user()
    stated = f"for {who}" if who is not None and who != typed_by else ""
    told = ", ".join(filter(None, (detail, stated)))
    return _Entry(who=f"{typed_by} (command)", action=action, subject=subject, detail=told)
