"""A result as text for people: what ``analyze`` prints and a message carries. It never names the patient."""

from alerts import wording
from alerts.policy import PolicyDecision
from analysis.findings import Findings, QualityLevel, RegionFindings

_COLUMNS = f"{'':<36}{'lung mL':>9}{'GGO mL':>9}{'high mL':>9}{'burden %':>10}"


def describe(findings: Findings, decision: PolicyDecision) -> str:
    """Findings and decision in plain lines: conclusion, figures by region, quality, model, research use."""
    alert = decision.alert
    lines = [alert.headline if alert else wording.negative_result(decision.presence)]
    if alert:
        lines.append(f"ACR category {alert.category.value}; severity {decision.severity or 'not graded'} by extent.")
    lines += [decision.explanation, "", _COLUMNS]
    lines += [_row(name, region, reliable=findings.reliable) for name, region in _regions(findings)]
    lines += ["", *_figures(findings)]
    if findings.quality.level is QualityLevel.DIAGNOSTIC:  # the explanation tells what is short of it
        lines.append(wording.quality_sentence(findings.quality))
    provenance = findings.provenance
    lines.append(
        f"Model {provenance.model_name} {provenance.model_version} (weights SHA-256 {provenance.weights_sha256[:12]}), "
        f"{provenance.runtime} on {provenance.device}, software {provenance.software_version}."
    )
    lines += [
        f"{part.capitalize()} by: {one.name} {one.version} (weights SHA-256 {one.weights_sha256[:12]})."
        for part, one in provenance.algorithms.items()
        if part != "lesions"
    ]
    lines.append(wording.RESEARCH_USE)
    return "\n".join(lines)


def _regions(findings: Findings) -> list[tuple[str, RegionFindings]]:
    lobes = [(wording.region_name(findings, lobe), region) for lobe, region in findings.lobes.items()]
    return [
        ("Both lungs", findings.both_lungs),
        ("Right lung", findings.right_lung),
        ("Left lung", findings.left_lung),
        *lobes,
    ]


def _row(name: str, region: RegionFindings, *, reliable: bool) -> str:
    if not reliable:
        return f"{name:<36}{region.lung_volume_ml:>9.0f}{'-':>9}{'-':>9}{'-':>10}"
    return (
        f"{name:<36}{region.lung_volume_ml:>9.0f}{region.ggo_volume_ml:>9.1f}"
        f"{region.high_opacity_volume_ml:>9.1f}{region.burden_percent:>10.1f}"
    )


def _figures(findings: Findings) -> list[str]:
    if not findings.reliable:
        return [wording.NOT_MEASURED]
    whole = findings.both_lungs
    opacity = f"PO {whole.po_percent:.1f} %, PHO {whole.pho_percent:.1f} % by class"
    lines = [f"{opacity} and {whole.pho_hu_percent:.1f} % above -200 HU.", wording.scores_sentence(findings)]
    if findings.lesion_mean_hu is not None and findings.lesion_sd_hu is not None:
        lines.append(
            f"Separate opacities: {findings.lesion_count}, mean {findings.lesion_mean_hu:.0f} HU "
            f"(SD {findings.lesion_sd_hu:.0f})."
        )
    if findings.largest_lesion_ml is not None:
        lines.append(f"The largest is {findings.largest_lesion_ml:.1f} mL.")
    if findings.peripheral_lesion_percent is not None and findings.peripheral_lung_percent is not None:
        lines.append(
            f"{findings.peripheral_lesion_percent:.0f} % of the opacities lie within 20 mm of the chest wall, as "
            f"{findings.peripheral_lung_percent:.0f} % of the lung does."
        )
    return lines
