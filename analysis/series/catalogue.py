"""What may be wrong with an input, and what the node does about it: the text of ``deploy/input-trouble.md``.

``python -m analysis.series.catalogue`` prints it. The limits are those of the rules.
"""

import math
import sys
from collections.abc import Mapping
from typing import Final

from analysis.series import rules, stack_rules
from analysis.series.acquisitions import MINIMUM_SLICES
from analysis.series.attributes import FARTHEST_MM, MOST_ITEMS
from analysis.series.opening import LARGEST_HEADER, MOST_READS
from analysis.series.pixel_rules import MINIMUM_LUNG_ML
from analysis.series.screening import MOST_VOLUMES
from analysis.series.verdicts import Rule

TROUBLE: Final[Mapping[Rule, tuple[tuple[str, str], ...]]] = {
    Rule.READABLE: (
        (
            "a file that is no DICOM, is cut off, is a FIFO or a link to nothing",
            "named with its reason; the rest goes on",
        ),
        (
            (
                f"more than {MOST_READS // 2:,} elements or {LARGEST_HEADER >> 20} MiB before the pixels, inflated, "
                f"or {MOST_ITEMS:,} items in a sequence"
            ),
            "not read further: it asks for more than an image needs",
        ),
        (
            "a DICOMDIR",
            (
                "`analyze` takes the files that it names, in capitals or not; in a folder it only tells which of them "
                "are not there"
            ),
        ),
        ("a data set without preamble or File Meta Information", "`analyze` reads it all the same"),
        ("zero bytes after the last element, private elements of no value representation", "received, bytes kept"),
        ("a zip archive in a folder or in another, or cut off", "`analyze` asks for the folder that it unpacks to"),
    ),
    Rule.IDENTIFIERS: (
        (
            "a UID is empty, or one UID stands in files of different content",
            (
                "`analyze` derives it from the content, says so once, results carry it; `send --new-uids` sends so; "
                "over the network the instance is refused (0xA900)"
            ),
        ),
        ("a UID of letters or hyphens", "kept and used as it is, with a warning"),
    ),
    Rule.REPEATS: (
        ("a slice, or a whole series, is there again under other UIDs, with the same pixels", "counts once, noted"),
        ("the same SOP Instance UID again", "counts once, named"),
        (
            "the same image again in another transfer syntax, or otherwise encoded anew",
            "kept; pixels and attributes are the same, so nothing is analysed or reported again",
        ),
        (
            "the same SOP Instance UID with another image, by lossy compression too",
            "the newest is analysed, as a new revision; `analyze` takes the first by its path",
        ),
    ),
    Rule.SOP_CLASS: (
        ("no CT Image, Enhanced CT or Legacy Converted Enhanced CT", "excluded; PT and NM are context"),
        ("a PT or NM series that comes after the CT of its study", "the CT is judged again, as if it had come first"),
    ),
    Rule.MODALITY: (("Modality is not CT", "excluded"),),
    Rule.IMAGE_TYPE: (
        ("Image Type names a localizer, reformat or projection", "excluded"),
        ("a few such images among the slices", "they are left out, noted"),
        (
            "up to three images of no place, or of another plane, among the slices",
            "they are left out, noted, where the rest is whole without them",
        ),
    ),
    Rule.DESCRIPTION: (("the description has a whole word for a localizer, reformat or report", "excluded"),),
    Rule.BODY_PART: (("Body Part Examined is another part", "noted only: it is wrong too often"),),
    Rule.FRAMES: (("Number of Frames and functional groups differ", "excluded"),),
    Rule.PLANE_ATTRIBUTES: (
        ("position, orientation or spacing is absent", "excluded; the attribute is named"),
        (f"a number that is not finite, or farther off than {FARTHEST_MM / 1000:g} m", "as if it were absent"),
    ),
    Rule.RESCALE: (
        ("no rescale in the functional groups", "taken from the top level where it stands there"),
        ("no rescale at all, or one that makes no HU", "excluded; slope and intercept are named"),
        ("Rescale Type is not HU", "noted; the pixels decide"),
    ),
    Rule.PIXEL_FORMAT: (
        ("High Bit is not Bits Stored - 1", "read by High Bit, noted"),
        ("Bits Stored or High Bit beyond Bits Allocated; colour", "excluded"),
    ),
    Rule.COMPRESSION: (("lossy compression, or less than 10 bits a pixel", "noted; a reason of the quality"),),
    Rule.MATRIX: (
        (
            f"a matrix under {rules.MINIMUM_MATRIX} or over {rules.LARGEST_MATRIX}, or several that make no volumes",
            "excluded",
        ),
        (
            "rows, columns and frames ask for more memory than there is",
            "failed before a pixel is decoded, naming memory",
        ),
    ),
    Rule.ACQUISITION: (
        (
            "two kernels, phases, breaths, matrices or spacings under one series UID",
            (
                f"parted by the tag that tells them apart, where each is a volume ({MINIMUM_SLICES} slices or more); "
                "the axial, best covering, wide, softest one is analysed, and the next of them where a rule excludes "
                f"that one ({MOST_VOLUMES} are tried at most); the others are named by tag and value in `why`, result, "
                "report and quality, and in the reason where all are excluded"
            ),
        ),
        ("the same, but the parts are no volumes", "excluded; the tag and its values are named"),
    ),
    Rule.ORIENTATION: (("slices are not axial, or do not lie alike", "excluded"),),
    Rule.GANTRY_TILT: (
        (f"a tilt of more than {math.degrees(math.acos(stack_rules.MINIMUM_NORMAL_COSINE)):.1f} degrees", "excluded"),
        (f"a tilt from {stack_rules.NOTED_TILT_DEG:g} degrees on", "noted; volumes stay exact"),
    ),
    Rule.SLICE_POSITIONS: (
        ("slices lie in the same place, or a hair apart, and no tag tells them apart", "excluded as two acquisitions"),
    ),
    Rule.ALIGNMENT: (("slices are shifted sideways", "excluded"),),
    Rule.SLICE_STEP: (
        ("a slice is missing", "excluded; its position is named"),
        (f"slices more than {stack_rules.MAXIMUM_STEP_MM:g} mm apart", "excluded"),
        ("unequal steps", "noted; each slice is weighed by the space it stands for"),
    ),
    Rule.SLICE_CONTACT: (("slices do not touch", "noted; a reason of the quality"),),
    Rule.EXTENT: (
        (f"fewer than {MINIMUM_SLICES} slices, or less than {stack_rules.MINIMUM_EXTENT_MM:g} mm", "excluded"),
        (f"less than {stack_rules.WHOLE_CHEST_EXTENT_MM:g} mm", "noted"),
    ),
    Rule.FIELD_OF_VIEW: ((f"a field of view under {stack_rules.MINIMUM_FIELD_OF_VIEW_MM:g} mm", "excluded"),),
    Rule.STORED_VALUES: (
        (
            "values beyond Bits Stored that are neither padding nor overlay planes",
            "excluded; the value is named",
        ),
    ),
    Rule.HOUNSFIELD_SCALE: (("air is not near -1000 HU or soft tissue not near 0", "excluded; what failed is named"),),
    Rule.LUNG_PRESENT: ((f"less than {MINIMUM_LUNG_ML:g} mL of lung, or what is no lung", "excluded"),),
    Rule.ONE_STUDY: (
        ("slices of one series under two study UIDs", "excluded; the other study is named"),
        ("one series UID in two studies, or of two patients", "two series, each with its own result"),
    ),
    Rule.ON_DISK: (
        ("files of the series are not on disk", "excluded, naming what lacks; what stands is not retired"),
        (
            "the association that brought it broke off",
            "no evidence of completeness: it waits for `completion.incomplete_quiet_s`, noted",
        ),
    ),
    Rule.RECONSTRUCTION: (("several reconstructions of one acquisition", "one is analysed, and why"),),
    Rule.OTHER_RECONSTRUCTION: (("a better reconstruction of the acquisition", "excluded in its favour"),),
    Rule.SCREENING: (("the headers stop the rules themselves", "excluded with the cause; `requeue` tries again"),),
}
"""Every rule, with what it looks for and what comes of it."""


def document() -> str:
    """The whole text, in Markdown."""
    rows = [f"| {rule} | {trouble} | {then} |" for rule, pairs in TROUBLE.items() for trouble, then in pairs]
    return "\n".join(
        (
            "# Input trouble",
            "What may be wrong with what a scanner or a folder brings, and what comes of it. Printed by",
            "`python -m analysis.series.catalogue`; `lungsentry why SERIES` shows every rule with the value it saw.",
            "",
            "| rule | what is wrong | what the node does |",
            "|---|---|---|",
            *rows,
            "",
            "Excluded is not failed: an excluded series needs nothing from anybody, a failed one names its cause and",
            "can be requeued. Dates are read in DICOM's forms, new (20260302, 101500) and old (2026.03.02, 10:15);",
            "what is no date is unknown, and nothing is compared over time by it.",
            "",
        )
    )


if __name__ == "__main__":
    sys.stdout.write(document())
