"""From files to a screened series on the patient's geometry."""

from analysis.series.geometry import Gap, find_gaps
from analysis.series.identifiers import derived_uid
from analysis.series.reading import read_series
from analysis.series.reconstruction import ReconstructionChoice, choose_reconstruction, group_acquisitions
from analysis.series.screening import screen_headers, screen_series, screen_volume
from analysis.series.series import FrameGeometry, InstanceHeader, Series, SeriesReading, StudyContext
from analysis.series.verdicts import Outcome, Rule, RuleResult, Screening
from analysis.series.versions import show_the_same
from analysis.series.volume import NativeGrid, Volume, assemble

__all__ = [
    "FrameGeometry",
    "Gap",
    "InstanceHeader",
    "NativeGrid",
    "Outcome",
    "ReconstructionChoice",
    "Rule",
    "RuleResult",
    "Screening",
    "Series",
    "SeriesReading",
    "StudyContext",
    "Volume",
    "assemble",
    "choose_reconstruction",
    "derived_uid",
    "find_gaps",
    "group_acquisitions",
    "read_series",
    "screen_headers",
    "screen_series",
    "screen_volume",
    "show_the_same",
]
