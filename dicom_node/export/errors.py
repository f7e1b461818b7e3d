"""What can go wrong with an export. A docstring is the error's message."""

from analysis.errors import ReasonedError

__all__ = ["ExportError"]


class ExportError(ReasonedError):
    """The findings cannot be exported."""
