"""Every code that a report uses, with its scheme. What no standard scheme names is in a private one.

Schemes: DCM and context groups (CID) are of DICOM PS3.16, SCT is SNOMED CT, UCUM units, RADLEX the RadLex lexicon,
LN LOINC, UMLS the Unified Medical Language System.
"""

from typing import Final

from pydicom.sr.coding import Code

from alerts.alert import Category
from alerts.severity import Presence, Severity
from analysis.findings import Lobe, QualityLevel

PRIVATE_SCHEME: Final = "99LUNGSENTRY"
PRIVATE_SCHEME_NAME: Final = "Lungsentry opacity measurements"
PRIVATE_SCHEME_VERSION: Final = "1"
PRIVATE_SCHEME_ORGANIZATION: Final = "Lungsentry project"


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
DEVICE: Final = Code("121007", "DCM", "Device")
MODALITY: Final = Code("121139", "DCM", "Modality")
COMPUTED_TOMOGRAPHY: Final = Code("CT", "DCM", "Computed Tomography")
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
SOURCE: Final = Code("260753009", "SCT", "Source")
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
PRIOR_REPORT: Final = Code("122075", "DCM", "Prior report for current patient")
IMPRESSION: Final = Code("121073", "DCM", "Impression")
COMMENT: Final = Code("121106", "DCM", "Comment")

# CID 100 has no code for the chest, and an attenuation-correction map is no examination of it
PROCEDURE: Final = Code("25045-6", "LN", "CT unspecified body region")

ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG: Final = Code("39607008", "SCT", "Lung")
_UPPER_LOBE = Code("45653009", "SCT", "Upper lobe of lung")
_MIDDLE_LOBE = Code("72481006", "SCT", "Middle lobe of right lung")
_LOWER_LOBE = Code("90572001", "SCT", "Lower lobe of lung")
RIGHT: Final = Code("24028007", "SCT", "Right")
LEFT: Final = Code("7771000", "SCT", "Left")
BOTH: Final = Code("51440002", "SCT", "Bilateral")
LOBES: Final = {
    Lobe.RIGHT_UPPER: (_UPPER_LOBE, RIGHT),
    Lobe.RIGHT_MIDDLE: (_MIDDLE_LOBE, RIGHT),
    Lobe.RIGHT_LOWER: (_LOWER_LOBE, RIGHT),
    Lobe.LEFT_UPPER: (_UPPER_LOBE, LEFT),
    Lobe.LEFT_LOWER: (_LOWER_LOBE, LEFT),
}

ABNORMAL_OPACITY: Final = Code("112033", "DCM", "Abnormal opacity")
GROUND_GLASS_OPACITY: Final = Code("112120", "DCM", "Ground glass opacity")
# consolidation or pleural effusion: either standard code alone would claim what was not measured
HIGH_OPACITY: Final = _private("HIGH_OPACITY", "High opacity (consolidation or pleural effusion)")

