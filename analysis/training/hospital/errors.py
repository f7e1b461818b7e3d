"""What can be wrong with a mask. The docstring is the error's message, the detail names the file."""

from analysis.errors import AnalysisError


class UnusableMask(AnalysisError):
    """A mask cannot be used for training."""
