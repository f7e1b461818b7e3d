"""What the simulator was asked for and cannot make. A docstring is the error's message."""

from analysis.errors import ReasonedError

__all__ = ["NothingToReplay", "SimulatorError"]


class SimulatorError(ReasonedError):
    """The simulated scanner could not do what it was asked to."""


class NothingToReplay(SimulatorError):
    """There is no DICOM file (PS3.10) to replay."""
