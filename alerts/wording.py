"""Every sentence that people read about a result, in one place. It speaks of opacity and never of a diagnosis."""

from alerts.change import Prior, compare, days_between, readable_date
from alerts.severity import Presence
from analysis.findings import Findings, Lobe, Profile, Quality, QualityLevel

RESEARCH_USE = "Research use only. Not a medical device. Measures opacity; does not diagnose."
HIGH_OPACITY = "High opacity (consolidation or pleural effusion)"
GGO = "Ground-glass opacity"
NO_LOBES = "The lobes were not told apart in this series: lung severity scores (LSS, LHOS) are not given."
NOT_MEASURED = "Opacity is not given: the images cannot be analysed."
_MOST_DECIMALS = 6

_PROFILE_NAMES = {Profile.CHEST_CT: "chest CT", Profile.CTAC: "CT attenuation-correction map"}
_QUALITY_CLAIMS = {
    QualityLevel.DIAGNOSTIC: "Image quality: sufficient for the measurement.",
    QualityLevel.LIMITED: "Image quality: limited; read the measurement with care.",
    QualityLevel.NOT_ANALYSABLE: "Image quality: not analysable; the figures cannot be relied upon.",
}
LOBE_NAMES = {
    Lobe.RIGHT_UPPER: "Right upper lobe",
    Lobe.RIGHT_MIDDLE: "Right middle lobe",
    Lobe.RIGHT_LOWER: "Right lower lobe",
    Lobe.LEFT_UPPER: "Left upper lobe",
    Lobe.LEFT_LOWER: "Left lower lobe",
}


def both_lungs(lesion: str) -> str:
    """What a class of lesion in both lungs is tracked by."""
    return f"{lesion}, both lungs"


def profile_name(profile: Profile) -> str:
    """What people call the kind of examination."""
    return _PROFILE_NAMES[profile]


def headline(findings: Findings, *, incidental: bool) -> str:
    """One line for a worklist or the subject of a message; no patient, no diagnosis."""
    kind = "Incidental" if incidental else "Expected by the request:"
    return (
        f"{kind} COVID-like opacities on {profile_name(findings.profile)}: "
        f"{findings.burden_percent:.1f} % of the lung, {findings.both_lungs.lesion_volume_ml:.0f} mL"
    )


def threshold_reasons(findings: Findings, *, burden_percent: float, lesion_volume_ml: float) -> tuple[str, str]:
    """How burden and volume of opacity stand to their thresholds, with digits enough to see the difference."""
    whole = findings.both_lungs
    return (
        f"Opacity takes up {_compared(whole.burden_percent, burden_percent, '%')}.",
        f"Volume of opacity is {_compared(whole.lesion_volume_ml, lesion_volume_ml, 'mL')}.",
    )


def quality_reasons(quality: Quality) -> tuple[str, ...]:
    """What a reader must know about image quality before relying on the figures; nothing where it is sufficient."""
    if quality.level is QualityLevel.DIAGNOSTIC:
        return ()
    return (quality_sentence(quality),)


def quality_sentence(quality: Quality) -> str:
    """Image quality in a sentence, with its reasons."""
    details = "; ".join(reason.rstrip(".") for reason in quality.reasons)
    claim = _QUALITY_CLAIMS[quality.level]
    return f"{claim} {details}." if details else claim


def figures_sentence(findings: Findings) -> str:
    """Volumes and shares of both lungs, and the burden of either."""
    whole = findings.both_lungs
    return (
        f"Lung {whole.lung_volume_ml:.0f} mL; ground-glass opacity {whole.ggo_volume_ml:.0f} mL "
        f"({whole.ggo_percent:.1f} %), high opacity {whole.high_opacity_volume_ml:.0f} mL ({whole.pho_percent:.1f} %); "
        f"right lung {findings.right_lung.burden_percent:.1f} %, left lung {findings.left_lung.burden_percent:.1f} %."
    )


