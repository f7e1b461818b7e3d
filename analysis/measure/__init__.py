"""What the labels amount to: volumes, shares, scores and how far to trust them."""

from analysis.measure.burden import Measurements, measure
from analysis.measure.quality import QUALITY_LIMITS, QualityLimits, ScanTags, assess_quality
from analysis.measure.scores import severity_score, total_score

__all__ = [
    "QUALITY_LIMITS",
    "Measurements",
    "QualityLimits",
    "ScanTags",
    "assess_quality",
    "measure",
    "severity_score",
    "total_score",
]
