"""What can go wrong while a model is evaluated. A docstring is the error's message."""

from analysis.errors import AnalysisError


class NoCases(AnalysisError):
    """There is no case of the set in the folder."""


class UnreadableCase(AnalysisError):
    """The case cannot be read."""


class NoFold(AnalysisError):
    """The folder of a cross-validation lacks the model of a fold."""
