"""A hospital's own training data: CT series as DICOM, with DICOM SEG or NIfTI masks.

The layout, below one folder:

- CT series as DICOM files, in any folders; several series may share a folder.
- DICOM SEG objects anywhere. They name the series, and by instance or position the slices, that they segment
  (PS3.3 C.8.20); they must lie on the series' own grid. Segments count by code or label.
- NIfTI masks (``.nii``, ``.nii.gz``) in the folder of the one series that they mark: voxels above 0 belong. The name
  says what is marked: ``lung``, ``ggo``, ``high_opacity``, ``lesion`` (of open class). Axes may be permuted and turned,
  as the affine says; resampled masks are refused.

Lungs that nobody marked are found by the software. A lesion mask without a voxel marks a control; a series without a
lesion mask is left out, and told.
"""

from analysis.training.hospital.cases import HospitalCase, HospitalScan, find_cases, read_case
from analysis.training.hospital.errors import UnusableMask
from analysis.training.hospital.regions import Region, region_of_code, region_of_words

__all__ = [
    "HospitalCase",
    "HospitalScan",
    "Region",
    "UnusableMask",
    "find_cases",
    "read_case",
    "region_of_code",
    "region_of_words",
]
