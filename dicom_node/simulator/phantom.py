"""A chest CT of nobody, with known truth: built from a specification and a seed, the same each time."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np
from scipy import ndimage

from dicom_node.simulator.anatomy import Anatomy, Habitus, build_anatomy, lung_coverage
from dicom_node.simulator.geometry import Floats, Grid
from dicom_node.simulator.lesions import (
    GGO_LABEL,
    HIGH_OPACITY_LABEL,
    Lesions,
    opacified,
    place_lesions,
    surface_depth_mm,
)
from dicom_node.simulator.texture import draw_table, parenchyma, scanned
from dicom_node.simulator.vessels import Tree, bronchi_of, draw_tubes, grow_tree, spread_points

_VESSEL_HU = 38.0
_BRONCHUS_WALL_HU = -150.0
_BRONCHUS_AIR_HU = -960.0
_FISSURE_HU = -640.0
_ARTERY_ROOTS = {1: (-38.0, 0.0, 150.0), 2: (43.0, 6.0, 157.0)}
_VEIN_ROOTS = {1: (-34.0, 0.0, 134.0), 2: (38.0, 4.0, 136.0)}
_ARTERY_TIPS = 620
_VEIN_TIPS = 480


class PhantomProfile(StrEnum):
    """What kind of examination is imitated."""

    CHEST_CT = "chest_ct"
    CTAC = "ctac"
    CARDIAC_CTAC = "cardiac_ctac"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomSpec:
    """What to build. Lesion volumes in millilitres; the same specification gives the same voxels."""

    profile: PhantomProfile = PhantomProfile.CHEST_CT
    ggo_ml: float = 0.0
    high_opacity_ml: float = 0.0
    matrix: int = 256
    seed: int = 1

    _MATRICES: ClassVar[frozenset[int]] = frozenset({128, 256, 512})

    def __post_init__(self) -> None:
        if self.matrix not in self._MATRICES:
            raise ValueError(f"matrix is {self.matrix}; it may be 128, 256 or 512")
        if self.ggo_ml < 0 or self.high_opacity_ml < 0:
            raise ValueError("a lesion's volume is negative")

    @classmethod
    def normal(cls, **changes: object) -> "PhantomSpec":
        """A chest CT without opacities."""
        return cls(**{"profile": PhantomProfile.CHEST_CT, **changes})  # pyright: ignore[reportArgumentType]

    @classmethod
    def opacities(cls, **changes: object) -> "PhantomSpec":
        """A chest CT with ground glass and consolidation."""
        return cls(**{"profile": PhantomProfile.CHEST_CT, "ggo_ml": 280.0, "high_opacity_ml": 60.0, **changes})  # pyright: ignore[reportArgumentType]

    @classmethod
    def ctac(cls, **changes: object) -> "PhantomSpec":
        """An attenuation-correction CT without opacities."""
        return cls(**{"profile": PhantomProfile.CTAC, **changes})  # pyright: ignore[reportArgumentType]

    @classmethod
    def ctac_opacities(cls, **changes: object) -> "PhantomSpec":
        """An attenuation-correction CT with opacities that nobody asked about."""
        return cls(**{"profile": PhantomProfile.CTAC, "ggo_ml": 330.0, "high_opacity_ml": 80.0, **changes})  # pyright: ignore[reportArgumentType]

    @classmethod
    def cardiac_ctac(cls, **changes: object) -> "PhantomSpec":
        """A CT of 40 slices around the heart, as SPECT/CT scanners make it; part of the lungs only."""
        return cls(**{"profile": PhantomProfile.CARDIAC_CTAC, **changes})  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """The images and the truth about them.

    ``hu`` int16, ``lungs`` uint8 (1 right, 2 left) and ``lesions`` uint8 (1 ground glass, 2 high opacity) are
    (slice, row, column): feet to head, front to back, patient's right to left.
    """

    spec: PhantomSpec
    hu: np.ndarray
    lungs: np.ndarray
    lesions: np.ndarray
    slice_spacing_mm: float
    pixel_spacing_mm: float
    first_position_mm: tuple[float, float, float]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel."""
        return self.slice_spacing_mm * self.pixel_spacing_mm**2 / 1000.0

    @property
    def lung_volume_ml(self) -> float:
        """Volume of both lungs, lesions and vessels included."""
        return float((self.lungs > 0).sum()) * self.voxel_volume_ml

    @property
    def ggo_volume_ml(self) -> float:
        """Volume of ground glass."""
        return float((self.lesions == GGO_LABEL).sum()) * self.voxel_volume_ml

    @property
    def high_opacity_volume_ml(self) -> float:
        """Volume of consolidation."""
        return float((self.lesions == HIGH_OPACITY_LABEL).sum()) * self.voxel_volume_ml

    @property
    def burden_percent(self) -> float:
        """Opacities as a share of the lungs."""
        return 100.0 * (self.ggo_volume_ml + self.high_opacity_volume_ml) / self.lung_volume_ml


@dataclass(frozen=True, slots=True, kw_only=True)
class _Acquisition:
    """How a profile is scanned: millimetres and HU."""

    field_mm: float
    slice_mm: float
    first_mm: float
    slices: int
    blur_mm: float
    noise_hu: float
    lung_hu: float
    dome_lift_mm: float


