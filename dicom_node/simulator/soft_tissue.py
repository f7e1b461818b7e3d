"""Skin, fat, muscle, and the organs under the diaphragm."""

import numpy as np

from dicom_node.simulator.geometry import Floats, superellipse
from dicom_node.simulator.section import BLOOD_HU, FAT_HU, MUSCLE_HU, SKIN_HU, Section, at_height

_LIVER_HU = 60.0
_SPLEEN_HU = 50.0
_INTERCOSTAL_MM = 10.0
_BODY = {
    "half_width": (184.0, 183.0, 182.0, 186.0, 202.0, 214.0, 222.0, 226.0, 220.0),
    "half_depth": (131.0, 129.0, 126.0, 123.0, 121.0, 112.0, 104.0, 99.0, 84.0),
    "centre": (0.0, 0.0, -1.0, 0.0, 4.0, 12.0, 20.0, 26.0, 28.0),
}


def draw_body(section: Section) -> None:
    """Skin, fat and the muscles of the chest wall and shoulders."""
    x, y, z, wall, streaks = section.x, section.y, section.z, section.wall, section.streaks
    half_width, half_depth, centre = ((at_height(_BODY[name], z)) for name in ("half_width", "half_depth", "centre"))
    groove = 7.0 * np.exp(-((x / 22.0) ** 2)) * (y > centre)  # over the spinous processes
    skin = superellipse(x, y - centre, half_width=half_width, half_height=half_depth, power=2.3) + groove
    section.paint(skin, SKIN_HU)
    section.paint(skin + 2.0, FAT_HU + 8.0 * streaks)
    shoulders = np.clip((z - 110.0) / 60.0, 0, 1)
    thickness = 17.0 + 8.0 * np.clip(y / 80.0, 0, 1) + 70.0 * shoulders
    muscle = np.maximum(skin + 10.0 + 1.5 * streaks, wall - thickness)
    between = np.maximum(muscle, 1.35 - np.abs(streaks))  # layers of fat between muscles
    section.paint(muscle, MUSCLE_HU + 5.0 * streaks)
    outer = np.where(wall > _INTERCOSTAL_MM, between * 4.0, 50.0).astype(np.float32)
    section.paint(outer, FAT_HU + 40.0)


def draw_inside(section: Section, below_dome: Floats, organs: Floats) -> None:
    """What the rib cage holds beside the lungs; ``below_dome`` and ``organs`` are signed distances in millimetres."""
    x, y, z, wall, streaks = section.x, section.y, section.z, section.wall, section.streaks
    neck = float(np.clip((z - 222.0) / 30.0, 0, 1))  # above the arch, muscle takes the place of fat
    section.paint(wall, FAT_HU + neck * np.where(streaks > -0.8, 135.0, 30.0) + 5.0 * streaks)
    section.paint(np.maximum(wall, organs), BLOOD_HU + 2.0 * streaks)
    inside = np.maximum(wall + 1.5, -below_dome)
    section.paint(np.maximum(wall, -below_dome - 2.0), MUSCLE_HU)
    section.paint(inside, FAT_HU + 6.0 * streaks)
    liver_edge = x - 34.0 + 0.75 * (y + 20.0) + 0.25 * (60.0 - z)
    section.paint(np.maximum.reduce([wall, -below_dome - 2.0, liver_edge * 0.8]), _LIVER_HU + 2.0 * streaks)
    depth = z - 38.0
    spleen = np.sqrt(((x - 118) / 30) ** 2 + ((y - 38) / 46) ** 2 + (depth / 42) ** 2) - 1.0
    section.paint(np.maximum(inside, spleen * 30.0), _SPLEEN_HU)
    stomach = np.sqrt(((x - 66) / 44) ** 2 + ((y + 22) / 52) ** 2 + ((z - 36) / 46) ** 2) - 1.0
    section.paint(np.maximum(inside, stomach * 44.0), 42.0)
    section.paint(np.maximum(inside, stomach * 44.0 + 4.0), 12.0 + 25.0 * streaks)
    section.paint(np.maximum.reduce([inside, stomach * 44.0 + 4.0, y + 44.0]), -960.0)
    aorta_and_cava = np.maximum(organs, -below_dome - 2.0)
    section.paint(aorta_and_cava, BLOOD_HU)
