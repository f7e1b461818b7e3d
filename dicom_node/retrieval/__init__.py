"""Instances that another node holds: asked for by C-FIND, pulled by C-GET or sent for by C-MOVE."""

from dicom_node.retrieval.archiving import Taker, archiving
from dicom_node.retrieval.fetch import Fetched, Method, Outcome, fetch, held_instances
from dicom_node.retrieval.query import Criteria, FoundSeries, find_series

__all__ = [
    "Criteria",
    "Fetched",
    "FoundSeries",
    "Method",
    "Outcome",
    "Taker",
    "archiving",
    "fetch",
    "find_series",
    "held_instances",
]
