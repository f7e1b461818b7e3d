"""The DICOM conformance statement, written from the tables and defaults that the code negotiates with.

``lungsentry conformance`` prints it; ``deploy/conformance.md`` is its output, and a test says when it is out of date.
"""

from collections.abc import Iterable, Sequence

from pydicom.uid import UID

from alerts import SOP_CLASSES, ArtefactKind
from alerts.artefact import REPORT_CLASSES
from dicom_node.commitment.errors import ActionRefused
from dicom_node.completion.mpps import StepRefused
from dicom_node.network import tls
from dicom_node.network.contexts import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    VERIFICATION_SOP_CLASS,
    supported_contexts,
)
from dicom_node.network.errors import Refused
from dicom_node.network.status import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from dicom_node.peers.admission import Refusal
from dicom_node.retrieval.fetch import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_node.retrieval.query import STUDY_ROOT_FIND
from dicom_node.settings import Settings
from dicom_node.storage.retention import STEPS_KEPT_DAYS

__all__ = ["statement"]

_SENT = tuple(dict.fromkeys([*SOP_CLASSES.values(), *REPORT_CLASSES]))
_SCP, _SCU, _BOTH = "SCP", "SCU", "SCU and SCP"
_SERVICES = {
    VERIFICATION_SOP_CLASS: "verification",
    STORAGE_COMMITMENT_PUSH_MODEL: "storage commitment (`commitment.enabled`)",
    PERFORMED_PROCEDURE_STEP: "evidence of completion (`completion.mpps`, off by default)",
}
_HEAD = """\
# DICOM conformance statement

Written by `lungsentry conformance` from the code that negotiates: do not edit. Figures are the defaults of the settings
that stand beside them. Research use only; not a medical device."""


def statement() -> str:
    """The statement, in Markdown."""
    settings = Settings.model_construct()
    parts = (
        _HEAD,
        _services(),
        _associations(settings),
        _storage(),
        _commitment(settings),
        _performed_steps(),
        _retrieval(settings),
        _delivery(settings),
        _security(settings),
        _remarks(settings),
    )
    return "\n\n".join(parts) + "\n"


def _services() -> str:
    accepted = [str(context.abstract_syntax) for context in supported_contexts(commitment=True, mpps=True)]
    rows = [(UID(uid).name, f"`{uid}`", _SCP, _service_of(uid)) for uid in accepted]
    rows += [
        (UID(STUDY_ROOT_FIND).name, f"`{STUDY_ROOT_FIND}`", _SCU, "`lungsentry fetch`; `completion.pacs`"),
        (UID(STUDY_ROOT_GET).name, f"`{STUDY_ROOT_GET}`", _SCU, "`lungsentry fetch --method get`"),
        (UID(STUDY_ROOT_MOVE).name, f"`{STUDY_ROOT_MOVE}`", _SCU, "`lungsentry fetch --method move`"),
        *((_name(uid), f"`{uid}`", _SCU, "results to `[[destinations]]`") for uid in _SENT),
        (UID(VERIFICATION_SOP_CLASS).name, f"`{VERIFICATION_SOP_CLASS}`", _SCU, "`lungsentry echo`"),
    ]
    return "## Services\n" + _table(("SOP class", "UID", "role", "service"), rows)


def _name(uid: UID) -> str:
    """What the Standard calls it; one is newer than the library's dictionary."""
    return "Label Map Segmentation Storage" if uid == SOP_CLASSES[ArtefactKind.LABEL_MAP] else uid.name


def _service_of(uid: str) -> str:
    if uid in STORAGE_SOP_CLASSES:
        return "storage; also as SCP on the associations of C-GET"
    return _SERVICES[UID(uid)]


