"""What the labels amount to: volumes, shares, scores and how far to trust them."""

from analysis.measure.burden import Measurements, measure
from analysis.measure.quality import assess_quality
from analysis.measure.scores import severity_score, total_score

__all__ = ["Measurements", "assess_quality", "measure", "severity_score", "total_score"]
