"""Why another node gave nothing. A docstring is the error's message."""

from typing import ClassVar

__all__ = ["Refused", "RetrievalError", "Unreachable"]


class RetrievalError(Exception):
    """The peer gave nothing."""

    transient: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())


class Unreachable(RetrievalError):  # noqa: N818 - errors are named by what happened
    """The peer cannot be reached, or broke off."""

    transient = True


class Refused(RetrievalError):  # noqa: N818
    """The peer refuses what it was asked."""
