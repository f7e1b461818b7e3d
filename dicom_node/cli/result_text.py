"""A result in a terminal: figures by region, scores or why there are none, quality with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.cli.manual import RESEARCH_USE
from dicom_node.cli.output import number, print_fields, print_table, say

if TYPE_CHECKING:
    from analysis.findings import Findings, Quality, RegionFindings
    from db import StoredResult

_NUMERIC = ("lung mL", "GGO mL", "high opacity mL", "burden %", "mean HU", "SD")


def print_result(result: StoredResult) -> None:
    """One result: a table by region, then everything else, line by line."""
    from alerts import wording

    findings = result.findings
    print_table(
        ("region", *_NUMERIC),
        [_region(name, region, reliable=findings.reliable) for name, region in _regions(findings)],
        title=f"result of revision {findings.revision}",
        caption=RESEARCH_USE,
        numeric=_NUMERIC,
    )
    if not findings.reliable:
        say(wording.NOT_MEASURED)
    provenance = findings.provenance
    print_fields(
        {
            **(_opacity(findings) if findings.reliable else {}),
            **({"lobes": wording.lobes_sentence(findings)} if findings.lobes else {}),
            "quality": "; ".join((findings.quality.level.value.replace("_", " "), *findings.quality.reasons)),
            "measured": _quality(findings.quality),
            "model": f"{provenance.model_name} {provenance.model_version}, {provenance.runtime} on {provenance.device}",
            "weights": f"SHA-256 {provenance.weights_sha256}",
            **{
                f"{part} by": f"{one.name} {one.version}, {one.runtime}, SHA-256 {one.weights_sha256}"
                for part, one in provenance.algorithms.items()
                if part != "lesions"
            },
            "report": result.report.path,
        }
    )


def _opacity(findings: Findings) -> dict[str, object]:
    from alerts import wording

    whole = findings.both_lungs
    fields: dict[str, object] = {
        "scores": wording.scores_sentence(findings),
        "PO, PHO": f"{whole.po_percent:.2f} %, {whole.pho_percent:.2f} % by class, {whole.pho_hu_percent:.2f} % by HU",
        "opacities": f"{findings.lesion_count}, the largest of {number(findings.largest_lesion_ml)} mL",
    }
    if findings.peripheral_lesion_percent is not None:
        fields["near the wall"] = (
            f"{findings.peripheral_lesion_percent:.0f} % of the opacities, "
            f"{number(findings.peripheral_lung_percent, 0)} % of the lung (within 20 mm)"
        )
    return fields


def _quality(quality: Quality) -> str:
    figures = (
        ("coverage", quality.lung_coverage_percent, "%", 0),
        ("of the right lung", quality.right_lung_coverage_percent, "%", 0),
        ("of the left lung", quality.left_lung_coverage_percent, "%", 0),
        ("noise", quality.noise_hu, "HU", 0),
        ("grain", quality.noise_grain_mm, "mm", 1),
        ("air", quality.air_hu, "HU", 0),
        ("lung", quality.lung_hu, "HU", 0),
        ("blood", quality.blood_hu, "HU", 0),
        ("jump", quality.motion_jump_mm, "mm", 1),
        ("agreement of lung methods", quality.lung_agreement, "(Dice)", 3),
    )
    return ", ".join(f"{name} {value:.{places}f} {unit}" for name, value, unit, places in figures if value is not None)


def _regions(findings: Findings) -> list[tuple[str, RegionFindings]]:
    lobes = (
        (lobe.value + (" (in part)" if lobe in findings.lobes_in_part else ""), region)
        for lobe, region in findings.lobes.items()
    )
    return [
        ("both lungs", findings.both_lungs),
        ("right lung", findings.right_lung),
        ("left lung", findings.left_lung),
        *lobes,
    ]


def _region(name: str, region: RegionFindings, *, reliable: bool) -> tuple[str, ...]:
    opacity = region if reliable else None
    return (
        name,
        number(region.lung_volume_ml, 0),
        number(opacity.ggo_volume_ml if opacity else None),
        number(opacity.high_opacity_volume_ml if opacity else None),
        number(opacity.burden_percent if opacity else None, 2),
        number(opacity.lesion_mean_hu if opacity else None, 0),
        number(opacity.lesion_sd_hu if opacity else None, 0),
    )
