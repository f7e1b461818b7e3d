"""Why an instance is not taken: an error class a C-STORE status. A docstring is the message."""

from typing import ClassVar

__all__ = ["IdentityMismatch", "OutOfResources", "Refused", "UnparsableDataset"]


class Refused(Exception):  # noqa: N818 - errors are named by what happened
    """The instance was refused."""

    status: ClassVar[int] = 0xC000
    transient: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())
        self.detail = detail


class OutOfResources(Refused):
    """The node cannot take the instance now."""

    status = 0xA700
    transient = True


class IdentityMismatch(Refused):
    """The data set's identity is missing or is not what the command and its presentation context say."""

    status = 0xA900


class UnparsableDataset(Refused):
    """The data set cannot be parsed to its end."""

    status = 0xC210