def scores_sentence(findings: Findings) -> str:
    """The severity scores, or that they are not given and why."""
    if findings.lss is not None and findings.lhos is not None:
        return f"LSS {findings.lss} of 20, LHOS {findings.lhos} of 20."
    if not findings.scores_absent_because:
        return NO_LOBES
    because = "; ".join(reason.rstrip(".") for reason in findings.scores_absent_because)
    return f"Lung severity scores (LSS, LHOS) are not given: {because}."


def change_sentence(findings: Findings, prior: Prior, *, study_date: str) -> str:
    """How burden and volumes have changed since the prior, with its date and what makes them hard to compare."""
    since = readable_date(prior.study_date)
    days = days_between(prior.study_date, study_date)
    when = f"{since}, {days} days before" if days is not None else since
    change = compare(findings, prior.findings)
    if change is None:
        return f"Not compared with the examination of {when}: the images of one of them cannot be analysed."
    earlier, now = prior.findings.both_lungs, findings.both_lungs
    figures = (
        f"Compared with the examination of {when}: burden {earlier.burden_percent:.1f} % then, "
        f"{now.burden_percent:.1f} % now ({change.burden_points:+.1f} points); "
        f"ground-glass opacity {change.ggo_volume_ml:+.0f} mL, high opacity {change.high_opacity_volume_ml:+.0f} mL, "
        f"lung {change.lung_volume_ml:+.0f} mL."
    )
    return " ".join((figures, *change.caveats))


def region_name(findings: Findings, lobe: Lobe) -> str:
    """A lobe's name, with what is missing of it."""
    return LOBE_NAMES[lobe] + (" (imaged in part)" if lobe in findings.lobes_in_part else "")


def lobes_sentence(findings: Findings) -> str:
    """What the lobes rest on."""
    shape = "Lobes are estimated from the shape of the lungs"
    if not findings.borders_on_fissures:
        return f"{shape}."
    borders = ", ".join(findings.borders_on_fissures)
    return f"{shape}; at a fissure that the images show: {borders} border."


def expectation_reason(expectation: tuple[str, str] | None) -> str:
    """Whether somebody was looking for opacities: the expected word and the text that names it, or None."""
    if expectation is None:
        return "Incidental: neither request nor descriptions name what was found."
    word, text = expectation
    return f'Not incidental: the {text} names "{word}".'


def flagged(reasons: tuple[str, ...]) -> str:
    """Why there is an alert."""
    return " ".join(("Flagged for review.", *reasons))


def not_flagged(presence: Presence, reasons: tuple[str, ...]) -> str:
    """Why there is no alert."""
    claim = {
        Presence.ABSENT: "Not flagged: opacity does not reach the thresholds.",
        Presence.UNDETERMINED: "Not flagged: the images do not allow an answer.",
    }.get(presence, "Not flagged.")
    return " ".join((claim, *reasons))


def withdrawn(headline: str) -> str:
    """The headline of what was flagged, and is no longer."""
    return f"No longer flagged: {headline}"


def withdrawn_because(dismissed_as: str | None) -> str:
    """Why an examination is flagged no longer; None where no reader has dismissed it."""
    if dismissed_as is None:
        return "None of its results in force meets the policy any more."
    return f"A reader has dismissed it: {dismissed_as}."


def negative_result(presence: Presence) -> str:
    """The sentence of a report without an alert; it promises nothing about the patient."""
    if presence is Presence.UNDETERMINED:
        return "Presence of opacity is undetermined: the images do not allow an answer."
    return "No opacity at or above the thresholds was measured. This does not exclude disease."


def told_apart(value: float, threshold: float) -> str:
    """The value with decimals enough that it never prints as equal to a threshold that it does not reach."""
    decimals = 1
    while decimals < _MOST_DECIMALS and value != threshold and f"{value:.{decimals}f}" == f"{threshold:.{decimals}f}":
        decimals += 1
    return f"{value:.{decimals}f}"


def _compared(value: float, threshold: float, unit: str) -> str:
    relation = "at or above" if value >= threshold else "below"
    return f"{told_apart(value, threshold)} {unit}, {relation} the threshold of {threshold:g} {unit}"
