"""What can go wrong while a series is analysed. A docstring is the error's message."""

from typing import ClassVar


class ReasonedError(Exception):
    """Something is refused or failed.

    The one constructor of every error of the project: the first line of a class's docstring is its message, and
    ``detail`` follows it.
    """

    transient: ClassVar[bool] = False
    """Whether another attempt may succeed."""

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())
        self.detail = detail


class AnalysisError(ReasonedError):
    """The series could not be analysed."""

    transient: ClassVar[bool] = False


class UnreadableInstance(AnalysisError):
    """A DICOM instance cannot be read."""


class ReadingTooLong(AnalysisError):
    """Reading the headers of a series takes too long."""

    transient: ClassVar[bool] = True


class UndecodablePixels(AnalysisError):
    """The pixel data of an instance cannot be decoded."""


class InconsistentGeometry(AnalysisError):
    """The instances of a series do not form one volume."""


class UntrustedWeights(AnalysisError):
    """The model's weights are missing or do not have the SHA-256 that its manifest names."""


class OutOfMemory(AnalysisError):
    """There was not enough memory for the analysis."""

    transient: ClassVar[bool] = True
