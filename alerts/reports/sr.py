"""The structured report of a series: Comprehensive 3D SR, TID 1500 Measurement Report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alerts.policy import PolicyDecision
from analysis.findings import Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """A report that lies durable on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    sha256: str


def write_sr(findings: Findings, decision: PolicyDecision, *, evidence: Sequence[Path], out: Path) -> WrittenReport:
    """Write the report to ``out``."""
    raise NotImplementedError
