"""Borders of lobes at fissures: sheets attract them; vessels, opacity, noise and lungs in part do not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import expit, softmax

from analysis.anatomy import LEFT, RIGHT, Border
from analysis.anatomy.border_surface import MovedSurface, Surface
from analysis.anatomy.fissure_search import Columns
from analysis.anatomy.fissure_slab import Slab
from analysis.anatomy.fissure_track import LEAST_LEAD_IN_PART, Sheet, _followed, _refitted, _rival
from analysis.anatomy.fissures import DOUBT_MM, Scene, on_fissures

SPACING_MM = (2.0, 1.5, 1.5)
GRID_MM = 7.0
SHAPE = (80, 84, 100)
OBLIQUE = np.asarray([0.6, -0.8, 0.0])
LUNG_HU, NOISE_HU, FISSURE_HU, VESSEL_HU = -850.0, 50.0, 150.0, 800.0


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """Two lungs that are boxes, what is drawn in them, and where their borders seem to lie by their shape."""

    hu: np.ndarray
    sides: np.ndarray

    @classmethod
    def empty(cls) -> "Phantom":
        """Lungs with noise and a few hundred small vessels that run from front to back, off the middle of each lung."""
        random = np.random.default_rng(3)
        sides = np.zeros(SHAPE, np.uint8)
        sides[5:75, 6:78, 6:47], sides[5:75, 6:78, 53:94] = RIGHT, LEFT
        dots = random.random((SHAPE[0], 1, SHAPE[2])) > 0.985
        grain = gaussian_filter(random.normal(0, 1, SHAPE), 0.7)
        vessels = np.broadcast_to(dots, SHAPE) * VESSEL_HU
        hu = np.where(sides > 0, LUNG_HU + NOISE_HU * grain / grain.std() + gaussian_filter(vessels, 0.6), 40.0)
        return cls(hu=hu, sides=sides)

    def with_sheet(self, height_mm: np.ndarray, side: int) -> "Phantom":
        """A fissure, 2 mm thick as the CT shows it, where a height (slice, row, column) in mm is 0."""
        sheet = FISSURE_HU * np.exp(-((height_mm / 1.2) ** 2)) * (self.sides == side)
        return replace(self, hu=self.hu + sheet)

    def scene(self, make_volume) -> Scene:
        axes = tuple(
            np.arange(GRID_MM / 2, count * step, GRID_MM) for count, step in zip(SHAPE, SPACING_MM, strict=True)
        )
        nearest = np.ix_(*((axis / step).astype(int) for axis, step in zip(axes, SPACING_MM, strict=True)))
        shares = {side: (self.sides[nearest] == side).astype(np.float32) for side in (RIGHT, LEFT)}
        volume = make_volume(np.rint(self.hu), SPACING_MM)
        return Scene(volume=volume, sides=self.sides, axes=axes, shares=shares)


def height(axes, side: int, normal=OBLIQUE, lift_mm: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    """Height in mm over a plane through the middle of a lung, lifted and tilted across, at all places of a grid."""
    middle = (80.0, 63.0, 39.0 if side == RIGHT else 110.0)
    places = [place - centre for place, centre in zip(np.meshgrid(*axes, indexing="ij"), middle, strict=True)]
    return sum(way * place for way, place in zip(normal, places, strict=True)) - lift_mm - tilt * places[2]


def voxels():
    """Places in mm of the slices, rows and columns of the phantom."""
    return [np.arange(count) * step for count, step in zip(SHAPE, SPACING_MM, strict=True)]


def by_shape(axes) -> np.ndarray:
    """Probabilities of the lobes of a shape that puts every border through the middle of its lung."""
    left = height(axes, LEFT) / 6
    oblique = height(axes, RIGHT) / 6
    above = height(axes, RIGHT, (1.0, 0.0, 0.0), lift_mm=8) / 6
    right = softmax(np.stack([oblique + np.minimum(above, 0), oblique + np.minimum(-above, 0), 0 * above]), axis=0)
    return np.concatenate([right, expit(left)[None], expit(-left)[None]]).astype(np.float32)


def off_mm(probabilities: np.ndarray, scene: Scene, true_mm: np.ndarray, side: int = LEFT) -> float:
    """How far the border of a left lung, or the oblique one of a right, lies off where a height in mm is 0, at most."""
    odds = (
        np.log(probabilities[3] / probabilities[4])
        if side == LEFT
        else np.log((probabilities[0] + probabilities[1]) / probabilities[2])
    )
    found = Surface.where_zero(odds, scene.shares[side] > 0.5, scene.axes, (1, -1, 0))
    lung = scene.shares[side] > 0.5
    plain = MovedSurface(surface=found, u=np.arange(2.0), v=np.arange(2.0), moved=np.zeros((2, 2)))
    wide = replace(plain, u=np.asarray([-99.0, 99]), v=np.asarray([-99.0, 99]))
    return float(np.abs(wide.above_on(scene.axes) - true_mm)[lung & (np.abs(true_mm) < 8)].max())


@pytest.fixture(scope="module")
def empty() -> Phantom:
    return Phantom.empty()


@pytest.mark.parametrize(("lift_mm", "tilt"), [(12.0, 0.0), (-14.0, 0.15), (25.0, -0.1)])
def test_a_left_border_moves_onto_its_fissure(make_volume, empty, lift_mm, tilt):
    """A sheet up to 25 mm off and tilted is found; the border then lies within a voxel or two of it."""
    scene = empty.with_sheet(height(voxels(), LEFT, lift_mm=lift_mm, tilt=tilt), LEFT).scene(make_volume)
    told = by_shape(scene.axes)
    true_mm = height(scene.axes, LEFT, lift_mm=lift_mm, tilt=tilt)
    assert off_mm(told, scene, true_mm) > abs(lift_mm) - 1
    moved, borders = on_fissures(told, scene, (RIGHT, LEFT))
    assert borders == {Border.LEFT_OBLIQUE}
    assert off_mm(moved, scene, true_mm) < 3.0
    np.testing.assert_array_equal(moved[:3], told[:3])
    np.testing.assert_allclose(moved[3:].sum(axis=0), 1, atol=1e-5)


def test_a_border_follows_a_wavy_fissure(make_volume, empty):
    """Waves of 4 mm, which no shift, tilt or bend follows, are followed to within a voxel or two on the average."""

    def waves(axes):
        return height(axes, LEFT, lift_mm=10) - 4 * np.sin(np.asarray(axes[1]) / 11)[:, None]

    scene = empty.with_sheet(waves(voxels()), LEFT).scene(make_volume)
    moved, borders = on_fissures(by_shape(scene.axes), scene, (LEFT,))
    assert borders == {Border.LEFT_OBLIQUE}
    true_mm = waves(scene.axes)
    near = (scene.shares[LEFT] > 0.5) & (np.abs(true_mm) < 6)
    told_mm = DOUBT_MM * np.log(moved[3] / moved[4])
    assert np.abs(told_mm - true_mm)[near].mean() < 1.5


def test_a_surface_that_crosses_a_sheet_is_turned_into_it():
    """Followed alone it takes the sheet where they cross; fitted to that part, and followed again, it takes all."""
    places, heights = np.arange(-60.0, 61, 6), np.arange(-28, 29) * 1.5
    sheet_mm = 0.35 * places[:, None] + 12 * (places / 50) ** 2 - 6
    evidence = (2 * np.exp(-(((heights - sheet_mm[..., None]) / 2) ** 2)) - 0.1).astype(np.float32)
    slab = Slab(evidence=evidence, known=np.ones(evidence.shape, bool), u=places, v=places, heights=heights)
    columns = Columns.of(slab)
    crossing = _followed(slab, columns, np.zeros(6))
    turned = _refitted(slab, columns, crossing)
    assert np.abs(crossing.moved - sheet_mm).mean() > 5
    assert np.abs(turned.moved - sheet_mm).mean() < 1
    assert turned.strength > 1.3 * crossing.strength


def test_sheets_that_share_a_part_and_differ_elsewhere_are_rivals():
    """The same sheet again is none; one that runs elsewhere over most of the lung is, at nearly its whole strength."""

    def sheet(moved, strength):
        return Sheet(
            moved=moved, evidence=np.full(moved.shape, strength), known=np.ones(moved.shape, bool), strength=strength
        )

    flat = np.zeros((20, 20))
    columns = Columns(basis=np.zeros((20, 20, 6)), members=flat == 0, values=flat, count=400, middle=0)
    bent = np.where(np.arange(20) > 7, 12.0, 0.0) + flat
    assert _rival(sheet(flat + 1, 0.6), sheet(flat, 0.6), columns) == 0
    assert _rival(sheet(bent, 0.6), sheet(flat, 0.6), columns) > 0.6
    weak = replace(sheet(bent, 0.6), evidence=np.where(bent > 0, 0.1, 1.0))
    assert _rival(weak, sheet(flat, 0.6), columns) == pytest.approx(0.6 * LEAST_LEAD_IN_PART)


def test_both_borders_of_a_right_lung_move(make_volume, empty):
    """The oblique border moves, then the horizontal one in front of it; each lobe lies on its side of both."""
    over = (1.0, 0.0, 0.0)
    oblique, horizontal = height(voxels(), RIGHT, lift_mm=9), height(voxels(), RIGHT, over, lift_mm=-4)
    scene = (
        empty.with_sheet(oblique, RIGHT).with_sheet(np.where(oblique > 0, horizontal, 99.0), RIGHT).scene(make_volume)
    )
    moved, borders = on_fissures(by_shape(scene.axes), scene, (RIGHT, LEFT))
    assert borders == {Border.RIGHT_OBLIQUE, Border.RIGHT_HORIZONTAL}
    in_front, above = height(scene.axes, RIGHT, lift_mm=9), height(scene.axes, RIGHT, over, lift_mm=-4)
    clear = (scene.shares[RIGHT] > 0.5) & (np.minimum(np.abs(in_front), np.abs(above)) > 3)
    lobe = np.where(in_front < 0, 2, np.where(above > 0, 0, 1))
    assert np.mean(moved[:3].argmax(axis=0)[clear] == lobe[clear]) > 0.99


def test_without_a_fissure_every_border_stays(make_volume, empty):
    """Noise and small vessels alone: the probabilities are those given, to the last bit."""
    scene = empty.scene(make_volume)
    told = by_shape(scene.axes)
    moved, borders = on_fissures(told, scene, (RIGHT, LEFT))
    assert not borders
    np.testing.assert_array_equal(moved, told)


@pytest.mark.parametrize(("apart_mm", "radius_mm"), [(14.0, 1.5), (20.0, 2.5), (60.0, 4.0)])
def test_vessels_side_by_side_are_no_fissure(make_volume, empty, apart_mm, radius_mm):
    """Tubes through the whole lung, all in one plane beside the border, are brighter than a fissure: no matter."""
    beside = height(voxels(), LEFT, lift_mm=12)
    across = (voxels()[2] + apart_mm / 2) % apart_mm - apart_mm / 2
    tubes = VESSEL_HU * np.exp(-((beside / radius_mm) ** 2) - (across / radius_mm) ** 2) * (empty.sides == LEFT)
    scene = replace(empty, hu=empty.hu + tubes).scene(make_volume)
    assert not on_fissures(by_shape(scene.axes), scene, (LEFT,))[1]


@pytest.mark.parametrize("thickness_mm", [15.0, 30.0])
def test_opacity_is_no_fissure(make_volume, empty, thickness_mm):
    """A layer of consolidation with flat faces beside the border leaves it where it is."""
    beside = height(voxels(), LEFT, lift_mm=18)
    dense = (np.abs(beside) < thickness_mm / 2) & (empty.sides == LEFT)
    scene = replace(empty, hu=np.where(dense, 20.0, empty.hu)).scene(make_volume)
    assert not on_fissures(by_shape(scene.axes), scene, (LEFT,))[1]


def test_a_fissure_is_found_past_opacity(make_volume, empty):
    """Consolidation of a third of the lower lobe does not keep the border from its fissure."""
    lifted = height(voxels(), LEFT, lift_mm=12)
    phantom = empty.with_sheet(lifted, LEFT)
    behind = (lifted < -15) & (empty.sides == LEFT) & (np.arange(SHAPE[0])[:, None, None] < 40)
    scene = replace(phantom, hu=np.where(behind, 20.0, phantom.hu)).scene(make_volume)
    moved, borders = on_fissures(by_shape(scene.axes), scene, (LEFT,))
    assert borders == {Border.LEFT_OBLIQUE}
    assert off_mm(moved, scene, height(scene.axes, LEFT, lift_mm=12)) < 3.0


def test_a_mirrored_lung_has_the_mirrored_border(make_volume, empty):
    """The same lung reflected from side to side gives the same border, reflected, to a fraction of a millimetre."""
    true = empty.with_sheet(height(voxels(), LEFT, lift_mm=12, tilt=0.15), LEFT)
    scene = true.scene(make_volume)
    reflected = replace(
        scene,
        volume=make_volume(np.rint(true.hu)[..., ::-1], SPACING_MM),
        sides=np.ascontiguousarray(scene.sides[..., ::-1]),
        axes=(*scene.axes[:2], (SHAPE[2] - 1) * SPACING_MM[2] - scene.axes[2][::-1]),
        shares={side: share[..., ::-1] for side, share in scene.shares.items()},
    )
    told = by_shape(scene.axes)
    moved, borders = on_fissures(told, scene, (LEFT,))
    mirrored, same = on_fissures(np.ascontiguousarray(told[..., ::-1]), reflected, (LEFT,))
    assert borders == same == {Border.LEFT_OBLIQUE}
    np.testing.assert_allclose(mirrored[..., ::-1][3:], moved[3:], atol=0.1)


def test_a_lung_that_is_cut_off_keeps_its_border(make_volume, empty):
    """A side that is not named as whole is not looked at, however clear its fissure."""
    scene = empty.with_sheet(height(voxels(), LEFT, lift_mm=12), LEFT).scene(make_volume)
    told = by_shape(scene.axes)
    moved, borders = on_fissures(told, scene, (RIGHT,))
    assert not borders
    np.testing.assert_array_equal(moved, told)


def test_thick_slices_keep_their_borders(make_volume, empty):
    """Slices 4 mm apart are not searched: what they show of a fissure is a blur."""
    scene = empty.with_sheet(height(voxels(), LEFT, lift_mm=12), LEFT).scene(make_volume)
    volume = scene.volume
    thick = replace(scene, volume=replace(volume, slice_positions_mm=volume.slice_positions_mm * 2))
    assert not on_fissures(by_shape(scene.axes), thick, (LEFT,))[1]


def test_height_over_a_border_is_a_distance_along_its_normal():
    """Of a plane the surface gives back the signed distance, the way up as asked; of no border there is no surface."""
    axes = tuple(np.arange(0.0, 120.0, GRID_MM) for _ in range(3))
    normal = np.asarray([0.6, -0.8, 0.0])
    true_mm = sum(way * (place - 60) for way, place in zip(normal, np.meshgrid(*axes, indexing="ij"), strict=True))
    inside = np.ones(true_mm.shape, bool)
    surface = Surface.where_zero(true_mm.astype(np.float32), inside, axes, (1, -1, 0))
    np.testing.assert_allclose(surface.normal, normal, atol=0.01)
    ends = np.asarray([-90.0, 90.0])
    moved = MovedSurface(surface=surface, u=ends, v=ends, moved=np.full((2, 2), 5.0))
    near = np.abs(true_mm) < 30
    np.testing.assert_allclose(moved.above_on(axes)[near], true_mm[near] - 5, atol=0.5)
    assert Surface.where_zero(np.ones(true_mm.shape, np.float32), inside, axes, (1, -1, 0)) is None
