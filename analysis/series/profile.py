"""Is a series a diagnostic chest CT or a CT attenuation-correction map (CTAC)? The cues, and what they add up to."""

import re
from dataclasses import dataclass

from analysis.findings import Profile
from analysis.series.geometry import slice_headers
from analysis.series.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class CtacCues:
    """What speaks for a CTAC, and from how many points on a series counts as one.

    ``descriptions`` and ``models`` are regular expressions without regard to case. A matching description is enough
    by itself; the scanner's model, the kernel, the dose, the thickness and the field of view only together with
    others, as PET/CT scanners make diagnostic series too.
    """

    descriptions: str = (
        r"(?<![a-z])(ac[ _-]?ct|ct[ _-]?ac|ct[ _-]?attn|attn[ _-]?corr|acct|ld[ _-]?ct|low[ _-]?dose[ _-]?ac)(?![a-z])"
        r"|ctac|attenuation[ _-]?corr"
    )
    models: str = r"biograph|symbia|infinia|gemini|brightview|intevo|vereos|ingenuity tf|discovery (?!ct)"
    kernels: frozenset[str] = frozenset({"B19F", "B31S", "STANDARD", "A", "B"})
    thickness_mm: tuple[float, float] = (3.0, 5.0)
    maximum_exposure_mas: float = 60.0
    field_of_view_mm: tuple[float, float] = (500.0, 700.0)
    description_points: int = 4
    emission_points: int = 2
    threshold_points: int = 4


CTAC_CUES = CtacCues()

_DIAGNOSTIC_DESCRIPTION = re.compile(
    r"(?<![a-z])(lung|lunge|hrct|diagnostic|angio|cta|contrast)(?![a-z])", re.IGNORECASE
)
_THIN_MM = 2.0


def tell_profile(series: Series, cues: CtacCues = CTAC_CUES) -> tuple[Profile, tuple[str, ...]]:
    """Tell the profile, and name every cue for and against a CTAC that matched."""
    points, found = 0, list[str]()
    for value, cue in (*_cues_for(series, cues), *_cues_against(series)):
        points += value
        found.append(cue)
    return (Profile.CTAC if points >= cues.threshold_points else Profile.CHEST_CT), tuple(found)


def _cues_for(series: Series, cues: CtacCues) -> list[tuple[int, str]]:
    header = slice_headers(series)[0]
    found: list[tuple[int, str]] = []
    text = f"{header.series_description} {header.protocol_name}".strip()
    if match := re.search(cues.descriptions, text, re.IGNORECASE):
        found.append((cues.description_points, f'description says "{match.group(0)}"'))
    context = series.context
    emission = context.modalities & {"PT", "NM"}
    if header.frame_of_reference_uid in context.emission_frame_of_reference_uids:
        found.append((cues.emission_points, "a PT or NM series in the same frame of reference"))
    elif emission:
        found.append((1, f"{' and '.join(sorted(emission))} in the study"))
    model = header.manufacturer_model_name
    if re.search(cues.models, model, re.IGNORECASE):
        found.append((1, f"scanner model {model}"))
    kernel = header.convolution_kernel
    if kernel.split("\\")[0].upper() in cues.kernels:
        found.append((1, f"kernel {kernel}"))
    thickness = header.slice_thickness_mm
    if thickness is not None and cues.thickness_mm[0] <= thickness <= cues.thickness_mm[1]:
        found.append((1, f"slices {thickness:g} mm thick"))
    exposure = header.exposure_mas
    if exposure is not None and exposure <= cues.maximum_exposure_mas:
        found.append((1, f"{exposure:g} mAs"))
    diameter = header.reconstruction_diameter_mm
    if diameter is not None and cues.field_of_view_mm[0] <= diameter <= cues.field_of_view_mm[1]:
        found.append((1, f"field of view {diameter:g} mm"))
    return found


def _cues_against(series: Series) -> list[tuple[int, str]]:
    header = slice_headers(series)[0]
    found: list[tuple[int, str]] = []
    if match := _DIAGNOSTIC_DESCRIPTION.search(header.series_description):
        found.append((-2, f'against: description says "{match.group(0)}"'))
    if header.contrast_bolus_agent:
        found.append((-2, "against: contrast agent"))
    if header.slice_thickness_mm is not None and header.slice_thickness_mm < _THIN_MM:
        found.append((-2, f"against: slices {header.slice_thickness_mm:g} mm thick"))
    return found
