"""Is a series a diagnostic chest CT or a CT attenuation-correction map (CTAC)? The cues, their weights, and the sum."""

import re
from dataclasses import dataclass

from analysis.findings import Profile
from analysis.series.acquisitions import slices_of
from analysis.series.series import InstanceHeader, Series, StudyContext


@dataclass(frozen=True, slots=True, kw_only=True)
class CtacCues:
    """What speaks for a CTAC, and from how many points on a series counts as one.

    ``descriptions``, ``low_dose``, ``screening`` and ``models`` are regular expressions without regard to case. Words
    for attenuation correction are enough by themselves. All else needs a context: an emission series in the study, a
    PET or SPECT scanner, or those words. Low dose, kernel, thickness and field of view are what a screening CT has too,
    and make no CTAC without it.
    """

    descriptions: str = (
        r"(?<![a-z])(ac[ _-]?ct|ct[ _-]?ac|ct[ _-]?attn|attn[ _-]?corr|acct|low[ _-]?dose[ _-]?ac)(?![a-z])"
        r"|ctac|attenuation[ _-]?corr"
    )
    low_dose: str = r"(?<![a-z])(ld[ _-]?ct|low[ _-]?dose)(?![a-z])"
    screening: str = r"(?<![a-z])(screening|lung[ _-]?ca|nodules?|lcs)(?![a-z])"
    models: str = r"biograph|symbia|infinia|gemini|brightview|intevo|vereos|ingenuity tf|discovery (?!ct)"
    kernels: frozenset[str] = frozenset({"B19F", "B31S", "STANDARD", "A", "B"})
    thickness_mm: tuple[float, float] = (3.0, 5.0)
    maximum_exposure_mas: float = 60.0
    field_of_view_mm: tuple[float, float] = (500.0, 700.0)
    description_points: int = 4
    emission_points: int = 2
    screening_points: int = -3
    threshold_points: int = 4


CTAC_CUES = CtacCues()

_DIAGNOSTIC_DESCRIPTION = re.compile(
    r"(?<![a-z])(lung|lunge|hrct|diagnostic|angio|cta|contrast)(?![a-z])", re.IGNORECASE
)
_THIN_MM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cue:
    points: int
    seen: str

    def __str__(self) -> str:
        return f"{self.points:+d} {self.seen}"


def tell_profile(series: Series, cues: CtacCues = CTAC_CUES) -> tuple[Profile, tuple[str, ...]]:
    """Tell the profile, and name every cue for and against a CTAC that matched, with its weight, and the sum."""
    header = slices_of(series).headers[0]
    context = [*_description(header, cues), *_emission(header, series.context, cues), *_model(header, cues)]
    found = [*context, *_loose(header, cues), *_against(header, cues)]
    points = sum(cue.points for cue in found)
    told = tuple(str(cue) for cue in found)
    if points < cues.threshold_points:
        return Profile.CHEST_CT, (*told, f"together {points:+d}: a CTAC from {cues.threshold_points:+d} on")
    if not context:
        return Profile.CHEST_CT, (*told, f"together {points:+d}, but no PT or NM and no PET or SPECT scanner: no CTAC")
    return Profile.CTAC, (*told, f"together {points:+d}: a CTAC from {cues.threshold_points:+d} on")


def _description(header: InstanceHeader, cues: CtacCues) -> list[_Cue]:
    match = re.search(cues.descriptions, _words(header), re.IGNORECASE)
    return [_Cue(points=cues.description_points, seen=f'description says "{match.group(0)}"')] if match else []


def _emission(header: InstanceHeader, context: StudyContext, cues: CtacCues) -> list[_Cue]:
    if header.frame_of_reference_uid in context.emission_frame_of_reference_uids:
        return [_Cue(points=cues.emission_points, seen="a PT or NM series in the same frame of reference")]
    emission = context.modalities & {"PT", "NM"}
    return [_Cue(points=1, seen=f"{' and '.join(sorted(emission))} in the study")] if emission else []


def _model(header: InstanceHeader, cues: CtacCues) -> list[_Cue]:
    model = header.manufacturer_model_name
    return [_Cue(points=1, seen=f"scanner model {model}")] if re.search(cues.models, model, re.IGNORECASE) else []


def _loose(header: InstanceHeader, cues: CtacCues) -> list[_Cue]:
    """What a CTAC has, and a screening CT as well."""
    found: list[str] = []
    if match := re.search(cues.low_dose, _words(header), re.IGNORECASE):
        found.append(f'description says "{match.group(0)}"')
    if header.convolution_kernel.split("\\")[0].upper() in cues.kernels:
        found.append(f"kernel {header.convolution_kernel}")
    thickness = header.slice_thickness_mm
    if thickness is not None and cues.thickness_mm[0] <= thickness <= cues.thickness_mm[1]:
        found.append(f"slices {thickness:g} mm thick")
    exposure = header.exposure_mas
    if exposure is not None and exposure <= cues.maximum_exposure_mas:
        found.append(f"{exposure:g} mAs")
    diameter = header.reconstruction_diameter_mm
    if diameter is not None and cues.field_of_view_mm[0] <= diameter <= cues.field_of_view_mm[1]:
        found.append(f"field of view {diameter:g} mm")
    return [_Cue(points=1, seen=seen) for seen in found]


def _against(header: InstanceHeader, cues: CtacCues) -> list[_Cue]:
    found: list[_Cue] = []
    asked = f"{_words(header)} {header.study_description} {header.requested_procedure}"
    if match := re.search(cues.screening, asked, re.IGNORECASE):
        found.append(_Cue(points=cues.screening_points, seen=f'the examination is called "{match.group(0)}"'))
    if match := _DIAGNOSTIC_DESCRIPTION.search(header.series_description):
        found.append(_Cue(points=-2, seen=f'description says "{match.group(0)}"'))
    if header.contrast_bolus_agent:
        found.append(_Cue(points=-2, seen="contrast agent"))
    if header.slice_thickness_mm is not None and header.slice_thickness_mm < _THIN_MM:
        found.append(_Cue(points=-2, seen=f"slices {header.slice_thickness_mm:g} mm thick"))
    return found


def _words(header: InstanceHeader) -> str:
    return f"{header.series_description} {header.protocol_name}".strip()
