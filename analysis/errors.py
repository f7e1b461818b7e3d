"""What can go wrong while a series is analysed. A docstring is the error's message."""

from typing import ClassVar


class AnalysisError(Exception):
    """The series could not be analysed."""

    transient: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())


class UnreadableInstance(AnalysisError):  # noqa: N818 - errors are named by what happened
    """A DICOM instance cannot be read."""


class UndecodablePixels(AnalysisError):  # noqa: N818
    """The pixel data of an instance cannot be decoded."""


class InconsistentGeometry(AnalysisError):  # noqa: N818
    """The instances of a series do not form one volume."""


class UntrustedWeights(AnalysisError):  # noqa: N818
    """The model's weights are missing or do not have the SHA-256 that its manifest names."""


class OutOfMemory(AnalysisError):  # noqa: N818
    """There was not enough memory for the analysis."""

    transient: ClassVar[bool] = True