def _associations(settings: Settings) -> str:
    receiver = settings.receiver
    facts = [
        ("application context name", "`1.2.840.10008.3.1.1.1`"),
        ("implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
        ("implementation version name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ("AE title", f"`{settings.node.ae_title}` (`node.ae_title`)"),
        ("port", f"{receiver.port} (`receiver.port`)"),
        ("maximum PDU received", f"{receiver.max_pdu_bytes} bytes (`receiver.max_pdu_bytes`); a longer one aborts"),
        (
            "associations at once",
            f"{receiver.max_associations} (`receiver.max_associations`); more are rejected for now",
        ),
        ("time for the request", f"{receiver.acse_timeout_s:g} s (`receiver.acse_timeout_s`)"),
        ("time for one PDU", f"{receiver.pdu_timeout_s:g} s (`receiver.pdu_timeout_s`)"),
        ("silence on an association", f"{receiver.network_timeout_s:g} s (`receiver.network_timeout_s`), then A-ABORT"),
        (
            "largest data set",
            f"{receiver.max_instance_bytes} bytes (`receiver.max_instance_bytes`); a larger one aborts",
        ),
        ("asynchronous operations", "not negotiated: one operation at a time"),
        (
            "extended negotiation",
            "none, save SCP/SCU role selection where the node is requestor of C-GET or commitment",
        ),
    ]
    rejections = [
        (refusal.words, "permanent" if refusal.rejection[0] == 1 else "transient", *map(str, refusal.rejection[1:]))
        for refusal in Refusal
    ]
    return (
        "## Associations\n"
        + _table(("what", "value"), facts)
        + "\n\nA peer is accepted when its calling AE title, the title it calls and its address are allowed "
        "(`lungsentry peers allow`). Rejections (PS3.8 table 9-21):\n\n"
        + _table(("because", "result", "source", "reason"), rejections)
    )


def _storage() -> str:
    syntaxes = [(UID(uid).name, f"`{uid}`") for uid in TRANSFER_SYNTAXES]
    statuses = [
        ("0x0000", "The instance is synced to disk under its final name; or the same bytes were there already."),
        *sorted((f"0x{refused.status:04X}", _claim(refused)) for refused in (Refused, *Refused.__subclasses__())),
    ]
    return f"""\
## Storage as SCP
Level 2 (full): every element is kept, private ones too, with the bytes and in the transfer syntax that were received.
No element is coerced, and no pixel is decoded or converted. Of the transfer syntaxes that a presentation context
proposes, the first that stands in this table is accepted:

{_table(("transfer syntax", "UID"), syntaxes)}

C-STORE status:

{_table(("status", "meaning"), statuses)}

The same SOP Instance UID with other bytes is kept beside the first as a new version. Outside the receiver the two are
compared, pixels as they are decoded: the same image in another encoding leads to no new analysis and no new report,
another image does. A UID that does not conform to PS3.5 section 9.1 (letters, hyphens) is stored, and marked."""


def _commitment(settings: Settings) -> str:
    refusals = sorted(
        (f"0x{refused.status:04X}", _claim(refused)) for refused in (ActionRefused, *ActionRefused.__subclasses__())
    )
    reasons = [
        (f"0x{NO_SUCH_INSTANCE:04X}", "The instance is not in the archive, or retention removed it."),
        (f"0x{CLASS_INSTANCE_CONFLICT:04X}", "The instance is of another SOP class."),
        (f"0x{PROCESSING_FAILURE:04X}", "The file is missing or differs from what was received."),
    ]
    return f"""\
## Storage commitment as SCP
Push model (`{STORAGE_COMMITMENT_PUSH_MODEL}`), unless `commitment.enabled` is off. The request is written down before
N-ACTION is answered 0x0000. An instance is committed when it is indexed, its file is there, and its SHA-256 is that of
the bytes received: each file is read for it.

The N-EVENT-REPORT goes out on the association of the request (`commitment.same_association`). If that has ended, or
the peer does not confirm, it goes out on a new one, with the node as requestor in the role of SCP, to the host and
port of the peer's entry (`lungsentry peers allow --host --port`). It is tried up to {settings.commitment.max_attempts}
times with growing pauses; then it is a dead letter. The same transaction asked again is answered again.

The commitment holds as long as `[retention]` keeps the series. The node is no long-term archive: a scanner must not
delete on its word alone.

N-ACTION status other than success:

{_table(("status", "meaning"), refusals)}

Failure Reason (0008,1197):

{_table(("reason", "meaning"), reasons)}"""


def _performed_steps() -> str:
    statuses = sorted({(f"0x{refused.status:04X}", _claim(refused)) for refused in StepRefused.__subclasses__()})
    return f"""\
## Modality performed procedure step as SCP
`{PERFORMED_PROCEDURE_STEP}`, where `completion.mpps` is on: N-CREATE and N-SET; N-GET is not offered.
Read are Performed Procedure Step Status, and of Performed Series Sequence the Series Instance UID, Referenced Image
Sequence and Referenced Non-Image Composite SOP Instance Sequence; nothing else is kept. A series that a completed or
discontinued step lists is complete as soon as every listed instance is here, and is waited for while one is not.
A step is forgotten {STEPS_KEPT_DAYS} days after it ended, or began and never ended, unless a series that it lists is
still being received.

Status other than success:

{_table(("status", "meaning"), statuses)}"""


def _retrieval(settings: Settings) -> str:
    keys = [
        ("STUDY", "Study Instance UID, Patient ID, Study Date (range)", "Study Instance UID, Study Date"),
        (
            "SERIES",
            "Study Instance UID",
            "Series Instance UID, Modality, Series Description, Number of Series Related Instances",
        ),
    ]
    contexts = len(STORAGE_SOP_CLASSES) * len(TRANSFER_SYNTAXES)
    return f"""\
## Query and retrieve as SCU
Study Root, when `lungsentry fetch` is given and, where `completion.pacs` names a PACS (off by default), for each study
that is being received, once its series pause: the PACS's Number of Series Related Instances tells whether something is
missing. No wildcard is sent, no relational query, no fuzzy matching.

{_table(("level", "matching keys", "return keys"), keys)}

C-GET is asked at SERIES level with {contexts} presentation contexts for storage, one for each SOP class and transfer
syntax above, each in the role of SCP. C-MOVE is asked at SERIES level with the destination
`{settings.node.ae_title}` (`node.ae_title`), which the peer has to know. What C-GET brings is answered by the same
rules as storage. The number of instances that the archive then holds is compared with the number the peer named."""


def _delivery(settings: Settings) -> str:
    sent = ", ".join(_name(uid) for uid in dict.fromkeys(SOP_CLASSES.values()))
    return f"""\
## Storage as SCU
{sent}, one association an object, to each of
`[[destinations]]` that is to get them (`kinds`), in this order: what is referred to goes first. They go in Explicit VR
Little Endian, segmentations in Deflated Explicit VR Little Endian; in Explicit or Implicit where the peer takes no
other. Where the peer accepts no context for Comprehensive 3D SR, or replies 0x0122, the report goes as Comprehensive SR
or Enhanced SR, of the same content under UIDs of its own; without references to segmentations that are not at the peer.
Success, the warnings 0xB000, 0xB006 and 0xB007, and 0x0111 (the object is there) end a delivery;
0xA7xx, 0x0110 and a peer that is away are tried again with growing pauses; any other status is a dead letter. An object
that was confirmed is not sent again: its UIDs come from its content. The node calls with
`{settings.node.ae_title}` (`node.ae_title`)."""


def _security(settings: Settings) -> str:
    return f"""\
## Security
TLS beside the plain port (`tls.port`, off by default): TLS 1.2 or 1.3, of TLS 1.2 the suites `{tls.CIPHERS}`.
Both sides show certificates (`tls.verify_peers`). Trusted are those in `trusted/` of `tls.certificates`: authorities,
or single peers. A changed file is taken up with the next connection. A caller has
{settings.tls.handshake_timeout_s:g} s for the handshake (`tls.handshake_timeout_s`).

The node calls the AE titles in `tls.outgoing` with TLS, for results, storage commitment and retrieval, and checks that
the certificate names the host (`tls.check_host_names`). No user identity is negotiated."""


def _remarks(settings: Settings) -> str:
    retention = settings.retention
    kept = "; ".join(
        f"{state}: {'kept, by default' if days is None else f'{days:g} days'} (`retention.{state}_days`)"
        for state, days in (
            ("analysed", retention.analysed_days),
            ("excluded", retention.excluded_days),
            ("failed", retention.failed_days),
        )
    )
    return f"""\
## Character sets and retention
Text is read in the character sets that Specific Character Set (0008,0005) names; an object is stored whatever it is.
Instances are removed so long after their series ended: {kept}. What is not processed yet is never removed."""


def _claim(error: type[Exception]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
