"""Earlier examinations of the same patient, and what has changed since, as commands show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_node.cli.manual import RESEARCH_USE
from dicom_node.cli.output import number, print_table, say, text
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerts.change import Change
    from analysis.findings import Findings
    from db import EarlierResult

_NUMERIC = ("lung mL", "GGO mL", "high opacity mL", "burden %", "burden since", "opacity mL since", "lung mL since")


def earlier_document(findings: Findings, earlier: Sequence[EarlierResult]) -> list[dict[str, Any]]:
    """The examinations as JSON holds them, the latest first; ``change`` is null where images cannot be analysed."""
    from alerts.change import compare

    return [
        {
            "study_date": one.study_date,
            "study_instance_uid": one.result.study_instance_uid,
            "series_instance_uid": one.result.series_instance_uid,
            "profile": one.result.findings.profile,
            **{
                name: value
                for name, value in one.result.findings.summary().items()
                if name in {"lung_volume_ml", "ggo_volume_ml", "high_opacity_volume_ml", "burden_percent", "quality"}
            },
            "report_sop_instance_uid": one.result.report.sop_instance_uid,
            "change": compare(findings, one.result.findings),
        }
        for one in earlier
    ]


def print_earlier(findings: Findings, earlier: Sequence[EarlierResult]) -> None:
    """A table of the examinations, the latest first, with what has changed since each; nothing where there is none."""
    from alerts.change import compare, readable_date

    if not earlier:
        return
    names = shortened([one.result.series_instance_uid for one in earlier])
    changes = [compare(findings, one.result.findings) for one in earlier]
    print_table(
        ("date", "series", "profile", *_NUMERIC),
        [
            (
                readable_date(one.study_date),
                names[one.result.series_instance_uid],
                text(one.result.findings.profile),
                *_figures(one.result.findings),
                *_since(change),
            )
            for one, change in zip(earlier, changes, strict=True)
        ],
        title="earlier examinations of the same patient, and the change since",
        caption=RESEARCH_USE,
        numeric=_NUMERIC,
    )
    for one, change in zip(earlier, changes, strict=True):
        caveats = change.caveats if change else ("Not compared: the images of one of them cannot be analysed.",)
        if caveats:
            say(f"{readable_date(one.study_date)}: {' '.join(caveats)}")


def _figures(findings: Findings) -> tuple[str, ...]:
    lungs = findings.both_lungs
    opacity = lungs if findings.reliable else None
    return (
        number(lungs.lung_volume_ml, 0),
        number(opacity.ggo_volume_ml if opacity else None),
        number(opacity.high_opacity_volume_ml if opacity else None),
        number(opacity.burden_percent if opacity else None, 2),
    )


def _since(change: Change | None) -> tuple[str, ...]:
    if change is None:
        return ("-", "-", "-")
    return (f"{change.burden_points:+.2f}", f"{change.lesion_volume_ml:+.1f}", f"{change.lung_volume_ml:+.0f}")
