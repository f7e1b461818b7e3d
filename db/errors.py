"""What can go wrong where state is held. A docstring is the error's message."""

from typing import ClassVar

__all__ = ["BackupRefused", "DatabaseUnavailable", "SchemaOutOfDate", "StaleState", "StoreError"]


class StoreError(Exception):
    """The database refused what was asked."""

    transient: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())


class SchemaOutOfDate(StoreError):  # noqa: N818 - errors are named by what happened
    """The database's schema is not this version's."""


class DatabaseUnavailable(StoreError):  # noqa: N818
    """The database cannot be reached, or stayed locked for too long."""

    transient: ClassVar[bool] = True


class StaleState(StoreError):  # noqa: N818
    """What was to be moved is not in the state that was expected."""


class BackupRefused(StoreError):  # noqa: N818
    """This database is not copied from here."""
