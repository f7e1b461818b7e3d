"""Which of the instances that a peer asks about are safe: indexed, on disk, and byte for byte as received."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from db import Store
from dicom_node.network.status import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from dicom_node.storage.archive import Archive
from dicom_node.storage.verification import examine

__all__ = ["Judgement", "judge"]

_log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.05

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is safe, and what is not and why."""

    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


def judge(store: Store, archive: Archive, references: Iterable[Reference], *, patience_s: float = 0.0) -> Judgement:
    """Look at every instance now, once however often it is named. Cost: one query and the reading of one file each.

    An instance that was sent more than once is judged by its newest version. One that retention removed is not safe.
    The index follows the archive by moments: what it does not know yet is looked up again for ``patience_s`` seconds.
    """
    deadline = time.monotonic() + patience_s
    committed: list[Reference] = []
    failed: list[tuple[Reference, int]] = []
    reasons: dict[Reference, int | None] = {}
    for reference in references:
        if reference not in reasons:
            reasons[reference] = _reason(store, archive, reference)
            while reasons[reference] == NO_SUCH_INSTANCE and time.monotonic() < deadline:
                time.sleep(_LOOK_AGAIN_S)
                reasons[reference] = _reason(store, archive, reference)
        reason = reasons[reference]
        if reason is None:
            committed.append(reference)
        else:
            failed.append((reference, reason))
    return Judgement(committed=tuple(committed), failed=tuple(failed))


def _reason(store: Store, archive: Archive, reference: Reference) -> int | None:
    """Failure Reason (0008,1197) of PS3.3 section C.14.1.1, or None for what is safe."""
    sop_class_uid, sop_instance_uid = reference
    present = [version for version in store.intake.find_versions(sop_instance_uid) if version.removed_at is None]
    if not present:
        return NO_SUCH_INSTANCE
    newest = present[-1]
    if newest.sop_class_uid != sop_class_uid:
        return CLASS_INSTANCE_CONFLICT
    if fault := examine(archive, newest):
        _log.error("commitment.broken", path=fault.path, fault=fault.kind, sop_instance_uid=sop_instance_uid)
        return PROCESSING_FAILURE
    return None
