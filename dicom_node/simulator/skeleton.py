"""Vertebrae, ribs, sternum and the shoulder girdle, slice by slice."""

import numpy as np

from dicom_node.simulator.geometry import Floats, capsule, superellipse
from dicom_node.simulator.section import MUSCLE_HU, Section

_CORTEX_HU = 780.0
_MARROW_HU = 230.0
_CARTILAGE_HU = 110.0
_DISC_HU = 75.0
_VERTEBRA_MM = 24.0
_DISC_MM = 5.0
_FIRST_RIB_MM = 318.0
_RIB_STEP_MM = 27.0
_RIB_DROP_MM = 70.0
_BARE_MM = 20.0


def spine_room(x: Floats, y: Floats, spine_y: float) -> Floats:
    """What the vertebrae and the muscles beside them keep the lungs out of."""
    body = superellipse(x, y - spine_y, half_width=23.0, half_height=19.0, power=2.0)
    behind = np.maximum(np.abs(x) - (15.0 + 0.62 * (y - spine_y)), spine_y - 4.0 - y)
    return np.minimum(body, behind).astype(np.float32)


def draw_bones(section: Section, spine_y: float) -> None:
    """Vertebra and the muscle beside it, ribs, shoulder girdle and sternum."""
    x, y, z, wall = section.x, section.y, section.z, section.wall
    muscle_by_spine = np.maximum(spine_room(x, y, spine_y) + 2.0, y - spine_y - 60.0)
    section.paint(np.maximum(muscle_by_spine, wall), MUSCLE_HU)
    _draw_ribs(section)
    _draw_girdle(section)
    in_disc = (z % _VERTEBRA_MM) < _DISC_MM
    body = superellipse(x, y - spine_y, half_width=19.0, half_height=15.0, power=2.2)
    if in_disc:
        section.paint(body, _DISC_HU)
    else:
        waist = 1.5 * np.sin(np.pi * ((z % _VERTEBRA_MM) - _DISC_MM) / (_VERTEBRA_MM - _DISC_MM))
        _paint_bone(section, body + np.float32(waist), 1.4, _MARROW_HU - 30)
    for side in (-1.0, 1.0):
        pedicle = capsule(x, y, (side * 12, spine_y + 12), (side * 14, spine_y + 26), 4.5)
        transverse = capsule(x, y, (side * 14, spine_y + 26), (side * 36, spine_y + 40), 4.5)
        lamina = capsule(x, y, (side * 14, spine_y + 28), (0, spine_y + 38), 3.5)
        if not in_disc:
            _paint_bone(section, np.minimum(pedicle, transverse), 1.4, _MARROW_HU)
        _paint_bone(section, lamina, 1.4, _MARROW_HU)
    spinous = capsule(x, y, (0, spine_y + 38), (0, spine_y + (58 if not in_disc else 46)), 3.2)
    _paint_bone(section, spinous, 1.2, _MARROW_HU)
    section.paint((np.hypot(x, y - spine_y - 24.0) - 8.5).astype(np.float32), 25.0)


def _draw_ribs(section: Section) -> None:
    """Ribs run down and forward around the chest: at one height a slice cuts several of them obliquely."""
    x, y, z, wall = section.x, section.y, section.z, section.wall
    angle = np.arctan2(np.abs(x) / 1.6, y - 2.0)  # 0 at the back, pi at the front
    height = z + _RIB_DROP_MM * (1.0 - np.cos(angle)) / 2.0
    from_rib = (height + 0.5 * _RIB_STEP_MM) % _RIB_STEP_MM - 0.5 * _RIB_STEP_MM
    rib = np.hypot(np.abs(from_rib) * 0.62, (wall - 6.0) * 1.0) - 4.2
    rib = np.maximum(rib, np.where(np.abs(x) < _BARE_MM, _BARE_MM - np.abs(x), -50.0)).astype(np.float32)
    lowest = _FIRST_RIB_MM - 12 * _RIB_STEP_MM
    rib = np.where((height < lowest) | (height > _FIRST_RIB_MM), 20.0, rib).astype(np.float32)
    cartilage = angle > 2.45
    section.paint(np.where(cartilage, rib, 20.0).astype(np.float32), _CARTILAGE_HU)
    _paint_bone(section, np.where(cartilage, 20.0, rib).astype(np.float32), 1.6, _MARROW_HU)


def _draw_girdle(section: Section) -> None:
    """Sternum, scapulae, clavicles and the heads of the humeri."""
    x, y, z, wall = section.x, section.y, section.z, section.wall
    top, bottom = 250.0, 112.0
    if bottom < z < top:
        front = float(y[np.argmax(wall[:, wall.shape[1] // 2] < 0), 0])
        half_width = 19.0 + 10.0 * float(np.clip((z - 215.0) / 20.0, 0, 1))
        sternum = superellipse(x, y - front + 8.0, half_width=half_width, half_height=6.0, power=3.0)
        _paint_bone(section, sternum, 1.3, _MARROW_HU - 80)
    share = float(np.clip((z - 125.0) / 140.0, 0, 1))
    for side in (-1.0, 1.0):
        if z > 125.0:
            inner = (side * (112 - 14 * share), 96 + 6 * share)
            outer = (side * (128 + 44 * share), 82 - 40 * share)
            _paint_bone(section, capsule(x, y, inner, outer, 2.6 + 2.5 * share**3), 1.2, _MARROW_HU)
        if z > 195.0:
            blade = capsule(x, y, (side * 128, 84), (side * 150, 104), 2.8)
            _paint_bone(section, blade, 1.2, _MARROW_HU)
        if z > 240.0:
            head = np.hypot(x - side * 192.0, y - 28.0) - (20.0 - abs(z - 280.0) * 0.2)
            _paint_bone(section, head.astype(np.float32), 1.5, _MARROW_HU + 60)
        rise = 0.22
        clavicle_z = 248.0
        middle = 24.0 + (z - clavicle_z) / rise * 0.5
        if clavicle_z - 6 < z < clavicle_z + 40:
            span = capsule(x, y, (side * middle, -50 + 0.2 * middle), (side * (middle + 26), -46 + 0.2 * middle), 6.0)
            _paint_bone(section, span, 1.6, _MARROW_HU)


def _paint_bone(section: Section, distance: Floats, cortex_mm: float, marrow_hu: float) -> None:
    section.paint(distance, _CORTEX_HU)
    section.paint(distance + np.float32(cortex_mm), marrow_hu)
