"""A result as a line of a table, and tables as CSV or Parquet, a page at a time."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO

from analysis.findings import Lobe
from db.exporting import ExportedResult
from dicom_node.export.cells import cells
from dicom_node.export.errors import ExportError

__all__ = ["COLUMNS", "line_of", "write_csv", "write_parquet"]

Value = str | float | int | bool | datetime | None
_AT_ONCE = 500
_FIGURES: Mapping[str, type] = {
    **dict.fromkeys(("lung_volume_ml", "ggo_volume_ml", "high_opacity_volume_ml", "burden_percent"), float),
    **dict.fromkeys(("ggo_percent", "pho_percent", "pho_hu_percent"), float),
    **dict.fromkeys(("lss", "lhos"), int),
    **dict.fromkeys(("right_burden_percent", "left_burden_percent"), float),
    "lesion_count": int,
    **dict.fromkeys(("largest_lesion_ml", "lesion_mean_hu", "lesion_sd_hu", "peripheral_lesion_percent"), float),
    "quality": str,
    **dict.fromkeys(("lung_coverage_percent", "noise_hu"), float),
    **dict.fromkeys(("model_name", "model_version", "weights_sha256", "software_version"), str),
}
_LOBE_FIGURES = ("lung_volume_ml", "ggo_volume_ml", "high_opacity_volume_ml", "burden_percent")
COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("patient_id", "issuer_of_patient_id", "patient_sex"), str),
    "age_years": int,
    **dict.fromkeys(("accession_number", "study_instance_uid", "series_instance_uid"), str),
    **dict.fromkeys(("study_date", "study_description", "scanner", "profile"), str),
    "recorded_at": datetime,
    "flagged": bool,
    "category": str,
    "incidental": bool,
    **_FIGURES,
    "quality_reasons": str,
    **{f"{lobe.value}_{name}": float for lobe in Lobe for name in _LOBE_FIGURES},
}
"""The columns of every table, in order, and what is in them."""


def line_of(entry: ExportedResult) -> dict[str, Value]:
    """A value for every column; None where there is none, and of opacity where the images could not be analysed."""
    result = entry.result
    findings, alert, summary = result.findings, result.alert, result.findings.summary()
    line: dict[str, Value] = dict.fromkeys(COLUMNS)
    line |= {
        "patient_id": entry.patient_id or None,
        "issuer_of_patient_id": entry.issuer_of_patient_id or None,
        "patient_sex": entry.patient_sex or None,
        "age_years": None if result.request is None else result.request.age_years,
        "accession_number": entry.accession_number or None,
        "study_instance_uid": result.study_instance_uid,
        "series_instance_uid": result.series_instance_uid,
        "study_date": entry.study_date or None,
        "study_description": entry.study_description or None,
        "scanner": entry.calling_ae_title,
        "profile": findings.profile.value,
        "recorded_at": result.created_at,
        "flagged": alert is not None,
        "category": None if alert is None else alert.category.value,
        "incidental": None if alert is None else alert.incidental,
        "quality_reasons": "; ".join(findings.quality.reasons) or None,
    }
    line |= {name: summary[name] for name in _FIGURES}  # pyright: ignore[reportAssignmentType] - scalars by their names
    if findings.reliable:
        for lobe, region in findings.lobes.items():
            line |= {f"{lobe.value}_{name}": getattr(region, name) for name in _LOBE_FIGURES}
    return line


def write_csv(entries: Iterable[ExportedResult], file: IO[str]) -> int:
    """A table of comma-separated values; how many lines it has."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    for entry in entries:
        writer.writerow(cells(line_of(entry).values()))
        count += 1
    return count


def write_parquet(entries: Iterable[ExportedResult], path: Path, *, note: str) -> int:
    """A Parquet file with typed columns and ``note`` in its metadata; how many lines it has.

    Raises:
        ExportError: the extra that writes Parquet is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ExportError("Parquet needs the extra: pip install 'lungsentry[export]'.") from error
    kinds = {
        str: pa.string(),
        float: pa.float64(),
        int: pa.int64(),
        bool: pa.bool_(),
        datetime: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()], metadata={"note": note})
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for lines in _batches(entries):
            writer.write_batch(pa.RecordBatch.from_pylist(lines, schema=schema))
            count += len(lines)
    return count


def _batches(entries: Iterable[ExportedResult]) -> Iterator[list[dict[str, Value]]]:
    lines = (line_of(entry) for entry in entries)
    while batch := list(islice(lines, _AT_ONCE)):
        yield batch
