"""Audit messages of DICOM PS3.15 section A.5, as XML: what was done, by whom, to which study and patient."""

import os
import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from db import AuditItem

__all__ = ["Source", "message_of"]

Coded = tuple[str, str]
_USER_AUTHENTICATION = ("110114", "User Authentication")
_SECURITY_ALERT = ("110113", "Security Alert")
_ACCESSED = ("110103", "DICOM Instances Accessed")
_TRANSFERRED = ("110104", "DICOM Instances Transferred")
_EXPORT = ("110106", "Export")
_ACTIVITY = ("110100", "Application Activity")
_USERS_CHANGED = ("110137", "User Security Attributes Changed")
_RESTRICTED = ("110132", "Use of Restricted Function")
_APPLICATION, _DESTINATION, _SOURCE = (
    ("110150", "Application"),
    ("110152", "Destination Role ID"),
    ("110153", "Source Role ID"),
)
_STUDY = ("110180", "Study Instance UID")
_BY_ADDRESS = "2"
_SUCCESS, _FAILURE = "0", "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """CID 400 and 401 of PS3.16, and the code of what was done (create, read, update, delete, execute)."""

    id: Coded
    type: Coded | None = None
    does: str = "E"


_EVENTS = {
    "application started": _Event(id=_ACTIVITY, type=("110120", "Application Start")),
    "application stopped": _Event(id=_ACTIVITY, type=("110121", "Application Stop")),
    "series received": _Event(id=_TRANSFERRED, does="C"),
    "object sent": _Event(id=_TRANSFERRED, does="R"),
    "signed in": _Event(id=_USER_AUTHENTICATION, type=("110122", "Login")),
    "sign-in failed": _Event(id=_USER_AUTHENTICATION, type=("110122", "Login")),
    "signed out": _Event(id=_USER_AUTHENTICATION, type=("110123", "Logout")),
    "signed out elsewhere": _Event(id=_USER_AUTHENTICATION, type=("110123", "Logout")),
    "roles set": _Event(id=_SECURITY_ALERT, type=("110136", "Security Roles Changed")),
    "user added": _Event(id=_SECURITY_ALERT, type=_USERS_CHANGED),
    "user enabled": _Event(id=_SECURITY_ALERT, type=_USERS_CHANGED),
    "user disabled": _Event(id=_SECURITY_ALERT, type=_USERS_CHANGED),
    "link made": _Event(id=_SECURITY_ALERT, type=_USERS_CHANGED),
    "password changed": _Event(id=_SECURITY_ALERT, type=_USERS_CHANGED),
    "peer allowed": _Event(id=_SECURITY_ALERT, type=("110128", "Network Configuration")),
    "peer removed": _Event(id=_SECURITY_ALERT, type=("110128", "Network Configuration")),
    "findings exported": _Event(id=_EXPORT, does="R"),
    "verdicts exported": _Event(id=_EXPORT, does="R"),
    "audit exported": _Event(id=("110101", "Audit Log Used"), does="R"),
}
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_READ = frozenset({"opened", "opened elsewhere", "revealed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The node that tells: its AE title, which is the source's name, and its machine."""

    ae_title: str
    host_name: str


def message_of(item: AuditItem, source: Source) -> bytes:
    """The message. What no other event fits, and names no study, is told as the use of a restricted function."""
    event = _event_of(item)
    root = ET.Element("AuditMessage")
    failed = item.action == "sign-in failed"
    told = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.does,
        EventDateTime=item.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_FAILURE if failed else _SUCCESS,
    )
    _coded(told, "EventID", event.id)
    if event.type is not None:
        _coded(told, "EventTypeCode", event.type)
    ET.SubElement(told, "EventOutcomeDescription").text = ": ".join(filter(None, (item.action, item.detail)))
    _participants(root, event, item, source)
    told_by = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=source.ae_title)
    ET.SubElement(told_by, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server
    if item.study_instance_uid is not None:
        _object(root, item.study_instance_uid, _STUDY, system="DCM", kind="2", role="3")
        _object(root, item.patient_id or "", ("2", "Patient Number"), system="RFC-3881", kind="1", role="1")
    elif event.id in {_EXPORT, _SECURITY_ALERT}:
        _object(root, item.subject or item.action, ("12", "URI"), system="RFC-3881", kind="2", role="13")
    elif event.id[0] == "110101":
        _object(root, "audit", ("12", "URI"), system="RFC-3881", kind="2", role="13", name="Security Audit Log")
    for element in root.iter():
        element.text = _legal(element.text or "") or None
        element.attrib.update({name: _legal(value) for name, value in element.attrib.items()})
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _legal(text: str) -> str:
    """The text with what XML 1.0 cannot hold replaced: one odd patient ID must not hold up the trail."""
    return _ILLEGAL.sub("\ufffd", text)


def _event_of(item: AuditItem) -> _Event:
    if (known := _EVENTS.get(item.action)) is not None:
        return known
    if item.study_instance_uid is not None:
        return _Event(id=_ACCESSED, does="R" if item.action in _READ else "U")
    return _Event(id=_SECURITY_ALERT, type=_RESTRICTED)


def _participants(root: ET.Element, event: _Event, item: AuditItem, source: Source) -> None:
    ours = {"UserID": str(os.getpid()), "AlternativeUserID": f"AETITLES={source.ae_title}"}
    ours |= {"NetworkAccessPointID": source.host_name, "NetworkAccessPointTypeCode": "1"}
    if event.id == _TRANSFERRED:
        received = item.action == "series received"
        _participant(root, {"UserID": item.who}, _SOURCE if received else _DESTINATION, requestor=received)
        _participant(root, ours, _DESTINATION if received else _SOURCE, requestor=not received)
        return
    if event.id == _ACTIVITY:
        _participant(root, ours, _APPLICATION, requestor=False)
        return
    theirs = {"UserID": item.who}
    if item.address:
        theirs |= {"NetworkAccessPointID": item.address, "NetworkAccessPointTypeCode": _BY_ADDRESS}
    _participant(root, theirs, None, requestor=True)
    _participant(root, ours, _APPLICATION, requestor=False)


def _participant(root: ET.Element, values: dict[str, str], role: Coded | None, *, requestor: bool) -> None:
    participant = ET.SubElement(root, "ActiveParticipant", values, UserIsRequestor="true" if requestor else "false")
    if role is not None:
        _coded(participant, "RoleIDCode", role)


def _object(
    root: ET.Element, identity: str, id_type: Coded, *, system: str, kind: str, role: str, name: str = ""
) -> None:
    found = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identity,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(found, "ParticipantObjectIDTypeCode", id_type, system=system)
    ET.SubElement(found, "ParticipantObjectName").text = name or identity


def _coded(parent: ET.Element, name: str, code: Coded, *, system: str = "DCM") -> None:
    value, meaning = code
    ET.SubElement(
        parent, name, {"csd-code": value, "codeSystemName": system, "originalText": meaning, "displayName": meaning}
    )
