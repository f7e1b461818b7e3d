"""What can go wrong where state is held. A docstring is the error's message."""

from typing import ClassVar

from analysis.errors import ReasonedError

__all__ = [
    "BackupRefused",
    "DatabaseUnavailable",
    "DecidedAlready",
    "SchemaOutOfDate",
    "SchemaTooNew",
    "StaleState",
    "StoreError",
]


class StoreError(ReasonedError):
    """The database refused what was asked."""

    transient: ClassVar[bool] = False


class SchemaOutOfDate(StoreError):
    """The database's schema is not this version's."""


class SchemaTooNew(StoreError):
    """The database's schema is of a newer version, with which this one does not work. Install the newer one here."""


class DatabaseUnavailable(StoreError):
    """The database cannot be reached, or stayed locked for too long."""

    transient: ClassVar[bool] = True


class StaleState(StoreError):
    """What was to be moved is not in the state that was expected."""


class DecidedAlready(StaleState):
    """Somebody else was faster."""


class BackupRefused(StoreError):
    """This database is not copied from here."""