_ACQUISITIONS = {
    PhantomProfile.CHEST_CT: _Acquisition(
        field_mm=390, slice_mm=2.5, first_mm=2, slices=118, blur_mm=0.55, noise_hu=17, lung_hu=-868, dome_lift_mm=0
    ),
    PhantomProfile.CTAC: _Acquisition(
        field_mm=600, slice_mm=5.0, first_mm=0, slices=60, blur_mm=1.5, noise_hu=27, lung_hu=-800, dome_lift_mm=20
    ),
    PhantomProfile.CARDIAC_CTAC: _Acquisition(
        field_mm=500, slice_mm=4.0, first_mm=52, slices=40, blur_mm=1.5, noise_hu=24, lung_hu=-805, dome_lift_mm=16
    ),
}


def build_phantom(spec: PhantomSpec) -> Phantom:
    """Build the chest that a specification describes.

    Raises:
        LesionTooLargeError: more opacity was asked for than the lungs hold.
    """
    acquisition = _ACQUISITIONS[spec.profile]
    rng = np.random.default_rng(spec.seed)
    grid = _grid(acquisition, spec.matrix)
    habitus = Habitus(
        scale=float(rng.uniform(0.975, 1.02)),
        right_dome_mm=88.0 + acquisition.dome_lift_mm + float(rng.uniform(-4, 4)),
        left_dome_mm=81.0 + acquisition.dome_lift_mm + float(rng.uniform(-4, 4)),
    )
    anatomy = build_anatomy(grid, habitus, rng)
    lesions = place_lesions(grid, anatomy.labels, ggo_ml=spec.ggo_ml, high_opacity_ml=spec.high_opacity_ml, rng=rng)
    hu = _fill_lungs(grid, anatomy, lesions, acquisition.lung_hu, rng)
    draw_table(hu, grid)
    return Phantom(
        spec=spec,
        hu=scanned(hu, grid, blur_mm=acquisition.blur_mm, noise_hu=acquisition.noise_hu, rng=rng),
        lungs=anatomy.labels,
        lesions=lesions.labels,
        slice_spacing_mm=acquisition.slice_mm,
        pixel_spacing_mm=acquisition.field_mm / spec.matrix,
        first_position_mm=(float(grid.x_mm[0]), float(grid.y_mm[0]), float(grid.z_mm[0])),
    )


def _grid(acquisition: _Acquisition, matrix: int) -> Grid:
    pixel_mm = acquisition.field_mm / matrix
    across = ((np.arange(matrix) - (matrix - 1) / 2) * pixel_mm).astype(np.float32)
    z = (acquisition.first_mm + np.arange(acquisition.slices) * acquisition.slice_mm).astype(np.float32)
    return Grid(x_mm=across, y_mm=across + np.float32(12.0), z_mm=z)


def _fill_lungs(grid: Grid, anatomy: Anatomy, lesions: Lesions, lung_hu: float, rng: np.random.Generator) -> Floats:
    tissue = parenchyma(grid, mean_hu=lung_hu, rng=rng)
    _draw_fissures(tissue, grid)
    tissue = opacified(tissue, lesions, anatomy.labels > 0, grid, rng)
    arteries, veins = _trees(grid, anatomy, surface_depth_mm(grid, anatomy.labels > 0), rng)
    bronchi = tuple(tube for tree in arteries for tube in bronchi_of(tree))
    vessels = draw_tubes(grid, tuple(tube for tree in (*arteries, *veins) for tube in tree.tubes))
    tissue += vessels * np.maximum(_VESSEL_HU - tissue, 0.0)
    walls, lumens = draw_tubes(grid, bronchi), draw_tubes(grid, bronchi, shrink_mm=0.55)
    tissue += walls * np.maximum(_BRONCHUS_WALL_HU - tissue, 0.0)
    tissue += lumens * (_BRONCHUS_AIR_HU - tissue)
    share = lung_coverage(anatomy, grid.spacing_mm[1]) * (ndimage.maximum_filter(anatomy.labels, 3) > 0)
    air_outside_lung = np.where(anatomy.lung_distance < 0, -1000.0, anatomy.hu)
    return (anatomy.hu + share * (tissue - np.minimum(air_outside_lung, anatomy.hu))).astype(np.float32)


def _trees(grid: Grid, anatomy: Anatomy, inner_mm: Floats, rng: np.random.Generator) -> tuple[list[Tree], list[Tree]]:
    arteries: list[Tree] = []
    veins: list[Tree] = []
    for label in (1, 2):
        candidates = np.argwhere((anatomy.labels == label) & (inner_mm > 4.0))
        if not len(candidates):
            continue
        for trees, roots, tips in ((arteries, _ARTERY_ROOTS, _ARTERY_TIPS), (veins, _VEIN_ROOTS, _VEIN_TIPS)):
            trees.append(grow_tree(spread_points(candidates, grid, tips, rng), roots[label], rng))
    return arteries, veins


def _draw_fissures(tissue: Floats, grid: Grid) -> None:
    """Oblique fissures on both sides and the horizontal one on the right: thin, brighter sheets."""
    x, y, z = grid.x_mm[None, None, :], grid.y_mm[None, :, None], grid.z_mm[:, None, None]
    bulge = 6.0 * np.sin(x / 30.0)
    oblique = (z - 148.0) * 0.64 - (y - 10.0) * 0.77 + bulge
    horizontal = z - 150.0 + 0.06 * (y + 40.0) ** 2 / 10.0 + 0.1 * np.abs(x + 80.0)
    thickness = 0.45 * grid.spacing_mm[1]
    sheet = np.exp(-((oblique / thickness) ** 2))
    front = np.exp(-((horizontal / (0.6 * thickness)) ** 2)) * ((x < 0) & (oblique > 0))
    share = 0.5 * np.maximum(sheet, 0.6 * front) / max(1.0, grid.spacing_mm[1])
    tissue += share * (_FISSURE_HU - tissue)
