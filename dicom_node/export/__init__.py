"""Findings for research and registries: a line a result, as CSV, Parquet or FHIR, de-identified where asked for."""

from dicom_node.export.errors import ExportError
from dicom_node.export.fhir import observation
from dicom_node.export.pseudonyms import Pseudonyms
from dicom_node.export.table import COLUMNS, line_of, write_csv, write_parquet

__all__ = ["COLUMNS", "ExportError", "Pseudonyms", "line_of", "observation", "write_csv", "write_parquet"]
