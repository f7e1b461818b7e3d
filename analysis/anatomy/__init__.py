"""Where the lungs are."""

from analysis.anatomy.lungs import LEFT, RIGHT, Lungs, segment_lungs

__all__ = ["LEFT", "RIGHT", "Lungs", "segment_lungs"]
