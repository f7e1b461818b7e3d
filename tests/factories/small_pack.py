"""A small chest with one lesion, right, low and posterior, and the pack of its images."""

import numpy as np

from analysis.anatomy.lobes import Lobes
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.findings import KeySlice, Lobe
from analysis.series.volume import NativeGrid, Volume
from analysis.view_pack import view_pack

SLICES, ROWS, COLUMNS = 12, 64, 80
LESION = (slice(2, 5), slice(44, 52), slice(14, 24))
"""Low (the first slices are the lowest), posterior (high rows), and the patient's right (low columns)."""
CORE = (slice(3, 4), slice(46, 50), slice(17, 21))


def chest() -> tuple[Volume, Lungs, Lobes, np.ndarray, tuple[KeySlice, ...]]:
    """The volume, its lungs, lobes and labels, and the key slice."""
    rng = np.random.default_rng(7)
    hu = rng.normal(-1000, 8, (SLICES, ROWS, COLUMNS))
    hu[:, 6:58, 6:74] = rng.normal(40, 12, (SLICES, 52, 68))
    sides = np.zeros(hu.shape, np.uint8)
    sides[1:11, 12:54, 10:36], sides[1:11, 12:54, 44:70] = RIGHT, LEFT
    hu[sides > 0] = rng.normal(-850, 15, int((sides > 0).sum()))
    labels = np.zeros(hu.shape, np.uint8)
    labels[LESION], labels[CORE] = 1, 2
    hu[labels == 1], hu[labels == 2] = -550, 20
    parts = np.where(sides == RIGHT, 6, np.where(sides == LEFT, 8, 0)).astype(np.uint8)
    volume = Volume(
        hu=hu.astype(np.int16),
        slice_positions_mm=np.arange(SLICES) * 5.0,
        slice_weights_mm=np.full(SLICES, 5.0),
        row_spacing_mm=5.0,
        column_spacing_mm=5.0,
        sop_instance_uids=tuple(f"1.2.{index}" for index in range(SLICES)),
        frame_numbers=(None,) * SLICES,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
    lobes = Lobes(
        labels=parts,
        confidence_percent={Lobe.RIGHT_LOWER: 90.0, Lobe.LEFT_LOWER: 90.0},
        cut=frozenset(),
        untold=frozenset(),
    )
    key = KeySlice(
        sop_instance_uid="1.2.3",
        frame_number=None,
        slice_index=3,
        position_mm=15.0,
        ggo_area_mm2=1600.0,
        high_opacity_area_mm2=400.0,
    )
    return volume, Lungs(labels=sides), lobes, labels, (key,)


def small_pack() -> bytes:
    """The pack of the chest."""
    volume, lungs, lobes, labels, keys = chest()
    return view_pack(volume, lungs, lobes, labels, keys)
