"""The worklist in the browser: flagged examinations, their images, and what readers decide."""

from dicom_node.web.app import build_app
from dicom_node.web.server import run_web
from dicom_node.web.services import Services

__all__ = ["Services", "build_app", "run_web"]
