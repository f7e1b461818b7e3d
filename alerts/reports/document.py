"""The page of a result as an encapsulated PDF: equal content gives equal bytes."""

from io import BytesIO
from pathlib import Path
from typing import Final

import pydicom
from highdicom import SOPClass
from highdicom.sr import CodedConcept
from PIL import Image as PillowImage
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from alerts import wording
from alerts.artefact import ArtefactKind, Draft
from alerts.reports.equipment import MANUFACTURER, NO_SERIAL_NUMBER, PRODUCT, ascii_text
from alerts.reports.evidence import Evidence, as_received
from alerts.reports.identity import UNNAMED, name_object
from alerts.reports.result_object import complete
from alerts.reports.secondary_capture import reference
from analysis.findings import Findings
from analysis.panels import Image

NUMBER: Final = 9706
TITLE: Final = "Lungsentry opacity measurement (research use only)"
_DOCUMENT = Code("18748-4", "LN", "Diagnostic imaging study")
_SOURCE = Code("121324", "DCM", "Source Image")
_MARGIN, _LINE = 18.0, 26.0


def summary_document(findings: Findings, page: Image, sources: Evidence) -> Draft:
    """The page with accession number and study date above it; ``page`` is in red, green, blue.

    No name and no number of the patient is on it: they stand in the attributes of the object.
    """
    with as_received():
        document = _document(findings, _pdf(page, _examination(sources.first_path)), sources)
        named = name_object(document, ArtefactKind.PDF.value)
    return named.draft(ArtefactKind.PDF, "summary.pdf.dcm")


def _examination(path: Path) -> str:
    source = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["AccessionNumber", "StudyDate"])
    accession, date = str(source.get("AccessionNumber") or ""), str(source.get("StudyDate") or "")
    return ascii_text(f"Accession number {accession or 'unknown'}, study date {date or 'unknown'}")


def _pdf(page: Image, examination: str) -> bytes:
    buffer = BytesIO()
    width, height = landscape(A4)
    canvas = Canvas(buffer, pagesize=(width, height), invariant=1, pageCompression=0)
    canvas.setTitle(TITLE)
    canvas.setAuthor(PRODUCT)
    canvas.setSubject(wording.RESEARCH_USE)
    canvas.setFont("Helvetica", 9)
    canvas.drawString(_MARGIN, height - _LINE, examination)
    canvas.drawRightString(width - _MARGIN, height - _LINE, wording.RESEARCH_USE)
    shown = min((width - 2 * _MARGIN) / page.shape[1], (height - _LINE - 2 * _MARGIN) / page.shape[0])
    size = (page.shape[1] * shown, page.shape[0] * shown)
    canvas.drawImage(ImageReader(PillowImage.fromarray(page)), (width - size[0]) / 2, _MARGIN, *size)
    canvas.save()
    return buffer.getvalue()


def _document(findings: Findings, pdf: bytes, sources: Evidence) -> SOPClass:
    date, time = sources.moment
    document = SOPClass(
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=UNNAMED,
        series_number=NUMBER,
        series_description="Lungsentry PDF (research)",
        sop_instance_uid=UNNAMED,
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=ascii_text(findings.provenance.software_version),
        device_serial_number=NO_SERIAL_NUMBER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_date=date,
        series_time=time,
        content_date=date,
        content_time=time,
    )
    complete(document, findings, sources)
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = f"{date}{time}"
    document.BurnedInAnnotation = "YES"
    document.RecognizableVisualFeatures = "NO"
    document.VerificationFlag = "UNVERIFIED"
    document.DocumentTitle = TITLE
    document.ConceptNameCodeSequence = [CodedConcept.from_code(_DOCUMENT)]
    document.SourceInstanceSequence = [reference(one) for one in sources.instances]
    for item in document.SourceInstanceSequence:
        item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(_SOURCE)]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return document
