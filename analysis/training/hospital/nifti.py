"""NIfTI masks, by nibabel (``lungsentry[train]``): voxels above 0, on the voxels of the series that they mark."""

import zlib
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image

from analysis.training.hospital.errors import UnusableMask
from analysis.training.hospital.grid import Grid, OtherGrid

SUFFIXES = (".nii", ".nii.gz")
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIMENSIONS = 3


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The name without ``.nii`` or ``.nii.gz``."""
    return path.name[: path.name.lower().rindex(".nii")]


def read_nifti(path: Path, grid: Grid) -> npt.NDArray[np.bool_]:
    """The mask, ``(slice, row, column)`` on the series' voxels, whatever the order and direction of its own axes.

    Raises:
        UnusableMask: it cannot be read, has no affine, or lies on another grid.
    """
    try:
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj) if isinstance(image, Nifti1Image) else None
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UnusableMask(f"{path}: it is no NIfTI file that can be read ({type(error).__name__}).") from error
    if values is None or not isinstance(image, Nifti1Image):
        raise UnusableMask(f"{path}: it is no NIfTI file.")
    affine = image.affine
    if affine is None or not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        raise UnusableMask(f"{path}: it has no affine (qform and sform are 0), so nobody knows where it lies.")
    mask = np.asarray(values > 0)
    while mask.ndim > _DIMENSIONS and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != _DIMENSIONS:
        raise UnusableMask(f"{path}: it has {mask.ndim} dimensions, a mask has three.")
    try:
        return grid.turned(mask, _RAS_TO_LPS @ np.asarray(affine, np.float64))
    except OtherGrid as error:
        raise UnusableMask(f"{path}: {error}.") from error
