"""What has changed since an earlier examination of the same patient, and what makes the two hard to compare."""

from dataclasses import dataclass
from pathlib import Path

from analysis.findings import Findings
from analysis.moments import read_date

COMPARABLE_COVERAGE_PERCENT = 95.0
COMPARABLE_LUNG_VOLUME = 0.15
"""Lung volumes that differ by more than this share come of different breaths (or parts), and move every percentage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The result of an earlier examination: its date (DA; empty where unknown), and the file of its report, if kept."""

    study_date: str
    findings: Findings
    report_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Later less earlier: burden in percentage points, volumes in mL; ``caveats`` are sentences for people."""

    burden_points: float
    lung_volume_ml: float
    ggo_volume_ml: float
    high_opacity_volume_ml: float
    caveats: tuple[str, ...]

    @property
    def lesion_volume_ml(self) -> float:
        """Change of all opacities."""
        return self.ggo_volume_ml + self.high_opacity_volume_ml


def compare(later: Findings, earlier: Findings) -> Change | None:
    """What has changed from one examination to the next; None where the images of either could not be analysed."""
    if not (later.reliable and earlier.reliable):
        return None
    new, old = later.both_lungs, earlier.both_lungs
    return Change(
        burden_points=new.burden_percent - old.burden_percent,
        lung_volume_ml=new.lung_volume_ml - old.lung_volume_ml,
        ggo_volume_ml=new.ggo_volume_ml - old.ggo_volume_ml,
        high_opacity_volume_ml=new.high_opacity_volume_ml - old.high_opacity_volume_ml,
        caveats=tuple(_caveats(later, earlier)),
    )


def choose_prior(findings: Findings, priors: tuple[Prior, ...]) -> Prior | None:
    """The prior to compare with: of those that could be analysed the latest of the same profile, else the latest."""
    usable = [prior for prior in priors if prior.findings.reliable and findings.reliable]
    alike = [prior for prior in usable if prior.findings.profile is findings.profile]
    return max(alike or usable, key=lambda prior: prior.study_date, default=None)


def days_between(earlier_date: str, later_date: str) -> int | None:
    """Days from one date (DA, PS3.5 section 6.2) to another; None where either is unknown."""
    earlier, later = read_date(earlier_date), read_date(later_date)
    return None if earlier is None or later is None else (later - earlier).days


def readable_date(date: str) -> str:
    """A date (DA) as people write it: 2026-01-31; as it stands where it is none."""
    known = read_date(date)
    return known.isoformat() if known else date or "unknown date"


def _caveats(later: Findings, earlier: Findings) -> list[str]:
    caveats: list[str] = []
    if later.profile is not earlier.profile:
        caveats.append("The examinations are of different kinds.")
    coverages = [findings.quality.lung_coverage_percent for findings in (later, earlier)]
    if any(coverage is not None and coverage < COMPARABLE_COVERAGE_PERCENT for coverage in coverages):
        caveats.append("The lungs are not imaged as a whole in both: volumes are of the parts imaged.")
    if any(findings.quality.lacking_lungs for findings in (later, earlier)):
        caveats.append("A lung was not found as a whole in both: volumes are of the parts found.")
    new, old = later.both_lungs.lung_volume_ml, earlier.both_lungs.lung_volume_ml
    if max(new, old) > 0 and abs(new - old) / max(new, old) > COMPARABLE_LUNG_VOLUME:
        caveats.append(f"Lung volume differs ({old:.0f} mL then, {new:.0f} mL now), which moves percentages.")
    new_models, old_models = later.provenance.algorithms, earlier.provenance.algorithms
    changed = [part for part in new_models if part in old_models and new_models[part] != old_models[part]]
    if changed:
        caveats.append(f"The model of the {' and of the '.join(changed)} was another one.")
    return caveats