VOLUME: Final = Code("118565006", "SCT", "Volume")
SUM_OF_VOXELS: Final = Code("126030", "DCM", "Sum of segmented voxel method for volume")
MEAN_ATTENUATION: Final = Code("112181", "DCM", "Mean Attenuation Coefficient")
SD_ATTENUATION: Final = Code("112183", "DCM", "Standard Deviation of Attenuation Coefficient")
BURDEN: Final = _private("BURDEN", "Pneumonia burden: opacity as percentage of lung volume")
PERCENT_OF_LUNG: Final = _private("PERCENT_OF_LUNG", "Percentage of lung volume involved")
GGO_PERCENT: Final = _private("GGO_PERCENT", "Ground-glass opacity as percentage of lung volume")
HIGH_OPACITY_PERCENT: Final = _private("HIGH_PERCENT", "High opacity as percentage of lung volume")
PO: Final = _private("PO", "Percentage of opacity (PO)")
PHO: Final = _private("PHO", "Percentage of high opacity (PHO), by class")
PHO_HU: Final = _private("PHO_HU", "Percentage of high opacity (PHO), opacity above -200 HU")
LSS: Final = _private("LSS", "Lung severity score (LSS), 0 to 20")
LHOS: Final = _private("LHOS", "Lung high opacity score (LHOS), 0 to 20")
OPACITY_COUNT: Final = _private("OPACITY_COUNT", "Number of separate opacities")
LARGEST_OPACITY: Final = _private("LARGEST_OPACITY", "Volume of the largest separate opacity")
PERIPHERAL_OPACITY: Final = _private("PERIPH_OPACITY", "Percentage of opacity within 20 mm of the chest wall")
PERIPHERAL_LUNG: Final = _private("PERIPH_LUNG", "Percentage of lung within 20 mm of the chest wall")
EARLIER_BURDEN: Final = _private("EARLIER_BURDEN", "Burden at the earlier examination")
BURDEN_CHANGE: Final = _private("BURDEN_CHANGE", "Change of burden in percentage points")
LUNG_CHANGE: Final = _private("LUNG_CHANGE", "Change of lung volume")
GGO_CHANGE: Final = _private("GGO_CHANGE", "Change of ground-glass opacity volume")
HIGH_OPACITY_CHANGE: Final = _private("HIGH_CHANGE", "Change of high opacity volume")
LUNG_COVERAGE: Final = _private("LUNG_COVERAGE", "Percentage of the lungs that the series covers")
RIGHT_LUNG_COVERAGE: Final = _private("RIGHT_COVERAGE", "Percentage of the right lung that was imaged and found")
LEFT_LUNG_COVERAGE: Final = _private("LEFT_COVERAGE", "Percentage of the left lung that was imaged and found")
IMAGE_NOISE: Final = _private("IMAGE_NOISE", "Image noise (standard deviation)")
NOISE_GRAIN: Final = _private("NOISE_GRAIN", "Grain of the noise (correlation length)")
OUTSIDE_AIR: Final = _private("OUTSIDE_AIR", "Median attenuation of the air around the body")
CLEAR_LUNG: Final = _private("CLEAR_LUNG", "Median attenuation of the lung outside opacities")
LUNG_SPREAD: Final = _private("LUNG_SPREAD", "Spread of lung attenuation (5th to 95th percentile)")
BLOOD: Final = _private("BLOOD", "Median attenuation of heart and great vessels")
MOTION_JUMP: Final = _private("MOTION_JUMP", "Largest jump between slices, as slip of the table")
FIELD_OF_VIEW_CUT: Final = _private("FOV_CUT", "Percentage of lung outline on the border of the field of view")
LUNG_AGREEMENT: Final = _private("LUNG_AGREEMENT", "Dice coefficient of two lung segmentations")

CUBIC_CENTIMETER: Final = Code("cm3", "UCUM", "cubic centimeter")
MILLIMETER: Final = Code("mm", "UCUM", "millimeter")
PERCENT: Final = Code("%", "UCUM", "Percent")
HOUNSFIELD: Final = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
SCORE: Final = Code("{score}", "UCUM", "score")
NO_UNITS: Final = Code("1", "UCUM", "no units")

PRESENCES: Final = {
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
SEVERITY: Final = Code("246112005", "SCT", "Severity")
SEVERITIES: Final = {
    Severity.NONE: Code("260413007", "SCT", "None"),
    Severity.MILD: Code("255604002", "SCT", "Mild"),
    Severity.MODERATE: Code("6736007", "SCT", "Moderate"),
    Severity.SEVERE: Code("24484000", "SCT", "Severe"),
}
IMAGE_QUALITY: Final = Code("111101", "DCM", "Image Quality")
QUALITIES: Final = {
    QualityLevel.DIAGNOSTIC: Code("RID12", "RADLEX", "Diagnostic quality"),
    QualityLevel.LIMITED: Code("RID13", "RADLEX", "Limited quality"),
    QualityLevel.NOT_ANALYSABLE: Code("RID14", "RADLEX", "Non-diagnostic quality"),
}
ACTIONABLE: Final = _private("ACTIONABLE", "Actionable finding classification")
CATEGORIES: Final = {  # CID 7035
    Category.CATEGORY_1: Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding"),
    Category.CATEGORY_2: Code("RID49481", "RADLEX", "ACR Category 2 Actionable Finding"),
    Category.CATEGORY_3: Code("RID49482", "RADLEX", "ACR Category 3 Actionable Finding"),
}
INCIDENTAL: Final = _private("INCIDENTAL", "Incidental: not named by the request")
YES: Final = Code("373066001", "SCT", "Yes")
NO: Final = Code("373067005", "SCT", "No")
