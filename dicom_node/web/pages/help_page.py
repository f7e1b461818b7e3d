"""What the pages mean, and every key."""

from starlette.responses import Response

from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["page"]

_KEYS = {
    "On the list": (
        ("J K ↓ ↑", "next, previous examination"),
        ("Enter", "open the case"),
        ("/", "search"),
        ("R", "show what is new"),
        ("P", "open in the PACS"),
    ),
    "On a case": (
        ("↑ ↓ ← →", "one slice to the head, to the feet"),
        ("PgUp PgDn", "ten slices"),
        ("Home End", "first, last slice"),
        ("[ ]", "next slice with opacity to the head, to the feet"),
        ("1 2 3", "window: lung, soft tissue, wide; or drag on the picture"),
        ("O L", "overlay, lobes"),
        ("C", "link the earlier examination"),
        ("Space", "cine"),
        ("M H", "ruler, HU probe"),
        ("+ - 0", "larger, smaller, reset"),
        ("A D T", "take up, dismiss, pass on; each asks once"),
        ("N B", "next, previous case of the list"),
        ("U", "back to the list"),
    ),
}


def page(visit: Visit) -> Response:
    """Help."""
    return render(visit, "help.html", keys=_KEYS)
