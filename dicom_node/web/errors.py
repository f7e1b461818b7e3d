"""What a page may answer instead of itself. A docstring is the error's message."""

from typing import ClassVar

from analysis.errors import ReasonedError

__all__ = ["Conflict", "LinkUsed", "NotThere", "Refused", "SignInFirst", "TooLarge", "Unusable", "WebError"]


class WebError(ReasonedError):
    """The page cannot be shown."""

    transient: ClassVar[bool] = False
    status: ClassVar[int] = 400


class Unusable(WebError):
    """What was sent cannot be used."""

    status: ClassVar[int] = 400


class SignInFirst(WebError):
    """Sign in first."""

    status: ClassVar[int] = 401


class Refused(WebError):
    """The request does not come from a page of this worklist."""

    status: ClassVar[int] = 403


class NotThere(WebError):
    """There is no such page."""

    status: ClassVar[int] = 404


class LinkUsed(NotThere):
    """This link has been used, or is too old: ask for a new one."""


class Conflict(WebError):
    """Somebody else was faster."""

    status: ClassVar[int] = 409


class TooLarge(WebError):
    """More was sent than a form holds."""

    status: ClassVar[int] = 413
