"""Instances that others hold: asked for by C-FIND, pulled by C-GET, sent for by C-MOVE, or read from files."""

from dicom_node.retrieval.archiving import Taker, archiving
from dicom_node.retrieval.fetch import Fetched, Method, Outcome, fetch, held_instances
from dicom_node.retrieval.importing import Imported, files_below, import_files
from dicom_node.retrieval.query import Criteria, FoundSeries, find_series

__all__ = [
    "Criteria",
    "Fetched",
    "FoundSeries",
    "Imported",
    "Method",
    "Outcome",
    "Taker",
    "archiving",
    "fetch",
    "files_below",
    "find_series",
    "held_instances",
    "import_files",
]
