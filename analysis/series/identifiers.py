"""Identifiers that de-identification emptied or spoilt, derived from the content of the files, for a folder of slices.

A file without a SOP Instance UID is named by its bytes, a series by its instances, a study by its series: the same
files give the same identifiers wherever they lie.
"""

import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydicom.uid import CTImageStorage

from analysis.series.series import InstanceHeader

__all__ = ["derived_uid", "with_identifiers"]

_NAMESPACE = uuid.UUID("3d1f3f0a-58a7-5c1b-8b43-0f5a1d1f7c02")
_BLOCK = 2**20
_LEAST_SCATTERED = 8
"""So many slices of one folder, each under a study or series UID of its own, were one series before."""
_LEAST_SHARED = 3
"""So many files of different content under one SOP Instance UID are no versions of one instance."""


def with_identifiers(headers: Sequence[InstanceHeader]) -> tuple[tuple[InstanceHeader, ...], tuple[str, ...]]:
    """The headers with every identifier, and a note for each kind that had to be derived."""
    named = _with_series(_with_instances([_with_class(header) for header in headers]))
    counts = Counter(keyword for header in named for keyword in header.derived)
    notes = tuple(
        f"{counts[keyword]} of {len(named)} files have no {keyword} that tells them apart: derived from their content"
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID")
        if counts[keyword]
    )
    return tuple(named), notes


def _with_class(header: InstanceHeader) -> InstanceHeader:
    if header.sop_class_uid or header.modality != "CT":
        return header
    return replace(header, sop_class_uid=CTImageStorage, derived=(*header.derived, "SOPClassUID"))


def _with_instances(headers: Iterable[InstanceHeader]) -> list[InstanceHeader]:
    by_uid: dict[str, list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_uid[header.sop_instance_uid].append(header)
    named: list[InstanceHeader] = []
    for uid, members in by_uid.items():
        digests = [_digest(header) for header in members] if not uid or len(members) >= _LEAST_SHARED else []
        if not uid or len(set(digests)) >= _LEAST_SHARED:
            named += [
                replace(
                    header,
                    sop_instance_uid=derived_uid("instance", digest),
                    derived=(*header.derived, "SOPInstanceUID"),
                )
                for header, digest in zip(members, digests, strict=True)
            ]
        else:
            named += members
    return named


def _with_series(headers: Iterable[InstanceHeader]) -> list[InstanceHeader]:
    """Series and studies named by what they hold; what lies in another folder, or differs in its headers, is apart."""
    by_folder: dict[tuple[object, ...], list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_folder[_alike(header)].append(header)
    by_study: dict[object, list[InstanceHeader]] = defaultdict(list)
    for members in by_folder.values():
        uids = {(header.study_instance_uid, header.series_instance_uid) for header in members}
        scattered = len(uids) == len(members) >= _LEAST_SCATTERED and all(_is_slice(header) for header in members)
        lacking = [header for header in members if scattered or not header.series_instance_uid]
        uid = derived_uid("series", *sorted(header.sop_instance_uid for header in lacking))
        for header in members:
            known = header
            if scattered or not header.series_instance_uid:
                study = "" if scattered else header.study_instance_uid
                derived = (*header.derived, "SeriesInstanceUID")
                known = replace(header, series_instance_uid=uid, study_instance_uid=study, derived=derived)
            by_study[known.study_instance_uid or (known.patient, known.study_key, *_folder(known))].append(known)
    named: list[InstanceHeader] = []
    for members in by_study.values():
        uid = derived_uid("study", *sorted({header.series_instance_uid for header in members}))
        named += [
            header
            if header.study_instance_uid
            else replace(header, study_instance_uid=uid, derived=(*header.derived, "StudyInstanceUID"))
            for header in members
        ]
    return named


def _alike(header: InstanceHeader) -> tuple[object, ...]:
    """What slices of one series have in common, where their UID does not say so."""
    kernel, modality = header.convolution_kernel, header.modality
    described = (header.series_number, header.series_description, kernel, modality, header.patient, header.study_key)
    return (header.path.parent, *described)


def _is_slice(header: InstanceHeader) -> bool:
    return header.modality == "CT" and header.image_position_patient_mm is not None


def _folder(header: InstanceHeader) -> tuple[object, ...]:
    """The folder, where nothing else says which study a file is of."""
    return () if header.patient or header.study_key else (header.path.parent,)


def _digest(header: InstanceHeader) -> str:
    digest = hashlib.sha256()
    with header.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def derived_uid(*parts: str) -> str:
    """A UID of these parts: a name-based UUID (RFC 9562, version 5) under 2.25 (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"
